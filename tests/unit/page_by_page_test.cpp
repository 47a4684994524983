// SPDX-License-Identifier: BSD-2-Clause
// Strategies that give a page which is mapped already to its next user: what all of them keep to, and what
// becomes of a page that nobody uses any more.
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <cstring>
#include <map>
#include <random>
#include <thread>
#include <utility>
#include <vector>

#include "machine.hpp"
#include "mapping/mapped_pages.hpp"

namespace dmatoll::test {
namespace {

using model::Access;

Status set_up(SharedMapper& mapper) { return mapper.set_up(); }
Status set_up(OptimisticMapper& mapper) { return mapper.set_up({}); }
Status set_up(OnDemandMapper& mapper) { return mapper.set_up(64); }

template <class M>
class PageByPageTest : public testing::Test {
  protected:
    PageByPageTest() {
        for (std::uint64_t page = 0; page < page_count; ++page) {
            const std::uint64_t content = mark + page;
            std::memcpy(machine.at(at(page), sizeof(content)), &content, sizeof(content));
        }
    }
    void TearDown() override {
        mapper->release_all();
        EXPECT_EQ(machine.iommu.mapped_pages(), 0u);
        EXPECT_EQ(machine.domain.live(), machine.domain.quarantined());
        EXPECT_EQ(machine.platform.tables_out(), machine.tables_at_start);
        EXPECT_EQ(machine.platform.misuses(), 0u);
        EXPECT_TRUE(machine.iommu.stale_accesses().empty());
    }

    static constexpr std::uint64_t page_count = 512;
    static constexpr std::uint64_t mark = 0x5eed'0000;

    Memory at(std::uint64_t page) const { return pages + page * page_bytes; }
    Result<Iova> map(std::uint64_t page, Direction direction = Direction::to_device) {
        return mapper->map(at(page), page_bytes, direction);
    }
    void unmap(Iova iova, Direction direction = Direction::to_device) {
        mapper->unmap(iova, page_bytes, direction, 0);
    }
    // What the device finds there.
    bool device_reads(Iova iova, std::uint64_t page) {
        Bytes bytes(8);
        if (!machine.iommu.read(iova, bytes)) return false;
        std::uint64_t content = 0;
        std::memcpy(&content, bytes.data(), sizeof(content));
        EXPECT_EQ(content, mark + page) << "another page's memory";
        return true;
    }

