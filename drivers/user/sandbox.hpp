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

// Gives up root's identity, supplementary groups, every capability (the bounding set too) and the way back
// through set-user-ID programs. At the death of `parent` it gets SIGTERM, and is
// killed if it still runs two seconds later. Throws Failure unless all of it took.
void drop_privileges(const Identity& identity, pid_t parent);

}  // namespace dmatoll::user
