// SPDX-License-Identifier: BSD-2-Clause
#include "file.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

#include "failure.hpp"
#include "text.hpp"

namespace dmatoll::harness {

Descriptor& Descriptor::operator=(Descriptor&& other) noexcept {
    if (this != &other) {
        reset();
        number_ = other.release();
    }
    return *this;
}

int Descriptor::release() { return std::exchange(number_, -1); }

void Descriptor::reset() {
    if (number_ >= 0) ::close(std::exchange(number_, -1));
}

std::string system_error(int number) { return fmt::format("{} (errno {})", std::strerror(number), number); }

namespace {

// Nothing and errno set, or the content.
std::optional<std::string> slurp(const fs::path& path) {
    const Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
    if (!file.valid()) return std::nullopt;
    std::string content;
    char block[65536];
    for (;;) {
        const ssize_t got = ::read(file.get(), block, sizeof block);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return std::nullopt;
        if (got == 0) return content;
        content.append(block, static_cast<std::size_t>(got));
    }
}

}  // namespace

std::string read_file(const fs::path& path) {
    auto content = slurp(path);
    if (!content) fail("Cannot read {}: {}", path.string(), system_error(errno));
    return std::move(*content);
}

std::optional<std::string> read_attribute(const fs::path& path) {
    auto content = slurp(path);
    if (!content) return std::nullopt;
    return trim(*content);
}

void write_all(int descriptor, std::string_view content, const std::string& name) {
    while (!content.empty()) {
        const ssize_t put = ::write(descriptor, content.data(), content.size());
        if (put < 0 && errno == EINTR) continue;
        if (put < 0) fail("Cannot write to {}: {}", name, system_error(errno));
        content.remove_prefix(static_cast<std::size_t>(put));
    }
}

void write_file(const fs::path& path, std::string_view content) {
    fs::path part = path;
    part += ".part";
    const Descriptor file{::open(part.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644)};
    if (!file.valid()) fail("Cannot create {}: {}", part.string(), system_error(errno));
    write_all(file.get(), content, part.string());
    if (::fsync(file.get()) != 0) fail("Cannot store {}: {}", part.string(), system_error(errno));
    if (std::rename(part.c_str(), path.c_str()) != 0)
        fail("Cannot rename {} to {}: {}", part.string(), path.string(), system_error(errno));
}

void write_attribute(const fs::path& path, std::string_view value) {
    const Descriptor file{::open(path.c_str(), O_WRONLY | O_CLOEXEC)};
    if (!file.valid()) {
        const int error = errno;
        fail("Cannot open {} to write '{}': {}{}", path.string(), value, system_error(error),
             error == EACCES || error == EPERM ? "; this needs root" : "");
    }
    if (::write(file.get(), value.data(), value.size()) != static_cast<ssize_t>(value.size()))
        fail("The kernel refused '{}' for {}: {}", trim(value), path.string(), system_error(errno));
}

std::optional<std::string> link_name(const fs::path& path) {
    std::error_code error;
    const fs::path target = fs::read_symlink(path, error);
    if (error) return std::nullopt;
    return target.filename().string();
}

}  // namespace dmatoll::harness
