// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// The NIC's driver core inside the kernel, behind C functions.
#include <cstddef>
#include <cstdint>
#include <new>
#include <span>

#include "by_strategy.hpp"
#include "core/counters.hpp"
#include "core/strategy.hpp"
#include "e1000/driver.hpp"
#include "e1000/offload.hpp"
#include "nic_glue.h"
#include "strategy_at.hpp"
#include "to_errno.hpp"

namespace dmatoll::kernel {
namespace {

// ---- what C and C++ must see alike ----

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
static_assert(DMATOLL_MOST_DESCRIPTORS_PER_FRAME == e1000::most_descriptors_per_frame);
static_assert(DMATOLL_MOST_RECEIVED_PIECES * DMATOLL_RECEIVE_BUFFER_BYTES >=
              e1000::jumbo_frame + e1000::vlan_tag_bytes);

template <class M>
struct Nic {
    template <class... MapperArguments>
    Nic(KernelPlatform& platform, const e1000::Part& part, const e1000::Settings& settings,
        MapperArguments&&... arguments)
        : mapper{arguments...}, driver{platform, mapper, part, settings} {}

    M mapper;
    e1000::Driver<KernelPlatform, M> driver;
};

}  // namespace
}  // namespace dmatoll::kernel

using namespace dmatoll;
using namespace dmatoll::kernel;

struct dmatoll_nic {
    dmatoll_nic(dmatoll_net* around_it, const dmatoll_surroundings& around, const Strategy& strategy)
        : net{around_it}, by_strategy{around, strategy} {}

    dmatoll_net* net;
    ByStrategy<Nic> by_strategy;
};

namespace {

template <class N, class Use>
inline decltype(auto) with(N* nic, Use&& use) {
    return nic->by_strategy.with(use);
}

Result<e1000::ReceiveBuffer> provide(dmatoll_net* net) {
    dmatoll_buffer buffer;
    if (!dmatoll_buffer_provide(net, &buffer)) [[unlikely]]
        return Error::no_memory;
    return e1000::ReceiveBuffer{Memory{buffer.physical}, buffer.cookie};
}

// Which of counter_names this device has.
bool is_known(const dmatoll_nic* nic, const CounterName& name) {
    return nic->by_strategy.is_known(name.mapping);
}

}  // namespace

extern "C" {

// ---- life ----

std::size_t dmatoll_nic_bytes() {
    static_assert(alignof(dmatoll_nic) <= 64);
    return sizeof(dmatoll_nic);
}

int dmatoll_nic_create(void* memory, dmatoll_net* net, int strategy, const dmatoll_nic_settings* settings,
                       const dmatoll_surroundings* surroundings) {
    const Strategy& chosen = *strategy_at(strategy);
    const e1000::Part* const part = e1000::find_part(settings->pci_vendor, settings->pci_device);
    if (part == nullptr) return to_errno(Error::not_supported);
    dmatoll_nic* const nic = new (memory) dmatoll_nic{net, *surroundings, chosen};
    const e1000::Settings of_driver{.receive_descriptors = settings->receive_descriptors,
                                    .transmit_descriptors = settings->transmit_descriptors,
                                    .receive_buffer_bytes = DMATOLL_RECEIVE_BUFFER_BYTES,
                                    .interrupts_per_second = settings->interrupts_per_second};
    // One slot a descriptor: neither ring can ask for more.
    const CopySlots slots{.to_device = settings->transmit_descriptors,
                          .from_device = settings->receive_descriptors};
    const Status constructed = nic->by_strategy.construct(*surroundings, chosen, slots, *part, of_driver);
    if (!constructed.ok()) return to_errno(constructed.error());
    const Status probed = with(nic, [](auto& one) { return one.driver.probe(); });
    if (!probed.ok()) dmatoll_nic_destroy(nic);
    return to_errno(probed.error());
}

void dmatoll_nic_destroy(dmatoll_nic* nic) { nic->by_strategy.destroy(); }

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
    const CachedPages pages = nic->by_strategy.cached_pages();
    *small = pages.small;
    *large = pages.large;
}

void dmatoll_nic_on_alarm(dmatoll_nic* nic) { nic->by_strategy.on_alarm(); }

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
// Flattened: a strategy's path is inlined as a whole. Left to the compiler, how far it is would depend on how many other
// strategies there are.

[[gnu::flatten]]
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

[[gnu::flatten]]
std::uint32_t dmatoll_nic_reclaim(dmatoll_nic* nic, dmatoll_completion* completion) {
    // All there is: the ring bounds it.
    return with(nic, [completion](auto& one) {
        return one.driver.reclaim(e1000::most_descriptors,
                                  [completion](std::uint64_t cookie, std::uint32_t, std::uint32_t) {
                                      dmatoll_frame_sent(completion, cookie);
                                  });
    });
}

[[gnu::flatten]]
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
