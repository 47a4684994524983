// SPDX-License-Identifier: BSD-2-Clause
// drivers/core: results, addresses, registers, rings, waiting, names.
#include <gtest/gtest.h>

#include <cstring>
#include <set>
#include <string>

#include "core/address.hpp"
#include "core/counter.hpp"
#include "core/counters.hpp"
#include "core/mac_address.hpp"
#include "core/register.hpp"
#include "core/result.hpp"
#include "core/ring.hpp"
#include "core/wait.hpp"
#include "machine.hpp"

namespace dmatoll::test {
namespace {

struct Example : Register<Example, 0x40, dmatoll::Access::read_write> {
    static constexpr Field flag = bit(31);
    static constexpr Field middle = bits(15, 4);
    static constexpr Field whole = bits(31, 0);
};

TEST(Register, FieldsKeepToThemselves) {
    Example value{};
    value.raw = 0xffff'ffff;
    value.set(Example::middle, 0x123);
    EXPECT_EQ(value.raw, 0xffff'123fu);
    EXPECT_EQ(value.get(Example::middle), 0x123u);
    EXPECT_TRUE(value.test(Example::flag));
    value.clear(Example::flag);
    EXPECT_EQ(value.raw, 0x7fff'123fu);
    EXPECT_FALSE(value.test(Example::flag));
}

TEST(Register, WhatDoesNotFitIsCutOff) {
    Example value{};
    value.set(Example::middle, 0xffff'f000);
    EXPECT_EQ(value.raw, 0u);
    value.set(Example::whole, 0xdead'beef);
    EXPECT_EQ(value.get(Example::whole), 0xdead'beefu);
}

// Only what the access mode says compiles.
template <class R>
concept Readable = requires(ModelPlatform& platform) {
    requires readable(R::access);
    read_register<R>(platform);
};
static_assert(Readable<Example>);
static_assert(!readable(dmatoll::Access::write_only) && !writable(dmatoll::Access::read_only) &&
              !writable(dmatoll::Access::read_clear) && writable(dmatoll::Access::write_one_to_set));

TEST(Ring, DistanceHoldsAcrossTheWrap) {
    EXPECT_EQ(ahead(5, 5), 0u);
    EXPECT_EQ(ahead(0, 0xffff'ffff), 1u);
    EXPECT_EQ(ahead(63, 0xffff'ffc0), 127u);
    const RingSize size{64};
    EXPECT_EQ(size.slot(0xffff'ffff), 63u);
    EXPECT_EQ(size.slot(0xffff'ffffu + 1u), 0u);
    EXPECT_EQ(size.slots(), 64u);
}

TEST(Ring, OnlyPowersOfTwoAreSizes) {
    EXPECT_TRUE(RingSize::valid(64, 64, 4096));
    EXPECT_TRUE(RingSize::valid(4096, 64, 4096));
    EXPECT_FALSE(RingSize::valid(32, 64, 4096));
    EXPECT_FALSE(RingSize::valid(8192, 64, 4096));
    EXPECT_FALSE(RingSize::valid(96, 64, 4096));
    EXPECT_FALSE(RingSize::valid(0, 0, 4096) && RingSize{0}.slots() == 0);
}

TEST(Result, IsAValueOrAnError) {
    const Result<Iova> value{Iova{0x1000}};
    EXPECT_TRUE(value.ok());
    EXPECT_EQ(value.error(), Error::none);
    EXPECT_EQ(value.value(), Iova{0x1000});
    const Result<Iova> error{Error::no_iova_space};
    EXPECT_FALSE(error.ok());
    EXPECT_EQ(error.error(), Error::no_iova_space);
    EXPECT_TRUE(Status{}.ok());
    EXPECT_EQ(Status{Error::timed_out}.error(), Error::timed_out);
}

TEST(Result, EveryErrorHasItsOwnWords) {
    std::set<std::string> words;
    for (int i = 0; i <= static_cast<int>(Error::not_supported); ++i)
        words.insert(describe(static_cast<Error>(i)));
    EXPECT_EQ(words.size(), static_cast<std::size_t>(Error::not_supported) + 1);
    EXPECT_FALSE(words.contains("unknown error"));
}

TEST(Address, PagesSpannedCountsPartialOnes) {
    EXPECT_EQ(pages_spanned(0, 1), 1u);
    EXPECT_EQ(pages_spanned(0, 4096), 1u);
    EXPECT_EQ(pages_spanned(4095, 1), 1u);
    EXPECT_EQ(pages_spanned(4095, 2), 2u);
    EXPECT_EQ(pages_spanned(1, 8192), 3u);
    EXPECT_EQ(page_floor(0x1fff), 0x1000u);
    EXPECT_EQ(offset_in_page(0x1fff), 0xfffu);
}

TEST(MacAddress, OnlyAStationsAddressIsOne) {
    EXPECT_TRUE(is_station({0x52, 0x54, 0, 0x12, 0x34, 0x56}));
    EXPECT_FALSE(is_station({0, 0, 0, 0, 0, 0}));
    EXPECT_FALSE(is_station({0x01, 0, 0x5e, 0, 0, 1}));
    EXPECT_FALSE(is_station({0xff, 0xff, 0xff, 0xff, 0xff, 0xff}));
}

template <class Own, class Names>
void expect_unique_names_with_members_of_their_own(const Names& all) {
    std::set<std::string> names;
    Own own{};
    MappingCounters mapping{};
    std::uint64_t next = 1;
    for (const NamedCounter<Own>& name : all) {
        EXPECT_TRUE(names.insert(name.name).second) << name.name;
        ASSERT_NE(name.own != nullptr, name.mapping != nullptr) << name.name;
        (name.own != nullptr ? own.*name.own : mapping.*name.mapping) = next++;
    }
    // Every member got a number of its own, so no two names share one.
    next = 1;
    for (const NamedCounter<Own>& name : all) EXPECT_EQ(counter(name, own, mapping), next++) << name.name;
    // One has none: calls of the backend are part of another number, and known at user level only.
    EXPECT_EQ(sizeof(Own) + sizeof(MappingCounters) - sizeof(MappingCounters::unmap_calls),
              all.size() * sizeof(std::uint64_t));
}

TEST(Counters, NamesAreUniqueAndLeadToTheirMembers) {
    expect_unique_names_with_members_of_their_own<NetworkCounters>(counter_names);
    expect_unique_names_with_members_of_their_own<StorageCounters>(storage_counter_names);
}

TEST(Counters, MappingHasTheSameNamesBehindThoseOfEveryDevice) {
    const std::size_t network = counter_names.size();
    const std::size_t storage = storage_counter_names.size();
    for (std::size_t back = 1; back <= 5; ++back) {
        EXPECT_STREQ(counter_names[network - back].name, storage_counter_names[storage - back].name);
        EXPECT_EQ(counter_names[network - back].mapping, storage_counter_names[storage - back].mapping);
    }
    EXPECT_STREQ(storage_counter_names[storage - 6].name, "idle_polls");
}

TEST(Counter, Adds) {
    Counter counter;
    counter.add(40);
    counter.add(2);
    EXPECT_EQ(counter.read(), 42u);
    counter.clear();
    EXPECT_EQ(counter.read(), 0u);
}

struct Clock {  // the part of a platform that waiting needs; the rest is never called
    std::uint64_t now = 0;
    std::uint64_t waited_us = 0;
    bool stands_still = false;
    std::uint32_t read32(std::uint32_t) { return 0; }
    void write32(std::uint32_t, std::uint32_t) {}
    Result<RingMemory> allocate_ring(std::uint32_t) { return Error::no_memory; }
    Result<PageMemory> allocate_pages(std::uint32_t) { return Error::no_memory; }
    Result<PageMemory> allocate_large_page() { return Error::no_memory; }
    void free_pages(const PageMemory&) {}
    void free_ring(RingMemory) {}
    Result<void*> allocate(std::size_t) { return Error::no_memory; }
    void free(void*, std::size_t) {}
    std::uint64_t now_ns() { return now; }
    void delay_us(std::uint32_t microseconds) {
        waited_us += microseconds;
        if (!stands_still) now += std::uint64_t{microseconds} * 1000;
    }
    void* cpu_address(Memory) { return nullptr; }
    void log(LogLevel, const char*) {}
};

TEST(Wait, EndsAtItsDeadline) {
    Clock clock;
    int asked = 0;
    EXPECT_EQ(wait_until(clock, 1000, 10, [&] { return ++asked, false; }).error(), Error::timed_out);
    EXPECT_EQ(clock.waited_us, 1000u);
    EXPECT_EQ(asked, 101);
}

TEST(Wait, EndsEvenIfTheClockStandsStill) {
    Clock clock{.stands_still = true};
    EXPECT_EQ(wait_until(clock, 1000, 10, [] { return false; }).error(), Error::timed_out);
    EXPECT_EQ(clock.waited_us, 1000u);
}

TEST(Wait, AsksOnceMoreAfterTheDeadline) {
    Clock clock;
    int asked = 0;
    // Not scheduled for long between two looks: the device was ready all the time.
    EXPECT_TRUE(wait_until(clock, 100, 10, [&] {
                    clock.now += 1'000'000;
                    return ++asked == 2;
                }).ok());
}

}  // namespace
}  // namespace dmatoll::test