    Machine machine;
    Memory pages = machine.memory.allocate_pages(page_count);
    std::unique_ptr<M> mapper = make_mapper(machine, static_cast<M*>(nullptr));
};

struct PageByPageNames {
    template <class M>
    static std::string GetName(int) {
        return M::strategy.name;
    }
};
using PageByPageMappers = testing::Types<SharedMapper, OptimisticMapper, OnDemandMapper>;
TYPED_TEST_SUITE(PageByPageTest, PageByPageMappers, PageByPageNames);

TYPED_TEST(PageByPageTest, APageInUseIsMappedOnceForEachDirection) {
    const Iova first = this->mapper->map(this->pages + 100, 200, Direction::to_device).value();
    const Iova second = this->mapper->map(this->pages + 2000, 96, Direction::to_device).value();
    EXPECT_EQ(second.value - first.value, 1900u);
    EXPECT_EQ(this->mapper->counters().maps, 1u);
    EXPECT_FALSE(this->machine.iommu.reachable(first, Access::write));
    const Iova written = this->mapper->map(this->pages, 4096, Direction::from_device).value();
    EXPECT_EQ(this->mapper->counters().maps, 2u);
    EXPECT_NE(page_floor(written.value), page_floor(first.value));
    EXPECT_FALSE(this->machine.iommu.reachable(written, Access::read));
    EXPECT_TRUE(this->machine.iommu.reachable(written, Access::write));

    this->mapper->unmap(first, 200, Direction::to_device, 0);
    EXPECT_TRUE(this->machine.iommu.reachable(second, Access::read)) << "the other one's";
    this->mapper->unmap(second, 96, Direction::to_device, 0);
    this->mapper->unmap(written, 4096, Direction::from_device, 0);
}

TYPED_TEST(PageByPageTest, ABufferThatGoesOnInTheNextPageIsToBeCut) {
    EXPECT_EQ(this->mapper->extent(this->pages + 4000, 1000, Direction::to_device), 96u);
    EXPECT_EQ(this->mapper->extent(this->pages, 3 * page_bytes, Direction::to_device), page_bytes);
    EXPECT_EQ(this->mapper->map(this->pages + 4000, 1000, Direction::to_device).error(),
              Error::invalid_argument);
    EXPECT_EQ(this->mapper->counters().maps, 0u);
}

TYPED_TEST(PageByPageTest, TwoPiecesOfOnePageInAListAreTwoUsers) {
    const std::vector<Segment> segments{
        {this->at(3), 512}, {this->at(3) + 512, 512}, {this->at(3) + 3584, 512}, {this->at(4), 4096}};
    std::array<DeviceSegment, 8> room{};
    const auto count = this->mapper->map_list(segments, Direction::to_device, room);
    ASSERT_TRUE(count.ok());
    EXPECT_EQ(this->mapper->counters().maps, 2u);
    const std::span list{room.data(), count.value()};
    std::uint64_t bytes = 0;
    for (const DeviceSegment& piece : list) bytes += piece.length;
    EXPECT_EQ(bytes, 3 * 512u + 4096);
    const Iova other = this->map(3).value();
    EXPECT_EQ(page_floor(other.value), page_floor(list[0].iova.value));
    this->unmap(other);
    EXPECT_TRUE(this->device_reads(list[0].iova, 3)) << "three users are left";
    this->mapper->unmap_list(list, Direction::to_device, 0);
    EXPECT_EQ(this->mapper->mapped(), this->mapper->idle());
}

TYPED_TEST(PageByPageTest, AListThatFailsInTheMiddleHasNoUserLeft) {
    std::vector<Segment> segments;
    // Pieces that do not adjoin, whatever their IOVAs are.
    for (std::uint64_t page = 0; page < 6; ++page) segments.push_back({this->at(page), 2048});
    std::array<DeviceSegment, 6> room{};
    this->machine.iommu.refuse_maps(3);
    EXPECT_EQ(this->mapper->map_list(segments, Direction::from_device, room).error(), Error::mapping_failed);
    EXPECT_EQ(this->mapper->mapped(), this->mapper->idle());
    EXPECT_EQ(this->mapper->map_list(segments, Direction::from_device, std::span{room}.first(2)).error(),
              Error::invalid_argument);
    EXPECT_EQ(this->mapper->mapped(), this->mapper->idle());
    const auto count = this->mapper->map_list(segments, Direction::from_device, room);
    ASSERT_TRUE(count.ok());
    this->mapper->unmap_list({room.data(), count.value()}, Direction::from_device, 0);
}

// Some pages used by many, some by one, in an order without meaning: whoever uses a page reaches it and no
// other.
TYPED_TEST(PageByPageTest, EveryUserReachesItsPageForAsLongAsItUsesIt) {
    std::mt19937 random{11};
    struct Use {
        Iova iova;
        std::uint64_t page;
    };
    std::vector<Use> uses;
    for (int step = 0; step < 20'000; ++step) {
        if (uses.empty() || (uses.size() < 200 && random() % 2 == 0)) {
            const std::uint64_t page = random() % (random() % 4 == 0 ? this->page_count : 8);
            const Result<Iova> iova = this->map(page);
            ASSERT_TRUE(iova.ok());
            uses.push_back({iova.value(), page});
        } else {
            std::swap(uses[random() % uses.size()], uses.back());
            ASSERT_TRUE(this->device_reads(uses.back().iova, uses.back().page));
            this->unmap(uses.back().iova);
            uses.pop_back();
        }
        if (step % 1000 == 0) {
            for (const Use& use : uses) ASSERT_TRUE(this->device_reads(use.iova, use.page));
        }
        if constexpr (requires { this->mapper->on_alarm(); }) {
            if (step % 100 == 0) {
                this->machine.platform.advance_ns(2'000'000);
                this->mapper->on_alarm();
            }
        }
    }
    for (const Use& use : uses) this->unmap(use.iova);
    EXPECT_EQ(this->mapper->mapped(), this->mapper->idle());
    EXPECT_EQ(this->mapper->counters().failures, 0u);
}

TYPED_TEST(PageByPageTest, AllThatIsMappedGoesAtTheEndWhoeverForgotIt) {
    for (std::uint64_t page = 0; page < 400; ++page) {
        const Iova iova =
            this->map(page, page % 2 == 0 ? Direction::to_device : Direction::from_device).value();
        if (page % 3 == 0) this->unmap(iova);
    }
    this->mapper->release_all();
    EXPECT_EQ(this->machine.iommu.mapped_pages(), 0u);
    EXPECT_EQ(this->machine.domain.live(), 0u);
}

TYPED_TEST(PageByPageTest, ExhaustedIovaSpaceIsAnErrorThatPasses) {
    const Memory many = this->machine.memory.allocate_pages(8192);
    std::vector<Iova> taken;
    // As many as the machine's allocator has.
    for (std::uint64_t page = 0; page < 8192; ++page) {
        const Result<Iova> iova = this->mapper->map(many + page * page_bytes, 1, Direction::to_device);
        ASSERT_TRUE(iova.ok());
        taken.push_back(iova.value());
    }
    const Memory beyond = this->machine.memory.allocate_pages(1);
    EXPECT_FALSE(this->mapper->map(beyond, 1, Direction::to_device).ok());
    EXPECT_EQ(this->mapper->counters().failures, 1u);
    this->mapper->unmap(taken.back(), 1, Direction::to_device, 0);
    taken.pop_back();
    const std::uint64_t failures = this->mapper->counters().failures;
    // What is kept in the hope of another use makes room.
    const Result<Iova> again = this->mapper->map(beyond, 1, Direction::to_device);
    ASSERT_TRUE(again.ok());
    EXPECT_EQ(this->mapper->counters().failures, failures) << "a map that came about is none";
    this->mapper->unmap(again.value(), 1, Direction::to_device, 0);
    for (const Iova& each : taken) this->mapper->unmap(each, 1, Direction::to_device, 0);
}

TYPED_TEST(PageByPageTest, ARefusalThatRoomDoesNotCureLeavesWhatIsIdle) {
    for (std::uint64_t page = 0; page < 8; ++page) this->unmap(this->map(page).value());
    const std::uint32_t idle = this->mapper->idle();
    this->machine.iommu.refuse_maps(0);
    EXPECT_EQ(this->map(100).error(), Error::mapping_failed);
    EXPECT_EQ(this->mapper->counters().failures, 1u);
    EXPECT_EQ(this->mapper->idle(), idle);
}

TYPED_TEST(PageByPageTest, WithoutMemoryForItsTablesItSaysSo) {
    EXPECT_EQ(set_up(*this->mapper).error(), Error::invalid_argument) << "twice";
    this->mapper->release_all();
    for (const std::uint64_t nth : {0u, 1u}) {
        this->machine.platform.refuse_allocation(nth);
        EXPECT_EQ(set_up(*this->mapper).error(), Error::no_memory);
        EXPECT_EQ(this->machine.platform.tables_out(), this->machine.tables_at_start);
    }
    EXPECT_TRUE(set_up(*this->mapper).ok());
    EXPECT_TRUE(this->map(0).ok());
}

// On several CPUs at once, with pages that they have in common. The device reads what each of them mapped.
TYPED_TEST(PageByPageTest, SeveralCpusShareItsPages) {
    constexpr unsigned cpus = 4;
    std::atomic<bool> done = false;
    std::atomic<std::uint64_t> unreachable = 0;
    std::vector<std::thread> threads;
    for (unsigned cpu = 0; cpu < cpus; ++cpu) {
        threads.emplace_back([&, cpu] {
            std::mt19937 random{cpu};
            std::vector<std::pair<Iova, std::uint64_t>> uses;
            std::array<DeviceSegment, 4> room{};
            for (int step = 0; step < 4'000; ++step) {
                if (step % 5 == 0) {
                    const std::uint64_t page = random() % 16;
                    const std::array<Segment, 2> segments{
                        {{this->at(page), 4096}, {this->at(page + 4), 4096}}};
                    const auto count = this->mapper->map_list(segments, Direction::to_device, room);
                    ASSERT_TRUE(count.ok());
                    this->mapper->unmap_list({room.data(), count.value()}, Direction::to_device, 0);
                }
                if (uses.size() < 8) {
                    const std::uint64_t page = random() % 20;
                    const Result<Iova> iova = this->map(page);
                    ASSERT_TRUE(iova.ok());
                    uses.emplace_back(iova.value(), page);
                } else {
                    const auto [iova, page] = uses[random() % uses.size()];
                    unreachable += this->device_reads(iova, page) ? 0 : 1;
                    std::swap(uses[random() % uses.size()], uses.back());
                    this->unmap(uses.back().first);
                    uses.pop_back();
                }
            }
            for (const auto& [iova, page] : uses) this->unmap(iova);
        });
    }
    std::thread alarm{[&] {
        if constexpr (requires { this->mapper->on_alarm(); }) {
            while (!done) {
                this->machine.platform.advance_ns(5'000'000);
                this->mapper->on_alarm();
            }
        }
    }};
    for (std::thread& thread : threads) thread.join();
    done = true;
    alarm.join();
    EXPECT_EQ(unreachable, 0u);
    EXPECT_EQ(this->mapper->mapped(), this->mapper->idle());
}

// ---- shared ----

class SharedTest : public PageByPageTest<SharedMapper> {};

TEST_F(SharedTest, TheLastUnmapEndsTheMapping) {
    std::vector<Iova> uses;
    for (int i = 0; i < 5; ++i) uses.push_back(map(7).value());
    for (const Iova& iova : uses) {
        ASSERT_TRUE(device_reads(iova, 7));
        unmap(iova);
    }
    EXPECT_FALSE(machine.iommu.reachable(uses[0], Access::read));
    EXPECT_FALSE(machine.iommu.exposed(at(7), Access::read));
    EXPECT_EQ(machine.domain.live(), 0u);
    const MappingCounters counters = mapper->counters();
    EXPECT_EQ(counters.maps, 1u);
    EXPECT_EQ(counters.invalidations, 1u);
    unmap(uses[0]);
    EXPECT_EQ(mapper->counters().unmaps, 1u) << "one that is not there";
}

TEST_F(SharedTest, AListEndsWithOneInvalidation) {
    std::vector<Segment> segments;
    for (std::uint64_t page = 0; page < 300; ++page) segments.push_back({at(page), 4096});
    std::vector<DeviceSegment> room(300);
    const auto count = mapper->map_list(segments, Direction::to_device, room);
    ASSERT_TRUE(count.ok());
    const std::span list = std::span{room}.first(count.value());
    for (const DeviceSegment& piece : list) {
        Bytes bytes(piece.length);
        ASSERT_TRUE(machine.iommu.read(piece.iova, bytes));
    }
    mapper->unmap_list(list, Direction::to_device, 0);
    EXPECT_EQ(machine.domain.live(), 0u);
    EXPECT_EQ(mapper->counters().invalidations, 2u) << "one for each 256 pages";
    for (std::uint64_t page = 0; page < 300; ++page)
        ASSERT_FALSE(machine.iommu.exposed(at(page), Access::read));
}

TEST_F(SharedTest, MorePagesThanItsTableHoldsAreRefusedAndCounted) {
    SharedMapper small{machine.domain, machine.platform};
    ASSERT_TRUE(small.set_up(4).ok());
    std::vector<Iova> uses;
    for (std::uint64_t page = 0; page < 4; ++page) {
        uses.push_back(small.map(at(page), 1, Direction::to_device).value());
    }
    EXPECT_EQ(small.map(at(4), 1, Direction::to_device).error(), Error::no_memory);
    EXPECT_TRUE(small.map(at(0), 1, Direction::to_device).ok()) << "that is none more";
    EXPECT_EQ(small.counters().failures, 1u);
    small.unmap(uses[1], 1, Direction::to_device, 0);
    EXPECT_TRUE(small.map(at(4), 1, Direction::to_device).ok());
    small.release_all();
    EXPECT_EQ(SharedMapper(machine.domain, machine.platform).set_up(0).error(), Error::invalid_argument);
}

TEST_F(SharedTest, APageWhoseUnmappingIsRefusedIsMappedAnew) {
    const Iova lost = map(1).value();
    machine.iommu.refuse_unmaps(0);
    unmap(lost);
    EXPECT_EQ(machine.domain.quarantined(), 1u);
    const Iova fresh = map(1).value();
    EXPECT_NE(fresh, lost);
    unmap(fresh);
    // The machine is asked for an empty table at its end.
    ASSERT_TRUE(machine.iommu.unmap(lost, page_bytes, Invalidate::now).ok());
}

// ---- optimistic ----

class OptimisticTest : public PageByPageTest<OptimisticMapper> {
  protected:
    void set_up_again(const OptimisticLimits& limits) {
        mapper->release_all();
        ASSERT_TRUE(mapper->set_up(limits).ok());
    }
    void pass(std::uint64_t nanoseconds) {
        machine.platform.advance_ns(nanoseconds);
        mapper->on_alarm();
    }
};

TEST_F(OptimisticTest, APageThatIsUsedAgainInTimeCostsNothing) {
    const Iova first = map(0).value();
    unmap(first);
    EXPECT_TRUE(device_reads(first, 0)) << "the price: its entry stays";
    for (int i = 0; i < 50; ++i) {
        const Iova again = map(0).value();
        EXPECT_EQ(again, first);
        unmap(again);
    }
    const MappingCounters counters = mapper->counters();
    EXPECT_EQ(counters.maps, 1u);
    EXPECT_EQ(counters.unmaps, 0u);
    EXPECT_EQ(counters.invalidations, 0u);
}

TEST_F(OptimisticTest, ItsBoundHoldsAndHalfOfItIsGiven) {
    set_up_again({.entries = 256, .milliseconds = 10});
    const Iova early = map(0).value();
    ASSERT_TRUE(device_reads(early, 0));
    EXPECT_EQ(machine.alarm.settings, 0u) << "nothing is idle yet";
    unmap(early);
    ASSERT_EQ(machine.alarm.settings, 1u);
    EXPECT_EQ(machine.alarm.pending_ns, 5'000'000u);
    machine.platform.advance_ns(4'999'999);
    const Iova late = map(1).value();
    unmap(late);
    EXPECT_EQ(machine.alarm.settings, 1u) << "one alarm serves all";
    pass(1);
    EXPECT_TRUE(device_reads(early, 0)) << "idle for half of the bound";
    EXPECT_EQ(machine.alarm.settings, 2u);
    pass(5'000'000);
    EXPECT_FALSE(device_reads(early, 0));
    EXPECT_FALSE(device_reads(late, 1)) << "idle since the first half";
    EXPECT_EQ(mapper->counters().invalidations, 1u);
    EXPECT_EQ(machine.domain.live(), 0u);
    EXPECT_EQ(machine.alarm.settings, 2u) << "nothing is idle any more";
}

TEST_F(OptimisticTest, WhatIsUsedAgainBeginsItsTimeAnew) {
    set_up_again({.entries = 256, .milliseconds = 10});
    const Iova iova = map(0).value();
    unmap(iova);
    for (int half = 0; half < 6; ++half) {
        pass(5'000'000);
        ASSERT_TRUE(device_reads(iova, 0));
        const Iova again = map(0).value();
        ASSERT_EQ(again, iova);
        unmap(again);
    }
    pass(5'000'000);
    pass(5'000'000);
    EXPECT_FALSE(device_reads(iova, 0));
    EXPECT_EQ(mapper->counters().maps, 1u);
}

TEST_F(OptimisticTest, AnAlarmAheadOfItsTimeIsSetForTheRest) {
    set_up_again({.entries = 256, .milliseconds = 10});
    unmap(map(0).value());
    machine.platform.advance_ns(5'000'000);
    mapper->flush_if_due();
    EXPECT_EQ(mapper->idle(), 1u);
    pass(1'000'000);
    EXPECT_EQ(machine.alarm.pending_ns, 4'000'000u);
    EXPECT_EQ(mapper->idle(), 1u);
    machine.platform.advance_ns(4'000'000);
    mapper->flush_if_due();
    EXPECT_EQ(mapper->idle(), 0u) << "who polls keeps the bound, too";
    EXPECT_EQ(mapper->mapped(), 0u);
}

TEST_F(OptimisticTest, AnAlarmThatComesLateLeavesNothingBeyondTheBound) {
    set_up_again({.entries = 256, .milliseconds = 10});
    unmap(map(0).value());
    pass(10'000'000);
    EXPECT_EQ(mapper->mapped(), 0u);
    unmap(map(0).value());
    pass(9'999'999);
    EXPECT_EQ(mapper->idle(), 1u);
    EXPECT_EQ(machine.alarm.pending_ns, 1u);
    pass(machine.alarm.pending_ns);
    EXPECT_EQ(mapper->mapped(), 0u);
}

TEST_F(OptimisticTest, TheOldestGoTogetherWhenTooManyAreIdle) {
    set_up_again({.entries = 8});
    std::vector<Iova> idle;
    for (std::uint64_t page = 0; page < 8; ++page) {
        idle.push_back(map(page).value());
        ASSERT_TRUE(device_reads(idle.back(), page));
        unmap(idle.back());
    }
    EXPECT_EQ(mapper->idle(), 4u);
    EXPECT_EQ(mapper->counters().invalidations, 1u);
    for (std::uint64_t page = 0; page < 8; ++page) EXPECT_EQ(device_reads(idle[page], page), page >= 4);
}

TEST_F(OptimisticTest, OneThatMayBeIdleIsNone) {
    set_up_again({.entries = 1});
    const Iova iova = map(0).value();
    ASSERT_TRUE(device_reads(iova, 0));
    unmap(iova);
    EXPECT_FALSE(device_reads(iova, 0));
    EXPECT_EQ(machine.domain.live(), 0u);
}

TEST_F(OptimisticTest, IdlePagesMakeRoomInTheTable) {
    mapper->release_all();
    ASSERT_TRUE(mapper->set_up({.entries = 16}, 4).ok());
    for (std::uint64_t page = 0; page < 40; ++page) {
        const Result<Iova> iova = map(page);
        ASSERT_TRUE(iova.ok());
        unmap(iova.value());
    }
    EXPECT_EQ(mapper->counters().failures, 0u);
}

TEST_F(OptimisticTest, LimitsOutOfRangeAreRefused) {
    mapper->release_all();
    for (const OptimisticLimits& limits :
         {OptimisticLimits{.entries = 0},
          OptimisticLimits{.entries = parameters::optimistic_entries.most + 1},
          OptimisticLimits{.milliseconds = 0}, OptimisticLimits{.milliseconds = 1001}}) {
        EXPECT_EQ(mapper->set_up(limits).error(), Error::invalid_argument);
    }
}

TEST_F(OptimisticTest, ARequestThatFailsASecondTimeIsOneFailure) {
    set_up_again({});
    const Memory many = machine.memory.allocate_pages(8192);
    Iova last{};
    for (std::uint64_t page = 0; page < 8192; ++page) {
        last = mapper->map(many + page * page_bytes, 1, Direction::to_device).value();
    }
    unmap(last);
    // The first attempt finds no IOVA, the second one that the IOMMU refuses.
    machine.iommu.refuse_maps(0);
    EXPECT_EQ(map(0).error(), Error::mapping_failed);
    EXPECT_EQ(mapper->idle(), 0u) << "there was no second attempt";
    EXPECT_EQ(mapper->counters().failures, 1u);
    EXPECT_TRUE(map(0).ok());
    EXPECT_EQ(mapper->counters().failures, 1u);
}

TEST_F(OptimisticTest, WhatIsDueAtOneAlarmGoesInBatches) {
    set_up_again({.entries = 1024, .milliseconds = 10});
    const Memory many = machine.memory.allocate_pages(600);
    std::vector<Iova> iovas;
    for (std::uint64_t page = 0; page < 600; ++page) {
        iovas.push_back(mapper->map(many + page * page_bytes, 1, Direction::to_device).value());
    }
    for (const Iova& iova : iovas) unmap(iova);
    // Idle since this half only.
    pass(5'000'000);
    ASSERT_EQ(mapper->idle(), 600u);
    EXPECT_EQ(mapper->counters().invalidations, 0u);
    pass(5'000'000);
    EXPECT_EQ(mapper->mapped(), 0u);
    EXPECT_EQ(mapper->counters().unmaps, 600u);
    EXPECT_EQ(mapper->counters().invalidations, 3u) << "one for each 256 pages";
    for (const Iova& iova : iovas) ASSERT_FALSE(machine.iommu.reachable(iova, Access::read));
}

TEST_F(OptimisticTest, AtMostABatchGoesWhenTooManyAreIdle) {
    set_up_again({.entries = 600});
    const Memory many = machine.memory.allocate_pages(600);
    std::vector<Iova> iovas;
    for (std::uint64_t page = 0; page < 600; ++page) {
        iovas.push_back(mapper->map(many + page * page_bytes, 1, Direction::to_device).value());
    }
    for (const Iova& iova : iovas) unmap(iova);
    EXPECT_EQ(mapper->idle(), 600u - 256) << "and not the half, which takes two";
    EXPECT_EQ(mapper->counters().invalidations, 1u);
}

// The alarm leaves the lock between its batches, to one that uses pages of which some have just gone and some are next.
TEST_F(OptimisticTest, PagesAreUsedWhileAnAlarmUnmapsThem) {
    set_up_again({.entries = 1024, .milliseconds = 10});
    std::atomic<bool> done = false;
    std::atomic<int> due = 0;
    std::thread alarm{[&] {
        for (int rung = 0; !done;) {
            if (rung == due) {
                std::this_thread::yield();
                continue;
            }
            rung = due;
            pass(10'000'000);
        }
    }};
    std::mt19937 random{17};
    std::vector<std::pair<Iova, std::uint64_t>> uses;
    std::uint64_t unreachable = 0;
    for (int round = 0; round < 40; ++round) {
        // All of them, so that two batches are due when they are back; and some again while these go.
        for (std::uint64_t page = 0; page < page_count; ++page) uses.emplace_back(map(page).value(), page);
        for (const auto& [iova, page] : uses) unmap(iova);
        uses.clear();
        ++due;
        for (int again = 0; again < 200; ++again) {
            const std::uint64_t page = random() % page_count;
            uses.emplace_back(map(page).value(), page);
            unreachable += device_reads(uses.back().first, page) ? 0 : 1;
        }
        for (const auto& [iova, page] : uses) {
            unreachable += device_reads(iova, page) ? 0 : 1;
            unmap(iova);
        }
        uses.clear();
    }
    done = true;
    alarm.join();
    EXPECT_EQ(unreachable, 0u);
    EXPECT_EQ(mapper->counters().failures, 0u);
    EXPECT_EQ(mapper->mapped(), mapper->idle());
    EXPECT_EQ(machine.iommu.mapped_pages(), mapper->mapped());
    pass(10'000'000);
    EXPECT_EQ(mapper->mapped(), 0u);
}

// ---- on-demand ----

class OnDemandTest : public PageByPageTest<OnDemandMapper> {
  protected:
    void set_up_again(std::uint32_t quota) {
        mapper->release_all();
        ASSERT_TRUE(mapper->set_up(quota).ok());
    }
};

TEST_F(OnDemandTest, WithinTheQuotaItIsPersistent) {
    set_up_again(64);
    std::vector<Iova> first;
    for (int round = 0; round < 3; ++round) {
        for (std::uint64_t page = 0; page < 64; ++page) {
            const Iova iova = map(page).value();
            if (round == 0) first.push_back(iova);
            ASSERT_EQ(iova, first[page]);
            ASSERT_TRUE(device_reads(iova, page));
            unmap(iova);
        }
    }
    const MappingCounters counters = mapper->counters();
    EXPECT_EQ(counters.maps, 64u);
    EXPECT_EQ(counters.first_touches, 64u);
    EXPECT_EQ(counters.invalidations, 0u);
    EXPECT_TRUE(device_reads(first[0], 0)) << "that is its window: unbounded";
}

TEST_F(OnDemandTest, BeyondTheQuotaTheLongestUnusedGoTogether) {
    set_up_again(16);
    std::vector<Iova> iovas;
    for (std::uint64_t page = 0; page < 16; ++page) {
        iovas.push_back(map(page).value());
        ASSERT_TRUE(device_reads(iovas.back(), page));
        unmap(iovas.back());
    }
    unmap(map(0).value());  // now page 1 is the oldest
    const Iova held = map(2).value();
    const Iova beyond = map(100).value();
    EXPECT_EQ(mapper->counters().invalidations, 1u);
    EXPECT_EQ(mapper->counters().unmaps, 3u) << "an eighth of the quota, and one";
    EXPECT_FALSE(machine.iommu.exposed(at(1), Access::read));
    EXPECT_TRUE(device_reads(iovas[0], 0)) << "used since";
    EXPECT_TRUE(device_reads(held, 2)) << "in use";
    EXPECT_FALSE(machine.iommu.exposed(at(3), Access::read));
    EXPECT_LE(mapper->mapped(), 16u);
    unmap(held);
    unmap(beyond);
}

TEST_F(OnDemandTest, OfALargeQuotaAtMostABatchGoes) {
    set_up_again(4096);
    const Memory many = machine.memory.allocate_pages(4096);
    for (std::uint64_t page = 0; page < 4096; ++page) {
        unmap(mapper->map(many + page * page_bytes, 1, Direction::to_device).value());
    }
    EXPECT_EQ(mapper->idle(), 4096u);
    const Iova beyond = map(0).value();
    EXPECT_EQ(mapper->counters().unmaps, 256u) << "and not an eighth, which takes two or three";
    EXPECT_EQ(mapper->counters().invalidations, 1u);
    EXPECT_EQ(mapper->mapped(), 4096u - 256 + 1);
    unmap(beyond);
}

TEST_F(OnDemandTest, WithoutAQuotaItIsStrict) {
    set_up_again(0);
    for (std::uint64_t page = 0; page < 50; ++page) {
        const Iova iova = map(page).value();
        ASSERT_TRUE(device_reads(iova, page));
        unmap(iova);
        ASSERT_FALSE(machine.iommu.exposed(at(page), Access::read));
    }
    const MappingCounters counters = mapper->counters();
    EXPECT_EQ(counters.maps, 50u);
    EXPECT_EQ(counters.invalidations, 50u);
    EXPECT_EQ(counters.first_touches, 0u);
    EXPECT_EQ(machine.domain.live(), 0u);
}

TEST_F(OnDemandTest, AQuotaOfOneKeepsOne) {
    set_up_again(1);
    const Iova first = map(0).value();
    unmap(first);
    EXPECT_EQ(map(0).value(), first);
    const Iova second = map(1).value();
    EXPECT_TRUE(device_reads(second, 1)) << "mapped for one use, beside the one that is in use";
    EXPECT_EQ(mapper->counters().first_touches, 1u);
    unmap(second);
    EXPECT_FALSE(device_reads(second, 1));
    unmap(first);
    EXPECT_EQ(mapper->idle(), 1u);
    const Iova third = map(2).value();
    EXPECT_FALSE(machine.iommu.exposed(at(0), Access::read)) << "it made room";
    EXPECT_EQ(mapper->mapped(), 1u);
    unmap(third);
}

TEST_F(OnDemandTest, AListLongerThanTheQuotaIsMappedAndGoesDownToIt) {
    set_up_again(10);
    std::vector<Segment> segments;
    for (std::uint64_t page = 0; page < 100; ++page) segments.push_back({at(2 * page), 4096});
    std::vector<DeviceSegment> room(100);
    for (int round = 0; round < 3; ++round) {
        const auto count = mapper->map_list(segments, Direction::to_device, room);
        ASSERT_TRUE(count.ok());
        EXPECT_EQ(mapper->mapped(), 100u);
        mapper->unmap_list(std::span{room}.first(count.value()), Direction::to_device, 0);
        EXPECT_EQ(mapper->mapped(), 10u);
        EXPECT_EQ(mapper->idle(), 10u);
        EXPECT_EQ(machine.iommu.mapped_pages(), 10u);
    }
}

TEST_F(OnDemandTest, AQuotaOutOfRangeIsRefused) {
    mapper->release_all();
    EXPECT_EQ(mapper->set_up(parameters::quota_pages.most + 1).error(), Error::invalid_argument);
    EXPECT_TRUE(mapper->set_up(parameters::quota_pages.most).ok());
}

// ---- the table ----

TEST(MappedPagesTest, FindsWhatIsInItAndNothingElse) {
    Machine machine;
    MappedPages table;
    ASSERT_TRUE(table.set_up(machine.platform, 100).ok());
    EXPECT_EQ(table.set_up(machine.platform, 100).error(), Error::invalid_argument);
    std::mt19937 random{3};
    std::map<std::pair<std::uint64_t, Direction>, Iova> known;
    std::uint64_t next_iova = 1;
    for (int step = 0; step < 20'000; ++step) {
        const Memory page{random() % 150 * page_bytes};
        const auto direction = static_cast<Direction>(random() % 3);
        const auto expected = known.find({page.address, direction});
        const MappedPages::Index found = table.find(page, direction);
        ASSERT_EQ(found != MappedPages::none, expected != known.end());
        if (found == MappedPages::none) {
            ASSERT_EQ(table.is_full(), known.size() == 100);
            if (table.is_full()) continue;
            const Iova iova{next_iova++ * page_bytes};
            table.add(page, direction, iova);
            known[{page.address, direction}] = iova;
        } else {
            ASSERT_EQ(table[found].iova, expected->second);
            ASSERT_EQ(table.find(expected->second), found);
            if (random() % 4 == 0) continue;
            table.remove(found);
            ASSERT_EQ(table.find(expected->second), MappedPages::none);
            known.erase(expected);
        }
        ASSERT_EQ(table.count(), known.size());
    }
    table.tear_down(machine.platform);
}

TEST(MappedPagesTest, IdlePagesAreInTheOrderInWhichTheyBecameSo) {
    Machine machine;
    MappedPages table;
    ASSERT_TRUE(table.set_up(machine.platform, 8).ok());
    std::vector<MappedPages::Index> order;
    for (std::uint64_t page = 1; page <= 5; ++page) {
        table.add(Memory{page * page_bytes}, Direction::to_device, Iova{page * page_bytes});
        order.push_back(table.find(Iova{page * page_bytes}));
        table.put_to_rest(order.back());
    }
    table.wake(order[2]);
    table.wake(order[0]);
    table.put_to_rest(order[0]);
    for (const std::size_t next : {1u, 3u, 4u, 0u}) {
        ASSERT_EQ(table.oldest_idle(), order[next]);
        table.wake(order[next]);
    }
    EXPECT_EQ(table.oldest_idle(), MappedPages::none);
    EXPECT_EQ(table.idle(), 0u);
    table.tear_down(machine.platform);
}

}  // namespace
}  // namespace dmatoll::test
