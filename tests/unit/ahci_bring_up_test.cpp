// SPDX-License-Identifier: BSD-2-Clause
// The AHCI driver from the first register to the last: taken over, reset, started, identified, stopped.
#include <gtest/gtest.h>

#include "ahci_machine.hpp"

namespace dmatoll::test {
namespace {

using Bench = DiskBench<StrictDisk>;

TEST(AhciBringUp, StartsADiskAndStopsIt) {
    Bench bench;
    const Status started = bench.start();
    ASSERT_TRUE(started.ok()) << describe(started.error());
    EXPECT_EQ(bench.driver->ports(), 1u);
    const ahci::Disk& disk = bench.driver->disk(0);
    EXPECT_EQ(disk.blocks, 1u << 16);
    EXPECT_EQ(disk.block_bytes, 512u);
    EXPECT_EQ(disk.queue_depth, 32u);
    EXPECT_TRUE(disk.native_queueing);
    EXPECT_TRUE(disk.force_unit_access);
    EXPECT_TRUE(disk.write_cache);
    EXPECT_TRUE(disk.flush);
    EXPECT_TRUE(disk.trim);
    EXPECT_FALSE(disk.rotational);
    EXPECT_STREQ(disk.model, "dmatoll model disk");
    EXPECT_STREQ(disk.serial, "M0001");
    EXPECT_STREQ(disk.firmware, "1.0");
    EXPECT_TRUE(bench.driver->present(0));
    EXPECT_FALSE(bench.driver->present(1));
    bench.stop_and_expect_nothing_left();
    EXPECT_TRUE(bench.machine.platform.log_lines().empty()) << bench.machine.platform.log_lines()[0].text;
}

}  // namespace
}  // namespace dmatoll::test
