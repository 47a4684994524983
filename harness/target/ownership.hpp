// SPDX-License-Identifier: BSD-2-Clause
// What dmatoll took from this machine and how it was before. Written down before anything is changed, so that
// `dmatoll restore` can undo a harness that was killed.
#pragma once

#include <nlohmann/json.hpp>

#include <map>
#include <set>
#include <string>
#include <vector>

#include "../file.hpp"

namespace dmatoll::harness {

// How a device was.
struct Taken {
    std::string bdf;
    std::string driver;           // empty: it had none
    std::string driver_override;  // empty: none
    std::string group_type;       // empty: no group
};

class Ownership {
  public:
    // One process at a time: throws Failure if another one holds this machine's devices, or without the right
    // to.
    Ownership();

    // Writes down how the device is, unless that was written before. Durable when it returns. Throws Failure
    // if the device must not be taken (pci.hpp, require_free), even if it was taken before.
    void take(const std::string& bdf, bool force);
    // Leaves the device without a driver. Throws Failure if somebody has come to use a disk of it meanwhile, unless it was
    // taken with `force`.
    void unbind(const std::string& bdf) const;
    void note_namespace(const std::string& name);
    void note_module(const std::string& name);
    // Changes a setting of the kernel, a file below /proc/sys, after its value was written down. Nothing happens if
    // this kernel has no such setting.
    void change_setting(const fs::path& file, const std::string& value);

    [[nodiscard]] const std::vector<Taken>& taken() const { return taken_; }

    // Gives everything back, as far as it goes; returns what was done, one line each. Problems are among them
    // and leave their device in the file: a disk of it that is in use is one, unless `force` or taken so.
    struct Report {
        std::vector<std::string> done;
        std::vector<std::string> problems;
    };
    Report restore(bool force = false);

    static fs::path state_file();

  private:
    void load();
    void store() const;

    Descriptor lock_;
    std::vector<Taken> taken_;
    std::set<std::string> forced_;  // by this process: whoever restores later is asked again
    std::vector<std::string> namespaces_;
    std::vector<std::string> modules_;
    std::map<std::string, std::string> settings_;  // file, value before
};

}  // namespace dmatoll::harness
