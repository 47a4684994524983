// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// The driver core inside the kernel: one object for each strategy, behind C functions. Which one it is
// decides a compare and a branch: an indirect call would go through a thunk on the data path.
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <new>
#include <span>

#include "core/counters.hpp"
#include "core/strategy.hpp"
#include "e1000/driver.hpp"
#include "e1000/offload.hpp"
#include "glue.h"
#include "kernel_backend.hpp"
#include "kernel_platform.hpp"
#include "linux_dma.hpp"
#include "mapping/copy.hpp"
#include "mapping/deferred.hpp"
#include "mapping/iova_allocator.hpp"
#include "mapping/passthrough.hpp"
#include "mapping/persistent.hpp"
#include "mapping/strict.hpp"

namespace dmatoll::kernel {
namespace {

// ---- what C and C++ must see alike ----

static_assert(sizeof(dmatoll_segment) == sizeof(Segment) &&
              offsetof(dmatoll_segment, physical) == offsetof(Segment, memory) &&
              offsetof(dmatoll_segment, length) == offsetof(Segment, length));
static_assert(sizeof(dmatoll_offload) == sizeof(e1000::TransmitOffload) &&
              offsetof(dmatoll_offload, checksum) == offsetof(e1000::TransmitOffload, checksum) &&
              offsetof(dmatoll_offload, checksum_start) == offsetof(e1000::TransmitOffload, checksum_start) &&
              offsetof(dmatoll_offload, checksum_offset) ==
                  offsetof(e1000::TransmitOffload, checksum_offset) &&
              offsetof(dmatoll_offload, segment) == offsetof(e1000::TransmitOffload, segment) &&
              offsetof(dmatoll_offload, segment_bytes) == offsetof(e1000::TransmitOffload, segment_bytes) &&
              offsetof(dmatoll_offload, header_bytes) == offsetof(e1000::TransmitOffload, header_bytes) &&
              offsetof(dmatoll_offload, network_start) == offsetof(e1000::TransmitOffload, network_start) &&
              offsetof(dmatoll_offload, ipv6) == offsetof(e1000::TransmitOffload, ipv6));
static_assert(static_cast<int>(e1000::Checksum::unknown) == DMATOLL_CHECKSUM_UNKNOWN &&
              static_cast<int>(e1000::Checksum::good) == DMATOLL_CHECKSUM_GOOD &&
              static_cast<int>(e1000::Checksum::bad) == DMATOLL_CHECKSUM_BAD);
static_assert(DMATOLL_MOST_DEFERRED_ENTRIES == DeferredLimits::most_entries &&
              DMATOLL_MOST_DEFERRED_MILLISECONDS == DeferredLimits::most_milliseconds);
static_assert(DMATOLL_PAGE_BYTES == page_bytes && DMATOLL_LARGE_PAGE_BYTES == large_page_bytes);
static_assert(sizeof(dmatoll_range) == sizeof(MemoryRange) &&
              offsetof(dmatoll_range, first) == offsetof(MemoryRange, first) &&
              offsetof(dmatoll_range, last) == offsetof(MemoryRange, last));
static_assert(DMATOLL_MOST_DESCRIPTORS_PER_FRAME == e1000::most_descriptors_per_frame);
static_assert(DMATOLL_MOST_RECEIVED_PIECES * DMATOLL_RECEIVE_BUFFER_BYTES >=
              e1000::jumbo_frame + e1000::vlan_tag_bytes);

constexpr int to_errno(Error error) {
    switch (error) {
        case Error::none:
            return 0;
        case Error::invalid_argument:
            return -EINVAL;
        case Error::no_memory:
            return -ENOMEM;
        case Error::no_iova_space:
            return -ENOSPC;
        case Error::ring_full:
            return -EBUSY;
        case Error::timed_out:
            return -ETIMEDOUT;
        case Error::device_gone:
            return -ENODEV;
        case Error::not_supported:
            return -EOPNOTSUPP;
        case Error::mapping_failed:
        case Error::device_misbehaves:
            break;
    }
    return -EIO;
}

// ---- strategies by number: the catalogue without those that never run here ----

const Strategy* strategy_at(int number) {
    for (const Strategy* strategy : strategies::catalogue) {
        if (strategy->runs_in(Placement::kernel) && number-- == 0) return strategy;
    }
    return nullptr;
}

// How many mappings can exist at a time. One buffer, one mapping under `strict`: the rings bound them, and
// under `deferred` the rings and the queue. `persistent` keeps one for every page and direction that was ever
// used; its book-keeping (16 bytes each) is held to 64 MiB, 16 GiB of mapped buffers. Beyond that a buffer on
// a new page cannot be sent, and is counted as a map failure.
std::uint32_t mappings_needed(const Strategy& strategy, std::uint64_t last_physical) {
    if (&strategy != &strategies::persistent) return IovaAllocator::default_capacity;
    constexpr std::uint64_t most = std::uint64_t{1} << 22;
    const std::uint64_t both_directions = 2 * (last_physical / page_bytes + 1) + 64;
    return static_cast<std::uint32_t>(both_directions < most ? both_directions : most);
}

// ---- one device under one strategy ----

class KernelAlarm {
  public:
    explicit KernelAlarm(dmatoll_net* net) : net_{net} {}
    void set(std::uint64_t nanoseconds) { dmatoll_alarm_set(net_, nanoseconds); }

