// SPDX-License-Identifier: BSD-2-Clause
// Ordering between the CPU and a coherent device. On x86-64, the only architecture that is supported, stores reach
// coherent memory in program order and so do loads: what must be kept from reordering is the compiler.
#pragma once

#include <atomic>

namespace dmatoll {

// Nothing that is loaded after this may have been loaded before what was loaded ahead of it: a descriptor's
// fields are read after the status that says they are valid.
inline void dma_read_barrier() { std::atomic_thread_fence(std::memory_order_acquire); }

// Nothing that was stored before this may become visible to the device after what is stored behind it: a descriptor is
// complete before the bit or the doorbell that hands it over.
inline void dma_write_barrier() { std::atomic_thread_fence(std::memory_order_release); }

}  // namespace dmatoll
