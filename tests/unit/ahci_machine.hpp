// SPDX-License-Identifier: BSD-2-Clause
// A machine made of software with the disk driver in it: what the tests of the AHCI driver start from.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "ahci/driver.hpp"
#include "core/mapper.hpp"
#include "core/strategy.hpp"
#include "mapping/contiguous.hpp"
#include "mapping/copy.hpp"
#include "mapping/deferred.hpp"
#include "mapping/domain.hpp"
#include "mapping/hybrid_copy.hpp"
#include "mapping/iova/any.hpp"
#include "mapping/on_demand.hpp"
#include "mapping/optimistic.hpp"
#include "mapping/passthrough.hpp"
#include "mapping/persistent.hpp"
#include "mapping/shared.hpp"
#include "mapping/strict.hpp"
#include "model/ahci_datasheet.hpp"
#include "model/ahci_device.hpp"
#include "model/model_platform.hpp"
#include "model/physical_memory.hpp"
#include "model/software_iommu.hpp"

namespace dmatoll::test {

namespace sheet = model::ahci_datasheet;
using ahci::Operation;
using ahci::Outcome;
using model::AhciFault;

using IovaAllocator = iova::Any<model::SoftwareIommu::Lock>;
using DiskDomain = Domain<model::SoftwareIommu, IovaAllocator>;
using DiskPlatform = model::ModelPlatform<DiskDomain, model::AhciDevice>;
// Rings only when a test does it.
struct SilentAlarm {
    void set(std::uint64_t nanoseconds) {
        ++settings;
        pending_ns = nanoseconds;
    }

    std::uint64_t settings = 0;
    std::uint64_t pending_ns = 0;
};
using StrictDisk = Strict<DiskDomain>;
using DeferredDisk = Deferred<DiskDomain, DiskPlatform, SilentAlarm>;
using CopyDisk = Copy<DiskDomain, DiskPlatform>;
using PersistentDisk = Persistent<DiskDomain, DiskPlatform>;
using ContiguousDisk = Contiguous<DiskDomain, DiskPlatform, SilentAlarm>;
using HybridCopyDisk = HybridCopy<DiskDomain, DiskPlatform>;
using OnDemandDisk = OnDemand<DiskDomain, DiskPlatform>;
using OptimisticDisk = Optimistic<DiskDomain, DiskPlatform, SilentAlarm>;
using SharedDisk = Shared<DiskDomain, DiskPlatform>;

using Content = std::vector<std::byte>;

// Bytes that differ from block to block and from seed to seed.
inline Content pattern(std::uint64_t seed, std::size_t bytes) {
    Content content(bytes);
    std::mt19937_64 random{seed};
    for (std::size_t at = 0; at < bytes; at += 8) {
        const std::uint64_t word = random();
        std::memcpy(content.data() + at, &word, std::min<std::size_t>(8, bytes - at));
    }
    return content;
}

struct DiskMachine {
    explicit DiskMachine(const model::AhciOptions& options = {},
                         IovaRange range = {0, (std::uint64_t{1} << 39) - 1})
        : device{iommu, options} {
        const IovaRange reserved{0xfee0'0000, 0xfeef'ffff};  // where interrupts are written to
        EXPECT_TRUE(allocator.set_up(platform, {&range, 1}, {&reserved, 1}, 39, 8192).ok());
        tables_at_start = platform.tables_out();
    }
    ~DiskMachine() { allocator.tear_down(platform); }

