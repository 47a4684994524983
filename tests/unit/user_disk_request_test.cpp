// SPDX-License-Identifier: BSD-2-Clause
// From ublk's description of a request to what the disk is asked, whatever the description says.
#include <gtest/gtest.h>

#include <cerrno>

#include "ublk_request.hpp"

namespace dmatoll::user {
namespace {

ahci::Disk disk_of(std::uint64_t blocks, std::uint32_t block_bytes) {
    ahci::Disk disk{};
    disk.blocks = blocks;
    disk.block_bytes = block_bytes;
    disk.flush = true;
    disk.trim = true;
    disk.force_unit_access = true;
    return disk;
}

ublksrv_io_desc asked(std::uint32_t operation, std::uint64_t sector, std::uint32_t sectors) {
    ublksrv_io_desc described{};
    described.op_flags = operation;
    described.start_sector = sector;
    described.nr_sectors = sectors;
    return described;
}

TEST(DiskRequest, ReadsAndWritesAreCountedInTheDisksBlocks) {
    const DiskRequest read = to_disk_request(asked(UBLK_IO_OP_READ, 800, 16), disk_of(1000, 4096));
    EXPECT_EQ(read.error, 0);
    EXPECT_EQ(read.operation, ahci::Operation::read);
    EXPECT_EQ(read.first_block, 100u);
    EXPECT_EQ(read.blocks, 2u);
    EXPECT_EQ(read.bytes, 8192u);
    EXPECT_FALSE(read.force_unit_access);

    const DiskRequest write =
        to_disk_request(asked(UBLK_IO_OP_WRITE | UBLK_IO_F_FUA, 7, 1), disk_of(1000, 512));
    EXPECT_EQ(write.error, 0);
    EXPECT_EQ(write.operation, ahci::Operation::write);
    EXPECT_EQ(write.first_block, 7u);
    EXPECT_EQ(write.bytes, 512u);
    EXPECT_TRUE(write.force_unit_access);
}

TEST(DiskRequest, OtherFlagsOfTheBlockLayerMeanNothing) {
    const DiskRequest request = to_disk_request(
        asked(UBLK_IO_OP_WRITE | UBLK_IO_F_META | UBLK_IO_F_SWAP | UBLK_IO_F_FAILFAST_DEV, 0, 8),
        disk_of(8, 512));
    EXPECT_EQ(request.error, 0);
    EXPECT_FALSE(request.force_unit_access);
}

TEST(DiskRequest, TheLastBlockIsInAndTheNextIsNot) {
    EXPECT_EQ(to_disk_request(asked(UBLK_IO_OP_READ, 999, 1), disk_of(1000, 512)).error, 0);
    EXPECT_EQ(to_disk_request(asked(UBLK_IO_OP_READ, 999, 2), disk_of(1000, 512)).error, -EIO);
    EXPECT_EQ(to_disk_request(asked(UBLK_IO_OP_READ, 1000, 1), disk_of(1000, 512)).error, -EIO);
    // A sum that wraps.
    EXPECT_EQ(to_disk_request(asked(UBLK_IO_OP_READ, ~std::uint64_t{0}, 1), disk_of(1000, 512)).error, -EIO);
    EXPECT_EQ(to_disk_request(asked(UBLK_IO_OP_DISCARD, 8, 0xffff'ffff), disk_of(1000, 512)).error, -EIO);
}

TEST(DiskRequest, NothingAndPartsOfABlockCannotBeDone) {
    EXPECT_EQ(to_disk_request(asked(UBLK_IO_OP_READ, 0, 0), disk_of(1000, 512)).error, -EIO);
    EXPECT_EQ(to_disk_request(asked(UBLK_IO_OP_READ, 1, 8), disk_of(1000, 4096)).error, -EIO);
    EXPECT_EQ(to_disk_request(asked(UBLK_IO_OP_WRITE, 8, 9), disk_of(1000, 4096)).error, -EIO);
    EXPECT_EQ(to_disk_request(asked(UBLK_IO_OP_DISCARD, 4, 8), disk_of(1000, 4096)).error, -EIO);
}

// A buffer is as long as the longest transfer.
TEST(DiskRequest, LongerThanItsBufferItCannotBe) {
    constexpr std::uint32_t most = ahci::most_transfer_bytes / 512;
    EXPECT_EQ(to_disk_request(asked(UBLK_IO_OP_READ, 0, most), disk_of(100'000, 512)).error, 0);
    EXPECT_EQ(to_disk_request(asked(UBLK_IO_OP_READ, 0, most + 1), disk_of(100'000, 512)).error, -EIO);
    EXPECT_EQ(
        to_disk_request(asked(UBLK_IO_OP_WRITE, 0, 0xffff'ffff), disk_of(~std::uint64_t{0} / 512, 512)).error,
        -EIO);
    const DiskRequest discard = to_disk_request(asked(UBLK_IO_OP_DISCARD, 0, 100'000), disk_of(100'000, 512));
    EXPECT_EQ(discard.error, 0);
    EXPECT_EQ(discard.operation, ahci::Operation::trim);
    EXPECT_EQ(discard.blocks, 100'000u);
    EXPECT_EQ(discard.bytes, 0u);
}

TEST(DiskRequest, AFlushNeedsNoBlocks) {
    const DiskRequest flush = to_disk_request(asked(UBLK_IO_OP_FLUSH, ~std::uint64_t{0}, 0), disk_of(8, 512));
    EXPECT_EQ(flush.error, 0);
    EXPECT_EQ(flush.operation, ahci::Operation::flush);
    EXPECT_EQ(flush.bytes, 0u);
}

TEST(DiskRequest, WhatTheDiskCannotDoIsNotAskedOfIt) {
    ahci::Disk simple = disk_of(1000, 512);
    simple.flush = simple.trim = simple.force_unit_access = false;
    EXPECT_EQ(to_disk_request(asked(UBLK_IO_OP_FLUSH, 0, 0), simple).error, -EOPNOTSUPP);
    EXPECT_EQ(to_disk_request(asked(UBLK_IO_OP_DISCARD, 0, 8), simple).error, -EOPNOTSUPP);
    EXPECT_EQ(to_disk_request(asked(UBLK_IO_OP_WRITE | UBLK_IO_F_FUA, 0, 8), simple).error, -EIO);
    for (const std::uint32_t unknown : {UBLK_IO_OP_WRITE_SAME, UBLK_IO_OP_WRITE_ZEROES, 10, 0xff}) {
        EXPECT_EQ(to_disk_request(asked(unknown, 0, 8), simple).error, -EOPNOTSUPP) << unknown;
    }
}

TEST(DiskRequest, EveryBadOutcomeIsAnError) {
    for (const auto outcome : {ahci::Outcome::medium_error, ahci::Outcome::refused,
                               ahci::Outcome::transport_error, ahci::Outcome::gone}) {
        EXPECT_EQ(error_of(outcome), -EIO) << describe(outcome);
    }
    EXPECT_EQ(error_of(ahci::Outcome::timed_out), -ETIMEDOUT);
}

}  // namespace
}  // namespace dmatoll::user
