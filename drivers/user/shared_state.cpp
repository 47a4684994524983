// SPDX-License-Identifier: BSD-2-Clause
#include "shared_state.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>

#include "failure.hpp"

namespace dmatoll::user {

SharedMemory::SharedMemory() : memory_{::memfd_create("dmatoll-counters", MFD_CLOEXEC | MFD_ALLOW_SEALING)} {
    if (!memory_.valid() || ::ftruncate(memory_.get(), page_bytes) != 0 ||
        ::fcntl(memory_.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
        throw system_failure("cannot make a page of shared memory for counters", errno);
    }
    map();
}

SharedMemory::SharedMemory(Descriptor memory) : memory_{std::move(memory)} { map(); }

SharedMemory::~SharedMemory() { ::munmap(page_, page_bytes); }

void SharedMemory::map() {
    void* const mapped =
        ::mmap(nullptr, page_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, memory_.get(), 0);
    if (mapped == MAP_FAILED) {
        throw system_failure("cannot map the page of counters", errno);
    }
    page_ = mapped;
}

}  // namespace dmatoll::user
