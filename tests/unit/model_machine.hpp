// SPDX-License-Identifier: BSD-2-Clause
// A machine made of software around one device, and the strategies on it: what machine.hpp and ahci_machine.hpp
// have in common.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <string>

#include "core/mapper.hpp"
#include "core/strategy.hpp"
#include "mapping/copy.hpp"
#include "mapping/deferred.hpp"
#include "mapping/domain.hpp"
#include "mapping/iova_allocator.hpp"
#include "mapping/persistent.hpp"
#include "mapping/strict.hpp"
#include "model/model_platform.hpp"
#include "model/physical_memory.hpp"
#include "model/software_iommu.hpp"

namespace dmatoll::test {

using ModelDomain = Domain<model::SoftwareIommu, IovaAllocator>;

// Rings only when a test does it.
struct ModelAlarm {
    void set(std::uint64_t nanoseconds) {
        ++settings;
        pending_ns = nanoseconds;
    }

    std::uint64_t settings = 0;
    std::uint64_t pending_ns = 0;
};

inline constexpr IovaRange all_iovas{0, (std::uint64_t{1} << 39) - 1};

template <class Device, class Options>
struct ModelMachine {
    explicit ModelMachine(const Options& options = {}, IovaRange range = all_iovas) : device{iommu, options} {
        const IovaRange reserved{0xfee0'0000, 0xfeef'ffff};  // where interrupts are written to
        EXPECT_TRUE(allocator.set_up(platform, {&range, 1}, {&reserved, 1}, 39, 8192).ok());
        tables_at_start = platform.tables_out();
    }
    ~ModelMachine() { allocator.tear_down(platform); }

    std::byte* at(Memory where, std::uint64_t bytes = 1) { return memory.at(where, bytes); }

    // What must hold after every orderly end, whatever happened before.
    void expect_nothing_left() {
        EXPECT_EQ(iommu.mapped_pages(), 0u);
        EXPECT_EQ(domain.live(), domain.quarantined());
        EXPECT_EQ(platform.rings_out(), 0u);
        EXPECT_EQ(platform.pages_out(), 0u);
        EXPECT_EQ(platform.tables_out(), tables_at_start);
        EXPECT_EQ(platform.misuses(), 0u);
    }
    void expect_clean_device() {
        for (const std::string& violation : device.violations()) ADD_FAILURE() << violation;
        EXPECT_EQ(iommu.faults().size(), 0u);
        EXPECT_EQ(iommu.stale_accesses().size(), 0u);
        EXPECT_EQ(device.accesses_while_quiet(), 0u);
    }

    model::PhysicalMemory memory{std::uint64_t{128} << 20};
    model::SoftwareIommu iommu{memory};
    IovaAllocator allocator;
    ModelDomain domain{iommu, allocator};
    Device device;
    model::ModelPlatform<ModelDomain, Device> platform{device, memory, domain};
    ModelAlarm alarm;
    std::size_t tables_at_start = 0;
};

// What tests that get between driver and device derive from.
template <class P>
class Forwarding {
  public:
    using Lock = typename P::Lock;
    explicit Forwarding(P& platform) : platform_{platform} {}
    std::uint32_t read32(std::uint32_t offset) { return platform_.read32(offset); }
    void write32(std::uint32_t offset, std::uint32_t value) { platform_.write32(offset, value); }
    Result<RingMemory> allocate_ring(std::uint32_t bytes) { return platform_.allocate_ring(bytes); }
    void free_ring(const RingMemory& ring) { platform_.free_ring(ring); }
    Result<PageMemory> allocate_pages(std::uint32_t bytes) { return platform_.allocate_pages(bytes); }
    void free_pages(const PageMemory& pages) { platform_.free_pages(pages); }
    Result<void*> allocate(std::size_t bytes) { return platform_.allocate(bytes); }
    void free(void* memory, std::size_t bytes) { platform_.free(memory, bytes); }
    void* cpu_address(Memory buffer) { return platform_.cpu_address(buffer); }
    std::uint64_t now_ns() { return platform_.now_ns(); }
    void delay_us(std::uint32_t microseconds) { platform_.delay_us(microseconds); }
    void log(LogLevel level, const char* message) { platform_.log(level, message); }
    void forbid_dma() { platform_.forbid_dma(); }

  private:
    P& platform_;
};

// The strategies on a machine's platform P. Which one is made, the second argument says.
using StrictMapper = Strict<ModelDomain>;
template <class P>
using DeferredOn = Deferred<ModelDomain, P, ModelAlarm>;
template <class P>
using CopyOn = Copy<ModelDomain, P>;
template <class P>
using PersistentOn = Persistent<ModelDomain, P>;

template <class Machine>
std::unique_ptr<StrictMapper> make_mapper(Machine& machine, StrictMapper*) {
    return std::make_unique<StrictMapper>(machine.domain);
}

template <class Machine, class P>
std::unique_ptr<DeferredOn<P>> make_mapper(Machine& machine, DeferredOn<P>*) {
    auto mapper = std::make_unique<DeferredOn<P>>(machine.domain, machine.platform, machine.alarm);
    EXPECT_TRUE(mapper->set_up({.entries = 32}).ok());
    return mapper;
}

template <class Machine, class P>
std::unique_ptr<CopyOn<P>> make_mapper(Machine& machine, CopyOn<P>*) {
    auto mapper = std::make_unique<CopyOn<P>>(machine.domain, machine.platform);
    EXPECT_TRUE(mapper->set_up({.to_device = 4096, .from_device = 4096}).ok());
    return mapper;
}

template <class Machine, class P>
std::unique_ptr<PersistentOn<P>> make_mapper(Machine& machine, PersistentOn<P>*) {
    auto mapper = std::make_unique<PersistentOn<P>>(machine.domain, machine.platform);
    EXPECT_TRUE(mapper->cover(Memory{0}, Memory{machine.memory.bytes() - 1}).ok());
    return mapper;
}

// Tests that hold for every strategy of ours.
template <class M>
class EveryStrategy : public testing::Test {};

struct StrategyNames {
    template <class M>
    static std::string GetName(int) {
        return M::strategy.name;
    }
};

}  // namespace dmatoll::test
