// SPDX-License-Identifier: BSD-2-Clause
// What goes wrong in a workload program; its text ends up on standard error.
#pragma once

#include <cerrno>
#include <stdexcept>
#include <string>
#include <system_error>

namespace dmatoll::workloads {

// The text says what was being done, to what, and what the user can do.
class Failure : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
};

// With what the kernel answered behind it.
[[noreturn]] inline void fail_with_errno(const std::string& what, int number = errno) {
    throw Failure{what + ": " + std::generic_category().message(number)};
}

}  // namespace dmatoll::workloads
