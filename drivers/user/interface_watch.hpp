// SPDX-License-Identifier: BSD-2-Clause
// Tells the supervisor when somebody wants the interface promiscuous, or no longer.
//
// The driver process could not see to it by itself: a TAP tells its owner nothing of this. Groups are another
// matter: Linux 6.12 announces no change of an interface's list of them, and to look now and then would miss
// frames meanwhile. So the device goes on receiving all of them, and the stack, which knows them, chooses.
#pragma once

#include "descriptor.hpp"

namespace dmatoll::user {

class InterfaceWatch {
  public:
    // Of all interfaces of this network namespace. Throws Failure.
    InterfaceWatch();

    // Readable when something about one of them has changed.
    [[nodiscard]] int fd() const { return changes_.get(); }
    // Takes what fd() holds.
    void take() const;

  private:
    Descriptor changes_;
};

}  // namespace dmatoll::user