    model::PhysicalMemory memory{std::uint64_t{128} << 20};
    model::SoftwareIommu iommu{memory};
    IovaAllocator allocator;
    DiskDomain domain{iommu, allocator};
    model::AhciDevice device;
    DiskPlatform platform{device, memory, domain};
    SilentAlarm alarm;
    std::size_t tables_at_start = 0;
};

inline std::unique_ptr<StrictDisk> make_disk_mapper(DiskMachine& machine, StrictDisk*) {
    return std::make_unique<StrictDisk>(machine.domain);
}
inline std::unique_ptr<DeferredDisk> make_disk_mapper(DiskMachine& machine, DeferredDisk*) {
    auto mapper = std::make_unique<DeferredDisk>(machine.domain, machine.platform, machine.alarm);
    EXPECT_TRUE(mapper->set_up({.entries = 32}).ok());
    return mapper;
}
inline std::unique_ptr<CopyDisk> make_disk_mapper(DiskMachine& machine, CopyDisk*) {
    auto mapper = std::make_unique<CopyDisk>(machine.domain, machine.platform);
    EXPECT_TRUE(mapper->set_up({.to_device = 4096, .from_device = 4096}).ok());
    return mapper;
}
inline std::unique_ptr<PersistentDisk> make_disk_mapper(DiskMachine& machine, PersistentDisk*) {
    auto mapper = std::make_unique<PersistentDisk>(machine.domain, machine.platform);
    EXPECT_TRUE(mapper->cover(Memory{0}, Memory{machine.memory.bytes() - 1}).ok());
    return mapper;
}

inline std::unique_ptr<SharedDisk> make_disk_mapper(DiskMachine& machine, SharedDisk*) {
    auto mapper = std::make_unique<SharedDisk>(machine.domain, machine.platform);
    EXPECT_TRUE(mapper->set_up().ok());
    return mapper;
}

inline std::unique_ptr<OptimisticDisk> make_disk_mapper(DiskMachine& machine, OptimisticDisk*) {
    auto mapper = std::make_unique<OptimisticDisk>(machine.domain, machine.platform, machine.alarm);
    EXPECT_TRUE(mapper->set_up({.entries = 64}).ok());
    return mapper;
}

inline std::unique_ptr<OnDemandDisk> make_disk_mapper(DiskMachine& machine, OnDemandDisk*) {
    auto mapper = std::make_unique<OnDemandDisk>(machine.domain, machine.platform);
    EXPECT_TRUE(mapper->set_up(2048).ok());
    return mapper;
}

inline std::unique_ptr<HybridCopyDisk> make_disk_mapper(DiskMachine& machine, HybridCopyDisk*) {
    auto mapper = std::make_unique<HybridCopyDisk>(machine.domain, machine.platform);
    EXPECT_TRUE(mapper->set_up({.to_device = 4096, .from_device = 4096}, 4096).ok());
    return mapper;
}

inline std::unique_ptr<ContiguousDisk> make_disk_mapper(DiskMachine& machine, ContiguousDisk*) {
    auto mapper = std::make_unique<ContiguousDisk>(machine.domain, machine.platform, machine.alarm);
    EXPECT_TRUE(mapper->set_up(10).ok());
    return mapper;
}

// What tests that get between driver and device derive from.
class ForwardingPlatform {
  public:
    using Lock = DiskPlatform::Lock;
    explicit ForwardingPlatform(DiskPlatform& platform) : platform_{platform} {}
    std::uint32_t read32(std::uint32_t offset) { return platform_.read32(offset); }
    void write32(std::uint32_t offset, std::uint32_t value) { platform_.write32(offset, value); }
    Result<RingMemory> allocate_ring(std::uint32_t bytes) { return platform_.allocate_ring(bytes); }
    void free_ring(const RingMemory& ring) { platform_.free_ring(ring); }
    Result<PageMemory> allocate_pages(std::uint32_t bytes) { return platform_.allocate_pages(bytes); }
    Result<PageMemory> allocate_large_page() { return platform_.allocate_large_page(); }
    void free_pages(const PageMemory& pages) { platform_.free_pages(pages); }
    Result<void*> allocate(std::size_t bytes) { return platform_.allocate(bytes); }
    void free(void* memory, std::size_t bytes) { platform_.free(memory, bytes); }
    void* cpu_address(Memory buffer) { return platform_.cpu_address(buffer); }
    std::uint64_t now_ns() { return platform_.now_ns(); }
    void delay_us(std::uint32_t microseconds) { platform_.delay_us(microseconds); }
    void log(LogLevel level, const char* message) { platform_.log(level, message); }
    void forbid_dma() { platform_.forbid_dma(); }

  private:
    DiskPlatform& platform_;
};

struct Ended {
    std::uint32_t port;
    std::uint32_t tag;
    Outcome outcome;
    Content content;  // of a read that is done
};

// Machine, strategy, driver, and what the block layer would do around them.
template <class M, class P = DiskPlatform>
class DiskBench {
  public:
    using Driver = ahci::Driver<P, M>;

    explicit DiskBench(const model::AhciOptions& options = {}, const ahci::Settings& settings = {},
                       IovaRange range = {0, (std::uint64_t{1} << 39) - 1})
        : machine{options, range} {
        if constexpr (std::is_same_v<P, DiskPlatform>) {
            platform = &machine.platform;
        } else {
            own_platform = std::make_unique<P>(machine.platform);
            platform = own_platform.get();
        }
        mapper = make_disk_mapper(machine, static_cast<M*>(nullptr));
        driver = std::make_unique<Driver>(*platform, *mapper, settings);
    }

