// SPDX-License-Identifier: BSD-2-Clause
#include "kernel_log.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>

#include "failure.hpp"
#include "text.hpp"

namespace dmatoll::harness {
namespace {

constexpr const char* path = "/dev/kmsg";
// syslog's levels: emergency 0 ... warning 4 ... debug 7; the facility stands above.
constexpr int level_mask = 7;
constexpr int warning = 4;

}  // namespace

KernelLog::KernelLog() : file_{Descriptor{::open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC)}} {
    if (!file_.valid() || ::lseek(file_.get(), 0, SEEK_END) < 0)
        fail("Cannot read the kernel's log at {}: {}", path, system_error(errno));
}

std::vector<std::string> KernelLog::complaints() {
    std::vector<std::string> result;
    for (;;) {
        char record[8192];
        const ssize_t got = ::read(file_.get(), record, sizeof record);
        if (got > 0) {
            if (auto text = complaint_of({record, static_cast<std::size_t>(got)}); !text.empty())
                result.push_back(std::move(text));
        } else if (got < 0 && errno == EPIPE) {
            result.emplace_back(overwritten);
        } else if (got < 0 && errno == EINTR) {
            continue;
        } else {
            return result;
        }
    }
}

// level,sequence,microseconds,flags;text
std::string complaint_of(std::string_view record) {
    const std::size_t semicolon = record.find(';');
    if (semicolon == std::string_view::npos) return {};
    const int level = std::atoi(std::string{record.substr(0, semicolon)}.c_str()) & level_mask;
    if (level > warning) return {};
    const std::string_view text = record.substr(semicolon + 1);
    return std::string{text.substr(0, text.find('\n'))};
}

std::uint64_t faults_among(const std::vector<std::string>& complaints) {
    return static_cast<std::uint64_t>(std::count_if(complaints.begin(), complaints.end(), [](const std::string& line) {
        return line.find("fault addr") != std::string::npos || line.find("IO_PAGE_FAULT") != std::string::npos;
    }));
}

}  // namespace dmatoll::harness
