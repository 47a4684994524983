// SPDX-License-Identifier: BSD-2-Clause
// Signals as something to wait for.
#pragma once

#include <sys/signalfd.h>

#include <initializer_list>

#include "descriptor.hpp"

namespace dmatoll::user {

// The signals come by the descriptor from now on, and no longer by the usual way of delivery. Throws Failure.
Descriptor take_signals(std::initializer_list<int> signals);

// SIGTERM, SIGINT and SIGCHLD.
class Signals {
  public:
    // Throws Failure.
    Signals();

    [[nodiscard]] int fd() const { return fd_.get(); }
    // Takes what is pending; true if somebody wants the end.
    [[nodiscard]] bool take() const;

  private:
    Descriptor fd_;
};

}  // namespace dmatoll::user
