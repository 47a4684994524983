// SPDX-License-Identifier: BSD-2-Clause
#include "device_holders.hpp"

#include <algorithm>
#include <cctype>
#include <optional>
#include <sstream>
#include <string>

#include "../file.hpp"
#include "system.hpp"

namespace dmatoll::harness {
namespace {

constexpr const char* device_file = "anon_inode:[vfio-device]";

fs::path folder_of(pid_t pid) { return system_paths().proc / std::to_string(pid); }

// "77 (a name) S 1 ...", with the start as the twenty-second [proc_pid_stat(5)]. Nothing: it has ended.
std::optional<std::uint64_t> start_of(pid_t pid) {
    const std::string stat = read_attribute(folder_of(pid) / "stat").value_or("");
    const std::size_t name_end = stat.rfind(')');
    if (name_end == std::string::npos) return std::nullopt;
    std::istringstream words{stat.substr(name_end + 1)};
    std::string state;
    words >> state;
    constexpr int between = 18;
    std::string skipped;
    for (int i = 0; i < between; ++i) words >> skipped;
    std::uint64_t started = 0;
    if (!(words >> started) || state == "Z" || state == "X") return std::nullopt;
    return started;
}

bool holds_a_device(pid_t pid) {
    std::error_code gone;
    for (fs::directory_iterator file{folder_of(pid) / "fd", gone}, end; !gone && file != end; file.increment(gone))
        if (link_name(file->path()) == device_file) return true;
    return false;
}

}  // namespace

std::set<ProcessMark> device_holders() {
    std::set<ProcessMark> holders;
    for (const auto& entry : fs::directory_iterator{system_paths().proc}) {
        const std::string name = entry.path().filename();
        if (!std::all_of(name.begin(), name.end(), [](unsigned char letter) { return std::isdigit(letter) != 0; }))
            continue;
        const pid_t pid = std::stoi(name);
        const auto started = start_of(pid);
        if (started && holds_a_device(pid)) holders.insert({pid, *started});
    }
    return holders;
}

std::optional<std::string> pid_namespace_of(pid_t pid) { return link_name(folder_of(pid) / "ns/pid"); }

bool lives(const ProcessMark& process) { return start_of(process.pid) == process.started; }

}  // namespace dmatoll::harness
