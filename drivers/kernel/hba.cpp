// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// The driver core of a host bus adapter inside the kernel, behind C functions.
#include <bit>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <new>
#include <span>

#include "ahci/driver.hpp"
#include "by_strategy.hpp"
#include "core/counters.hpp"
#include "core/strategy.hpp"
#include "disk_glue.h"
#include "strategy_at.hpp"
#include "to_errno.hpp"

namespace dmatoll::kernel {
namespace {

// ---- what C and C++ must see alike ----

static_assert(DMATOLL_MOST_PORTS == ahci::most_ports && DMATOLL_MOST_SEGMENTS == ahci::most_segments &&
              DMATOLL_MOST_TRANSFER_BYTES == ahci::most_transfer_bytes &&
              DMATOLL_MOST_TRIM_BLOCKS == ahci::most_trim_blocks &&
              DMATOLL_WATCH_PERIOD_MS == ahci::watch_period_ms);
static_assert(static_cast<int>(ahci::Operation::read) == DMATOLL_READ &&
              static_cast<int>(ahci::Operation::write) == DMATOLL_WRITE &&
              static_cast<int>(ahci::Operation::flush) == DMATOLL_FLUSH &&
              static_cast<int>(ahci::Operation::trim) == DMATOLL_TRIM);
static_assert(static_cast<int>(ahci::Outcome::done) == DMATOLL_DONE &&
              static_cast<int>(ahci::Outcome::medium_error) == DMATOLL_MEDIUM_ERROR &&
              static_cast<int>(ahci::Outcome::refused) == DMATOLL_REFUSED &&
              static_cast<int>(ahci::Outcome::transport_error) == DMATOLL_TRANSPORT_ERROR &&
              static_cast<int>(ahci::Outcome::timed_out) == DMATOLL_TIMED_OUT &&
              static_cast<int>(ahci::Outcome::gone) == DMATOLL_GONE);

// Of strategy copy, for all ports together: 8 MiB in each direction, which is seven requests of the longest
// kind, or the whole queue of one disk with 128 KiB a request. A request that finds too few waits.
constexpr std::uint32_t copy_slots = 2048;
static_assert(copy_slots <= CopySlots::most && copy_slots >= ahci::most_segments);

template <class M>
struct Hba {
    template <class... MapperArguments>
    Hba(KernelPlatform& platform, const ahci::Settings& settings, MapperArguments&&... arguments)
        : mapper{arguments...}, driver{platform, mapper, settings} {}

    M mapper;
    ahci::Driver<KernelPlatform, M> driver;
};

}  // namespace
}  // namespace dmatoll::kernel

using namespace dmatoll;
using namespace dmatoll::kernel;

struct dmatoll_hba {
    dmatoll_hba(const dmatoll_surroundings& around, const Strategy& strategy)
        : by_strategy{around, strategy}, gives_space_back{&strategy != &strategies::persistent} {}

    ByStrategy<Hba> by_strategy;
    // False: an IOVA that is used stays so, and waiting for one is waiting for ever.
    bool gives_space_back;
};

namespace {

template <class H, class Use>
inline decltype(auto) with(H* hba, Use&& use) {
    return hba->by_strategy.with(use);
}

auto sink_of(dmatoll_completion* completion) {
    return [completion](std::uint32_t tag, ahci::Outcome outcome) {
        dmatoll_request_done(completion, tag, static_cast<dmatoll_outcome>(outcome));
    };
}

int refusal(const dmatoll_hba* hba, Error error) {
    if (error == Error::no_memory || (error == Error::no_iova_space && hba->gives_space_back)) return -EAGAIN;
    return to_errno(error);
}

}  // namespace

