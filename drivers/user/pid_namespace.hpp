// SPDX-License-Identifier: BSD-2-Clause
// A PID namespace for the driver process: what it starts ends when its supervisor has seen its end, or has ended, and
// nobody else's process has a number in there.
#pragma once

#include <sys/types.h>

#include "descriptor.hpp"

namespace dmatoll::user {

// The namespace's first process is a keeper, which does nothing: when it ends, the kernel kills all that are in
// the namespace, however they came there. It ends when this object does, or soon after this process has: a driver that
// works has some time to end in order. The driver itself is not the first one: the kernel keeps signals from that.
class PidNamespace {
  public:
    static constexpr unsigned patience_ms = 2000;

    // Throws Failure; it takes CAP_SYS_ADMIN.
    PidNamespace();
    // Kills who is still in there, and returns when they are gone. Children of this process's in there have to
    // have been waited for: as long as one has not been, it is not gone.
    ~PidNamespace();
    PidNamespace(const PidNamespace&) = delete;
    PidNamespace& operator=(const PidNamespace&) = delete;

    // As fork(2). The child is in the namespace: there getppid() is 0. In this process it has a number of this
    // process's.
    [[nodiscard]] pid_t fork() const;

  private:
    // Processes that children begin beside: this one, and the keeper.
    Descriptor outside_;
    Descriptor inside_;
    pid_t keeper_;
};

}  // namespace dmatoll::user
