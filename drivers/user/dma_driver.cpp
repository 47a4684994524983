// SPDX-License-Identifier: BSD-2-Clause
#include "dma_driver.hpp"

#include <fcntl.h>

#include <algorithm>
#include <cstdio>
#include <exception>
#include <optional>
#include <string>
#include <vector>

#include "adapter_registers.hpp"
#include "ahci/adapter.hpp"
#include "ahci/disk_copy.hpp"
#include "by_strategy.hpp"
#include "device_platform.hpp"
#include "dma/dma_driver.hpp"
#include "dma_arena.hpp"
#include "dma_loop.hpp"
#include "dma_options.hpp"
#include "dma_report.hpp"
#include "dma_state.hpp"
#include "driver_process.hpp"
#include "e1000/dma_copy.hpp"
#include "failure.hpp"
#include "flush_alarm.hpp"
#include "hostile_driver.hpp"
#include "mapping/iova/any.hpp"
#include "sandbox.hpp"
#include "vfio_container.hpp"
#include "vfio_device.hpp"
#include "wait_set.hpp"

namespace dmatoll::user {
namespace {

constexpr const char* program = "dmatoll-dma-user";

using DmaPlatform = DevicePlatform;
static_assert(Platform<DmaPlatform>);

// [8254x §4.1]: registers are the first 128 KiB of BAR 0.
constexpr std::size_t register_bytes = 128 * 1024;

// From a device that nobody drives to one that nobody drives. `model`: what its engine is told of it.
template <dma::CopyEngine Engine, class Model, Mapper M>
void drive(const DmaChildOptions& options, const Model& model, M& mapper, DmaPlatform& platform, VfioDevice& device,
           const FlushAlarm& alarm, const DmaArena& arena, DmaState& shared) {
    using Driver = dma::DmaDriver<DmaPlatform, M, Engine>;
    const std::string name = "device " + options.process.bdf;
    // One for each buffer of the largest working set.
    prepare_strategy(mapper, options.driver,
                     {.to_device = dma::CopyPlan::most_pairs, .from_device = dma::CopyPlan::most_pairs},
                     name);
    for (const Direction direction : {Direction::to_device, Direction::from_device}) {
        map_pool(mapper, arena.area(direction), DmaArena::area_bytes, direction, name, "buffers");
    }
    Driver driver{platform, mapper, model};
    std::optional<HostileDriver> hostile;
    if (!options.hostile.empty()) {
        hostile.emplace(device, inherited_container, inherited_device, options.hostile);
    }
    DmaServiceLoop<Driver, M> loop{driver, mapper, arena, shared, inherited_own, hostile ? &*hostile : nullptr};
    // What an earlier driver left in the device must not come alive: it is quiet before it may reach memory.
    require(driver.probe(), name + " cannot be brought into a known state");
    device.set_bus_mastering(true);
    const Status started = driver.start();
    if (started.ok()) {
        ::fcntl(inherited_own, F_SETFL, O_NONBLOCK);
        WaitSet waiting{-1, inherited_own, inherited_bell};
        waiting.add_alarm(alarm.fd());
        send_report(to_text(DmaReport{.arena = arena.hugepages() ? "hugepages" : "4KiB",
                                      .note = arena.fallback_reason(),
                                      .failure = {}}));
        loop.run(waiting);
    }
    loop.stop();
    device.set_bus_mastering(false);
    mapper.release_all();
    require(started, name + ": it does not copy");
}

VfioDevice open_device(const DmaChildOptions& options) {
    namespace adapter = adapter_registers;
    const std::string& bdf = options.process.bdf;
    if (options.disk) {
        return VfioDevice{Descriptor{inherited_device}, bdf, adapter::bar, adapter::fewest_bytes, adapter::most_bytes};
    }
    return VfioDevice{Descriptor{inherited_device}, bdf, 0, register_bytes, register_bytes};
}

// Of an IOVA that the adapter can be told.
unsigned adapter_bits(DmaPlatform& platform) {
    // Only with this bit are the other registers AHCI's [AHCI 1.3.1 §3.1.2].
    write_register(platform, ahci::GlobalControl{}.set(ahci::GlobalControl::ahci_enable));
    return ahci::address_bits(read_register<ahci::Capabilities>(platform));
}

void run(const DmaChildOptions& options) {
    drop_privileges({options.process.user, options.process.group});
    const SharedPage<DmaState> shared{Descriptor{inherited_counters}};
    VfioContainer container{Descriptor{inherited_container}};
    VfioDevice device = open_device(options);
    const DmaArena arena{options.driver.page_size};
    publish(shared->hugepages, arena.hugepages() ? 1 : 0);

    IovaAllocator allocator;
    UserDomain domain{container, allocator};
    DmaPlatform platform{program, device, arena.own(), domain, *shared};
    FlushAlarm alarm;
    const auto follow = [&]<class Engine>(const auto& model, unsigned bits_of_device) {
        set_up_iovas(allocator, platform, container, std::min(bits_of_device, options.process.address_bits),
                     options.driver);
        with_strategy(options.driver.strategy, domain, platform, alarm, [&](auto& mapper) {
            drive<Engine>(options, model, mapper, platform, device, alarm, arena, *shared);
        });
    };
    if (options.disk) {
        const auto bytes = static_cast<std::uint32_t>(device.register_bytes());
        follow.operator()<ahci::DiskCopy<DmaPlatform>>(
            ahci::Settings{.queue_depth = 1, .register_bytes = bytes}, adapter_bits(platform));
    } else {
        const e1000::Part* const part = e1000::find_part(options.pci_vendor, options.pci_device);
        if (part == nullptr) {
            throw Failure{"device " + options.process.bdf + " is not a part that this driver knows"};
        }
        follow.operator()<e1000::DmaCopy<DmaPlatform>>(*part, options.process.address_bits);
    }
    allocator.tear_down(platform);
}

}  // namespace

int drive_dma(const char* options) {
    try {
        run(dma_child_options(options));
        return 0;
    } catch (const std::exception& error) {
        send_report(to_text(DmaReport{.arena = {}, .note = {}, .failure = error.what()}));
        std::fprintf(stderr, "%s: %s\n", program, error.what());
        return 1;
    }
}

}  // namespace dmatoll::user
