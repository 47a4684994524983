// SPDX-License-Identifier: BSD-2-Clause
#include "scattered_memory.hpp"

#include <fmt/core.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>

#include "../workloads/programs/scattered_pages.hpp"
#include "failure.hpp"

namespace dmatoll::harness {

ScatteredMemory::ScatteredMemory(std::size_t bytes) : memory_{::memfd_create("buffers", MFD_CLOEXEC)} {
    constexpr std::size_t page = 4096;
    const std::size_t whole = (bytes + page - 1) / page * page;
    if (!memory_.valid() || ::ftruncate(memory_.get(), static_cast<off_t>(whole)) != 0)
        fail("no memory for buffers of {} bytes: {}", whole, system_error(errno));
    void* const mapped = ::mmap(nullptr, whole, PROT_READ | PROT_WRITE, MAP_SHARED, memory_.get(), 0);
    if (mapped == MAP_FAILED) fail("no memory for buffers of {} bytes: {}", whole, system_error(errno));
    // Also where files of this kind get large pages.
    ::madvise(mapped, whole, MADV_NOHUGEPAGE);
    workloads::touch_scattered({static_cast<unsigned char*>(mapped), whole});
    ::munmap(mapped, whole);
}

std::string ScatteredMemory::path() const { return fmt::format("/proc/{}/fd/{}", ::getpid(), memory_.get()); }

}  // namespace dmatoll::harness
