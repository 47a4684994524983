// SPDX-License-Identifier: BSD-2-Clause
// The IOVA allocators: never 0, never reserved, never overlapping, never beyond the width, and an end to it. What holds for
// all is asked of all, through the choice that the drivers make, too.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <map>
#include <mutex>
#include <random>
#include <set>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "machine.hpp"

namespace dmatoll::test {
namespace {

using Kind = IovaAllocatorKind;

constexpr std::uint64_t gigabyte = std::uint64_t{1} << 30;

// The allocator takes its bookkeeping from a platform; what the machine's own allocator does is not looked
// at.
class AllocatorTest : public testing::Test {
  protected:
    ~AllocatorTest() override {
        allocator.tear_down(machine.platform);
        EXPECT_EQ(machine.platform.tables_out(), machine.tables_at_start);
        EXPECT_EQ(machine.platform.misuses(), 0u);
    }
    Status set_up(std::vector<IovaRange> ranges, std::vector<IovaRange> reserved, std::uint32_t bits,
                  std::uint32_t capacity = 1024) {
        return allocator.set_up(machine.platform, ranges, reserved, bits, capacity,
                                {.kind = kind, .cpus = cpus});
    }
    Result<Iova> allocate(std::uint64_t pages, Direction direction = Direction::to_device) {
        return allocator.allocate(pages, direction, cpu);
    }
    void free(Iova iova, std::uint64_t pages) { allocator.free(iova, pages, cpu); }
    // Page numbers of single pages, until there are no more.
    std::vector<std::uint64_t> all_pages() {
        std::vector<std::uint64_t> pages;
        Result<Iova> iova = allocate(1);
        for (; iova.ok(); iova = allocate(1)) pages.push_back(iova.value().value / page_bytes);
        EXPECT_EQ(iova.error(), Error::no_iova_space);
        return pages;
    }
    std::set<std::uint64_t> all_pages_sorted() {
        const std::vector<std::uint64_t> pages = all_pages();
        std::set<std::uint64_t> sorted{pages.begin(), pages.end()};
        EXPECT_EQ(sorted.size(), pages.size()) << "a page was handed out twice";
        return sorted;
    }
    // The page numbers from first to last, added to others.
    static std::set<std::uint64_t> pages_of(std::uint64_t first, std::uint64_t last,
                                            std::set<std::uint64_t> others = {}) {
        for (std::uint64_t page = first;; ++page) {
            others.insert(page);
            if (page == last) return others;
        }
    }

