// SPDX-License-Identifier: BSD-2-Clause
// What goes wrong between the AHCI driver and its disks: found out, mended where it can be, reported where
// not, never a hang.
#include <gtest/gtest.h>

#include "ahci_machine.hpp"

namespace dmatoll::test {

// Calls back when the driver resets the whole adapter, and for what it logs.
class ResetPlatform : public ForwardingPlatform {
  public:
    using ForwardingPlatform::ForwardingPlatform;
    void write32(std::uint32_t offset, std::uint32_t value) {
        if (offset == sheet::GHC && (value & 1) != 0 && on_reset) on_reset();
        ForwardingPlatform::write32(offset, value);
    }

    void log(LogLevel level, const char* message) {
        if (on_log) on_log(message);
        ForwardingPlatform::log(level, message);
    }

    std::function<void()> on_reset;
    std::function<void(const char*)> on_log;
};

// Lets another port recover in the middle of a port's own IDENTIFY, where threads would meet now and then.
class MeetingPlatform : public ResetPlatform {
  public:
    using ResetPlatform::ResetPlatform;
    void write32(std::uint32_t offset, std::uint32_t value) {
        ResetPlatform::write32(offset, value);
        if (on_issue_at_port_0 && offset == model::AhciDevice::at_port(0, sheet::CI))
            std::exchange(on_issue_at_port_0, nullptr)();
    }

