// SPDX-License-Identifier: BSD-2-Clause
// What is said between the supervisor of disks and its driver process, neither of which trusts the other's
// memory.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "disk_options.hpp"
#include "disk_report.hpp"
#include "disk_report_order.hpp"
#include "disk_search.hpp"
#include "failure.hpp"
#include "queue_passing.hpp"

namespace dmatoll::user {
namespace {

DiskDescription a_disk(std::uint32_t port) {
    return {.port = port,
            .blocks = 2097152,
            .block_bytes = 512,
            .physical_block_bytes = 4096,
            .queue_depth = 32,
            .force_unit_access = true,
            .write_cache = true,
            .flush = true,
            .rotational = false,
            .most_trim_ranges = 64,
            .model = "QEMU HARDDISK",
            .serial = "QM00005",
            .firmware = "2.5+"};
}

DiskReport found(std::vector<DiskDescription> disks) {
    return {.kind = DiskReport::Kind::found,
            .disks = std::move(disks),
            .arena = "4KiB",
            .note = "n",
            .failure = {}};
}

TEST(DiskReport, SurvivesTheWay) {
    const auto got = parse_disk_report(to_text(found({a_disk(0), a_disk(5)})));
    ASSERT_TRUE(got.has_value());
    EXPECT_EQ(got->kind, DiskReport::Kind::found);
    EXPECT_EQ(got->disks, (std::vector{a_disk(0), a_disk(5)}));
    EXPECT_EQ(got->arena, "4KiB");
    EXPECT_EQ(got->note, "n");
    DiskReport other{.kind = DiskReport::Kind::serving, .disks = {}, .arena = {}, .note = {}, .failure = {}};
    ASSERT_TRUE(parse_disk_report(to_text(other)).has_value());
    EXPECT_EQ(parse_disk_report(to_text(other))->kind, DiskReport::Kind::serving);
    other.kind = DiskReport::Kind::failed;
    other.failure = "why";
    ASSERT_TRUE(parse_disk_report(to_text(other)).has_value());
    EXPECT_EQ(parse_disk_report(to_text(other))->failure, "why");
}

TEST(DiskReport, ADiskThatCannotBeIsNone) {
    const auto refused = [](auto change) {
        DiskDescription disk = a_disk(3);
        change(disk);
        return !parse_disk_report(to_text(found({disk}))).has_value();
    };
    EXPECT_FALSE(refused([](DiskDescription&) {}));
    EXPECT_TRUE(refused([](DiskDescription& disk) { disk.port = 32; }));
    EXPECT_TRUE(refused([](DiskDescription& disk) { disk.blocks = 0; }));
    EXPECT_TRUE(refused([](DiskDescription& disk) { disk.blocks = (std::uint64_t{1} << 48) + 1; }));
    EXPECT_TRUE(refused([](DiskDescription& disk) { disk.block_bytes = 520; }));
    EXPECT_TRUE(refused([](DiskDescription& disk) { disk.block_bytes = 256; }));
    EXPECT_TRUE(refused([](DiskDescription& disk) { disk.block_bytes = disk.physical_block_bytes = 8192; }));
    EXPECT_TRUE(refused([](DiskDescription& disk) { disk.physical_block_bytes = 256; }));
    EXPECT_TRUE(refused([](DiskDescription& disk) { disk.queue_depth = 0; }));
    EXPECT_TRUE(refused([](DiskDescription& disk) { disk.queue_depth = 33; }));
    EXPECT_TRUE(refused([](DiskDescription& disk) { disk.most_trim_ranges = 0x1'0000; }));
    EXPECT_TRUE(refused([](DiskDescription& disk) { disk.model = "a\nb"; }));
    EXPECT_TRUE(refused([](DiskDescription& disk) { disk.serial = std::string(21, 'x'); }));
}

TEST(DiskReport, PortsComeInOrderAndOnce) {
    EXPECT_FALSE(parse_disk_report(to_text(found({a_disk(1), a_disk(1)}))).has_value());
    EXPECT_FALSE(parse_disk_report(to_text(found({a_disk(2), a_disk(1)}))).has_value());
}

TEST(DiskReport, AnythingElseIsNone) {
    for (const char* const text :
         {"", "{}", "[]", "null", "{\"serving\":false}", "{\"disks\":7}", "serving"}) {
        EXPECT_FALSE(parse_disk_report(text).has_value()) << text;
    }
}

// A second list of disks would change what the first one's queues belong to.
TEST(DiskReportOrder, EachReportComesOnceAndInItsTurn) {
    using Kind = DiskReport::Kind;
    DiskReportOrder order;
    EXPECT_TRUE(order.admit(Kind::found));
    EXPECT_TRUE(order.admit(Kind::serving));
    EXPECT_FALSE(order.admit(Kind::serving));
    EXPECT_FALSE(order.admit(Kind::found));

    order = {};
    EXPECT_TRUE(order.admit(Kind::found));
    EXPECT_FALSE(order.admit(Kind::found));
    EXPECT_FALSE(order.admit(Kind::serving)) << "nothing is right behind what was wrong";

    order = {};
    EXPECT_FALSE(order.admit(Kind::serving)) << "nothing has been handed out yet";

    order = {};
    EXPECT_TRUE(order.admit(Kind::found));
    EXPECT_TRUE(order.admit(Kind::failed));
    EXPECT_FALSE(order.admit(Kind::serving));
    EXPECT_FALSE(order.admit(Kind::failed));
}

TEST(DiskSearch, ADiskThatIsSilentIsToldFromOneThatIsReplaced) {
    DiskDescription other = a_disk(1);
    other.serial = "QM00006";
    EXPECT_EQ(look_for(a_disk(1), {a_disk(0), a_disk(1)}), Whereabouts::there);
    EXPECT_EQ(look_for(a_disk(1), {a_disk(0)}), Whereabouts::silent);
    EXPECT_EQ(look_for(a_disk(1), {}), Whereabouts::silent);
    EXPECT_EQ(look_for(a_disk(1), {a_disk(0), other}), Whereabouts::replaced);
}

TEST(QueuePassing, AChannelArrivesWithItsMessage) {
    SocketPair sockets;
    const Descriptor channel{::open("/dev/null", O_RDWR | O_CLOEXEC)};
    ASSERT_TRUE(send_queue(sockets.ours.get(), {.port = 3, .depth = 33}, channel));
    ASSERT_TRUE(send_queue(sockets.ours.get(), {.port = 4, .depth = 0}, {}));
    Descriptor got;
    const auto message = receive_queue(sockets.theirs.get(), got);
    ASSERT_TRUE(message.has_value());
    EXPECT_EQ(message->port, 3u);
    EXPECT_EQ(message->depth, 33u);
    struct stat sent {};
    struct stat received {};
    ASSERT_EQ(::fstat(channel.get(), &sent), 0);
    ASSERT_EQ(::fstat(got.get(), &received), 0);
    EXPECT_EQ(sent.st_rdev, received.st_rdev);
    EXPECT_NE(::fcntl(got.get(), F_GETFD) & FD_CLOEXEC, 0);
    const auto none = receive_queue(sockets.theirs.get(), got);
    ASSERT_TRUE(none.has_value());
    EXPECT_EQ(none->depth, 0u);
    EXPECT_FALSE(got.valid());
}

TEST(QueuePassing, AMessageWithoutWhatItPromisesIsNone) {
    SocketPair sockets;
    Descriptor got;
    const QueueMessage promise{.port = 1, .depth = 8};
    ASSERT_EQ(::send(sockets.ours.get(), &promise, sizeof(promise), 0),
              static_cast<ssize_t>(sizeof(promise)));
    EXPECT_FALSE(receive_queue(sockets.theirs.get(), got).has_value());
    ASSERT_EQ(::send(sockets.ours.get(), "x", 1, 0), 1);
    EXPECT_FALSE(receive_queue(sockets.theirs.get(), got).has_value());
    sockets.ours.reset();
    EXPECT_FALSE(receive_queue(sockets.theirs.get(), got).has_value()) << "the other side is gone";
}

// A process may be killed at any time: that is no error of the one who gives it its queues.
TEST(QueuePassing, ASideThatIsGoneIsToldFromAnError) {
    SocketPair sockets;
    const Descriptor channel{::open("/dev/null", O_RDWR | O_CLOEXEC)};
    ASSERT_TRUE(send_queue(sockets.ours.get(), {.port = 0, .depth = 8}, channel));
    // With a message that nobody read, and without one.
    sockets.theirs.reset();
    EXPECT_FALSE(send_queue(sockets.ours.get(), {.port = 1, .depth = 8}, channel));
    EXPECT_FALSE(send_queue(sockets.ours.get(), {.port = 1, .depth = 0}, {}));
    EXPECT_THROW(static_cast<void>(send_queue(channel.get(), {.port = 1, .depth = 0}, {})), Failure);
}

std::optional<DiskOptions> parse(std::vector<const char*> arguments) {
    arguments.insert(arguments.begin(), "dmatoll-disk-user");
    return parse_disk_options(static_cast<int>(arguments.size()), arguments.data());
}

TEST(DiskOptions, DefaultsAndAll) {
    const auto defaults = parse({"--device", "00:04.0"});
    ASSERT_TRUE(defaults.has_value());
    EXPECT_EQ(defaults->driver.strategy, "strict");
    EXPECT_EQ(defaults->driver.queue_depth, 32u);
    EXPECT_FALSE(defaults->driver.poll);
    EXPECT_FALSE(defaults->remove);
    EXPECT_EQ(defaults->restarts, 3u);
    const auto all =
        parse({"--device", "d", "--strategy", "copy", "--queue-depth", "1", "--completion", "poll", "--cpu",
               "1", "--page-size", "4096", "--restart", "always", "--watchdog-ms", "250", "--remove"});
    ASSERT_TRUE(all.has_value());
    EXPECT_EQ(all->driver.strategy, "copy");
    EXPECT_EQ(all->driver.queue_depth, 1u);
    EXPECT_TRUE(all->driver.poll);
    EXPECT_EQ(all->cpu, 1u);
    EXPECT_EQ(all->driver.page_size, 4096u);
    EXPECT_FALSE(all->restarts.has_value());
    EXPECT_TRUE(all->remove);
}

TEST(DiskOptions, BadOnesAreRefused) {
    EXPECT_THROW(parse({}), Failure) << "no device";
    for (const std::vector<const char*>& bad :
         std::vector<std::vector<const char*>>{{"--queue-depth", "0"},
                                               {"--queue-depth", "33"},
                                               {"--strategy", "passthrough"},
                                               {"--completion", "sometimes"},
                                               {"--page-size", "8192"}}) {
        std::vector<const char*> arguments{"--device", "d"};
        arguments.insert(arguments.end(), bad.begin(), bad.end());
        EXPECT_THROW(parse(arguments), Failure) << bad[0] << " " << bad[1];
    }
}

TEST(DiskOptions, WhatTheDriverProcessIsToldSurvivesTheWay) {
    DiskChildOptions sent{
        .process = {.bdf = "0000:00:04.0", .address_bits = 39, .user = 65534, .group = 65533},
        .driver = {}};
    sent.driver.strategy = "deferred";
    sent.driver.queue_depth = 7;
    sent.driver.poll = true;
    sent.driver.deferred_entries = 9;
    const DiskChildOptions got = disk_child_options(to_text(sent));
    EXPECT_EQ(got.process.bdf, "0000:00:04.0");
    EXPECT_EQ(got.process.address_bits, 39u);
    EXPECT_EQ(got.driver.strategy, "deferred");
    EXPECT_EQ(got.driver.queue_depth, 7u);
    EXPECT_TRUE(got.driver.poll);
    EXPECT_EQ(got.driver.deferred_entries, 9u);
    EXPECT_THROW(disk_child_options("{}"), Failure);
}

}  // namespace
}  // namespace dmatoll::user
