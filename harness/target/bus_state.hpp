// SPDX-License-Identifier: BSD-2-Clause
// Which addresses each PCI function answers at, as the functions themselves say: what the driver of one of
// them must not change for the others.
#pragma once

#include <map>
#include <string>
#include <vector>

namespace dmatoll::harness {

class BusState {
  public:
    // As it is now. Throws Failure if no function can be read.
    BusState();

    // What differs from `before`, one line each. Of the function `own` the power state, and in the command
    // register what concerns itself alone, are its driver's to change; its addresses and where its messages go are not.
    [[nodiscard]] std::vector<std::string> changes_since(const BusState& before,
                                                         const std::string& own) const;

  private:
    struct Function {
        std::string config;     // the first 256 bytes
        std::string resources;  // what the kernel knows of its addresses
    };
    std::map<std::string, Function> functions_;
};

// Where the registers of some other function that has any are, by what the kernel knows; 0: there is none.
std::uint64_t registers_of_another(const std::string& own);

}  // namespace dmatoll::harness