  private:
    dmatoll_net* net_;
};

template <Mapper M>
struct Nic {
    template <class... MapperArguments>
    Nic(KernelPlatform& platform, const e1000::Part& part, const e1000::Settings& settings,
        MapperArguments&&... arguments)
        : mapper{arguments...}, driver{platform, mapper, part, settings} {}

    M mapper;
    e1000::Driver<KernelPlatform, M> driver;
};

using StrictNic = Nic<Strict<KernelDomain>>;
using CopyNic = Nic<Copy<KernelDomain, KernelPlatform>>;
using DeferredNic = Nic<Deferred<KernelDomain, KernelPlatform, KernelAlarm>>;
using PersistentNic = Nic<Persistent<KernelDomain, KernelPlatform>>;
using PassthroughNic = Nic<Passthrough<KernelDomain>>;
using LinuxNic = Nic<LinuxDma>;

enum class Kind : std::uint8_t { strict, persistent, deferred, copy, passthrough, linux_dma };

Kind kind_of(const Strategy& strategy) {
    if (strategy.domain != DomainKind::own) return Kind::linux_dma;
    if (&strategy == &strategies::persistent) return Kind::persistent;
    if (&strategy == &strategies::deferred) return Kind::deferred;
    if (&strategy == &strategies::copy) return Kind::copy;
    if (&strategy == &strategies::passthrough) return Kind::passthrough;
    return Kind::strict;
}

}  // namespace
}  // namespace dmatoll::kernel

using namespace dmatoll;
using namespace dmatoll::kernel;

struct dmatoll_nic {
    dmatoll_nic(const dmatoll_surroundings& around, const Strategy& strategy)
        : kind{kind_of(strategy)},
          net{around.net},
          alarm{around.net},
          backend{around.domain},
          domain{backend, allocator},
          platform{around.registers, around.device, around.domain != nullptr ? &domain : nullptr} {}
    ~dmatoll_nic() {}

    Kind kind;
    dmatoll_net* net;
    KernelAlarm alarm;
    // The domain and its space are used by our own strategies only.
    KernelBackend backend;
    IovaAllocator allocator;
    KernelDomain domain;
    IovaRange reserved[IovaAllocator::most_windows] = {};
    std::uint32_t reserved_count = 0;
    KernelPlatform platform;
    union {
        StrictNic strict;
        PersistentNic persistent;
        DeferredNic deferred;
        CopyNic copy;
        PassthroughNic passthrough;
        LinuxNic linux_dma;
    };
};

