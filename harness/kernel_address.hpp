// SPDX-License-Identifier: BSD-2-Clause
// Where the kernel itself has a place of physical memory: what a process must not get at by naming it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace dmatoll::harness {

// By /proc/kcore, which describes the kernel's memory as an ELF file. Nothing if it does not say: the kernel
// has no such file, or is locked down.
std::optional<std::uint64_t> kernel_address_of(std::uint64_t physical);

// `head`: the beginning of such a file, with its program headers.
std::optional<std::uint64_t> kernel_address_in(std::span<const std::byte> head, std::uint64_t physical);

}  // namespace dmatoll::harness
