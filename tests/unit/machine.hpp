// SPDX-License-Identifier: BSD-2-Clause
// A machine made of software with the driver in it: what most of the tests start from.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <set>
#include <vector>

#include "core/mapper.hpp"
#include "core/strategy.hpp"
#include "e1000/driver.hpp"
#include "frames.hpp"
#include "mapping/contiguous.hpp"
#include "mapping/copy.hpp"
#include "mapping/deferred.hpp"
#include "mapping/domain.hpp"
#include "mapping/hybrid_copy.hpp"
#include "mapping/iova/any.hpp"
#include "mapping/on_demand.hpp"
#include "mapping/optimistic.hpp"
#include "mapping/persistent.hpp"
#include "mapping/shared.hpp"
#include "mapping/strict.hpp"
#include "model/e1000_device.hpp"
#include "model/model_platform.hpp"
#include "model/physical_memory.hpp"
#include "model/software_iommu.hpp"

namespace dmatoll::test {

using IovaAllocator = iova::Any<model::SoftwareIommu::Lock>;
using ModelDomain = Domain<model::SoftwareIommu, IovaAllocator>;
using ModelPlatform = model::ModelPlatform<ModelDomain, model::E1000Device>;
using StrictMapper = Strict<ModelDomain>;
using PersistentMapper = Persistent<ModelDomain, ModelPlatform>;
using OnDemandMapper = OnDemand<ModelDomain, ModelPlatform>;
using SharedMapper = Shared<ModelDomain, ModelPlatform>;

// Rings only when a test does it.
struct ModelAlarm {
    void set(std::uint64_t nanoseconds) {
        ++settings;
        pending_ns = nanoseconds;
    }

    std::uint64_t settings = 0;
    std::uint64_t pending_ns = 0;
};
using ContiguousMapper = Contiguous<ModelDomain, ModelPlatform, ModelAlarm>;
using HybridCopyMapper = HybridCopy<ModelDomain, ModelPlatform>;
using CopyMapper = Copy<ModelDomain, ModelPlatform>;
using DeferredMapper = Deferred<ModelDomain, ModelPlatform, ModelAlarm>;
using OptimisticMapper = Optimistic<ModelDomain, ModelPlatform, ModelAlarm>;

static_assert(Platform<ModelPlatform>);
static_assert(Mapper<StrictMapper>);
static_assert(Mapper<DeferredMapper>);
static_assert(Mapper<CopyMapper>);
static_assert(Mapper<PersistentMapper>);
static_assert(Mapper<ContiguousMapper>);
static_assert(Mapper<HybridCopyMapper>);
static_assert(Mapper<SharedMapper>);
static_assert(Mapper<OnDemandMapper>);
static_assert(Mapper<OptimisticMapper>);

struct Machine {
    explicit Machine(const model::DeviceOptions& options = {}) : device{iommu, options} {
        const IovaRange range{0, (std::uint64_t{1} << 39) - 1};
        const IovaRange reserved{0xfee0'0000, 0xfeef'ffff};  // where interrupts are written to
        EXPECT_TRUE(allocator.set_up(platform, {&range, 1}, {&reserved, 1}, 39, 8192).ok());
        tables_at_start = platform.tables_out();
    }
    ~Machine() { allocator.tear_down(platform); }

    std::byte* at(Memory where, std::uint64_t bytes = 1) { return memory.at(where, bytes); }

