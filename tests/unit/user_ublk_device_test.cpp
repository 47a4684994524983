// SPDX-License-Identifier: BSD-2-Clause
// A block device over the lives of its servers: what is asked of the kernel, and in which order.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <vector>

#include "failure.hpp"
#include "ublk_device.hpp"
#include "ublk_parameters.hpp"

namespace dmatoll::user {
namespace {

const std::string bdf = "0000:03:00.0";

DiskDescription a_disk() {
    return {.port = 2,
            .blocks = 1000,
            .block_bytes = 4096,
            .physical_block_bytes = 4096,
            .queue_depth = 31,
            .force_unit_access = true,
            .write_cache = true,
            .flush = true,
            .rotational = true,
            .most_trim_ranges = 64,
            .model = "M",
            .serial = "S",
            .firmware = "F"};
}

// Notes what it is asked, and answers what the test wants.
class FakeCommands : public UblkCommands {
  public:
    int add(ublksrv_ctrl_dev_info& info) override {
        info.dev_id = 7;
        info.flags &= offered;
        given = info;
        return note("add", 0);
    }
    int get_info(std::uint32_t, ublksrv_ctrl_dev_info& info) override {
        info = given;
        return note("info", 0);
    }
    int set_parameters(std::uint32_t, ublk_params& parameters) override {
        set = parameters;
        return note("set", 0);
    }
    int get_parameters(std::uint32_t, ublk_params& parameters) override {
        parameters = set;
        return note("get", 0);
    }
    int start(std::uint32_t, pid_t server) override {
        return note("start " + std::to_string(server), start_result);
    }
    int end_recovery(std::uint32_t, pid_t server) override {
        return note("end " + std::to_string(server), 0);
    }
    int start_recovery(std::uint32_t) override {
        if (busy != 0) {
            --busy;
            return note("begin", -EBUSY);
        }
        return note("begin", recovery_result);
    }
    int stop(std::uint32_t) override { return note("stop", 0); }
    int remove(std::uint32_t) override { return note("remove", 0); }
    int open_channel(std::uint32_t) override {
        note("open", 0);
        return ::open("/dev/null", O_RDWR | O_CLOEXEC);
    }
    void pause() override { said.emplace_back("pause"); }

    int note(std::string what, int result) {
        said.push_back(std::move(what));
        return result;
    }
    std::vector<std::string> take() { return std::exchange(said, {}); }

