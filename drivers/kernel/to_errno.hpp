// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// An Error as the kernel spells it.
#pragma once

#include <cerrno>

#include "core/result.hpp"

namespace dmatoll::kernel {

constexpr int to_errno(Error error) {
    switch (error) {
        case Error::none:
            return 0;
        case Error::invalid_argument:
            return -EINVAL;
        case Error::no_memory:
            return -ENOMEM;
        case Error::no_iova_space:
            return -ENOSPC;
        case Error::ring_full:
            return -EBUSY;
        case Error::timed_out:
            return -ETIMEDOUT;
        case Error::device_gone:
            return -ENODEV;
        case Error::not_supported:
            return -EOPNOTSUPP;
        case Error::mapping_failed:
        case Error::device_misbehaves:
            break;
    }
    return -EIO;
}

}  // namespace dmatoll::kernel
