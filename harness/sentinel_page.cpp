// SPDX-License-Identifier: BSD-2-Clause
#include "sentinel_page.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>

#include "failure.hpp"
#include "file.hpp"
#include "text.hpp"

namespace dmatoll::harness {
namespace {

constexpr std::size_t page_bytes = 4096;
// Of an entry of /proc/PID/pagemap: Documentation/admin-guide/mm/pagemap.rst of Linux.
constexpr std::uint64_t present = std::uint64_t{1} << 63;
constexpr std::uint64_t frame_number = (std::uint64_t{1} << 55) - 1;

}  // namespace

SentinelPage::SentinelPage() {
    void* const mapped = ::mmap(nullptr, page_bytes, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED | MAP_POPULATE, -1, 0);
    if (mapped == MAP_FAILED) fail("No memory for a page that no driver is given: {}", system_error(errno));
    page_ = static_cast<volatile std::uint64_t*>(mapped);
}

SentinelPage::~SentinelPage() { ::munmap(const_cast<std::uint64_t*>(page_), page_bytes); }

std::uint64_t SentinelPage::physical_address() const {
    constexpr const char* path = "/proc/self/pagemap";
    const Descriptor file{::open(path, O_RDONLY | O_CLOEXEC)};
    std::uint64_t entry = 0;
    const auto offset = static_cast<off_t>(reinterpret_cast<std::uintptr_t>(page_) / page_bytes * sizeof entry);
    if (!file.valid() || ::pread(file.get(), &entry, sizeof entry, offset) != sizeof entry)
        fail("{} cannot be read: {}", path, system_error(errno));
    if ((entry & present) == 0 || (entry & frame_number) == 0)
        fail("{} does not tell where a page lies: that takes CAP_SYS_ADMIN", path);
    return (entry & frame_number) * page_bytes;
}

std::uint64_t SentinelPage::address() const { return reinterpret_cast<std::uintptr_t>(page_); }

std::uint64_t SentinelPage::word() const { return page_[0]; }
void SentinelPage::set_word(std::uint64_t word) { page_[0] = word; }

}  // namespace dmatoll::harness
