// SPDX-License-Identifier: BSD-2-Clause
// What goes wrong where the program meets the machine: files, devices, processes. Thrown there, caught at a
// command or at a trial, never in between.
#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string>

namespace dmatoll::harness {

// The text says what was being done, to what, what was expected, what came instead and what the user can do.
class Failure : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
};

// This machine lacks something that the trial needs: it is skipped, with this reason, and not counted as an
// error.
class Unavailable : public Failure {
  public:
    using Failure::Failure;
};

// The run was asked to stop (Ctrl-C, SIGTERM): what was taken is given back, then the program ends.
class Interrupted : public Failure {
  public:
    Interrupted() : Failure{"interrupted"} {}
};

template <class... Arguments>
[[noreturn]] void fail(fmt::format_string<Arguments...> format, Arguments&&... arguments) {
    throw Failure{fmt::format(format, std::forward<Arguments>(arguments)...)};
}

}  // namespace dmatoll::harness
