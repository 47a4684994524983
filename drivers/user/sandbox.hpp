// SPDX-License-Identifier: BSD-2-Clause
// From root to nobody in particular, for good.
#pragma once

#include <sys/types.h>

#include <string>

namespace dmatoll::user {

struct Identity {
    uid_t user;
    gid_t group;
};

// A user by name or number. Throws Failure if there is none, or if it is root.
Identity find_user(const std::string& name_or_number);

// A user without a name that no other device's driver is: none of their processes, nor what Linux allows a user at a
// time, is his. `bdf`: of this form, 0000:00:03.0.
Identity user_of_device(const std::string& bdf);

// Gives up root's identity, supplementary groups, every capability (the bounding set too) and the way back
// through set-user-ID programs. At its parent's death it gets SIGTERM. Throws Failure unless all of it took.
void drop_privileges(const Identity& identity);

}  // namespace dmatoll::user
