// SPDX-License-Identifier: BSD-2-Clause
#include "arena.hpp"

#include <linux/memfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "descriptor.hpp"
#include "failure.hpp"

namespace dmatoll::user {
namespace {

// Null and errno if there is no such memory.
void* map_memfd(unsigned flags, std::size_t bytes) {
    const Descriptor memory{::memfd_create("dmatoll-arena", MFD_CLOEXEC | flags)};
    if (!memory.valid() || ::ftruncate(memory.get(), static_cast<off_t>(bytes)) != 0) {
        return nullptr;
    }
    void* mapped = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, memory.get(), 0);
    return mapped == MAP_FAILED ? nullptr : mapped;
}

}  // namespace

Arena::Arena(std::size_t bytes, std::size_t page_size) : bytes_{bytes} {
    void* mapped = nullptr;
    if (page_size != page_bytes) {
        mapped = map_memfd(MFD_HUGETLB | MFD_HUGE_2MB, bytes);
        hugepages_ = mapped != nullptr;
    }
    if (mapped == nullptr && page_size != page_bytes) {
        const int error = errno;
        const std::string wanted = std::to_string(bytes / huge_page_bytes);
        const std::string lacking =
            "no " + wanted + " free hugepages of 2 MiB (" + std::strerror(error) + ")";
        const std::string remedy = "`sysctl vm.nr_hugepages=" + wanted + "` reserves them";
        if (page_size == huge_page_bytes) {
            throw Failure{lacking + ", which --page-size asks for; " + remedy};
        }
        fallback_reason_ = lacking + ", using pages of 4 KiB; " + remedy;
    }
    if (mapped == nullptr) {
        mapped = map_memfd(0, bytes);
        if (mapped == nullptr) {
            throw system_failure("cannot get " + std::to_string(bytes >> 20) + " MiB of memory for buffers",
                                 errno);
        }
    }
    start_ = static_cast<std::byte*>(mapped);
    if (::mlock(start_, bytes) != 0) {
        const int error = errno;
        ::munmap(mapped, bytes);
        throw system_failure(
            "cannot lock " + std::to_string(bytes >> 20) +
                " MiB of buffers in memory (limit: `ulimit -l`; the supervisor raises it if it may)",
            error);
    }
}

Arena::~Arena() { ::munmap(start_, bytes_); }

}  // namespace dmatoll::user