    std::uint64_t offered = ~std::uint64_t{0};
    unsigned busy = 0;
    int recovery_result = 0;
    int start_result = 0;
    ublksrv_ctrl_dev_info given{};
    ublk_params set{};
    std::vector<std::string> said;
};

using Said = std::vector<std::string>;

TEST(UblkDevice, IsMadeThenStartedThenStoppedThenRemoved) {
    FakeCommands commands;
    UblkDevice device{commands, bdf, a_disk()};
    EXPECT_TRUE(device.open_for_server().valid());
    EXPECT_EQ(commands.take(), (Said{"add", "set", "open"}));
    EXPECT_FALSE(device.live());
    device.serve(42);
    EXPECT_EQ(commands.take(), (Said{"start 42"}));
    EXPECT_TRUE(device.live());
    EXPECT_EQ(device.path(), "/dev/ublkb7");
    EXPECT_TRUE(device.stop());
    EXPECT_TRUE(device.remove());
    EXPECT_EQ(commands.take(), (Said{"stop", "remove"}));
    EXPECT_TRUE(device.stop());
    EXPECT_TRUE(device.remove());
    EXPECT_EQ(commands.take(), Said{});
}

TEST(UblkDevice, AsksForRequestsToBeReissuedAndForOnePlaceMore) {
    FakeCommands commands;
    UblkDevice device{commands, bdf, a_disk()};
    device.open_for_server();
    EXPECT_EQ(commands.given.flags, UBLK_F_USER_RECOVERY | UBLK_F_USER_RECOVERY_REISSUE);
    EXPECT_EQ(commands.given.queue_depth, 32u);
    EXPECT_EQ(commands.given.max_io_buf_bytes, 1u << 20);
    EXPECT_EQ(marked_port(commands.given.ublksrv_flags, bdf), 2u);

    commands.offered = UBLK_F_USER_RECOVERY;
    UblkDevice second{commands, bdf, a_disk()};
    EXPECT_THROW(second.open_for_server(), Failure);
}

// The dead server is gone, the channel is opened for the next, that fetches, and only then do requests go on.
TEST(UblkDevice, IsTakenOverInOrder) {
    FakeCommands commands;
    UblkDevice device{commands, bdf, a_disk()};
    device.open_for_server();
    device.serve(42);
    commands.take();
    commands.busy = 2;
    device.open_for_server();
    EXPECT_EQ(commands.take(), (Said{"begin", "pause", "begin", "pause", "begin", "open"}));
    device.serve(43);
    EXPECT_EQ(commands.take(), (Said{"end 43"}));
}

TEST(UblkDevice, AServerThatDiedBeforeItFetchedChangesNothing) {
    FakeCommands commands;
    UblkDevice device{commands, bdf, a_disk()};
    device.open_for_server();
    device.serve(42);
    device.open_for_server();
    commands.take();
    // The kernel has nothing to take over from.
    commands.recovery_result = -EINVAL;
    device.open_for_server();
    device.serve(44);
    EXPECT_EQ(commands.take(), (Said{"begin", "open", "end 44"}));
    // Behind a server that did serve the same answer is an error.
    EXPECT_THROW(device.open_for_server(), Failure);
}

TEST(UblkDevice, AServerThatDiedBeforeTheDiskWasThereCostsTheDevice) {
    FakeCommands commands;
    UblkDevice device{commands, bdf, a_disk()};
    device.open_for_server();
    commands.take();
    device.open_for_server();
    EXPECT_EQ(commands.take(), (Said{"remove", "add", "set", "open"}));
}

TEST(UblkDevice, ADeadServerThatDoesNotGoIsAnError) {
    FakeCommands commands;
    UblkDevice device{commands, bdf, a_disk()};
    device.open_for_server();
    device.serve(42);
    commands.busy = 1'000'000;
    EXPECT_THROW(device.open_for_server(), Failure);
}

// Its server died between its last word and the kernel's: nobody answers what is asked of it.
TEST(UblkDevice, OneThatTheKernelHoldsForServedByTheDeadCanOnlyBeStopped) {
    FakeCommands commands;
    UblkDevice device{commands, bdf, a_disk()};
    device.open_for_server();
    device.serve(42);
    commands.busy = 1'000'000;
    commands.given.state = UBLK_S_DEV_LIVE;
    EXPECT_FALSE(device.open_for_server().valid());
    commands.take();
    EXPECT_TRUE(device.stop());
    EXPECT_TRUE(device.remove());
    EXPECT_EQ(commands.take(), (Said{"stop", "remove"}));
}

TEST(UblkDevice, OneThatWasLeftBehindIsTakenOverIfItIsOfTheSameDisk) {
    FakeCommands commands;
    UblkDevice first{commands, bdf, a_disk()};
    first.open_for_server();
    commands.given.state = UBLK_S_DEV_QUIESCED;
    auto kept = UblkDevice::left_behind(commands, bdf, a_disk(), 7);
    ASSERT_TRUE(kept.has_value());
    EXPECT_TRUE(kept->live());
    commands.take();
    kept->open_for_server();
    kept->serve(50);
    EXPECT_EQ(commands.take(), (Said{"begin", "open", "end 50"}));

    DiskDescription larger = a_disk();
    larger.blocks = 2000;
    EXPECT_FALSE(UblkDevice::left_behind(commands, bdf, larger, 7).has_value());
    DiskDescription deeper = a_disk();
    deeper.queue_depth = 16;
    EXPECT_FALSE(UblkDevice::left_behind(commands, bdf, deeper, 7).has_value());
    // Another disk of the same kind, put in its place while nobody looked.
    DiskDescription swapped = a_disk();
    swapped.serial = "T";
    EXPECT_FALSE(UblkDevice::left_behind(commands, bdf, swapped, 7).has_value());
    EXPECT_TRUE(UblkDevice::left_behind(commands, bdf, a_disk(), 7).has_value());
    commands.given.state = UBLK_S_DEV_LIVE;
    EXPECT_FALSE(UblkDevice::left_behind(commands, bdf, a_disk(), 7).has_value());
    EXPECT_FALSE(is_abandoned(commands, 7));
    commands.given.state = UBLK_S_DEV_DEAD;
    EXPECT_FALSE(UblkDevice::left_behind(commands, bdf, a_disk(), 7).has_value());
    EXPECT_TRUE(is_abandoned(commands, 7));
}

TEST(UblkMark, TellsTheControllerAndThePort) {
    DiskDescription disk = a_disk();
    disk.port = 31;
    const auto mark = ublk_mark(bdf, disk);
    ASSERT_TRUE(mark.has_value());
    EXPECT_EQ(marked_port(*mark, bdf), 31u);
    EXPECT_FALSE(marked_port(*mark, "0000:03:00.1").has_value());
    EXPECT_FALSE(marked_port(*mark, "0001:03:00.0").has_value());
    EXPECT_FALSE(marked_port(0, bdf).has_value());
    EXPECT_FALSE(marked_port(*mark ^ std::uint64_t{1} << 63, bdf).has_value()) << "somebody else's";
    EXPECT_FALSE(ublk_mark("10000:00:1f.2", disk).has_value()) << "a domain of more than 16 bits";
    // Which of two fields a character belongs to makes a difference.
    DiskDescription other = disk;
    other.model = "MS";
    other.serial = "";
    EXPECT_NE(ublk_mark(bdf, other), mark);
    EXPECT_EQ(marked_port(*ublk_mark(bdf, other), bdf), 31u);
}

TEST(UblkParameters, SayWhatTheDiskIs) {
    const ublk_params parameters = ublk_parameters(a_disk());
    EXPECT_EQ(parameters.len, sizeof(parameters));
    EXPECT_EQ(parameters.types, UBLK_PARAM_TYPE_BASIC | UBLK_PARAM_TYPE_DISCARD);
    EXPECT_EQ(parameters.basic.attrs, UBLK_ATTR_VOLATILE_CACHE | UBLK_ATTR_FUA | UBLK_ATTR_ROTATIONAL);
    EXPECT_EQ(parameters.basic.logical_bs_shift, 12);
    EXPECT_EQ(parameters.basic.physical_bs_shift, 12);
    EXPECT_EQ(parameters.basic.max_sectors, 2048u);
    EXPECT_EQ(parameters.basic.dev_sectors, 8000u);
    EXPECT_EQ(parameters.discard.discard_granularity, 4096u);
    EXPECT_EQ(parameters.discard.max_discard_segments, 1u);
    // What a block layer counts in 32 bits of bytes.
    EXPECT_LE(std::uint64_t{parameters.discard.max_discard_sectors} * 512, UINT32_MAX);
}

// The kernel refuses to hold a queue to fewer than four.
TEST(UblkParameters, OneMorePlaceThanRequestsAndNoFewerThanFive) {
    EXPECT_EQ(ublk_queue_depth(32), 33u);
    EXPECT_EQ(ublk_requests(32), 32u);
    EXPECT_EQ(ublk_queue_depth(1), 5u);
    EXPECT_EQ(ublk_requests(1), 4u);
}

TEST(UblkParameters, ADiskWithoutACacheNeedsNoFlush) {
    DiskDescription disk = a_disk();
    disk.write_cache = false;
    disk.rotational = false;
    disk.most_trim_ranges = 0;
    const ublk_params parameters = ublk_parameters(disk);
    EXPECT_EQ(parameters.basic.attrs, 0u);
    EXPECT_EQ(parameters.types, UBLK_PARAM_TYPE_BASIC);
    disk.write_cache = true;
    disk.flush = false;
    EXPECT_EQ(ublk_parameters(disk).basic.attrs, 0u) << "nothing could be flushed";
}

}  // namespace
}  // namespace dmatoll::user