    // As surroundings do it: quiet first, bus mastering and interrupts afterwards.
    Status start() {
        if (const Status probed = driver->probe(); !probed.ok()) return probed;
        machine.device.set_bus_master(true);
        if (const Status started = driver->start(); !started.ok()) return started;
        driver->enable_interrupts();
        return {};
    }

    struct Given {
        std::uint64_t first = 0;
        std::uint32_t blocks = 1;
        const Content* content = nullptr;  // to be written
        bool force_unit_access = false;
        std::uint32_t offset = 0;  // of the memory in its first page
        std::vector<ahci::BlockRange> ranges{};
        std::uint32_t port = 0;
    };

    // Memory in pages that lie apart, as the block layer's do.
    Status submit(std::uint32_t tag, Operation operation, const Given& given = {}) {
        Flight flight{.operation = operation};
        std::vector<Segment> segments;
        if (operation == Operation::read || operation == Operation::write) {
            std::size_t left = std::size_t{given.blocks} * driver->disk(given.port).block_bytes;
            std::size_t done = 0;
            for (std::uint32_t offset = given.offset; left != 0; offset = 0) {
                const Memory page = machine.memory.allocate_pages(1);
                const auto length =
                    static_cast<std::uint32_t>(std::min<std::size_t>(left, page_bytes - offset));
                if (operation == Operation::write)
                    std::memcpy(machine.memory.at(page + offset, length), given.content->data() + done,
                                length);
                else
                    std::memset(machine.memory.at(page + offset, length), 0xee, length);
                segments.push_back({page + offset, length});
                flight.segments.push_back(segments.back());
                done += length;
                left -= length;
            }
        }
        const Status status = driver->submit(given.port, tag,
                                             {.operation = operation,
                                              .force_unit_access = given.force_unit_access,
                                              .first_block = given.first,
                                              .blocks = given.blocks,
                                              .segments = segments,
                                              .ranges = given.ranges});
        if (status.ok()) {
            EXPECT_TRUE(flights.emplace(std::pair{given.port, tag}, flight).second);
        } else {
            free(flight);
        }
        return status;
    }

    // What the surroundings' sinks do.
    void end(std::uint32_t port, std::uint32_t tag, Outcome outcome) {
        const auto found = flights.find({port, tag});
        ASSERT_NE(found, flights.end()) << "a tag that was not taken, or given back twice: " << tag;
        Ended result{port, tag, outcome, {}};
        if (found->second.operation == Operation::read && outcome == Outcome::done) {
            for (const Segment& segment : found->second.segments) {
                const std::byte* const data = machine.memory.at(segment.memory, segment.length);
                result.content.insert(result.content.end(), data, data + segment.length);
            }
        }
        free(found->second);
        flights.erase(found);
        ended.push_back(std::move(result));
    }
    auto sink(std::uint32_t port = 0) {
        return [this, port](std::uint32_t tag, Outcome outcome) { end(port, tag, outcome); };
    }

    // The interrupt and what follows it; true if the line was up.
    bool serve() {
        if (!machine.device.interrupt_line()) return false;
        const std::uint32_t ports = driver->take_interrupt();
        for (std::uint32_t port = 0; port < ahci::most_ports; ++port) {
            if ((ports >> port & 1) == 0) continue;
            driver->complete(port, sink(port));
            if (driver->needs_recovery(port)) driver->recover(port, sink(port));
        }
        return true;
    }
    // Until nothing is in flight, or for that long.
    void settle(std::uint32_t milliseconds = 5000) {
        std::uint32_t since_watch = 0;
        for (std::uint32_t passed = 0; passed < milliseconds && !flights.empty(); ++passed) {
            machine.platform.advance_ns(1'000'000);
            for (std::uint32_t round = 0; round < 100 && serve(); ++round) {
            }
            if (++since_watch == ahci::watch_period_ms) {
                since_watch = 0;
                watch();
            }
        }
    }
    void watch() {
        for (std::uint32_t port = 0; port < ahci::most_ports; ++port) {
            if ((driver->ports() >> port & 1) != 0 && driver->watch(port, sink(port)))
                driver->recover(port, sink(port));
        }
    }