namespace {

template <class N, class Use>
inline decltype(auto) with(N* nic, Use&& use) {
    if (nic->kind == Kind::strict) return use(nic->strict);
    if (nic->kind == Kind::persistent) return use(nic->persistent);
    if (nic->kind == Kind::deferred) return use(nic->deferred);
    if (nic->kind == Kind::copy) return use(nic->copy);
    if (nic->kind == Kind::passthrough) return use(nic->passthrough);
    return use(nic->linux_dma);
}

// Laid out alike.
std::span<const MemoryRange> memory_of(const dmatoll_surroundings& around) {
    return {reinterpret_cast<const MemoryRange*>(around.memory), around.memory_count};
}

Memory last_memory(const dmatoll_surroundings& around) { return memory_of(around).back().last; }

void give_back_space(dmatoll_nic* nic) { nic->allocator.tear_down(nic->platform); }

Status set_up_space(dmatoll_nic* nic, const dmatoll_surroundings& around, const Strategy& strategy) {
    const IovaRange aperture{around.aperture.first, around.aperture.last};
    // One more than the IOMMU's own: under `passthrough` IOVAs up to the end of memory are that memory's.
    if (around.reserved_count >= IovaAllocator::most_windows) return Error::not_supported;
    for (std::uint32_t i = 0; i < around.reserved_count; ++i) {
        nic->reserved[i] = IovaRange{around.reserved[i].first, around.reserved[i].last};
    }
    nic->reserved_count = around.reserved_count;
    std::uint32_t taken = nic->reserved_count;
    if (nic->kind == Kind::passthrough) nic->reserved[taken++] = IovaRange{0, last_memory(around).address};
    return nic->allocator.set_up(nic->platform, std::span{&aperture, 1}, std::span{nic->reserved, taken},
                                 around.address_bits, mappings_needed(strategy, last_memory(around).address));
}

Status construct(dmatoll_nic* nic, const dmatoll_surroundings& around, const Strategy& strategy) {
    const e1000::Settings settings{.receive_descriptors = around.settings.receive_descriptors,
                                   .transmit_descriptors = around.settings.transmit_descriptors,
                                   .receive_buffer_bytes = DMATOLL_RECEIVE_BUFFER_BYTES,
                                   .interrupts_per_second = around.settings.interrupts_per_second};
    const e1000::Part* const part = e1000::find_part(around.pci_vendor, around.pci_device);
    if (part == nullptr) return Error::not_supported;
    if (nic->kind == Kind::linux_dma) {
        new (&nic->linux_dma) LinuxNic{nic->platform, *part, settings, around.device};
        return {};
    }
    if (const Status space = set_up_space(nic, around, strategy); !space.ok()) return space;
    if (nic->kind == Kind::strict) {
        new (&nic->strict) StrictNic{nic->platform, *part, settings, nic->domain};
        return {};
    }
    if (nic->kind == Kind::deferred) {
        new (&nic->deferred)
            DeferredNic{nic->platform, *part, settings, nic->domain, nic->platform, nic->alarm};
        const Status ready =
            nic->deferred.mapper.set_up({.entries = around.settings.deferred_entries,
                                         .milliseconds = around.settings.deferred_milliseconds});
        if (!ready.ok()) give_back_space(nic);
        return ready;
    }
    if (nic->kind == Kind::copy) {
        new (&nic->copy) CopyNic{nic->platform, *part, settings, nic->domain, nic->platform};
        // One slot a descriptor: neither ring can ask for more.
        const Status ready = nic->copy.mapper.set_up(
            {.to_device = settings.transmit_descriptors, .from_device = settings.receive_descriptors});
        if (!ready.ok()) give_back_space(nic);
        return ready;
    }
    if (nic->kind == Kind::passthrough) {
        new (&nic->passthrough) PassthroughNic{nic->platform, *part, settings, nic->domain};
        const Status mapped = nic->passthrough.mapper.set_up(
            last_memory(around), std::span{nic->reserved, nic->reserved_count}, around.address_bits);
        if (mapped.error() == Error::invalid_argument) {
            nic->platform.log(
                LogLevel::error,
                "passthrough: this machine has memory at addresses that the IOMMU's address width, as far as "
                "it is certain, does not reach; linux-identity does without a page table");
        }
        if (!mapped.ok()) give_back_space(nic);
        return mapped;
    }
    new (&nic->persistent) PersistentNic{nic->platform, *part, settings, nic->domain, nic->platform};
    const Status covered =
        nic->persistent.mapper.cover(Memory{0}, last_memory(around),
                                     {.bytes = around.settings.page_size,
                                      .memory = memory_of(around),
                                      .reserved = std::span{nic->reserved, nic->reserved_count}});
    if (!covered.ok()) give_back_space(nic);
    return covered;
}

Result<e1000::ReceiveBuffer> provide(dmatoll_net* net) {
    dmatoll_buffer buffer;
    if (!dmatoll_buffer_provide(net, &buffer)) [[unlikely]]
        return Error::no_memory;
    return e1000::ReceiveBuffer{Memory{buffer.physical}, buffer.cookie};
}

// Which of counter_names this device has: what the DMA API does inside, nobody counts.
bool is_known(const dmatoll_nic* nic, const CounterName& name) {
    return nic->kind != Kind::linux_dma || (name.mapping != &MappingCounters::invalidations &&
                                            name.mapping != &MappingCounters::first_touches);
}

}  // namespace

