// SPDX-License-Identifier: BSD-2-Clause
#include "network_driver.hpp"

#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <exception>
#include <string>

#include "by_strategy.hpp"
#include "driver_process.hpp"
#include "e1000/driver.hpp"
#include "event_loop.hpp"
#include "failure.hpp"
#include "flush_alarm.hpp"
#include "mapping/iova/any.hpp"
#include "network_options.hpp"
#include "network_report.hpp"
#include "network_state.hpp"
#include "packet_arena.hpp"
#include "raw_loop.hpp"
#include "sandbox.hpp"
#include "user_platform.hpp"
#include "vfio_container.hpp"
#include "vfio_device.hpp"
#include "wait_set.hpp"

namespace dmatoll::user {
namespace {

using Platform = UserPlatform<UserDomain>;

static_assert(dmatoll::Platform<Platform>);
static_assert(e1000::device_statistic_names.size() <= NetworkState::most_hardware_counters);

// [8254x §4.1]: registers are the first 128 KiB of BAR 0.
constexpr std::size_t register_bytes = 128 * 1024;

// From a device that nobody drives to one that nobody drives. tap: -1 if there is none.
template <class Driver, class ChosenMapper, class Loop>
void operate(const NetworkChildOptions& options, Driver& driver, ChosenMapper& mapper, VfioDevice& device,
             const FlushAlarm& alarm, const PacketArena& arena, Loop& loop, int tap) {
    // What an earlier driver left in the device must not come alive: it is quiet before it may reach memory.
    require(driver.probe(), "device " + options.process.bdf + " cannot be brought into a known state");
    if (!options.driver.poll) {
        device.enable_interrupt(driver.part().message_signalled);
    }
    WaitSet waiting{device.interrupt_fd(), tap, inherited_bell};
    waiting.add_alarm(alarm.fd());
    device.set_bus_mastering(true);
    Status result = loop.start();
    const bool started = result.ok();
    if (started) {
        NetworkReport ready{.ready = true,
                            .mac = driver.mac(),
                            .arena = arena.hugepages() ? "hugepages" : "4KiB",
                            .note = {},
                            .failure = {}};
        ready.note = arena.fallback_reason();
        send_report(to_text(ready));
        result = loop.run(waiting);
    }
    loop.stop();
    if (!options.driver.poll) {
        device.disable_interrupt();
    }
    device.set_bus_mastering(false);
    mapper.release_all();
    if (tap >= 0) {
        set_carrier(tap, false);
    }
    require(result,
            "device " + options.process.bdf + (started ? ": driving it ended" : ": it cannot be started"));
}

template <class ChosenMapper>
void drive(const NetworkChildOptions& options, ChosenMapper& mapper, Platform& platform, VfioDevice& device,
           const FlushAlarm& alarm, const PacketArena& arena, NetworkState& shared) {
    using Driver = e1000::Driver<Platform, ChosenMapper>;
    const std::string name = "device " + options.process.bdf;
    prepare_strategy(mapper, options.driver,
                     {.to_device = options.driver.transmit_descriptors,
                      .from_device = options.driver.receive_descriptors},
                     name);
    // Each half for its own direction.
    map_pool(mapper, arena.receive_area(), arena.layout().receive_area_bytes(), Direction::from_device, name,
             "receive buffers");
    map_pool(mapper, arena.transmit_area(), arena.layout().transmit_area_bytes(), Direction::to_device, name,
             "transmit buffers");
    const e1000::Part* const part = e1000::find_part(options.pci_vendor, options.pci_device);
    if (part == nullptr)
        throw Failure{"device " + options.process.bdf + " is not a part that this driver knows"};
    Driver driver{platform, mapper, *part,
                  e1000::Settings{.receive_descriptors = options.driver.receive_descriptors,
                                  .transmit_descriptors = options.driver.transmit_descriptors,
                                  .interrupts_per_second = options.driver.interrupts_per_second,
                                  .largest_frame = options.driver.mtu + e1000::link_header_bytes}};
    if (options.driver.raw == Raw::none) {
        EventLoop<Driver, ChosenMapper> loop{driver,        mapper, device,        arena,
                                             inherited_own, shared, options.driver};
        operate(options, driver, mapper, device, alarm, arena, loop, inherited_own);
        if (loop.tap_gone()) {
            throw Failure{"the TAP interface is gone: somebody deleted it"};
        }
    } else {
        RawLoop<Driver, ChosenMapper> loop{driver, mapper, device, arena, shared, options.driver};
        operate(options, driver, mapper, device, alarm, arena, loop, -1);
    }
}

void run(const NetworkChildOptions& options) {
    drop_privileges({options.process.user, options.process.group});
    const SharedPage<NetworkState> shared{Descriptor{inherited_counters}};
    VfioContainer container{Descriptor{inherited_container}};
    VfioDevice device{Descriptor{inherited_device}, options.process.bdf, 0, register_bytes, register_bytes};
    const PacketArena arena{
        arena_layout(options.driver.receive_descriptors, options.driver.transmit_descriptors),
        options.driver.page_size};
    publish(shared->hugepages, arena.hugepages() ? 1 : 0);

    IovaAllocator allocator;
    UserDomain domain{container, allocator};
    Platform platform{"dmatoll-net-user", device, {arena.rings(), ArenaLayout::ring_area_bytes}, domain};
    FlushAlarm alarm;
    set_up_iovas(allocator, platform, container, options.process.address_bits, options.driver);
    with_strategy(options.driver.strategy, domain, platform, alarm,
                  [&](auto& mapper) { drive(options, mapper, platform, device, alarm, arena, *shared); });
    allocator.tear_down(platform);
}

}  // namespace

int drive_network(const char* options) {
    try {
        run(network_child_options(options));
        return 0;
    } catch (const std::exception& error) {
        send_report(to_text(
            NetworkReport{.ready = false, .mac = {}, .arena = {}, .note = {}, .failure = error.what()}));
        std::fprintf(stderr, "dmatoll-net-user: %s\n", error.what());
        return 1;
    }
}

}  // namespace dmatoll::user
