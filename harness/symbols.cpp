// SPDX-License-Identifier: BSD-2-Clause
#include "symbols.hpp"

#include <algorithm>
#include <filesystem>

#include "failure.hpp"
#include "file.hpp"
#include "process.hpp"
#include "text.hpp"

namespace dmatoll::harness {

namespace fs = std::filesystem;

std::string process_maps() {
    std::string result;
    for (const auto& entry : fs::directory_iterator{"/proc"}) {
        const std::string pid = entry.path().filename();
        if (!std::all_of(pid.begin(), pid.end(), [](char c) { return c >= '0' && c <= '9'; })) continue;
        try {
            const std::string maps = read_file(entry.path() / "maps");
            if (maps.empty()) continue;  // a thread of the kernel
            result += "process " + pid + " " + read_file(entry.path() / "comm");
            for (const auto& line : split(maps, '\n'))
                if (line.find(" r-xp ") != std::string::npos) result += line + "\n";
        } catch (const Failure&) {
            // It has ended meanwhile.
        }
    }
    return result;
}

std::string kernel_symbols() {
    const Ended compressed =
        run({.arguments = {"sh", "-c",
                           "grep -i ' [tw] ' /proc/kallsyms | sed 's/ [a-zA-Z] / /' | gzip -c | base64"}},
            60);
    if (compressed.status != 0 || compressed.output.empty())
        fail("The kernel's symbols cannot be read and compressed: {}", trim(compressed.error));
    return compressed.output;
}

}  // namespace dmatoll::harness