extern "C" {

// ---- parts ----

const char* dmatoll_part_name(std::uint16_t vendor, std::uint16_t device) {
    const e1000::Part* const part = e1000::find_part(vendor, device);
    return part != nullptr ? part->name : nullptr;
}

bool dmatoll_part_at(unsigned int n, const char** name, std::uint16_t* vendor, std::uint16_t* device) {
    if (n >= e1000::parts::all.size()) return false;
    *name = e1000::parts::all[n]->name;
    *vendor = e1000::parts::all[n]->vendor;
    *device = e1000::parts::all[n]->device;
    return true;
}

// ---- strategies ----

int dmatoll_strategy_find(const char* name) {
    const Strategy* const found = strategies::find(name);
    for (int number = 0; const Strategy* strategy = strategy_at(number); ++number) {
        if (strategy == found) return number;
    }
    return -1;
}

const char* dmatoll_strategy_name(int strategy) {
    const Strategy* const found = strategy_at(strategy);
    return found != nullptr ? found->name : nullptr;
}

const char* dmatoll_strategy_domain(int strategy) { return name_of(strategy_at(strategy)->domain); }

bool dmatoll_strategy_has_page_size(int strategy) { return strategy_at(strategy) == &strategies::persistent; }

bool dmatoll_strategy_protection(int strategy, const dmatoll_settings* settings, unsigned int line,
                                 const char** pair, const char** granularity, const char** window,
                                 std::uint64_t* bound_ns) {
    const ProtectionByPair& by_pair = strategy_at(strategy)->protection(Placement::kernel);
    const Protection* protection = nullptr;
    if (line == 0) {
        *pair = "kernel_from_device";
        protection = &by_pair.kernel_from_device;
    } else if (line == 1) {
        *pair = "kernel_from_driver";
        protection = &by_pair.kernel_from_driver;
    } else if (line == 2) {
        *pair = "driver_from_device";
        protection = &by_pair.driver_from_device;
    } else {
        return false;
    }
    const std::uint64_t page_size =
        dmatoll_strategy_has_page_size(strategy) ? settings->page_size : page_bytes;
    *granularity = name_of(with_pages_of(page_size, *protection).granularity);
    *window = name_of(protection->window.kind);
    *bound_ns = protection->window.bound_ns;
    return true;
}

// ---- life ----

std::size_t dmatoll_nic_bytes() {
    static_assert(alignof(dmatoll_nic) <= 64);
    return sizeof(dmatoll_nic);
}

int dmatoll_nic_create(void* memory, int strategy, const dmatoll_surroundings* surroundings) {
    const Strategy& chosen = *strategy_at(strategy);
    dmatoll_nic* const nic = new (memory) dmatoll_nic{*surroundings, chosen};
    if (const Status constructed = construct(nic, *surroundings, chosen); !constructed.ok()) {
        return to_errno(constructed.error());
    }
    const Status probed = with(nic, [](auto& one) { return one.driver.probe(); });
    if (!probed.ok()) dmatoll_nic_destroy(nic);
    return to_errno(probed.error());
}

void dmatoll_nic_destroy(dmatoll_nic* nic) {
    with(nic, [](auto& one) { one.mapper.release_all(); });
    if (nic->kind == Kind::linux_dma) return;
    if (nic->domain.live() != 0) {
        nic->platform.log(LogLevel::error,
                          "mappings were left after the stop: the domain is destroyed with them");
    }
    give_back_space(nic);
}

void dmatoll_nic_mac(const dmatoll_nic* nic, std::uint8_t mac[6]) {
    const auto& address = with(nic, [](const auto& one) { return one.driver.mac(); });
    for (std::size_t i = 0; i < 6; ++i) mac[i] = address[i];
}

dmatoll_part dmatoll_nic_part(const dmatoll_nic* nic) {
    const e1000::Part& part = with(
        nic, [](const auto& one) -> const auto& { return one.driver.part(); });
    return dmatoll_part{
        .name = part.name, .longest_mtu = part.longest_mtu(), .message_signalled = part.message_signalled};
}

int dmatoll_nic_ensure_quiet(dmatoll_nic* nic) {
    return to_errno(with(nic, [](auto& one) { return one.driver.ensure_quiet(); }).error());
}

int dmatoll_nic_start(dmatoll_nic* nic, std::uint32_t largest_frame) {
    const Status started = with(nic, [nic, largest_frame](auto& one) {
        const Status set = one.driver.set_largest_frame(largest_frame);
        return set.ok() ? one.driver.start([nic] { return provide(nic->net); }) : set;
    });
    return to_errno(started.error());
}

void dmatoll_nic_stop(dmatoll_nic* nic) {
    with(nic, [nic](auto& one) {
        one.driver.stop([nic](std::uint64_t cookie) { dmatoll_buffer_return(nic->net, cookie, false); },
                        [nic](std::uint64_t cookie) { dmatoll_frame_discard(nic->net, cookie); });
    });
}

int dmatoll_nic_set_phy_loopback(dmatoll_nic* nic, bool on) {
    return to_errno(with(nic, [on](auto& one) { return one.driver.set_phy_loopback(on); }).error());
}

void dmatoll_nic_set_receive_filter(dmatoll_nic* nic, bool promiscuous, bool all_multicast,
                                    const std::uint8_t (*multicast)[6], std::uint32_t multicast_count) {
    static_assert(sizeof(MacAddress) == sizeof(*multicast) && alignof(MacAddress) == 1);
    const e1000::ReceiveFilter filter{
        .promiscuous = promiscuous,
        .all_multicast = all_multicast,
        .multicast = std::span{reinterpret_cast<const MacAddress*>(multicast), multicast_count}};
    with(nic, [&filter](auto& one) { one.driver.set_receive_filter(filter); });
}

dmatoll_link dmatoll_nic_link(dmatoll_nic* nic) {
    const e1000::LinkState link = with(nic, [](auto& one) { return one.driver.link(); });
    return dmatoll_link{.up = link.up, .full_duplex = link.full_duplex, .megabits = link.megabits};
}

void dmatoll_nic_update_statistics(dmatoll_nic* nic) {
    with(nic, [](auto& one) { one.driver.update_statistics(); });
}

void dmatoll_nic_cached_pages(const dmatoll_nic* nic, std::uint64_t* small, std::uint64_t* large) {
    const CachedPages pages = nic->kind == Kind::persistent ? nic->persistent.mapper.cached() : CachedPages{};
    *small = pages.small;
    *large = pages.large;
}

void dmatoll_nic_on_alarm(dmatoll_nic* nic) {
    if (nic->kind == Kind::deferred) nic->deferred.mapper.on_alarm();
}

// ---- interrupts ----

std::uint32_t dmatoll_nic_take_interrupt(dmatoll_nic* nic) {
    const e1000::InterruptCauses causes = with(nic, [](auto& one) { return one.driver.take_interrupt(); });
    return (causes.any ? DMATOLL_CAUSE_OURS : 0u) | (causes.link ? DMATOLL_CAUSE_LINK : 0u);
}

void dmatoll_nic_enable_interrupts(dmatoll_nic* nic) {
    with(nic, [](auto& one) { one.driver.enable_interrupts(); });
}

void dmatoll_nic_disable_interrupts(dmatoll_nic* nic) {
    with(nic, [](auto& one) { one.driver.disable_interrupts(); });
}

// ---- data path ----

int dmatoll_nic_transmit(dmatoll_nic* nic, void* headers, const dmatoll_segment* segments,
                         std::uint32_t count, const dmatoll_offload* offload, std::uint64_t cookie) {
    // Laid out alike, and the kernel is compiled without type-based aliasing.
    const std::span frame{reinterpret_cast<const Segment*>(segments), count};
    const e1000::TransmitOffload& wanted = *reinterpret_cast<const e1000::TransmitOffload*>(offload);
    if (wanted.segment) {
        const Status prepared = e1000::prepare_segmentation(
            std::span{static_cast<std::byte*>(headers), wanted.header_bytes}, wanted);
        if (!prepared.ok()) [[unlikely]]
            return to_errno(prepared.error());
    }
    return with(nic, [&](auto& one) -> int {
        const Status sent = one.driver.transmit(frame, wanted, cookie, true);
        if (!sent.ok()) [[unlikely]]
            return to_errno(sent.error());
        return static_cast<int>(one.driver.transmit_room());
    });
}

void dmatoll_nic_ring_doorbell(dmatoll_nic* nic) {
    with(nic, [](auto& one) { one.driver.ring_transmit_doorbell(); });
}

std::uint32_t dmatoll_nic_transmit_room(const dmatoll_nic* nic) {
    return with(nic, [](const auto& one) { return one.driver.transmit_room(); });
}

std::uint32_t dmatoll_nic_reclaim(dmatoll_nic* nic, dmatoll_completion* completion) {
    // All there is: the ring bounds it.
    return with(nic, [completion](auto& one) {
        return one.driver.reclaim(e1000::most_descriptors,
                                  [completion](std::uint64_t cookie, std::uint32_t, std::uint32_t) {
                                      dmatoll_frame_sent(completion, cookie);
                                  });
    });
}

std::uint32_t dmatoll_nic_receive(dmatoll_nic* nic, std::uint32_t budget) {
    dmatoll_net* const net = nic->net;
    return with(nic, [net, budget](auto& one) {
        const std::uint32_t received = one.driver.receive(
            budget,
            [net](const e1000::ReceivedPiece& piece) {
                dmatoll_frame_deliver(net, piece.cookie, piece.length,
                                      static_cast<dmatoll_checksum>(piece.checksum), piece.last);
            },
            [net](std::uint64_t cookie) { dmatoll_buffer_return(net, cookie, true); });
        one.driver.refill([net] { return provide(net); });
        return received;
    });
}

bool dmatoll_nic_starved(const dmatoll_nic* nic) {
    return with(nic, [](const auto& one) { return one.driver.receive_starved(); });
}

// ---- statistics ----

void dmatoll_nic_totals(const dmatoll_nic* nic, dmatoll_totals* totals) {
    const NetworkCounters counters = with(nic, [](const auto& one) { return one.driver.counters(); });
    *totals = dmatoll_totals{.frames_received = counters.frames_received,
                             .bytes_received = counters.bytes_received,
                             .receive_errors = counters.receive_errors,
                             .receive_missed = counters.receive_missed,
                             .frames_transmitted = counters.frames_transmitted,
                             .bytes_transmitted = counters.bytes_transmitted,
                             .transmit_errors = counters.transmit_errors};
}

std::uint32_t dmatoll_nic_statistics_count(const dmatoll_nic* nic) {
    std::uint32_t count = static_cast<std::uint32_t>(e1000::device_statistic_names.size());
    for (const CounterName& name : counter_names) count += is_known(nic, name) ? 1 : 0;
    return count;
}

void dmatoll_nic_statistic_name(const dmatoll_nic* nic, std::uint32_t n, const char** prefix,
                                const char** name) {
    for (const CounterName& counter : counter_names) {
        if (!is_known(nic, counter)) continue;
        if (n-- == 0) {
            *prefix = "";
            *name = counter.name;
            return;
        }
    }
    *prefix = "hw_";
    *name = e1000::device_statistic_names[n].name;
}

void dmatoll_nic_statistics(const dmatoll_nic* nic, std::uint64_t* values) {
    with(nic, [nic, &values](const auto& one) {
        const NetworkCounters network = one.driver.counters();
        const MappingCounters mapping = one.mapper.counters();
        const e1000::DeviceStatistics hardware = one.driver.statistics();
        for (const CounterName& name : counter_names) {
            if (is_known(nic, name)) *values++ = counter(name, network, mapping);
        }
        for (const auto& name : e1000::device_statistic_names) *values++ = hardware.*name.member;
    });
}

}  // extern "C"
