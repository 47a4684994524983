// SPDX-License-Identifier: BSD-2-Clause
#include "cpio.hpp"

#include <fmt/format.h>

namespace dmatoll::harness::lab {

namespace {
constexpr std::uint32_t directory_mode = 0040755;
constexpr std::uint32_t file_mode = 0100755;
constexpr std::size_t alignment = 4;  // of names with their header, and of contents
}  // namespace

void CpioArchive::add_entry(std::string_view path, std::uint32_t mode, std::string_view contents) {
    const std::uint32_t links = mode == directory_mode ? 2 : 1;
    // inode, mode, owner, group, links, time, size, device (2), the file's own device (2), length of the
    // name, checksum
    bytes_ +=
        fmt::format("070701{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}",
                    next_inode_++, mode, 0, 0, links, 0, contents.size(), 0, 0, 0, 0, path.size() + 1, 0);
    bytes_ += path;
    bytes_ += '\0';
    bytes_.resize((bytes_.size() + alignment - 1) / alignment * alignment);
    bytes_ += contents;
    bytes_.resize((bytes_.size() + alignment - 1) / alignment * alignment);
}

void CpioArchive::add(std::string_view path, std::string_view contents) {
    while (path.starts_with('/')) path.remove_prefix(1);
    for (std::size_t slash = path.find('/'); slash != std::string_view::npos;
         slash = path.find('/', slash + 1)) {
        const std::string directory(path.substr(0, slash));
        if (directories_.insert(directory).second) add_entry(directory, directory_mode, {});
    }
    add_entry(path, file_mode, contents);
}

std::string CpioArchive::finish() && {
    add_entry("TRAILER!!!", 0, {});
    return std::move(bytes_);
}

}  // namespace dmatoll::harness::lab
