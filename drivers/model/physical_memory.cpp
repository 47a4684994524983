// SPDX-License-Identifier: BSD-2-Clause
#include "physical_memory.hpp"

#include <algorithm>
#include <cstring>
#include <new>
#include <stdexcept>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

namespace dmatoll::model {

namespace {

constexpr std::align_val_t page_alignment{page_bytes};

void forbid([[maybe_unused]] std::byte* start, [[maybe_unused]] std::uint64_t bytes) {
#if defined(__SANITIZE_ADDRESS__)
    ASAN_POISON_MEMORY_REGION(start, bytes);
#endif
}

void permit([[maybe_unused]] std::byte* start, [[maybe_unused]] std::uint64_t bytes) {
#if defined(__SANITIZE_ADDRESS__)
    ASAN_UNPOISON_MEMORY_REGION(start, bytes);
#endif
}

}  // namespace

void PhysicalMemory::Release::operator()(std::byte* memory) const {
    ::operator delete(memory, page_alignment);
}

PhysicalMemory::PhysicalMemory(std::uint64_t bytes) : used_((bytes + page_bytes - 1) / page_bytes, false) {
    arena_.reset(static_cast<std::byte*>(::operator new(used_.size() * page_bytes, page_alignment)));
    forbid(arena_.get(), used_.size() * page_bytes);
}

PhysicalMemory::~PhysicalMemory() { permit(arena_.get(), used_.size() * page_bytes); }

Memory PhysicalMemory::allocate_pages(std::uint64_t pages, std::uint64_t alignment) {
    std::uint64_t run = 0;
    for (std::uint64_t page = lowest_free_; page < used_.size(); ++page) {
        run = used_[page] ? 0 : run + 1;
        // One more than asked for: the page behind stays poisoned. It counts as used, so that nobody else
        // gets it.
        const std::uint64_t start = page - pages;
        if (run < pages + 1 || start % alignment != 0) continue;
        for (std::uint64_t taken = start; taken <= page; ++taken) used_[taken] = true;
        if (start == lowest_free_) lowest_free_ = page + 1;
        pages_in_use_ += pages;
        std::byte* const memory = arena_.get() + start * page_bytes;
        permit(memory, pages * page_bytes);
        std::memset(memory, 0, pages * page_bytes);
        return Memory{start * page_bytes};
    }
    throw std::bad_alloc{};
}

void PhysicalMemory::free_pages(Memory start, std::uint64_t pages) {
    const std::uint64_t first = start.address / page_bytes;
    if (offset_in_page(start.address) != 0 || first + pages >= used_.size()) {
        throw std::logic_error{"model memory given back that is no allocation"};
    }
    for (std::uint64_t page = first; page <= first + pages; ++page) {
        if (!used_[page]) throw std::logic_error{"model memory given back twice"};
        used_[page] = false;
    }
    pages_in_use_ -= pages;
    lowest_free_ = std::min(lowest_free_, first);
    forbid(arena_.get() + start.address, pages * page_bytes);
}

std::byte* PhysicalMemory::at(Memory start, std::uint64_t bytes) const {
    if (start.address >= this->bytes() || bytes > this->bytes() - start.address) {
        throw std::out_of_range{"beyond the end of the model's memory"};
    }
    return arena_.get() + start.address;
}

}  // namespace dmatoll::model