    std::function<void()> on_issue_at_port_0;  // once
};

namespace {

using Bench = DiskBench<StrictMapper>;

// Eight reads with the disk at a time, the fourth of a block that fails.
template <class B>
void read_eight_with_a_bad_one(B& bench) {
    bench.machine.device.disk(0).fail(3 * 8 + 5, {});
    bench.machine.device.defer(true);
    for (std::uint32_t tag = 0; tag < 8; ++tag)
        ASSERT_TRUE(bench.submit(tag, Operation::read, {.first = tag * 8, .blocks = 8}).ok());
    bench.machine.device.defer(false);
    bench.settle(60'000);
}
template <class B>
void expect_only_tag_3_failed(B& bench, Outcome outcome = Outcome::medium_error) {
    ASSERT_EQ(bench.ended.size(), 8u);
    for (const auto& [tag, ended] : bench.outcomes())
        EXPECT_EQ(ended, tag == 3 ? outcome : Outcome::done) << tag;
    EXPECT_EQ(bench.driver->counters().request_errors, 1u);
    EXPECT_EQ(bench.driver->counters().read_requests, 7u);
    EXPECT_EQ(bench.driver->counters().bytes_read, 7u * 4096);
}
// The next one works as if nothing had been.
template <class B>
void expect_it_goes_on(B& bench) {
    const Content content = pattern(77, 64 * 512);
    EXPECT_EQ(bench.write(1000, content), Outcome::done);
    EXPECT_EQ(bench.read(1000, 64), content);
    EXPECT_FALSE(bench.driver->needs_recovery(0));
}

template <class M>
using DiskErrors = EveryStrategy<M>;
TYPED_TEST_SUITE(DiskErrors, EveryDiskMapper, StrategyNames);

TYPED_TEST(DiskErrors, AMediumErrorEndsOneRequestOnly) {
    for (const bool log : {true, false}) {
        for (const std::uint32_t depth : {32u, 0u}) {
            DiskBench<TypeParam> bench{{.disks = {{0, {.queue_depth = depth, .error_log = log}}}}};
            ASSERT_TRUE(bench.start().ok());
            read_eight_with_a_bad_one(bench);
            expect_only_tag_3_failed(bench);
            expect_it_goes_on(bench);
            bench.stop_and_expect_nothing_left();
        }
    }
}

TEST(AhciErrors, TheLogNamesTheGuiltyOne) {
    Bench bench;
    ASSERT_TRUE(bench.start().ok());
    read_eight_with_a_bad_one(bench);
    expect_only_tag_3_failed(bench);
    EXPECT_EQ(bench.commands(ahci::Command::read_log_ext), 1u);
    EXPECT_EQ(bench.commands(ahci::Command::read_dma_ext), 0u) << "the others stayed queued commands";
    EXPECT_EQ(bench.commands(ahci::Command::identify_device), 1u) << "no reset";
    EXPECT_EQ(bench.driver->counters().recoveries, 1u);
    bench.stop_and_expect_nothing_left();
}

TEST(AhciErrors, WithoutALogTheGuiltyOneShowsItselfAlone) {
    Bench bench{{.disks = {{0, {.error_log = false}}}}};
    ASSERT_TRUE(bench.start().ok());
    read_eight_with_a_bad_one(bench);
    expect_only_tag_3_failed(bench);
    EXPECT_EQ(bench.commands(ahci::Command::read_log_ext), 0u) << "the disk says that it has none";
    EXPECT_GE(bench.commands(ahci::Command::read_dma_ext), 1u);
    EXPECT_EQ(bench.driver->counters().recoveries, 2u);
    expect_it_goes_on(bench);
    bench.stop_and_expect_nothing_left();
}

TEST(AhciErrors, ALogThatMakesNoSenseIsNotBelieved) {
    for (const AhciFault fault : {AhciFault::error_log_other_tag, AhciFault::error_log_not_queued,
                                  AhciFault::error_log_bad_checksum}) {
        Bench bench;
        ASSERT_TRUE(bench.start().ok());
        bench.machine.device.inject(fault);
        read_eight_with_a_bad_one(bench);
        EXPECT_EQ(bench.machine.device.happened(fault), 1u);
        EXPECT_TRUE(bench.logged("makes no sense"));
        expect_only_tag_3_failed(bench);
        expect_it_goes_on(bench);
        bench.stop_and_expect_nothing_left();
    }
}

TEST(AhciErrors, ALogThatIsPromisedAndRefusedIsDoneWithout) {
    Bench bench{{.disks = {{0, {.error_log = false}}}}};
    // General purpose logging, supported and not there.
    model::AhciDisk& disk = bench.machine.device.disk(0);
    disk.set_identify_word(84, static_cast<std::uint16_t>(disk.identify()[84] | 0x4020));
    ASSERT_TRUE(bench.start().ok());
    read_eight_with_a_bad_one(bench);
    EXPECT_TRUE(bench.logged("cannot be read"));
    expect_only_tag_3_failed(bench);
    expect_it_goes_on(bench);
    bench.stop_and_expect_nothing_left();
}

TEST(AhciErrors, EveryOneOfManyBadBlocksIsFound) {
    for (const bool log : {true, false}) {
        Bench bench{{.disks = {{0, {.error_log = log}}}, .order_seed = 5}};
        ASSERT_TRUE(bench.start().ok());
        for (std::uint32_t tag = 0; tag < 32; tag += 2) bench.machine.device.disk(0).fail(tag, {});
        bench.machine.device.defer(true);
        for (std::uint32_t tag = 0; tag < 32; ++tag)
            ASSERT_TRUE(bench.submit(tag, Operation::read, {.first = tag}).ok());
        bench.machine.device.defer(false);
        bench.settle(60'000);
        ASSERT_EQ(bench.ended.size(), 32u);
        for (const auto& [tag, outcome] : bench.outcomes())
            EXPECT_EQ(outcome, tag % 2 == 0 ? Outcome::medium_error : Outcome::done) << tag;
        expect_it_goes_on(bench);
        bench.stop_and_expect_nothing_left();
    }
}

TEST(AhciErrors, AWriteFailsToo) {
    Bench bench;
    ASSERT_TRUE(bench.start().ok());
    bench.machine.device.disk(0).fail(9, {.on_read = false, .on_write = true});
    const Content content = pattern(1, 512);
    EXPECT_EQ(bench.write(9, content), Outcome::medium_error);
    EXPECT_EQ(bench.driver->counters().write_requests, 0u);
    EXPECT_EQ(bench.driver->counters().bytes_written, 0u);
    expect_it_goes_on(bench);
    bench.stop_and_expect_nothing_left();
}

TEST(AhciErrors, ACommandThatIsAbortedIsRefused) {
    const struct {
        Operation operation;
        std::uint32_t depth;
    } cases[]{{Operation::read, 32}, {Operation::read, 0}, {Operation::flush, 32}, {Operation::trim, 32}};
    for (const auto& one : cases) {
        Bench bench{{.disks = {{0, {.queue_depth = one.depth}}}}};
        ASSERT_TRUE(bench.start().ok());
        bench.machine.device.inject(AhciFault::command_aborted);
        EXPECT_EQ(bench.run(one.operation, {.ranges = {{0, 1}}}), Outcome::refused);
        EXPECT_EQ(bench.driver->counters().recoveries, 1u);
        expect_it_goes_on(bench);
        bench.stop_and_expect_nothing_left();
    }
}

TEST(AhciErrors, WhatWaitsForAFlushThatFailsGoesOn) {
    Bench bench;
    ASSERT_TRUE(bench.start().ok());
    bench.machine.device.defer(true);
    ASSERT_TRUE(bench.submit(0, Operation::flush).ok());
    for (std::uint32_t tag = 1; tag < 5; ++tag) ASSERT_TRUE(bench.submit(tag, Operation::read).ok());
    ASSERT_TRUE(bench.submit(5, Operation::flush).ok());
    bench.machine.device.inject(AhciFault::command_aborted);
    bench.machine.device.defer(false);
    bench.settle();
    ASSERT_EQ(bench.ended.size(), 6u);
    for (const auto& [tag, outcome] : bench.outcomes())
        EXPECT_EQ(outcome, tag == 0 ? Outcome::refused : Outcome::done) << tag;
    bench.stop_and_expect_nothing_left();
}

TEST(AhciErrors, WhatMayPassIsTriedAgain) {
    for (const AhciFault fault : {AhciFault::interface_error, AhciFault::host_bus_error}) {
        for (const std::uint32_t depth : {32u, 0u}) {
            Bench bench{{.disks = {{0, {.queue_depth = depth}}}}};
            ASSERT_TRUE(bench.start().ok());
            bench.machine.device.inject(fault);
            const Content content = pattern(4, 4096);
            EXPECT_EQ(bench.write(8, content), Outcome::done) << name_of(fault);
            EXPECT_EQ(bench.on_disk(8, 8), content);
            EXPECT_EQ(bench.machine.device.happened(fault), 1u);
            EXPECT_EQ(bench.driver->counters().recoveries, 1u);
            EXPECT_EQ(bench.driver->counters().request_errors, 0u);
            expect_it_goes_on(bench);
            bench.stop_and_expect_nothing_left();
        }
    }
}

TEST(AhciErrors, WhatDoesNotPassIsReported) {
    for (const AhciFault fault : {AhciFault::interface_error, AhciFault::host_bus_error}) {
        for (const std::uint32_t depth : {32u, 0u}) {
            Bench bench{{.disks = {{0, {.queue_depth = depth}}}}};
            ASSERT_TRUE(bench.start().ok());
            // No disk would get through its IDENTIFY like this: only the request's own attempts are hit.
            ASSERT_TRUE(bench.submit(0, Operation::read).ok());
            for (std::uint32_t attempt = 0; attempt < ahci::most_attempts; ++attempt) {
                EXPECT_TRUE(bench.ended.empty());
                bench.machine.device.inject(fault);
                bench.machine.platform.advance_ns(1'000'000);
                bench.machine.device.clear(fault);
                ASSERT_TRUE(bench.serve());
            }
            ASSERT_EQ(bench.ended.size(), 1u) << name_of(fault);
            EXPECT_EQ(bench.ended[0].outcome, Outcome::transport_error);
            expect_it_goes_on(bench);
            bench.stop_and_expect_nothing_left();
        }
    }
}

TEST(AhciErrors, ARecoveryThatNothingCallsForTouchesNothing) {
    Bench bench;
    ASSERT_TRUE(bench.start().ok());
    bench.machine.device.defer(true);
    for (std::uint32_t tag = 0; tag < 8; ++tag) ASSERT_TRUE(bench.submit(tag, Operation::read).ok());
    // More of them than a request has attempts.
    for (std::uint32_t i = 0; i <= ahci::most_attempts; ++i) bench.driver->recover(0, bench.sink());
    EXPECT_EQ(bench.outstanding(), 8) << "the disk still has them";
    EXPECT_EQ(bench.commands(ahci::Command::identify_device), 1u) << "no reset";
    EXPECT_EQ(bench.driver->counters().recoveries, 0u);
    bench.machine.device.defer(false);
    bench.settle();
    bench.expect_all_ended(8, Outcome::done);
    expect_it_goes_on(bench);
    bench.stop_and_expect_nothing_left();
}

TEST(AhciErrors, AnInterfaceErrorThatWasSurvivedIsNone) {
    Bench bench;
    ASSERT_TRUE(bench.start().ok());
    bench.machine.device.inject(AhciFault::interface_error_survived);
    EXPECT_EQ(bench.run(Operation::read), Outcome::done);
    EXPECT_EQ(bench.driver->counters().recoveries, 0u);
    bench.stop_and_expect_nothing_left();
}

TEST(AhciErrors, AByteCountThatIsWrongIsNoSuccess) {
    for (const AhciFault fault : {AhciFault::byte_count_lies, AhciFault::completes_without_data}) {
        Bench bench{{.disks = {{0, {.queue_depth = 0}}}}};
        ASSERT_TRUE(bench.start().ok());
        const Content content = pattern(4, 4096);
        EXPECT_EQ(bench.write(8, content), Outcome::done);
        bench.machine.device.inject(fault);
        EXPECT_EQ(bench.read(8, 8), content) << name_of(fault);
        EXPECT_EQ(bench.driver->counters().recoveries, 1u);
        bench.stop_and_expect_nothing_left();
    }
}

// ---- interrupts and time ----

TEST(AhciWatch, FindsWhatNoInterruptToldOf) {
    Bench bench;
    ASSERT_TRUE(bench.start().ok());
    bench.machine.device.inject(AhciFault::lost_interrupt);
    ASSERT_TRUE(bench.submit(0, Operation::read).ok());
    bench.machine.platform.advance_ns(1'000'000);
    ASSERT_FALSE(bench.machine.device.interrupt_line());
    EXPECT_FALSE(bench.driver->watch(0, bench.sink()));
    EXPECT_TRUE(bench.ended.empty()) << "its interrupt may be on its way";
    EXPECT_FALSE(bench.driver->watch(0, bench.sink()));
    ASSERT_EQ(bench.ended.size(), 1u);
    EXPECT_EQ(bench.ended[0].outcome, Outcome::done);
    EXPECT_EQ(bench.driver->counters().lost_interrupts, 1u);
    EXPECT_EQ(bench.driver->counters().recoveries, 0u);
    bench.stop_and_expect_nothing_left();
}

TEST(AhciWatch, TakesNoInterruptForLostThatComes) {
    Bench bench;
    ASSERT_TRUE(bench.start().ok());
    for (int i = 0; i < 10; ++i) {
        ASSERT_TRUE(bench.submit(0, Operation::read).ok());
        bench.machine.platform.advance_ns(1'000'000);
        EXPECT_FALSE(bench.driver->watch(0, bench.sink()));
        EXPECT_TRUE(bench.serve());
    }
    EXPECT_EQ(bench.ended.size(), 10u);
    EXPECT_EQ(bench.driver->counters().lost_interrupts, 0u);
    bench.stop_and_expect_nothing_left();
}

TEST(AhciWatch, LetsWhatWaitedGoOn) {
    Bench bench;
    ASSERT_TRUE(bench.start().ok());
    bench.machine.device.defer(true);
    ASSERT_TRUE(bench.submit(0, Operation::read).ok());
    ASSERT_TRUE(bench.submit(1, Operation::flush).ok());
    bench.machine.device.inject(AhciFault::lost_interrupt);
    EXPECT_EQ(bench.machine.device.step(), 1u);
    bench.watch();
    bench.watch();
    EXPECT_EQ(bench.ended.size(), 1u);
    EXPECT_EQ(bench.machine.device.step(), 1u) << "the flush was issued";
    bench.machine.device.defer(false);
    bench.settle();
    bench.stop_and_expect_nothing_left();
}

TEST(AhciWatch, SeesErrorsWhereInterruptsAreOff) {
    for (const std::uint32_t depth : {32u, 0u}) {
        Bench bench{{.disks = {{0, {.queue_depth = depth}}}}};
        ASSERT_TRUE(bench.start().ok());
        bench.driver->disable_interrupts();
        bench.machine.device.disk(0).fail(0, {});
        ASSERT_TRUE(bench.submit(0, Operation::read).ok());
        bench.machine.platform.advance_ns(1'000'000);
        EXPECT_EQ(bench.driver->complete(0, bench.sink()), 0u);
        ASSERT_TRUE(bench.driver->watch(0, bench.sink()));
        bench.driver->recover(0, bench.sink());
        ASSERT_EQ(bench.ended.size(), 1u);
        EXPECT_EQ(bench.ended[0].outcome, Outcome::medium_error);
        bench.stop_and_expect_nothing_left();
    }
}

TEST(AhciTimeout, ACommandThatNeverEndsIsTriedAgain) {
    for (const Operation operation : {Operation::read, Operation::flush}) {
        Bench bench;
        ASSERT_TRUE(bench.start().ok());
        bench.machine.device.inject(AhciFault::command_never_completes);
        const std::uint64_t began = bench.machine.platform.now_ns();
        EXPECT_EQ(bench.run(operation), Outcome::done);
        const std::uint64_t took = bench.machine.platform.now_ns() - began;
        EXPECT_GE(took, std::uint64_t{ahci::command_timeout_ms} * 1'000'000);
        EXPECT_LE(took, std::uint64_t{ahci::command_timeout_ms} * 1'100'000);
        EXPECT_EQ(bench.driver->counters().recoveries, 1u);
        expect_it_goes_on(bench);
        bench.stop_and_expect_nothing_left();
    }
}

TEST(AhciTimeout, TheOthersAreNotBlamed) {
    Bench bench{{.disks = {{0, {}}}}};
    ASSERT_TRUE(bench.start().ok());
    bench.machine.device.inject(AhciFault::command_never_completes, 3);
    for (std::uint32_t tag = 0; tag < 8; ++tag)
        ASSERT_TRUE(bench.submit(tag, Operation::read, {.first = tag}).ok());
    bench.settle(200'000);
    bench.expect_all_ended(8, Outcome::done);
    bench.stop_and_expect_nothing_left();
}

TEST(AhciTimeout, ACommandThatNeverEndsThreeTimesHasFailed) {
    Bench bench;
    ASSERT_TRUE(bench.start().ok());
    ASSERT_TRUE(bench.submit(0, Operation::read).ok());
    for (std::uint32_t attempt = 0; attempt < ahci::most_attempts; ++attempt) {
        EXPECT_TRUE(bench.ended.empty());
        bench.machine.device.inject(AhciFault::command_never_completes);
        bench.machine.platform.advance_ns(1'000'000);
        bench.machine.device.clear(AhciFault::command_never_completes);
        for (std::uint32_t tick = 1; tick < ahci::command_timeout_ticks; ++tick)
            ASSERT_FALSE(bench.driver->watch(0, bench.sink())) << tick;
        ASSERT_TRUE(bench.driver->watch(0, bench.sink()));
        bench.driver->recover(0, bench.sink());
    }
    ASSERT_EQ(bench.ended.size(), 1u);
    EXPECT_EQ(bench.ended[0].outcome, Outcome::timed_out);
    expect_it_goes_on(bench);
    bench.stop_and_expect_nothing_left();
}

TEST(AhciTimeout, ADiskThatAnswersNothingIsGivenUp) {
    Bench bench;
    ASSERT_TRUE(bench.start().ok());
    bench.machine.device.inject(AhciFault::command_never_completes, 1'000'000);
    for (std::uint32_t tag = 0; tag < 32; ++tag) ASSERT_TRUE(bench.submit(tag, Operation::read).ok());
    bench.settle(500'000);
    EXPECT_EQ(bench.ended.size(), 32u);
    EXPECT_FALSE(bench.driver->present(0));
    bench.stop_and_expect_nothing_left();
}

// ---- what the device must not write ----

TEST(AhciLies, BitsThatWereNeverIssuedAreNoCompletions) {
    for (const std::uint32_t depth : {32u, 0u}) {
        Bench bench{{.disks = {{0, {.queue_depth = depth}}}}};
        ASSERT_TRUE(bench.start().ok());
        bench.machine.device.defer(true);
        ASSERT_TRUE(bench.submit(4, Operation::read).ok());
        bench.machine.device.inject(AhciFault::active_never_issued);
        EXPECT_EQ(bench.driver->complete(0, bench.sink()), 0u);
        EXPECT_TRUE(bench.driver->needs_recovery(0));
        bench.machine.device.clear(AhciFault::active_never_issued);
        bench.machine.device.defer(false);
        bench.driver->recover(0, bench.sink());
        bench.settle();
        EXPECT_EQ(bench.outcomes().at(4), Outcome::done);
        expect_it_goes_on(bench);
        bench.stop_and_expect_nothing_left();
    }
}

TEST(AhciLies, ADeviceThatGoesOnLyingIsGivenUp) {
    Bench bench;
    ASSERT_TRUE(bench.start().ok());
    bench.machine.device.inject(AhciFault::active_never_issued);
    ASSERT_TRUE(bench.submit(0, Operation::read).ok());
    for (int i = 0; i < 100 && bench.ended.empty(); ++i) {
        bench.machine.platform.advance_ns(1'000'000);
        bench.driver->complete(0, bench.sink());
        if (bench.driver->needs_recovery(0)) bench.driver->recover(0, bench.sink());
    }
    ASSERT_EQ(bench.ended.size(), 1u);
    EXPECT_NE(bench.ended[0].outcome, Outcome::done);
    bench.stop_and_expect_nothing_left();
}

// ---- going away ----

TEST(AhciRemoval, EndsWhatIsInFlight) {
    for (const std::uint32_t depth : {32u, 0u}) {
        Bench bench{{.disks = {{0, {.queue_depth = depth}}, {1, {}}}}};
        ASSERT_TRUE(bench.start().ok());
        bench.machine.device.defer(true);
        for (std::uint32_t tag = 0; tag < 4; ++tag) ASSERT_TRUE(bench.submit(tag, Operation::read).ok());
        ASSERT_TRUE(bench.submit(4, Operation::flush).ok());
        ASSERT_TRUE(bench.submit(5, Operation::read).ok());
        bench.machine.device.remove(0);
        EXPECT_TRUE(bench.serve());
        bench.expect_all_ended(6, Outcome::gone);
        EXPECT_FALSE(bench.driver->present(0));
        EXPECT_TRUE(bench.driver->present(1));
        EXPECT_TRUE(bench.logged("port 0: the disk is gone"));
        EXPECT_EQ(bench.submit(0, Operation::read).error(), Error::device_gone);
        EXPECT_EQ(bench.submit(0, Operation::flush).error(), Error::device_gone);
        EXPECT_EQ(bench.driver->complete(0, bench.sink()), 0u);
        EXPECT_FALSE(bench.driver->watch(0, bench.sink()));
        EXPECT_FALSE(bench.driver->needs_recovery(0));
        EXPECT_FALSE(bench.machine.device.interrupt_line()) << "no storm";
        // The other disk does not mind.
        bench.machine.device.defer(false);
        ASSERT_TRUE(bench.submit(0, Operation::read, {.port = 1}).ok());
        bench.settle();
        EXPECT_EQ(bench.ended.back().outcome, Outcome::done);
        bench.stop_and_expect_nothing_left();
    }
}

TEST(AhciRemoval, IsNoticedWhereNothingIsInFlight) {
    Bench bench;
    ASSERT_TRUE(bench.start().ok());
    bench.machine.device.remove(0);
    EXPECT_TRUE(bench.serve());
    EXPECT_FALSE(bench.driver->present(0));
    bench.stop_and_expect_nothing_left();
}

TEST(AhciRemoval, OfADiskThatComesBackAtOnceIsALinkThatBounced) {
    Bench bench;
    ASSERT_TRUE(bench.start().ok());
    const Content content = pattern(8, 4096);
    bench.machine.device.defer(true);
    ASSERT_TRUE(bench.submit(0, Operation::write, {.blocks = 8, .content = &content}).ok());
    bench.machine.device.remove(0);
    bench.machine.device.insert(0);
    bench.machine.device.defer(false);
    bench.settle();
    EXPECT_EQ(bench.outcomes().at(0), Outcome::done);
    EXPECT_EQ(bench.on_disk(0, 8), content);
    expect_it_goes_on(bench);
    bench.stop_and_expect_nothing_left();
}

TEST(AhciRemoval, ALinkThatBouncesAnyTimesWhileNobodyWantsAnythingCostsNothing) {
    Bench bench;
    ASSERT_TRUE(bench.start().ok());
    for (std::uint32_t i = 0; i < 3 * ahci::most_fruitless_recoveries; ++i) {
        bench.machine.device.remove(0);
        bench.machine.device.insert(0);
        ASSERT_TRUE(bench.serve());
        ASSERT_TRUE(bench.driver->present(0)) << i;
    }
    EXPECT_EQ(bench.driver->counters().recoveries, 3u * ahci::most_fruitless_recoveries);
    expect_it_goes_on(bench);
    bench.stop_and_expect_nothing_left();
}

TEST(AhciRemoval, AnotherDiskInItsPlaceIsNotWrittenTo) {
    Bench bench;
    ASSERT_TRUE(bench.start().ok());
    const Content content = pattern(8, 4096);
    bench.machine.device.defer(true);
    ASSERT_TRUE(bench.submit(0, Operation::write, {.blocks = 8, .content = &content}).ok());
    bench.machine.device.remove(0);
    bench.machine.device.disk(0).set_identify_word(10, 0x5858);  // the serial number
    bench.machine.device.insert(0);
    bench.machine.device.defer(false);
    bench.settle(60'000);
    EXPECT_EQ(bench.outcomes().at(0), Outcome::gone);
    EXPECT_TRUE(bench.logged("another disk answers"));
    EXPECT_EQ(bench.on_disk(0, 8), Content(4096));
    bench.stop_and_expect_nothing_left();
}

TEST(AhciRemoval, AWriteCacheThatAResetSwitchesOnIsNotWrittenTo) {
    for (const bool was_on : {false, true}) {
        Bench bench;
        model::AhciDisk& disk = bench.machine.device.disk(0);
        const std::uint16_t on = static_cast<std::uint16_t>(disk.identify()[85] | 0x20);
        const std::uint16_t off = static_cast<std::uint16_t>(disk.identify()[85] & ~0x20);
        disk.set_identify_word(85, was_on ? on : off);
        ASSERT_TRUE(bench.start().ok());
        ASSERT_EQ(bench.driver->disk(0).write_cache, was_on);
        const Content content = pattern(8, 4096);
        bench.machine.device.defer(true);
        ASSERT_TRUE(bench.submit(0, Operation::write, {.blocks = 8, .content = &content}).ok());
        bench.machine.device.remove(0);
        disk.set_identify_word(85, was_on ? off : on);
        bench.machine.device.insert(0);
        bench.machine.device.defer(false);
        bench.settle(60'000);
        EXPECT_EQ(bench.outcomes().at(0), was_on ? Outcome::done : Outcome::gone);
        EXPECT_NE(bench.logged("write cache is on after the reset"), was_on);
        bench.stop_and_expect_nothing_left();
    }
}

TEST(AhciRemoval, OfTheWholeAdapterEndsEverything) {
    for (const std::uint32_t tags : {1u, 32u}) {
        Bench bench{{.disks = {{0, {}}, {1, {}}}}};
        ASSERT_TRUE(bench.start().ok());
        bench.machine.device.defer(true);
        for (std::uint32_t tag = 0; tag < tags; ++tag) ASSERT_TRUE(bench.submit(tag, Operation::read).ok());
        bench.machine.device.inject(AhciFault::gone);
        // No interrupt comes any more.
        EXPECT_EQ(bench.driver->complete(0, bench.sink()), 0u);
        bench.watch();
        bench.expect_all_ended(tags, Outcome::gone);
        EXPECT_FALSE(bench.driver->present(0));
        // The line may be somebody else's: then a read of all ones tells.
        EXPECT_EQ(bench.driver->take_interrupt(), 3u);
        EXPECT_TRUE(bench.driver->needs_recovery(1));
        bench.driver->recover(1, bench.sink(1));
        EXPECT_FALSE(bench.driver->present(1));
        bench.stop();
        bench.expect_nothing_left();
    }
}

TEST(AhciRemoval, ALinkThatStaysDownEndsIt) {
    Bench bench;
    ASSERT_TRUE(bench.start().ok());
    bench.machine.device.inject(AhciFault::command_never_completes);
    ASSERT_TRUE(bench.submit(0, Operation::read).ok());
    bench.machine.device.inject(AhciFault::link_stuck);
    bench.settle(60'000);
    EXPECT_EQ(bench.outcomes().at(0), Outcome::gone);
    bench.stop_and_expect_nothing_left();
}

// ---- the last means ----

// The next command fails, and the port does not stop, so that its own means do not help.
template <class B>
void fail_without_stopping(B& bench, std::uint32_t port) {
    bench.machine.device.inject(AhciFault::interface_error, 1, port);
    bench.machine.device.inject(AhciFault::port_stop_stuck, 1, port);
}
template <class B>
void read_from_both(B& bench) {
    for (const std::uint32_t port : {0u, 1u})
        ASSERT_TRUE(bench.submit(0, Operation::read, {.port = port}).ok());
}
template <class B>
void expect_both_go_on(B& bench) {
    EXPECT_TRUE(bench.driver->present(0));
    EXPECT_TRUE(bench.driver->present(1));
    bench.expect_all_ended(2, Outcome::done);
    expect_it_goes_on(bench);
    bench.stop_and_expect_nothing_left();
}

TEST(AhciAdapterReset, HelpsAPortThatDoesNotStopAndSparesTheOthersRequests) {
    DiskBench<StrictMapper, ResetPlatform> bench{{.disks = {{0, {}}, {1, {}}, {4, {.queue_depth = 0}}}}};
    ASSERT_TRUE(bench.start().ok());
    bench.machine.device.defer(true);
    const auto contents = bench.submit_writes({0, 1, 4});
    fail_without_stopping(bench, 0);
    std::uint32_t resets = 0;
    bench.platform->on_reset = [&] {
        ++resets;
        bench.machine.device.clear(AhciFault::port_stop_stuck);
    };
    bench.machine.device.defer(false);
    bench.settle(60'000);
    EXPECT_EQ(resets, 1u);
    EXPECT_TRUE(bench.logged("the whole adapter is reset"));
    bench.expect_all_ended(24, Outcome::done);
    for (const auto& [port, content] : contents) EXPECT_EQ(bench.on_disk(0, 64, port), content) << port;
    expect_it_goes_on(bench);
    bench.stop_and_expect_nothing_left();
}

TEST(AhciAdapterReset, OfTwoPortsThatRecoverTogetherCostsNeitherItsDisk) {
    DiskBench<StrictMapper, MeetingPlatform> bench{{.disks = {{0, {}}, {1, {}}}}};
    ASSERT_TRUE(bench.start().ok());
    read_from_both(bench);
    fail_without_stopping(bench, 0);
    std::uint32_t resets = 0;
    bench.platform->on_reset = [&] {
        bench.machine.device.clear(AhciFault::port_stop_stuck);
        if (++resets != 1) return;
        // Port 0 asks its disk who it is, and port 1 does not stop either.
        bench.platform->on_issue_at_port_0 = [&] {
            bench.machine.device.inject(AhciFault::port_stop_stuck, 1, 1);
            bench.driver->recover(1, bench.sink(1));
        };
    };
    bench.settle(60'000);
    EXPECT_EQ(resets, 2u);
    expect_both_go_on(bench);
}

TEST(AhciAdapterReset, OnePortAsksForServesAnotherThatIsAboutToAsk) {
    DiskBench<StrictMapper, ResetPlatform> bench{{.disks = {{0, {}}, {1, {}}}}};
    ASSERT_TRUE(bench.start().ok());
    read_from_both(bench);
    for (const std::uint32_t port : {0u, 1u}) fail_without_stopping(bench, port);
    std::uint32_t resets = 0;
    bench.platform->on_reset = [&] {
        ++resets;
        bench.machine.device.clear(AhciFault::port_stop_stuck);
    };
    // Port 0 has given up on its own means when port 1 has everything reset.
    bench.platform->on_log = [&](const char* line) {
        if (std::string{line}.starts_with("port 0: the port does not come back"))
            bench.driver->recover(1, bench.sink(1));
    };
    bench.settle(60'000);
    EXPECT_EQ(resets, 1u);
    expect_both_go_on(bench);
}

TEST(AhciAdapterReset, ThatDoesNotEndEndsTheRequests) {
    Bench bench;
    ASSERT_TRUE(bench.start().ok());
    fail_without_stopping(bench, 0);
    bench.machine.device.inject(AhciFault::hba_reset_stuck);
    ASSERT_TRUE(bench.submit(0, Operation::read).ok());
    bench.settle(60'000);
    EXPECT_EQ(bench.outcomes().at(0), Outcome::gone);
    bench.stop();
    EXPECT_TRUE(bench.logged("bus mastering must stay off"));
    bench.expect_nothing_left();
}

// It goes on with DMA whatever it is told. Whoever is given memory back must have it for himself.
TYPED_TEST(DiskErrors, AnAdapterThatCannotBeSilencedReachesNothingThatIsGivenBack) {
    DiskBench<TypeParam> bench{{.disks = {{0, {}}, {1, {}}}}};
    ASSERT_TRUE(bench.start().ok());
    auto& device = bench.machine.device;
    std::map<std::pair<std::uint32_t, std::uint32_t>, Outcome> ended;
    std::uint64_t reached = 0;
    const auto sink = [&](std::uint32_t port) {
        return [&, port](std::uint32_t tag, Outcome outcome) {
            const std::uint64_t before = bench.machine.iommu.counts().accesses;
            device.step();
            reached += bench.machine.iommu.counts().accesses - before;
            ended[{port, tag}] = outcome;
            bench.end(port, tag, outcome);
        };
    };
    device.defer(true);
    for (const std::uint32_t port : {0u, 1u})
        for (std::uint32_t tag = 0; tag < 3; ++tag)
            ASSERT_TRUE(bench.submit(tag, Operation::read, {.first = tag * 8, .blocks = 8, .port = port}).ok());
    fail_without_stopping(bench, 0);
    device.inject(AhciFault::hba_reset_stuck);
    device.step(1);
    device.inject(AhciFault::dma_after_stop);
    const std::uint64_t before = bench.machine.iommu.counts().accesses;
    device.step(0);
    ASSERT_GT(bench.machine.iommu.counts().accesses, before) << "the fault shows";
    ASSERT_NE(bench.driver->take_interrupt() & 1, 0u);
    bench.driver->complete(0, sink(0));
    ASSERT_TRUE(bench.driver->needs_recovery(0));
    bench.driver->recover(0, sink(0));
    EXPECT_TRUE(bench.driver->needs_recovery(1)) << "the other disk cannot be reached any more";
    bench.driver->recover(1, sink(1));
    EXPECT_EQ(ended.size(), 6u);
    for (const auto& [which, outcome] : ended)
        EXPECT_EQ(outcome, Outcome::gone) << which.first << ' ' << which.second;
    EXPECT_EQ(reached, 0u);
    EXPECT_TRUE(bench.logged("bus mastering is taken from it"));
    for (const std::uint32_t port : {0u, 1u}) EXPECT_FALSE(bench.driver->present(port));
    bench.stop();

    // It may have come to its senses.
    for (const AhciFault fault :
         {AhciFault::port_stop_stuck, AhciFault::hba_reset_stuck, AhciFault::dma_after_stop})
        device.clear(fault);
    device.defer(false);
    ASSERT_TRUE(bench.driver->ensure_quiet().ok());
    device.set_bus_master(true);
    ASSERT_TRUE(bench.driver->start().ok());
    bench.driver->enable_interrupts();
    expect_it_goes_on(bench);
    bench.stop();
    bench.expect_nothing_left();
}

// Whatever comes, every request ends once, and a read that is done has the right data.
TEST(AhciErrors, AnyMixtureOfFaultsEndsEveryRequestOnce) {
    const AhciFault faults[]{AhciFault::command_never_completes, AhciFault::command_aborted,
                             AhciFault::interface_error,         AhciFault::host_bus_error,
                             AhciFault::lost_interrupt,          AhciFault::error_log_other_tag,
                             AhciFault::error_log_bad_checksum};
    for (std::uint64_t seed = 1; seed <= 12; ++seed) {
        Bench bench{
            {.disks =
                 {{0, {.blocks = 1024, .queue_depth = seed % 3 == 0 ? 0u : 32u, .error_log = seed % 2 == 0}}},
             .order_seed = seed}};
        ASSERT_TRUE(bench.start().ok());
        for (std::uint64_t block = 0; block < 1024; ++block) {
            const Content content = pattern(block, 512);
            bench.machine.device.disk(0).write(block, content, true);
        }
        bench.machine.device.disk(0).fail(500, {});
        std::mt19937_64 random{seed};
        std::map<std::uint32_t, std::uint64_t> first_of;
        std::uint32_t taken = 0;
        std::size_t seen = 0;
        std::uint32_t milliseconds = 0;
        while ((taken < 400 || !bench.flights.empty()) && milliseconds < 4'000'000) {
            for (std::uint32_t tag = 0; tag < 32 && taken < 400; ++tag) {
                if (bench.flights.contains({0, tag}) || random() % 2 == 0) continue;
                first_of[tag] = random() % 1020;
                const bool flush = random() % 10 == 0;
                if (flush) first_of.erase(tag);
                const Status status =
                    flush ? bench.submit(tag, Operation::flush)
                          : bench.submit(tag, Operation::read, {.first = first_of[tag], .blocks = 4});
                if (status.error() == Error::device_gone) {
                    taken = 400;
                    break;
                }
                ASSERT_TRUE(status.ok());
                ++taken;
            }
            if (random() % 20 == 0) bench.machine.device.inject(faults[random() % std::size(faults)]);
            bench.machine.platform.advance_ns(50'000);
            bench.serve();
            if (bench.driver->needs_recovery(0)) bench.driver->recover(0, bench.sink());
            if (random() % 10 == 0) bench.watch();
            ++milliseconds;
            for (; seen < bench.ended.size(); ++seen) {
                const Ended& one = bench.ended[seen];
                if (one.outcome != Outcome::done || one.content.empty()) continue;
                for (std::uint64_t i = 0; i < 4; ++i) {
                    const Content block(one.content.begin() + static_cast<std::ptrdiff_t>(i * 512),
                                        one.content.begin() + static_cast<std::ptrdiff_t>((i + 1) * 512));
                    ASSERT_EQ(block, pattern(first_of.at(one.tag) + i, 512));
                }
            }
        }
        EXPECT_TRUE(bench.flights.empty()) << "seed " << seed;
        const StorageCounters counters = bench.driver->counters();
        EXPECT_EQ(counters.read_requests + counters.flush_requests + counters.request_errors,
                  bench.ended.size());
        bench.stop_and_expect_nothing_left();
    }
}

}  // namespace
}  // namespace dmatoll::test
