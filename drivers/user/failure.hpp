// SPDX-License-Identifier: BSD-2-Clause
// What goes wrong while the program is being set up, in words for the person who started it. Thrown in set-up
// code only and caught in main(); nothing on the data path throws.
#pragma once

#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <string>

namespace dmatoll::user {

class Failure : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
};

// "what: reason of errno". `error` is taken as an argument, since building the text may change errno.
inline Failure system_failure(const std::string& what, int error) {
    return Failure{what + ": " + std::strerror(error)};
}

}  // namespace dmatoll::user
