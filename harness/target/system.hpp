// SPDX-License-Identifier: BSD-2-Clause
// Where the kernel shows itself. Tests put a tree of their own in its place.
#pragma once

#include <filesystem>

namespace dmatoll::harness {

struct SystemPaths {
    std::filesystem::path sys = "/sys";
    std::filesystem::path proc = "/proc";
    std::filesystem::path run =
        "/run/dmatoll";  // our own state; gone after a reboot, as are the bindings that it tells of
};

inline SystemPaths& system_paths() {
    static SystemPaths paths;
    return paths;
}

}  // namespace dmatoll::harness