extern "C" {

// ---- life ----

std::uint32_t dmatoll_hba_address_bits(struct device* device, void* registers) {
    KernelPlatform platform{registers, device, nullptr};
    // Only with this bit are the other registers AHCI's [AHCI §3.1.2].
    write_register(platform, ahci::GlobalControl{}.set(ahci::GlobalControl::ahci_enable));
    return ahci::address_bits(read_register<ahci::Capabilities>(platform));
}

std::size_t dmatoll_hba_bytes() {
    static_assert(alignof(dmatoll_hba) <= 64);
    return sizeof(dmatoll_hba);
}

int dmatoll_hba_create(void* memory, int strategy, std::uint32_t queue_depth, std::uint32_t register_bytes,
                       const dmatoll_surroundings* surroundings) {
    const Strategy& chosen = *strategy_at(strategy);
    dmatoll_hba* const hba = new (memory) dmatoll_hba{*surroundings, chosen};
    const CopySlots slots{.to_device = copy_slots, .from_device = copy_slots};
    const Status constructed = hba->by_strategy.construct(
        *surroundings, chosen, slots,
        ahci::Settings{.queue_depth = queue_depth, .register_bytes = register_bytes});
    if (!constructed.ok()) return to_errno(constructed.error());
    const Status probed = with(hba, [](auto& one) { return one.driver.probe(); });
    if (!probed.ok()) dmatoll_hba_destroy(hba);
    return to_errno(probed.error());
}

void dmatoll_hba_destroy(dmatoll_hba* hba) { hba->by_strategy.destroy(); }

int dmatoll_hba_start(dmatoll_hba* hba) {
    const Status started = with(hba, [](auto& one) -> Status {
        if (const Status running = one.driver.start(); !running.ok()) return running;
        if constexpr (requires { one.mapper.provide_lists(1u, 1u); }) {
            std::uint32_t requests = 0;
            for (std::uint32_t left = one.driver.ports(); left != 0; left &= left - 1)
                requests += one.driver.disk(static_cast<std::uint32_t>(std::countr_zero(left))).queue_depth;
            return one.mapper.provide_lists(requests, ahci::most_segments);
        }
        return {};
    });
    return to_errno(started.error());
}

void dmatoll_hba_stop(dmatoll_hba* hba) {
    with(hba, [](auto& one) { one.driver.stop([](std::uint32_t, std::uint32_t, ahci::Outcome) {}); });
}

std::uint32_t dmatoll_hba_ports(const dmatoll_hba* hba) {
    return with(hba, [](const auto& one) { return one.driver.ports(); });
}

dmatoll_disk_description dmatoll_hba_disk(const dmatoll_hba* hba, std::uint32_t port) {
    const ahci::Disk& disk = with(
        hba, [port](const auto& one) -> const auto& { return one.driver.disk(port); });
    return dmatoll_disk_description{.blocks = disk.blocks,
                                    .block_bytes = disk.block_bytes,
                                    .physical_block_bytes = disk.physical_block_bytes,
                                    .queue_depth = disk.queue_depth,
                                    .force_unit_access = disk.force_unit_access,
                                    .write_cache = disk.write_cache,
                                    .flush = disk.flush,
                                    .rotational = disk.rotational,
                                    .most_trim_ranges = disk.trim ? disk.most_trim_ranges : 0,
                                    .model = disk.model,
                                    .serial = disk.serial,
                                    .firmware = disk.firmware};
}

bool dmatoll_hba_present(const dmatoll_hba* hba, std::uint32_t port) {
    return with(hba, [port](const auto& one) { return one.driver.present(port); });
}

void dmatoll_hba_cached_pages(const dmatoll_hba* hba, std::uint64_t* small, std::uint64_t* large) {
    const CachedPages pages = hba->by_strategy.cached_pages();
    *small = pages.small;
    *large = pages.large;
}

void dmatoll_hba_on_alarm(dmatoll_hba* hba) { hba->by_strategy.on_alarm(); }

// ---- interrupts ----

std::uint32_t dmatoll_hba_take_interrupt(dmatoll_hba* hba) {
    return with(hba, [](auto& one) { return one.driver.take_interrupt(); });
}

void dmatoll_hba_enable_interrupts(dmatoll_hba* hba) {
    with(hba, [](auto& one) { one.driver.enable_interrupts(); });
}

void dmatoll_hba_disable_interrupts(dmatoll_hba* hba) {
    with(hba, [](auto& one) { one.driver.disable_interrupts(); });
}

// ---- data path; flattened as that of nic.cpp ----

[[gnu::flatten]]
int dmatoll_hba_submit(dmatoll_hba* hba, std::uint32_t port, std::uint32_t tag,
                       const dmatoll_disk_request* request) {
    const ahci::BlockRange range{request->first_block, request->blocks};
    const bool trim = request->operation == DMATOLL_TRIM;
    // Laid out alike, and the kernel is compiled without type-based aliasing.
    const ahci::Request wanted{
        .operation = static_cast<ahci::Operation>(request->operation),
        .force_unit_access = request->force_unit_access,
        .first_block = request->first_block,
        .blocks = request->blocks,
        .segments = {reinterpret_cast<const Segment*>(request->segments), request->segment_count},
        .ranges = {&range, trim ? 1u : 0u}};
    const Status taken = with(hba, [&](auto& one) { return one.driver.submit(port, tag, wanted); });
    if (!taken.ok()) [[unlikely]]
        return refusal(hba, taken.error());
    return 0;
}

[[gnu::flatten]]
std::uint32_t dmatoll_hba_complete(dmatoll_hba* hba, std::uint32_t port, dmatoll_completion* completion,
                                   bool* failed) {
    return with(hba, [&](auto& one) {
        const std::uint32_t count = one.driver.complete(port, sink_of(completion));
        *failed = one.driver.needs_recovery(port);
        return count;
    });
}

void dmatoll_hba_recover(dmatoll_hba* hba, std::uint32_t port, dmatoll_completion* completion) {
    with(hba, [&](auto& one) {
        one.driver.recover(port, [completion](std::uint32_t tag, ahci::Outcome outcome) {
            dmatoll_request_done_at_once(completion, tag, static_cast<dmatoll_outcome>(outcome));
        });
    });
}

bool dmatoll_hba_watch(dmatoll_hba* hba, std::uint32_t port, dmatoll_completion* completion) {
    return with(hba, [&](auto& one) { return one.driver.watch(port, sink_of(completion)); });
}

void dmatoll_hba_hold(dmatoll_hba* hba) {
    with(hba, [](auto& one) { one.driver.hold(); });
}

// ---- statistics ----

bool dmatoll_hba_statistic(const dmatoll_hba* hba, std::uint32_t n, const char** name, std::uint64_t* value) {
    for (const StorageCounterName& each : storage_counter_names) {
        if (!hba->by_strategy.is_known(each.mapping) || n-- != 0) continue;
        *name = each.name;
        *value = with(hba, [&each](const auto& one) {
            return counter(each, one.driver.counters(), one.mapper.counters());
        });
        return true;
    }
    return false;
}

}  // extern "C"