    // One request from begin to end. Nothing else may be in flight.
    Outcome run(Operation operation, const Given& given = {}) {
        EXPECT_TRUE(flights.empty());
        const Status taken = submit(0, operation, given);
        EXPECT_TRUE(taken.ok()) << describe(taken.error());
        settle(200'000);
        EXPECT_TRUE(flights.empty()) << "never ended";
        return flights.empty() ? ended.back().outcome : Outcome::timed_out;
    }
    Outcome write(std::uint64_t first, const Content& content, bool force_unit_access = false) {
        return run(Operation::write,
                   {.first = first,
                    .blocks = static_cast<std::uint32_t>(content.size() / driver->disk(0).block_bytes),
                    .content = &content,
                    .force_unit_access = force_unit_access});
    }
    Content read(std::uint64_t first, std::uint32_t blocks, std::uint32_t offset = 0) {
        EXPECT_EQ(run(Operation::read, {.first = first, .blocks = blocks, .offset = offset}), Outcome::done);
        return ended.back().content;
    }
    Content on_disk(std::uint64_t first, std::uint32_t blocks, std::uint32_t port = 0) {
        Content all;
        for (std::uint32_t i = 0; i < blocks; ++i) {
            const auto block = machine.device.disk(port).read(first + i);
            all.insert(all.end(), block.begin(), block.end());
        }
        return all;
    }

    std::uint32_t port_register(std::uint32_t offset, std::uint32_t port = 0) {
        return model::AhciDevice::at_port(port, offset);
    }
    std::uint64_t commands(ahci::Command command) {
        return machine.device.commands(static_cast<std::uint8_t>(command));
    }
    // Commands that the disk of a port has, or that wait for it.
    int outstanding(std::uint32_t port = 0) const { return std::popcount(machine.device.outstanding(port)); }
    std::map<std::uint32_t, Outcome> outcomes() const {
        std::map<std::uint32_t, Outcome> by_tag;
        for (const Ended& one : ended) by_tag[one.tag] = one.outcome;
        return by_tag;
    }
    bool logged(const std::string& what) const {
        return std::ranges::any_of(machine.platform.log_lines(), [&](const model::LogLine& line) {
            return line.text.find(what) != std::string::npos;
        });
    }

    void stop() {
        driver->stop([this](std::uint32_t port, std::uint32_t tag, Outcome outcome) {
            EXPECT_EQ(outcome, Outcome::gone);
            end(port, tag, outcome);
        });
    }
    // What must hold after every orderly end, whatever happened before.
    void expect_nothing_left() {
        mapper->release_all();
        EXPECT_EQ(machine.iommu.mapped_pages(), 0u);
        EXPECT_EQ(machine.domain.live(), machine.domain.quarantined());
        EXPECT_EQ(machine.platform.rings_out(), 0u);
        EXPECT_EQ(machine.platform.pages_out(), 0u);
        EXPECT_EQ(machine.platform.tables_out(), machine.tables_at_start);
        EXPECT_EQ(machine.platform.misuses(), 0u);
        EXPECT_TRUE(flights.empty());
    }
    void expect_clean_device() {
        for (const std::string& violation : machine.device.violations()) ADD_FAILURE() << violation;
        EXPECT_EQ(machine.iommu.faults().size(), 0u);
        EXPECT_EQ(machine.iommu.stale_accesses().size(), 0u);
        EXPECT_EQ(machine.device.accesses_while_quiet(), 0u);
    }
    void stop_and_expect_nothing_left() {
        stop();
        expect_nothing_left();
        expect_clean_device();
    }

    struct Flight {
        Operation operation;
        std::vector<Segment> segments{};
    };
    void free(const Flight& flight) {
        for (const Segment& segment : flight.segments)
            machine.memory.free_pages(Memory{page_floor(segment.memory.address)}, 1);
    }

    DiskMachine machine;
    std::unique_ptr<P> own_platform;
    P* platform = nullptr;
    std::unique_ptr<M> mapper;
    std::unique_ptr<Driver> driver;
    std::map<std::pair<std::uint32_t, std::uint32_t>, Flight> flights;
    std::vector<Ended> ended;
};

// Tests that hold for every strategy of ours.
template <class M>
class EveryDiskStrategy : public testing::Test {};

struct DiskStrategyNames {
    template <class M>
    static std::string GetName(int) {
        return M::strategy.name;
    }
};
using EveryDiskMapper =
    testing::Types<StrictDisk, SharedDisk, DeferredDisk, ContiguousDisk, OptimisticDisk, CopyDisk, HybridCopyDisk,
                   OnDemandDisk, PersistentDisk>;

}  // namespace dmatoll::test