    Kind kind = Kind::size_classes;
    const std::uint32_t cpus = model::SoftwareIommu::most_cpus;
    const std::uint32_t cpu = model::SoftwareIommu::cpu();  // as a domain calls it from this thread
    Machine machine;
    IovaAllocator allocator;
};

// Identity hands out nothing, and Linux's is inside of Linux.
const auto every_kind = testing::Values(Kind::size_classes, Kind::tree, Kind::tree_linear, Kind::eiovar,
                                        Kind::magazines, Kind::contiguous);

std::string name_of_kind(Kind kind) {
    for (const IovaAllocatorEntry& entry : iova_allocators::catalogue) {
        if (entry.kind != kind) continue;
        std::string name = entry.name;
        std::replace(name.begin(), name.end(), '-', '_');
        return name;
    }
    return "unknown";
}

class EveryAllocator : public AllocatorTest, public testing::WithParamInterface<Kind> {
  protected:
    EveryAllocator() { kind = GetParam(); }
};
INSTANTIATE_TEST_SUITE_P(Kinds, EveryAllocator, every_kind,
                         [](const auto& chosen) { return name_of_kind(chosen.param); });

class AllocatorProperty : public AllocatorTest,
                          public testing::WithParamInterface<std::tuple<Kind, std::uint32_t>> {
  protected:
    AllocatorProperty() { kind = std::get<0>(GetParam()); }
};
INSTANTIATE_TEST_SUITE_P(KindsAndSeeds, AllocatorProperty,
                         testing::Combine(every_kind, testing::Values(1u, 2u, 20u, 1234u, 987654u)),
                         [](const auto& chosen) {
                             return name_of_kind(std::get<0>(chosen.param)) + "_" +
                                    std::to_string(std::get<1>(chosen.param));
                         });

TEST_P(AllocatorProperty, RandomSizesNeverCollide) {
    const std::vector<IovaRange> reserved{
        {0xfee0'0000, 0xfeef'ffff}, {0x10'0000, 0x10'0fff}, {0x4000'0000, 0x7fff'ffff}};
    constexpr std::uint64_t limit = std::uint64_t{1} << 33;
    ASSERT_TRUE(set_up({{0, ~std::uint64_t{0}}}, reserved, 33, 4096).ok());
    std::mt19937 random{std::get<1>(GetParam())};
    std::map<std::uint64_t, std::uint64_t> out;  // start -> pages
    std::uint64_t allocations = 0;
    for (int step = 0; step < 20'000; ++step) {
        if (out.empty() || random() % 5 < 3) {
            const std::uint64_t pages = random() % 8 == 0 ? 1 + random() % 600 : 1 + random() % 17;
            const auto direction = static_cast<Direction>(random() % 3);
            const Result<Iova> iova = allocate(pages, direction);
            if (!iova.ok()) {
                EXPECT_EQ(iova.error(), Error::no_iova_space);
                continue;
            }
            ++allocations;
            const std::uint64_t start = iova.value().value;
            const std::uint64_t end = start + pages * page_bytes;
            ASSERT_NE(start, 0u);
            if (kind == Kind::contiguous && pages <= iova::Contiguous::block_pages) {
                ASSERT_EQ(start % page_bytes, 0u);
            } else {
                ASSERT_EQ(start % (page_bytes * std::bit_ceil(pages)), 0u) << "aligned to its own size";
            }
            ASSERT_LE(end, limit);
            for (const IovaRange& hole : reserved) {
                ASSERT_TRUE(end <= hole.first || start > hole.last) << "in a reserved range";
            }
            const auto above = out.lower_bound(start);
            ASSERT_TRUE(above == out.end() || end <= above->first) << "overlaps its upper neighbour";
            if (above != out.begin()) {
                const auto below = std::prev(above);
                ASSERT_LE(below->first + below->second * page_bytes, start) << "overlaps its lower neighbour";
            }
            out[start] = pages;
        } else {
            auto victim = out.begin();
            std::advance(victim, random() % out.size());
            free(Iova{victim->first}, victim->second);
            out.erase(victim);
        }
    }
    EXPECT_GT(allocations, 4'000u);
}

TEST_P(EveryAllocator, PageZeroIsLeftOut) {
    ASSERT_TRUE(set_up({{0, 256 * page_bytes - 1}}, {}, 39).ok());
    EXPECT_EQ(all_pages_sorted(), pages_of(1, 255));
}

TEST_P(EveryAllocator, ExhaustionIsAnErrorAndFreeingEndsIt) {
    ASSERT_TRUE(set_up({{page_bytes, 257 * page_bytes - 1}}, {}, 39).ok());
    const std::vector<std::uint64_t> taken = all_pages();
    EXPECT_EQ(taken.size(), 256u);
    // One that is in no block of `contiguous`, whose pages come back together.
    const Iova freed{taken[254] * page_bytes};
    free(freed, 1);
    const Result<Iova> again = allocate(1);
    ASSERT_TRUE(again.ok());
    EXPECT_EQ(again.value(), freed);
    EXPECT_EQ(allocate(1).error(), Error::no_iova_space);
}

TEST_P(EveryAllocator, WhatComesBackIsAllThereAgain) {
    ASSERT_TRUE(set_up({{0, 4096 * page_bytes - 1}}, {{1000 * page_bytes, 1001 * page_bytes - 1}}, 39, 8192).ok());
    const std::set<std::uint64_t> first = all_pages_sorted();
    EXPECT_EQ(first.size(), 4094u);
    for (int round = 0; round < 3; ++round) {
        for (const std::uint64_t page : first) free(Iova{page * page_bytes}, 1);
        EXPECT_EQ(all_pages_sorted(), first);
    }
}

TEST_P(EveryAllocator, RoundsOfMixedSizesNeverUseTheSpaceUp) {
    ASSERT_TRUE(set_up({{0, 4096 * page_bytes - 1}}, {}, 39, 8192).ok());
    // Of each size few are out at a time, and a thousand times as many come and go as there is space.
    std::mt19937 random{7};
    std::vector<std::pair<Iova, std::uint64_t>> ring(64);
    for (std::uint32_t step = 0; step < 100'000; ++step) {
        auto& [iova, pages] = ring[step % ring.size()];
        if (pages != 0) free(iova, pages);
        pages = std::uint64_t{1} << random() % 4;
        const Result<Iova> found = allocate(pages);
        ASSERT_TRUE(found.ok()) << "at step " << step;
        iova = found.value();
    }
}

TEST_P(EveryAllocator, WidthCutsTheRange) {
    // 57 bits reported, 39 translated: what lies above is not handed out.
    const std::uint64_t first = (std::uint64_t{1} << 39) - 256 * page_bytes;
    ASSERT_TRUE(set_up({{first, (std::uint64_t{1} << 57) - 1}}, {}, 39).ok());
    EXPECT_EQ(all_pages_sorted(), pages_of(first / page_bytes, first / page_bytes + 255));
}

TEST_P(EveryAllocator, NothingUsableIsRefused) {
    EXPECT_EQ(set_up({{std::uint64_t{1} << 40, (std::uint64_t{1} << 41) - 1}}, {}, 39).error(),
              Error::invalid_argument);
    EXPECT_EQ(set_up({}, {}, 39).error(), Error::invalid_argument);
    EXPECT_EQ(set_up({{0, gigabyte - 1}}, {{0, gigabyte}}, 39).error(), Error::invalid_argument);
    EXPECT_EQ(set_up({{0, page_bytes - 1}}, {}, 39).error(), Error::invalid_argument);
    EXPECT_EQ(set_up({{0, gigabyte - 1}}, {}, 11).error(), Error::invalid_argument);
    EXPECT_EQ(set_up({{0, gigabyte - 1}}, {}, 65).error(), Error::invalid_argument);
    EXPECT_EQ(set_up({{0, gigabyte - 1}, {gigabyte / 2, 2 * gigabyte}}, {}, 39).error(),
              Error::invalid_argument)
        << "ranges overlap";
    EXPECT_EQ(set_up({{0, gigabyte - 1}}, {}, 39, 0).error(), Error::invalid_argument) << "no capacity";
}

TEST_P(EveryAllocator, TopOfSixtyFourBitsDoesNotWrap) {
    const std::uint64_t top = ~std::uint64_t{0} / page_bytes;
    ASSERT_TRUE(set_up({{~std::uint64_t{0} - 256 * page_bytes + 1, ~std::uint64_t{0}}}, {}, 64).ok());
    EXPECT_EQ(all_pages_sorted(), pages_of(top - 255, top));
}

TEST_P(EveryAllocator, ReservedRangesMayOverlapAndComeInAnyOrder) {
    ASSERT_TRUE(set_up({{0, 256 * page_bytes - 1}},
                       {{8 * page_bytes, 11 * page_bytes - 1},
                        {2 * page_bytes, 3 * page_bytes + 17},
                        {3 * page_bytes, 8 * page_bytes},
                        {12 * page_bytes + 5, 12 * page_bytes + 5}},
                       39)
                    .ok());
    EXPECT_EQ(all_pages_sorted(), pages_of(13, 255, {1, 11}));
}

TEST_P(EveryAllocator, RangesMayAdjoinAndComeInAnyOrder) {
    ASSERT_TRUE(set_up({{8 * page_bytes, 200 * page_bytes - 1},
                        {2 * page_bytes, 3 * page_bytes - 1},
                        {6 * page_bytes, 8 * page_bytes - 1}},
                       {}, 39)
                    .ok());
    EXPECT_EQ(all_pages_sorted(), pages_of(6, 199, {2}));
}

TEST_P(EveryAllocator, AGigabyteIsOneRange) {
    ASSERT_TRUE(set_up({{0, 8 * gigabyte - 1}}, {}, 39).ok());
    const Result<Iova> whole = allocate(gigabyte / page_bytes);
    ASSERT_TRUE(whole.ok());
    EXPECT_EQ(whole.value().value % gigabyte, 0u);
    EXPECT_EQ(allocate(8 * gigabyte / page_bytes).error(), Error::no_iova_space);
    EXPECT_EQ(allocate(~std::uint64_t{0} / page_bytes).error(), Error::no_iova_space);
}

TEST_P(EveryAllocator, WithoutBookkeepingThereIsNothing) {
    // Each of its tables once.
    std::uint64_t tables = 0;
    for (;; ++tables) {
        ASSERT_LT(tables, 8u);
        machine.platform.refuse_allocation(tables);
        const Status refused = set_up({{0, gigabyte - 1}}, {}, 39);
        if (refused.ok()) break;
        EXPECT_EQ(refused.error(), Error::no_memory);
        EXPECT_EQ(machine.platform.tables_out(), machine.tables_at_start);
        EXPECT_FALSE(allocate(1).ok());
    }
    EXPECT_GE(tables, 1u);
    EXPECT_TRUE(allocate(1).ok());
    EXPECT_EQ(set_up({{0, gigabyte - 1}}, {}, 39).error(), Error::invalid_argument) << "set up twice";
}

// The blocks of `contiguous` take no account of single ranges; `magazines` has more, for what lies in them.
TEST_P(EveryAllocator, CapacityBoundsTheRangesThatExist) {
    if (kind == Kind::contiguous) GTEST_SKIP() << "bounded by its blocks";
    if (kind == Kind::magazines) GTEST_SKIP() << "bounded by its magazines, too";
    ASSERT_TRUE(set_up({{0, gigabyte - 1}}, {}, 39, 3).ok());
    const Iova first = allocate(1).value();
    EXPECT_TRUE(allocate(1).ok());
    EXPECT_TRUE(allocate(1).ok());
    EXPECT_EQ(allocate(1).error(), Error::no_iova_space);
    free(first, 1);
    EXPECT_TRUE(allocate(1).ok());
}

// Buffers through a domain, in a strategy's way: what is mapped is what was asked for, and nothing is left.
TEST_P(EveryAllocator, ADomainMapsAndUnmapsByIt) {
    ASSERT_TRUE(set_up({{0, gigabyte - 1}}, {{0xfee0'0000, 0xfeef'ffff}}, 39, 4096).ok());
    model::SoftwareIommu iommu{machine.memory};
    ModelDomain domain{iommu, allocator};
    DeferredMapper mapper{domain, machine.platform, machine.alarm};
    ASSERT_TRUE(mapper.set_up({.entries = 32}).ok());
    const Memory memory = machine.memory.allocate_pages(64);
    std::mt19937 random{3};
    std::vector<std::pair<Iova, std::uint32_t>> out;
    for (int step = 0; step < 2'000; ++step) {
        if (out.size() < 40) {
            const std::uint32_t length = 1 + random() % (5 * page_bytes);
            const Memory buffer = memory + random() % (50 * page_bytes);
            const Result<Iova> iova = mapper.map(buffer, length, Direction::from_device);
            ASSERT_TRUE(iova.ok());
            const std::vector<std::byte> mark(length, static_cast<std::byte>(step));
            ASSERT_TRUE(iommu.write(iova.value(), mark));
            ASSERT_EQ(std::memcmp(machine.at(buffer, length), mark.data(), length), 0);
            out.emplace_back(iova.value(), length);
        } else {
            std::swap(out[random() % out.size()], out.back());
            mapper.unmap(out.back().first, out.back().second, Direction::from_device, 0);
            out.pop_back();
        }
    }
    for (const auto& [iova, length] : out) mapper.unmap(iova, length, Direction::from_device, 0);
    mapper.release_all();
    EXPECT_EQ(iommu.mapped_pages(), 0u);
    EXPECT_EQ(domain.live(), 0u);
    EXPECT_EQ(domain.quarantined(), 0u);
    EXPECT_GT(domain.counters().maps, 1'000u);
}

TEST_P(EveryAllocator, ARefusedMappingGivesItsRangeBack) {
    ASSERT_TRUE(set_up({{0, 256 * page_bytes - 1}}, {}, 39).ok());
    model::SoftwareIommu iommu{machine.memory};
    ModelDomain domain{iommu, allocator};
    const Memory memory = machine.memory.allocate_pages(4);
    // As many as a block of `contiguous` has, which then begins anew.
    for (std::uint64_t i = 0; i < iova::Contiguous::block_pages; ++i) {
        iommu.refuse_maps(0);
        EXPECT_EQ(domain.map_pages(memory, page_bytes, Direction::to_device).error(), Error::mapping_failed);
    }
    EXPECT_EQ(domain.live(), 0u);
    EXPECT_EQ(domain.counters().failures, iova::Contiguous::block_pages);
    EXPECT_EQ(all_pages_sorted(), pages_of(1, 255));
}

// What Domain::reserve() promises, whatever was handed out before.
TEST_P(EveryAllocator, SixtyFourPagesAreAligned) {
    ASSERT_TRUE(set_up({{page_bytes, gigabyte - 1}}, {{100 * page_bytes, 101 * page_bytes - 1}}, 39).ok());
    for (const std::uint64_t pages : {1u, 3u, 33u, 63u, 65u, 100u}) {
        ASSERT_TRUE(allocate(pages, Direction::bidirectional).ok());
        const Result<Iova> block = allocate(64, Direction::bidirectional);
        ASSERT_TRUE(block.ok());
        EXPECT_EQ(block.value().value % (64 * page_bytes), 0u) << "after " << pages;
        if (pages % 2 == 1) free(block.value(), 64);
    }
}

// Buffers that one CPU maps and another unmaps, as frames are that are transmitted on one and reclaimed on another: each
// thread puts what it maps into a pool of its own, and unmaps what its neighbour has put into another.
class MovedBetweenCpus : public AllocatorTest, public testing::WithParamInterface<Kind> {
  protected:
    MovedBetweenCpus() {
        kind = GetParam();
        EXPECT_TRUE(set_up({{0, 4096 * page_bytes - 1}}, {}, 39, 4096).ok());
        for (std::uint64_t page = 0; page < page_count; ++page) {
            *machine.at(pages + page * page_bytes) = static_cast<std::byte>(page);
        }
    }

    struct Use {
        Iova iova;  // 0: could not be mapped
        std::uint64_t page;
    };
    struct Pool {
        std::mutex mutex;
        std::vector<Use> uses;
    };

    template <class M>
    void exchange(M& mapper) {
        constexpr std::uint32_t rounds = 5'000;
        std::array<Pool, 4> pools;
        std::atomic<std::uint64_t> refused = 0;
        std::atomic<std::uint64_t> strayed = 0;
        const auto map_into = [&](Pool& pool, std::mt19937& random) {
            const std::scoped_lock guard{pool.mutex};
            if (pool.uses.size() == 100) return false;
            const std::uint64_t page = random() % page_count;
            const Result<Iova> iova = mapper.map(pages + page * page_bytes, page_bytes, Direction::to_device);
            pool.uses.push_back({iova.ok() ? iova.value() : Iova{}, page});
            return true;
        };
        const auto unmap_from = [&](Pool& pool, std::mt19937& random) {
            Use use{};
            {
                const std::scoped_lock guard{pool.mutex};
                if (pool.uses.empty()) return false;
                std::swap(pool.uses[random() % pool.uses.size()], pool.uses.back());
                use = pool.uses.back();
                pool.uses.pop_back();
            }
            if (use.iova == Iova{}) {
                ++refused;
                return true;
            }
            Bytes read(1);
            if (!iommu.read(use.iova, read) || read[0] != static_cast<std::byte>(use.page)) ++strayed;
            mapper.unmap(use.iova, page_bytes, Direction::to_device, 0);
            return true;
        };
        std::vector<std::thread> threads;
        for (std::uint32_t i = 0; i < pools.size(); ++i) {
            threads.emplace_back([&, i] {
                std::mt19937 random{i};
                std::uint32_t mapped = 0;
                std::uint32_t unmapped = 0;
                while (mapped < rounds || unmapped < rounds) {
                    const bool maps = mapped < rounds && map_into(pools[i], random);
                    const bool unmaps = unmap_from(pools[(i + 1) % pools.size()], random);
                    mapped += maps ? 1 : 0;
                    unmapped += unmaps ? 1 : 0;
                    if (!maps && !unmaps) std::this_thread::yield();
                }
            });
        }
        for (std::thread& thread : threads) thread.join();
        mapper.release_all();
        EXPECT_EQ(strayed.load(), 0u) << "an IOVA led to another's page, or nowhere";
        EXPECT_EQ(refused.load(), 0u) << "ranges were lost, or handed out twice";
        const MappingCounters counters = domain.counters();
        EXPECT_EQ(counters.maps, pools.size() * rounds);
        EXPECT_EQ(counters.unmaps, counters.maps);
        EXPECT_EQ(counters.failures, 0u);
        EXPECT_EQ(domain.live(), 0u);
        EXPECT_EQ(domain.quarantined(), 0u);
        EXPECT_EQ(iommu.mapped_pages(), 0u);
        EXPECT_TRUE(iommu.stale_accesses().empty()) << "used again ahead of its invalidation";
    }

    static constexpr std::uint64_t page_count = 251;
    model::SoftwareIommu iommu{machine.memory};
    ModelDomain domain{iommu, allocator};
    Memory pages = machine.memory.allocate_pages(page_count);
};
INSTANTIATE_TEST_SUITE_P(Kinds, MovedBetweenCpus, testing::Values(Kind::size_classes, Kind::magazines),
                         [](const auto& chosen) { return name_of_kind(chosen.param); });

TEST_P(MovedBetweenCpus, UnderStrict) {
    StrictMapper mapper{domain};
    exchange(mapper);
}

TEST_P(MovedBetweenCpus, UnderDeferred) {
    DeferredMapper mapper{domain, machine.platform, machine.alarm};
    ASSERT_TRUE(mapper.set_up({.entries = 32}).ok());
    exchange(mapper);
}

// Strategy contiguous lays its IOVAs out itself, in blocks of 64 pages that it takes from the domain.
TEST_P(EveryAllocator, AStrategyTakesBlocksFromItAndGivesThemBack) {
    ASSERT_TRUE(set_up({{0, 4096 * page_bytes - 1}}, {{0, 9 * page_bytes - 1}}, 39, 4096).ok());
    // In the domain's direction: an allocator may keep a block open for each.
    const auto blocks = [this] {
        std::vector<Iova> taken;
        const auto next = [this] { return allocate(64, Direction::bidirectional); };
        for (Result<Iova> iova = next(); iova.ok(); iova = next()) taken.push_back(iova.value());
        for (const Iova iova : taken) free(iova, 64);
        return taken.size();
    };
    const std::size_t all = blocks();
    EXPECT_GE(all, 60u);
    model::SoftwareIommu iommu{machine.memory};
    ModelDomain domain{iommu, allocator};
    Contiguous<ModelDomain, ModelPlatform, ModelAlarm> mapper{domain, machine.platform, machine.alarm};
    const Memory memory = machine.memory.allocate_pages(64);
    std::mt19937 random{11};
    std::vector<std::pair<Iova, std::uint32_t>> out;
    for (int round = 0; round < 3; ++round) {
        ASSERT_TRUE(mapper.set_up(10).ok());
        for (int step = 0; step < 3'000; ++step) {
            if (out.size() < 60 && random() % 5 < 3) {
                const std::uint32_t length = 1 + random() % (3 * page_bytes);
                const Memory buffer = memory + random() % (50 * page_bytes);
                const Result<Iova> iova = mapper.map(buffer, length, Direction::to_device);
                ASSERT_TRUE(iova.ok()) << "at step " << step;
                ASSERT_TRUE(iommu.reachable(iova.value() + (length - 1), model::Access::read));
                out.emplace_back(iova.value(), length);
            } else if (!out.empty()) {
                std::swap(out[random() % out.size()], out.back());
                mapper.unmap(out.back().first, out.back().second, Direction::to_device, 0);
                out.pop_back();
            }
        }
        for (const auto& [iova, length] : out) mapper.unmap(iova, length, Direction::to_device, 0);
        out.clear();
        mapper.release_all();
        EXPECT_EQ(iommu.mapped_pages(), 0u);
        EXPECT_EQ(domain.live(), 0u);
        EXPECT_EQ(domain.quarantined(), 0u);
        EXPECT_EQ(blocks(), all);
    }
}

// ---- size classes ----

using SizeClassesTest = AllocatorTest;

TEST_F(SizeClassesTest, TheYoungestComesBackFirst) {
    ASSERT_TRUE(set_up({{0, gigabyte - 1}}, {}, 39).ok());
    const Iova first = allocate(3).value();
    const Iova second = allocate(3).value();
    free(first, 3);
    free(second, 3);
    EXPECT_EQ(allocate(4).value(), second) << "3 and 4 pages are of one class";
    EXPECT_EQ(allocate(3).value(), first);
    EXPECT_EQ(allocator.usual().carved(), 2u);
}

// ---- trees ----

class BothTrees : public AllocatorTest, public testing::WithParamInterface<Kind> {
  protected:
    BothTrees() { kind = GetParam(); }
};
INSTANTIATE_TEST_SUITE_P(Kinds, BothTrees, testing::Values(Kind::tree, Kind::tree_linear),
                         [](const auto& chosen) { return name_of_kind(chosen.param); });

// Against a page table of flags: where a range must lie is known for each step.
TEST_P(BothTrees, TheHighestGapOfAllOrBelowTheCachedRangeIsTaken) {
    constexpr std::uint64_t limit = 512;
    ASSERT_TRUE(set_up({{0, limit * page_bytes - 1}}, {{100 * page_bytes, 140 * page_bytes - 1}}, 39, 600).ok());
    std::vector<bool> taken(limit);
    taken[0] = true;
    std::fill(taken.begin() + 100, taken.begin() + 140, true);
    const auto highest = [&taken](std::uint64_t below, std::uint64_t pages) -> std::uint64_t {
        if (below < pages) return 0;
        for (std::uint64_t first = (below - pages) & ~(std::bit_ceil(pages) - 1);; first -= std::bit_ceil(pages)) {
            if (std::none_of(taken.begin() + static_cast<std::ptrdiff_t>(first),
                             taken.begin() + static_cast<std::ptrdiff_t>(first + pages), [](bool t) { return t; }))
                return first;
            if (first == 0) return 0;
        }
    };
    std::mt19937 random{11};
    std::map<std::uint64_t, std::uint64_t> out{{100, 40}, {0, 1}};
    std::uint64_t cached = limit;
    std::uint64_t refused = 0;
    for (int step = 0; step < 20'000; ++step) {
        if (random() % 100 < 52) {
            const std::uint64_t pages = 1 + random() % 9;
            std::uint64_t expected = 0;
            if (kind == Kind::tree_linear) expected = highest(cached, pages);
            if (expected == 0) expected = highest(limit, pages);
            const Result<Iova> iova = allocate(pages);
            ASSERT_EQ(iova.ok(), expected != 0) << "step " << step << ", " << pages << " pages";
            if (!iova.ok()) {
                ++refused;
                continue;
            }
            const std::uint64_t first = iova.value().value / page_bytes;
            ASSERT_EQ(first, expected) << "step " << step << ", " << pages << " pages";
            std::fill_n(taken.begin() + static_cast<std::ptrdiff_t>(first), pages, true);
            out[first] = pages;
            cached = first;
        } else if (out.size() > 2) {
            auto victim = out.begin();
            std::advance(victim, random() % out.size());
            const auto [first, pages] = *victim;
            if (first == 0 || first == 100) continue;
            free(Iova{first * page_bytes}, pages);
            std::fill_n(taken.begin() + static_cast<std::ptrdiff_t>(first), pages, false);
            const auto next = out.erase(victim);
            if (first >= cached) cached = next == out.end() ? limit : next->first;
        }
    }
    EXPECT_GT(refused, 100u) << "the space was never full";
}

TEST_P(BothTrees, WhatWasNeverHandedOutIsNotTakenBack) {
    ASSERT_TRUE(set_up({{0, 16 * page_bytes - 1}}, {}, 39).ok());
    const Iova first = allocate(2).value();
    free(first + page_bytes, 1);
    free(first + 100 * page_bytes, 1);
    EXPECT_EQ(all_pages_sorted().count(first.value / page_bytes + 1), 0u);
}

// The tree has nodes for both, as ranges that are out for good.
TEST_P(BothTrees, AHoleAndTheTopAreNobodysToGiveBack) {
    ASSERT_TRUE(set_up({{0, 16 * page_bytes - 1}}, {{4 * page_bytes, 6 * page_bytes - 1}}, 39).ok());
    free(Iova{0}, 1);
    free(Iova{4 * page_bytes}, 2);
    free(Iova{16 * page_bytes}, 1);
    EXPECT_EQ(all_pages_sorted(), pages_of(6, 15, {1, 2, 3}));
}

// ---- EiovaR ----

class EiovarTest : public AllocatorTest {
  protected:
    EiovarTest() { kind = Kind::eiovar; }
};

TEST_F(EiovarTest, ARangeComesBackForItsExactSizeOnlyUntilSpaceIsShort) {
    ASSERT_TRUE(set_up({{page_bytes, 13 * page_bytes - 1}}, {}, 39).ok());
    const Iova three = allocate(3).value();  // aligned to four pages: one page of those is left
    const Iova four = allocate(4).value();
    free(three, 3);
    free(four, 4);
    EXPECT_EQ(allocate(4).value(), four);
    EXPECT_EQ(allocate(3).value(), three);
    free(three, 3);
    // Five pages are free in the tree, and these three on their list.
    for (int i = 0; i < 5; ++i) {
        const Iova one = allocate(1).value();
        EXPECT_TRUE(one < three || one >= three + 3 * page_bytes);
    }
    const std::uint64_t first = three.value / page_bytes;
    EXPECT_EQ(all_pages_sorted(), (std::set<std::uint64_t>{first, first + 1, first + 2}));
}

// ---- magazines ----

class MagazinesTest : public AllocatorTest {
  protected:
    using Magazines = iova::Magazines<model::SoftwareIommu::Lock, iova::Tree<iova::Search::by_gap>>;
    MagazinesTest() { kind = Kind::magazines; }
    Result<Iova> allocate_on(std::uint32_t cpu) { return allocator.allocate(1, Direction::to_device, cpu); }
};

TEST_F(MagazinesTest, WhatACpuFreedItGetsBackFirstAndOthersByTheDepotOnly) {
    ASSERT_TRUE(set_up({{0, gigabyte - 1}}, {}, 39, 4096).ok());
    constexpr std::uint64_t count = 5 * Magazines::rounds;
    std::vector<Iova> ranges;
    for (std::uint64_t i = 0; i < count; ++i) ranges.push_back(allocate_on(0).value());
    const std::set<Iova> known{ranges.begin(), ranges.end()};
    for (const Iova& range : ranges) allocator.free(range, 1, 0);
    // Two magazines stay with CPU 0, three are in the depot.
    for (std::uint64_t i = 0; i < 3 * Magazines::rounds; ++i) {
        EXPECT_EQ(known.count(allocate_on(1).value()), 1u) << "from the depot, " << i;
    }
    EXPECT_EQ(known.count(allocate_on(1).value()), 0u) << "CPU 0's own";
    EXPECT_EQ(allocate_on(0).value(), ranges.back()) << "the youngest first";
    for (std::uint64_t i = 1; i < 2 * Magazines::rounds; ++i) {
        EXPECT_EQ(known.count(allocate_on(0).value()), 1u);
    }
    EXPECT_EQ(known.count(allocate_on(0).value()), 0u);
}

TEST_F(MagazinesTest, AFullDepotGivesToTheTree) {
    constexpr std::uint32_t count = (Magazines::depot_size + 10) * Magazines::rounds;
    // A magazine more than that are there: of the eight that neither the depot nor CPU 0 has room for, none may be lost.
    constexpr std::uint32_t pages = count + Magazines::rounds;
    ASSERT_TRUE(set_up({{page_bytes, (pages + 1) * page_bytes - 1}}, {}, 39, pages).ok());
    for (int round = 0; round < 3; ++round) {
        std::set<Iova> out;
        for (std::uint32_t i = 0; i < count; ++i) {
            const Result<Iova> range = allocate_on(i % 2);
            ASSERT_TRUE(range.ok()) << "lost, in round " << round;
            ASSERT_TRUE(out.insert(range.value()).second) << "handed out twice";
        }
        for (const Iova& range : out) allocator.free(range, 1, 0);
    }
    // Depot and magazines give to the tree, in which all is one gap again.
    EXPECT_TRUE(allocator.allocate(2048, Direction::to_device, 0).ok());
}

TEST_F(MagazinesTest, WhatOtherCpusKeepDoesNotCountAgainstTheCapacity) {
    constexpr std::uint32_t capacity = 2 * Magazines::rounds;
    ASSERT_TRUE(set_up({{0, gigabyte - 1}}, {}, 39, capacity).ok());
    for (std::uint32_t other = 1; other < cpus; ++other) {
        std::vector<Iova> ranges;
        for (std::uint32_t i = 0; i < capacity; ++i) ranges.push_back(allocate_on(other).value());
        for (const Iova& range : ranges) allocator.free(range, 1, other);
    }
    for (std::uint32_t i = 0; i < capacity; ++i) ASSERT_TRUE(allocate_on(0).ok()) << i;
}

TEST_F(MagazinesTest, ThreadsNeverHoldTheSamePage) {
    constexpr std::uint64_t pages = 2048;
    ASSERT_TRUE(set_up({{0, pages * page_bytes - 1}}, {}, 39, 4096).ok());
    model::SoftwareIommu iommu{machine.memory};
    ModelDomain domain{iommu, allocator};
    const Memory memory = machine.memory.allocate_pages(8);
    std::vector<std::atomic<int>> holders(pages);
    std::atomic<std::uint64_t> failed = 0;
    const auto work = [&](std::uint32_t seed) {
        std::mt19937 random{seed};
        std::vector<std::pair<Iova, std::uint64_t>> out;
        const auto hold = [&](Iova iova, std::uint64_t count, int change) {
            for (std::uint64_t i = 0; i < count; ++i) {
                const int before = holders[iova.value / page_bytes + i].fetch_add(change);
                ASSERT_EQ(before, change > 0 ? 0 : 1);
            }
        };
        for (int step = 0; step < 20'000; ++step) {
            if (out.size() < 150 && random() % 2 == 0) {
                const std::uint64_t count = random() % 20 == 0 ? 5 : 1;
                const Result<Iova> iova = domain.map_pages(memory, count * page_bytes, Direction::to_device);
                if (!iova.ok()) {
                    ++failed;
                    continue;
                }
                hold(iova.value(), count, 1);
                out.emplace_back(iova.value(), count);
            } else if (!out.empty()) {
                std::swap(out[random() % out.size()], out.back());
                hold(out.back().first, out.back().second, -1);
                ASSERT_TRUE(domain.unmap_pages(out.back().first, out.back().second * page_bytes).ok());
                out.pop_back();
            }
        }
        for (const auto& [iova, count] : out) {
            ASSERT_TRUE(domain.unmap_pages(iova, count * page_bytes).ok());
        }
    };
    std::vector<std::thread> threads;
    for (std::uint32_t i = 0; i < 4; ++i) threads.emplace_back(work, i);
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(domain.live(), 0u) << "an increment was lost";
    EXPECT_EQ(domain.counters().failures, failed.load());
    EXPECT_EQ(iommu.mapped_pages(), 0u);
}

// ---- contiguous ----

class ContiguousIovasTest : public AllocatorTest {
  protected:
    static constexpr std::uint64_t block = iova::Contiguous::block_pages;
    ContiguousIovasTest() { kind = Kind::contiguous; }
};

TEST_F(ContiguousIovasTest, EachDirectionCarvesItsBlockInSequence) {
    ASSERT_TRUE(set_up({{0, gigabyte - 1}}, {}, 39).ok());
    const Iova received = allocate(1, Direction::from_device).value();
    const Iova sent = allocate(1, Direction::to_device).value();
    EXPECT_NE(received.value / page_bytes / block, sent.value / page_bytes / block) << "of one block";
    std::uint64_t used = 1;
    for (const std::uint64_t pages : {1u, 3u, 1u, 16u}) {
        EXPECT_EQ(allocate(pages, Direction::from_device).value(), received + used * page_bytes);
        EXPECT_EQ(allocate(pages, Direction::to_device).value(), sent + used * page_bytes);
        used += pages;
    }
}

TEST_F(ContiguousIovasTest, ABlockIsUsedAgainWhenAllOfItIsBack) {
    ASSERT_TRUE(set_up({{0, 4 * block * page_bytes - 1}}, {}, 39).ok());
    std::vector<Iova> first;
    for (std::uint64_t i = 0; i < block; ++i) first.push_back(allocate(1).value());
    const Iova other = allocate(1).value();
    ASSERT_LT(other, first.front()) << "there is one block only: this is from behind";
    for (std::uint64_t i = 1; i < block; ++i) free(first[i], 1);
    EXPECT_EQ(all_pages_sorted().size(), 4 * block - 1 - block - 1) << "one page of the block is still out";
    free(first[0], 1);
    for (std::uint64_t i = 0; i < block; ++i) EXPECT_EQ(allocate(1).value(), first[i]);
}

TEST_F(ContiguousIovasTest, ASpaceThatHasNoRoomForABlockIsRefused) {
    EXPECT_EQ(set_up({{0, 2 * block * page_bytes - 1}}, {}, 39).error(), Error::invalid_argument)
        << "half of it is less than a block";
    std::vector<IovaRange> pieces;
    for (std::uint64_t i = 1; i <= 16; ++i) {
        pieces.push_back({i * block * page_bytes, (i * block + block - 1) * page_bytes - 1});
    }
    EXPECT_EQ(set_up(pieces, {}, 39).error(), Error::invalid_argument) << "no piece is as long";
    EXPECT_EQ(machine.platform.tables_out(), machine.tables_at_start);
    EXPECT_TRUE(set_up({{0, 3 * block * page_bytes - 1}}, {}, 39).ok());
}

// ---- identity ----

class IdentityTest : public testing::Test {
  protected:
    static constexpr std::uint64_t quarter = std::uint64_t{1} << 37;

    IdentityTest() {
        const IovaRange range{0, ~std::uint64_t{0}};
        const IovaRange reserved{0xfee0'0000, 0xfeef'ffff};
        EXPECT_TRUE(allocator
                        .set_up(machine.platform, {&range, 1}, {&reserved, 1}, 39, 1,
                                {.kind = Kind::identity,
                                 .last = Memory{machine.memory.bytes() - 1},
                                 .clears_without_invalidating = model::SoftwareIommu::clears_without_invalidating})
                        .ok());
    }
    ~IdentityTest() override {
        EXPECT_EQ(iommu.mapped_pages(), 0u);
        EXPECT_EQ(domain.live(), domain.quarantined());
        allocator.tear_down(machine.platform);
        EXPECT_EQ(machine.platform.tables_out(), machine.tables_at_start);
        EXPECT_EQ(machine.platform.misuses(), 0u);
    }

    Machine machine;
    IovaAllocator allocator;
    model::SoftwareIommu iommu{machine.memory};
    ModelDomain domain{iommu, allocator};
    Memory pages = machine.memory.allocate_pages(8);
};

TEST_F(IdentityTest, APageHasItsAddressAndTheDirectionAboveIt) {
    StrictMapper mapper{domain};
    const Iova both = mapper.map(pages + 5, 100, Direction::bidirectional).value();
    const Iova sent = mapper.map(pages + 5, 100, Direction::to_device).value();
    const Iova received = mapper.map(pages + 5, 100, Direction::from_device).value();
    EXPECT_EQ(both.value, pages.address + 5);
    EXPECT_EQ(sent.value, pages.address + 5 + quarter);
    EXPECT_EQ(received.value, pages.address + 5 + 2 * quarter);
    EXPECT_FALSE(iommu.reachable(sent, model::Access::write)) << "what may be read is not writable";
    EXPECT_FALSE(iommu.reachable(received, model::Access::read));
    mapper.unmap(both, 100, Direction::bidirectional, 0);
    mapper.unmap(sent, 100, Direction::to_device, 0);
    mapper.unmap(received, 100, Direction::from_device, 0);
}

TEST_F(IdentityTest, ASharedPageIsMappedOnceAndGoesWithItsLastUser) {
    StrictMapper mapper{domain};
    const std::uint64_t before = iommu.counts().maps;
    // Pages 0 to 2, and 2 to 3.
    const Iova first = mapper.map(pages, 2 * page_bytes + 10, Direction::to_device).value();
    const Iova second = mapper.map(pages + (2 * page_bytes + 10), page_bytes, Direction::to_device).value();
    EXPECT_EQ(second, first + (2 * page_bytes + 10));
    EXPECT_EQ(iommu.counts().maps - before, 4u);
    mapper.unmap(first, 2 * page_bytes + 10, Direction::to_device, 0);
    EXPECT_FALSE(iommu.reachable(first, model::Access::read));
    EXPECT_TRUE(iommu.reachable(first + 2 * page_bytes, model::Access::read)) << "the second buffer's, too";
    mapper.unmap(second, page_bytes, Direction::to_device, 0);
    EXPECT_FALSE(iommu.reachable(first + 2 * page_bytes, model::Access::read));
    EXPECT_EQ(mapper.counters().maps, 2u);
    EXPECT_EQ(mapper.counters().unmaps, 2u);
}

TEST_F(IdentityTest, ARefusedPageTakesTheOthersBack) {
    StrictMapper mapper{domain};
    const Iova held = mapper.map(pages, page_bytes, Direction::to_device).value();
    iommu.refuse_maps(1);
    EXPECT_EQ(mapper.map(pages, 4 * page_bytes, Direction::to_device).error(), Error::mapping_failed);
    EXPECT_EQ(iommu.mapped_pages(), 1u);
    EXPECT_TRUE(iommu.reachable(held, model::Access::read));
    EXPECT_EQ(mapper.counters().failures, 1u);
    mapper.unmap(held, page_bytes, Direction::to_device, 0);
}

TEST_F(IdentityTest, WhatIsNoMemoryIsRefused) {
    EXPECT_EQ(domain.map_pages(Memory{machine.memory.bytes()}, page_bytes, Direction::to_device).error(),
              Error::mapping_failed);
    EXPECT_EQ(domain.map_pages(Memory{machine.memory.bytes() - page_bytes}, 2 * page_bytes, Direction::to_device)
                  .error(),
              Error::mapping_failed);
    EXPECT_EQ(domain.map_pages(Memory{0}, page_bytes, Direction::bidirectional).error(), Error::mapping_failed)
        << "IOVA 0";
    EXPECT_EQ(domain.map_pages(Memory{~std::uint64_t{0} - page_bytes + 1}, page_bytes, Direction::to_device).error(),
              Error::mapping_failed);
    const Segment segment{pages, 100};
    EXPECT_EQ(domain.map_list({&segment, 1}, Direction::to_device).error(), Error::not_supported);
}

TEST_F(IdentityTest, DeferredUnmappingsMayBeMappedAgainBeforeTheirFlush) {
    DeferredMapper mapper{domain, machine.platform, machine.alarm};
    ASSERT_TRUE(mapper.set_up({.entries = 4}).ok());
    std::mt19937 random{5};
    std::vector<std::uint64_t> out;
    for (int step = 0; step < 1'000; ++step) {
        if (out.size() < 6 && random() % 2 == 0) {
            const std::uint64_t page = random() % 8;
            const Iova iova = mapper.map(pages + page * page_bytes, 64, Direction::from_device).value();
            EXPECT_EQ(iova.value, pages.address + page * page_bytes + 2 * quarter);
            EXPECT_TRUE(iommu.write(iova, Bytes(64, std::byte{1})));
            out.push_back(page);
        } else if (!out.empty()) {
            mapper.unmap(Iova{pages.address + out.back() * page_bytes + 2 * quarter}, 64, Direction::from_device, 0);
            out.pop_back();
        }
    }
    for (const std::uint64_t page : out) {
        mapper.unmap(Iova{pages.address + page * page_bytes + 2 * quarter}, 64, Direction::from_device, 0);
    }
    mapper.release_all();
    EXPECT_EQ(iommu.faults().size(), 0u);
    EXPECT_EQ(iommu.mapped_pages(), 0u);
}

TEST_F(IdentityTest, APageWhoseUnmappingIsRefusedIsNeverMappedAgain) {
    StrictMapper mapper{domain};
    const Iova lost = mapper.map(pages + page_bytes, 2 * page_bytes, Direction::to_device).value();
    iommu.refuse_unmaps(0);
    mapper.unmap(lost, 2 * page_bytes, Direction::to_device, 0);
    EXPECT_EQ(domain.quarantined(), 1u);
    // Not for want of room in the page table, from which the test takes them.
    ASSERT_TRUE(iommu.unmap(lost, page_bytes, Invalidate::now).ok());
    ASSERT_TRUE(iommu.unmap(lost + page_bytes, page_bytes, Invalidate::now).ok());
    for (int i = 0; i < 3; ++i) {
        EXPECT_EQ(mapper.map(pages + page_bytes, page_bytes, Direction::to_device).error(), Error::mapping_failed);
        EXPECT_EQ(mapper.map(pages, 4 * page_bytes, Direction::to_device).error(), Error::mapping_failed);
        EXPECT_EQ(iommu.mapped_pages(), 0u) << "the pages around them are taken back";
        // Once more, by a driver that is mistaken.
        EXPECT_EQ(allocator.identity().unmap(iommu, lost, 2, Invalidate::now).value(), 0u);
    }
    // The pages around them, and the same in the other direction, are as they were.
    for (const auto& [page, direction] : {std::pair{0u, Direction::to_device}, std::pair{3u, Direction::to_device},
                                          std::pair{1u, Direction::from_device}}) {
        const Result<Iova> iova = mapper.map(pages + page * page_bytes, page_bytes, direction);
        ASSERT_TRUE(iova.ok()) << page;
        mapper.unmap(iova.value(), page_bytes, direction, 0);
    }
}

TEST_F(IdentityTest, APageWhoseInvalidationTimesOutIsNeverMappedAgain) {
    StrictMapper mapper{domain};
    const Iova lost = mapper.map(pages, page_bytes, Direction::to_device).value();
    Bytes bytes(8);
    ASSERT_TRUE(iommu.read(lost, bytes));
    iommu.time_out_invalidations(0);
    mapper.unmap(lost, page_bytes, Direction::to_device, 0);
    EXPECT_EQ(iommu.mapped_pages(), 0u);
    EXPECT_TRUE(iommu.reachable(lost, model::Access::read)) << "by the IOTLB";
    EXPECT_EQ(domain.quarantined(), 1u);
    EXPECT_EQ(mapper.map(pages, page_bytes, Direction::to_device).error(), Error::mapping_failed);
}

TEST_F(IdentityTest, APageThatCouldNotBeTakenBackIsLost) {
    StrictMapper mapper{domain};
    iommu.refuse_maps(1);
    iommu.refuse_unmaps(0);
    EXPECT_EQ(mapper.map(pages, 2 * page_bytes, Direction::to_device).error(), Error::mapping_failed);
    EXPECT_EQ(domain.quarantined(), 1u);
    EXPECT_EQ(mapper.counters().failures, 1u);
    const Iova lost{pages.address + quarter};
    ASSERT_TRUE(iommu.unmap(lost, page_bytes, Invalidate::now).ok());
    EXPECT_EQ(mapper.map(pages, page_bytes, Direction::to_device).error(), Error::mapping_failed);
}

TEST_F(IdentityTest, WhatAFlushThatTimedOutWasForIsLostButWhatHasBeenMappedSince) {
    DeferredMapper mapper{domain, machine.platform, machine.alarm};
    ASSERT_TRUE(mapper.set_up({.entries = 3}).ok());
    const auto map = [&](std::uint64_t page) {
        return mapper.map(pages + page * page_bytes, page_bytes, Direction::from_device);
    };
    const auto unmap = [&](Iova iova) { mapper.unmap(iova, page_bytes, Direction::from_device, 0); };
    std::vector<Iova> iovas;
    for (std::uint64_t page = 0; page < 3; ++page) iovas.push_back(map(page).value());
    unmap(iovas[0]);
    ASSERT_TRUE(map(0).ok());
    unmap(iovas[1]);
    iommu.time_out_invalidations(0);
    unmap(iovas[2]);
    EXPECT_EQ(domain.quarantined(), 3u);
    EXPECT_EQ(map(1).error(), Error::mapping_failed);
    EXPECT_EQ(map(2).error(), Error::mapping_failed);
    EXPECT_TRUE(iommu.reachable(iovas[0], model::Access::write));
    unmap(iovas[0]);
    mapper.release_all();
    EXPECT_FALSE(iommu.reachable(iovas[0], model::Access::write));
    ASSERT_TRUE(mapper.set_up({.entries = 3}).ok());
    ASSERT_TRUE(map(0).ok()) << "the flush that came about was for it, too";
    unmap(iovas[0]);
    mapper.release_all();
}

TEST_F(IdentityTest, WhatWasClearedBesideWhatWasRefusedIsLostToo) {
    DeferredMapper mapper{domain, machine.platform, machine.alarm};
    ASSERT_TRUE(mapper.set_up({.entries = 3}).ok());
    const auto map = [&](std::uint64_t page, std::uint64_t count) {
        return mapper.map(pages + page * page_bytes, count * page_bytes, Direction::from_device);
    };
    const Iova all = map(0, 3).value();
    const Iova middle = map(1, 1).value();
    iommu.refuse_unmaps(0, 1);  // of page 0; that of page 2 comes about
    mapper.unmap(all, 3 * page_bytes, Direction::from_device, 0);
    EXPECT_EQ(domain.quarantined(), 1u);
    EXPECT_EQ(map(0, 1).error(), Error::mapping_failed);
    EXPECT_EQ(map(2, 1).error(), Error::mapping_failed) << "its invalidation is in no queue";
    EXPECT_TRUE(iommu.reachable(middle, model::Access::write));
    mapper.unmap(middle, page_bytes, Direction::from_device, 0);
    mapper.release_all();
    ASSERT_TRUE(iommu.unmap(all, page_bytes, Invalidate::now).ok());
    ASSERT_TRUE(mapper.set_up({.entries = 3}).ok());
    const Result<Iova> again = map(1, 1);
    ASSERT_TRUE(again.ok());
    mapper.unmap(again.value(), page_bytes, Direction::from_device, 0);
    mapper.release_all();
}

TEST_F(IdentityTest, ABackendThatClearsOnlyByInvalidatingHasNoCounts) {
    IovaAllocator other;
    const IovaRange range{0, ~std::uint64_t{0}};
    EXPECT_EQ(other
                  .set_up(machine.platform, {&range, 1}, {}, 39, 1,
                          {.kind = Kind::identity, .last = Memory{machine.memory.bytes() - 1}})
                  .error(),
              Error::not_supported);
}

TEST_F(IdentityTest, MemoryBeyondAQuarterOfTheSpaceIsRefused) {
    IovaAllocator other;
    const IovaRange range{0, ~std::uint64_t{0}};
    const auto set_up = [&](std::uint64_t last) {
        return other
            .set_up(machine.platform, {&range, 1}, {}, 30, 1,
                    {.kind = Kind::identity, .last = Memory{last}, .clears_without_invalidating = true})
            .error();
    };
    EXPECT_EQ(set_up(gigabyte / 4), Error::invalid_argument);
    EXPECT_EQ(set_up(gigabyte / 4 - 1), Error::none);
    other.tear_down(machine.platform);
    machine.platform.refuse_allocation(0);
    EXPECT_EQ(set_up(gigabyte / 4 - 1), Error::no_memory);
}

// ---- the catalogue ----

TEST(IovaAllocatorCatalogue, EachIsThereOnceAndSaysWhereItIsNot) {
    std::set<std::string> names;
    std::set<Kind> kinds;
    for (const IovaAllocatorEntry& entry : iova_allocators::catalogue) {
        names.insert(entry.name);
        kinds.insert(entry.kind);
        EXPECT_EQ(iova_allocators::find(entry.name), &entry);
        EXPECT_EQ(iova_allocators::refusal(entry.kind, {.strategy = &strategies::strict}), nullptr) << entry.name;
        const bool kernel_only = entry.kind == Kind::identity || entry.kind == Kind::linux_own;
        EXPECT_EQ(iova_allocators::refusal(entry.kind, {.placement = Placement::user}) != nullptr, kernel_only)
            << entry.name;
        const bool stays = entry.kind == Kind::identity;
        EXPECT_EQ(iova_allocators::refusal(entry.kind, {.lists = true}) != nullptr, stays) << entry.name;
        EXPECT_EQ(iova_allocators::refusal(entry.kind, {.large_pages = true}) != nullptr, stays) << entry.name;
        for (const Strategy* strategy : {&strategies::passthrough, &strategies::contiguous}) {
            EXPECT_EQ(iova_allocators::refusal(entry.kind, {.strategy = strategy}) != nullptr, stays)
                << entry.name << " with " << strategy->name;
        }
    }
    EXPECT_EQ(names.size(), iova_allocators::catalogue.size());
    EXPECT_EQ(kinds.size(), iova_allocators::catalogue.size());
    EXPECT_EQ(iova_allocators::find(iova_allocators::default_name)->kind, IovaAllocator::usual_kind);
}

TEST(IovaAllocatorCatalogue, AFailureNamesItsCause) {
    const auto says = [](Error error, Kind kind, const Strategy& strategy, const char* word) {
        const std::string text = iova_allocators::failure(error, kind, {.strategy = &strategy});
        return text.find(word) != std::string::npos;
    };
    for (const IovaAllocatorEntry& entry : iova_allocators::catalogue) {
        EXPECT_TRUE(says(Error::no_memory, entry.kind, strategies::strict, "memory for the tables")) << entry.name;
        EXPECT_TRUE(says(Error::not_supported, entry.kind, strategies::strict, "does not work")) << entry.name;
        EXPECT_FALSE(says(Error::no_memory, entry.kind, strategies::passthrough, "leaves no")) << entry.name;
        const bool has_its_own = entry.kind == Kind::identity || entry.kind == Kind::contiguous;
        EXPECT_EQ(says(Error::invalid_argument, entry.kind, strategies::strict, entry.name), has_its_own)
            << entry.name;
        EXPECT_NE(says(Error::invalid_argument, entry.kind, strategies::strict, "leaves no"), has_its_own)
            << entry.name;
    }
    EXPECT_TRUE(says(Error::invalid_argument, Kind::size_classes, strategies::passthrough, "linux-identity"));
}

TEST(IovaAllocatorCatalogue, OutsideOfLinuxThereIsNoneOfLinux) {
    Machine machine;
    IovaAllocator allocator;
    const IovaRange range{0, gigabyte - 1};
    EXPECT_EQ(allocator.set_up(machine.platform, {&range, 1}, {}, 39, 1, {.kind = Kind::linux_own}).error(),
              Error::not_supported);
}

}  // namespace
}  // namespace dmatoll::test