    model::PhysicalMemory memory{std::uint64_t{128} << 20};
    model::SoftwareIommu iommu{memory};
    IovaAllocator allocator;
    ModelDomain domain{iommu, allocator};
    model::E1000Device device;
    ModelPlatform platform{device, memory, domain};
    ModelAlarm alarm;
    std::size_t tables_at_start = 0;
};

inline std::unique_ptr<StrictMapper> make_mapper(Machine& machine, StrictMapper*) {
    return std::make_unique<StrictMapper>(machine.domain);
}

inline std::unique_ptr<DeferredMapper> make_mapper(Machine& machine, DeferredMapper*) {
    auto mapper = std::make_unique<DeferredMapper>(machine.domain, machine.platform, machine.alarm);
    EXPECT_TRUE(mapper->set_up({.entries = 32}).ok());
    return mapper;
}

inline std::unique_ptr<CopyMapper> make_mapper(Machine& machine, CopyMapper*) {
    auto mapper = std::make_unique<CopyMapper>(machine.domain, machine.platform);
    EXPECT_TRUE(mapper->set_up({.to_device = 4096, .from_device = 4096}).ok());
    return mapper;
}

inline std::unique_ptr<PersistentMapper> make_mapper(Machine& machine, PersistentMapper*) {
    auto mapper = std::make_unique<PersistentMapper>(machine.domain, machine.platform);
    EXPECT_TRUE(mapper->cover(Memory{0}, Memory{machine.memory.bytes() - 1}).ok());
    return mapper;
}

inline std::unique_ptr<SharedMapper> make_mapper(Machine& machine, SharedMapper*) {
    auto mapper = std::make_unique<SharedMapper>(machine.domain, machine.platform);
    EXPECT_TRUE(mapper->set_up().ok());
    return mapper;
}

inline std::unique_ptr<OptimisticMapper> make_mapper(Machine& machine, OptimisticMapper*) {
    auto mapper = std::make_unique<OptimisticMapper>(machine.domain, machine.platform, machine.alarm);
    EXPECT_TRUE(mapper->set_up({.entries = 64}).ok());
    return mapper;
}

inline std::unique_ptr<OnDemandMapper> make_mapper(Machine& machine, OnDemandMapper*) {
    auto mapper = std::make_unique<OnDemandMapper>(machine.domain, machine.platform);
    EXPECT_TRUE(mapper->set_up(2048).ok());
    return mapper;
}

inline std::unique_ptr<HybridCopyMapper> make_mapper(Machine& machine, HybridCopyMapper*) {
    auto mapper = std::make_unique<HybridCopyMapper>(machine.domain, machine.platform);
    EXPECT_TRUE(mapper->set_up({.to_device = 4096, .from_device = 4096}, 600).ok());
    return mapper;
}

inline std::unique_ptr<ContiguousMapper> make_mapper(Machine& machine, ContiguousMapper*) {
    auto mapper = std::make_unique<ContiguousMapper>(machine.domain, machine.platform, machine.alarm);
    EXPECT_TRUE(mapper->set_up(10).ok());
    return mapper;
}

struct Received {
    Bytes bytes;
    e1000::Checksum checksum;
};

struct Reclaimed {
    std::uint64_t cookie;
    std::uint32_t frames;
    std::uint32_t bytes;
};

// Machine, strategy, driver, and the buffers' bookkeeping that surroundings would do.
template <class M, class P = ModelPlatform>
class Bench {
  public:
    using Driver = e1000::Driver<P, M>;

    explicit Bench(const e1000::Settings& wanted = {}, const model::DeviceOptions& options = {},
                   std::uint32_t receive_buffers = 1024)
        : settings{wanted}, machine{options} {
        if constexpr (std::is_same_v<P, ModelPlatform>) {
            platform = &machine.platform;
        } else {
            own_platform = std::make_unique<P>(machine.platform);
            platform = own_platform.get();
        }
        mapper = make_mapper(machine, static_cast<M*>(nullptr));
        driver = std::make_unique<Driver>(
            *platform, *mapper, *e1000::parts::all.at(static_cast<std::size_t>(options.part)), settings);
        for (std::uint32_t i = 0; i < receive_buffers; ++i) {
            buffers.push_back(machine.memory.allocate_pages(1));
            free_buffers.push_back(i);
        }
    }

    // As surroundings do it: quiet first, bus mastering afterwards.
    Status start() {
        if (const Status probed = driver->probe(); !probed.ok()) return probed;
        machine.device.set_bus_master(true);
        return driver->start(provide());
    }

    auto provide() {
        return [this]() -> Result<e1000::ReceiveBuffer> {
            if (free_buffers.empty()) return Error::no_memory;
            const std::uint32_t index = free_buffers.back();
            free_buffers.pop_back();
            EXPECT_TRUE(buffers_out.insert(index).second) << "a buffer that is out was provided again";
            return e1000::ReceiveBuffer{buffers[index], index};
        };
    }
    auto take_back() {
        return [this](std::uint64_t cookie) {
            EXPECT_EQ(buffers_out.erase(static_cast<std::uint32_t>(cookie)), 1u) << "buffer given back twice";
            free_buffers.push_back(static_cast<std::uint32_t>(cookie));
        };
    }

