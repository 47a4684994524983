// SPDX-License-Identifier: BSD-2-Clause
// Requests of the AHCI driver: what is asked for happens, by every strategy.
#include <gtest/gtest.h>

#include "ahci_machine.hpp"

namespace dmatoll::test {
namespace {

TYPED_TEST_SUITE(EveryDiskStrategy, EveryDiskMapper, DiskStrategyNames);

TYPED_TEST(EveryDiskStrategy, WritesAndReadsBlocks) {
    DiskBench<TypeParam> bench;
    ASSERT_TRUE(bench.start().ok());
    std::uint64_t seed = 1;
    for (const std::uint32_t blocks : {1u, 3u, 8u, 9u, 64u, 2048u}) {
        const Content content = pattern(seed++, blocks * 512);
        ASSERT_EQ(bench.write(blocks * 7, content), Outcome::done);
        EXPECT_EQ(bench.on_disk(blocks * 7, blocks), content);
        EXPECT_EQ(bench.read(blocks * 7, blocks), content);
    }
    bench.stop_and_expect_nothing_left();
}

}  // namespace
}  // namespace dmatoll::test
