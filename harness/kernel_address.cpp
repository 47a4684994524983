// SPDX-License-Identifier: BSD-2-Clause
#include "kernel_address.hpp"

#include <elf.h>
#include <fcntl.h>
#include <unistd.h>

#include <cstring>
#include <vector>

#include "file.hpp"
#include "target/system.hpp"

namespace dmatoll::harness {
namespace {

// More program headers than any kernel has there: one for each stretch of memory.
constexpr std::size_t head_bytes = 65536;

template <class T>
bool take(std::span<const std::byte> bytes, std::uint64_t at, T& value) {
    if (at > bytes.size() || bytes.size() - at < sizeof value) return false;
    std::memcpy(&value, bytes.data() + at, sizeof value);
    return true;
}

}  // namespace

std::optional<std::uint64_t> kernel_address_in(std::span<const std::byte> head, std::uint64_t physical) {
    Elf64_Ehdr file{};
    if (!take(head, 0, file) || std::memcmp(file.e_ident, ELFMAG, SELFMAG) != 0 ||
        file.e_ident[EI_CLASS] != ELFCLASS64)
        return {};
    for (std::uint64_t i = 0; i < file.e_phnum; ++i) {
        Elf64_Phdr part{};
        if (!take(head, file.e_phoff + i * sizeof part, part)) return {};
        // All ones: what lies there is at no one place.
        if (part.p_type != PT_LOAD || part.p_paddr == ~Elf64_Addr{0}) continue;
        if (physical >= part.p_paddr && physical - part.p_paddr < part.p_memsz)
            return part.p_vaddr + (physical - part.p_paddr);
    }
    return {};
}

std::optional<std::uint64_t> kernel_address_of(std::uint64_t physical) {
    const fs::path path = system_paths().proc / "kcore";
    const Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
    if (!file.valid()) return {};
    std::vector<std::byte> head(head_bytes);
    const ssize_t got = ::pread(file.get(), head.data(), head.size(), 0);
    if (got <= 0) return {};
    return kernel_address_in(std::span{head}.first(static_cast<std::size_t>(got)), physical);
}

}  // namespace dmatoll::harness