    std::uint32_t receive(std::uint32_t budget = 64) {
        const std::uint32_t taken = driver->receive(
            budget,
            [this](const e1000::ReceivedPiece& piece) {
                ASSERT_GE(piece.length, 1u);
                ASSERT_LE(piece.length, settings.receive_buffer_bytes);
                const std::byte* const data = machine.at(buffers.at(piece.cookie), piece.length);
                arriving.insert(arriving.end(), data, data + piece.length);
                pieces_of_last_frame = (in_frame ? pieces_of_last_frame : 0) + 1;
                in_frame = !piece.last;
                if (piece.last) {
                    received.push_back({std::exchange(arriving, {}), piece.checksum});
                } else {
                    EXPECT_EQ(piece.checksum, e1000::Checksum::unknown) << "of the whole frame: with its end";
                }
                take_back()(piece.cookie);
            },
            [this](std::uint64_t cookie) {
                EXPECT_FALSE(in_frame) << "a piece dropped in the midst of a frame";
                ++dropped;
                take_back()(cookie);
            });
        EXPECT_FALSE(in_frame) << "a frame is delivered within one call";
        return taken;
    }
    void refill() { driver->refill(provide()); }

    // Copies the frame into fresh pages, `piece` bytes into each segment; the memory is held until reclaim.
    Status transmit(const Bytes& frame, const e1000::TransmitOffload& offload = {},
                    std::uint32_t piece = 65536 * 2, bool more_coming = false) {
        std::vector<Segment> segments;
        std::vector<std::pair<Memory, std::uint64_t>> held;
        for (std::size_t done = 0; done < frame.size(); done += piece) {
            const auto length = static_cast<std::uint32_t>(std::min<std::size_t>(piece, frame.size() - done));
            const std::uint64_t pages = pages_spanned(transmit_offset, length);
            const Memory start = machine.memory.allocate_pages(pages);
            held.emplace_back(start, pages);
            std::memcpy(machine.at(start + transmit_offset, length), frame.data() + done, length);
            segments.push_back({start + transmit_offset, length});
        }
        const std::uint64_t cookie = next_cookie++;
        const Status status = driver->transmit(segments, offload, cookie, more_coming);
        if (status.ok()) {
            in_flight[cookie] = held;
        } else {
            for (const auto& [start, pages] : held) machine.memory.free_pages(start, pages);
        }
        return status;
    }
    void release_transmit(std::uint64_t cookie) {
        const auto found = in_flight.find(cookie);
        ASSERT_NE(found, in_flight.end()) << "frame given back twice, or never taken";
        for (const auto& [start, pages] : found->second) {
            if (keeps_memory) {
                kept.emplace_back(start, pages);
            } else {
                machine.memory.free_pages(start, pages);
            }
        }
        in_flight.erase(found);
    }
    std::uint32_t reclaim(std::uint32_t budget = 4096) {
        return driver->reclaim(budget,
                               [this](std::uint64_t cookie, std::uint32_t frames, std::uint32_t bytes) {
                                   reclaimed.push_back({cookie, frames, bytes});
                                   release_transmit(cookie);
                               });
    }

    void stop() {
        driver->stop(take_back(), [this](std::uint64_t cookie) {
            unsent.push_back(cookie);
            release_transmit(cookie);
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
        EXPECT_TRUE(buffers_out.empty());
        EXPECT_EQ(free_buffers.size(), buffers.size());
        EXPECT_TRUE(in_flight.empty());
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

    e1000::Settings settings;
    Machine machine;
    std::unique_ptr<P> own_platform;
    P* platform = nullptr;
    std::unique_ptr<M> mapper;
    std::unique_ptr<Driver> driver;

    std::vector<Memory> buffers;
    std::vector<std::uint32_t> free_buffers;
    std::set<std::uint32_t> buffers_out;
    std::vector<Received> received;
    std::uint32_t dropped = 0;
    Bytes arriving;  // the pieces of a frame so far
    bool in_frame = false;
    std::uint32_t pieces_of_last_frame = 0;
    // The device's view of a page is kept alive after reclaim, for tests that look at what a late access
    // does.
    bool keeps_memory = false;
    std::vector<std::pair<Memory, std::uint64_t>> kept;
    std::map<std::uint64_t, std::vector<std::pair<Memory, std::uint64_t>>> in_flight;
    std::uint64_t next_cookie = 1;
    std::uint64_t transmit_offset = 0;
    std::vector<Reclaimed> reclaimed;
    std::vector<std::uint64_t> unsent;
};

// Whether a buffer's way to the device changes the page table, so that the IOMMU can refuse it.
template <class M>
inline constexpr bool maps_buffers = !std::is_same_v<M, CopyMapper>;

// Tests that hold for every strategy of ours.
template <class M>
class EveryStrategy : public testing::Test {};

struct StrategyNames {
    template <class M>
    static std::string GetName(int) {
        return M::strategy.name;
    }
};
using EveryMapper =
    testing::Types<StrictMapper, SharedMapper, DeferredMapper, ContiguousMapper, OptimisticMapper, CopyMapper,
                   HybridCopyMapper, OnDemandMapper, PersistentMapper>;

}  // namespace dmatoll::test
