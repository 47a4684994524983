// SPDX-License-Identifier: BSD-2-Clause
// The AHCI driver from the first register to the last: taken over, reset, started, identified, stopped.
#include <gtest/gtest.h>

#include <bit>

#include "ahci_machine.hpp"

namespace dmatoll::test {
namespace {

using Bench = DiskBench<StrictMapper>;

TEST(AhciBringUp, StartsADiskAndStopsIt) {
    Bench bench;
    const Status started = bench.start();
    ASSERT_TRUE(started.ok()) << describe(started.error());
    EXPECT_EQ(bench.driver->ports(), 1u);
    const ahci::Disk& disk = bench.driver->disk(0);
    EXPECT_EQ(disk.blocks, 1u << 16);
    EXPECT_EQ(disk.block_bytes, 512u);
    EXPECT_EQ(disk.physical_block_bytes, 512u);
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

TEST(AhciBringUp, SaysWhatADiskLacks) {
    Bench bench{{.disks = {{0,
                            {.blocks = 1000,
                             .block_bytes = 512,
                             .physical_block_bytes = 4096,
                             .queue_depth = 0,
                             .write_cache = false,
                             .flush = false,
                             .force_unit_access = false,
                             .trim = false,
                             .rotational = true}}}}};
    ASSERT_TRUE(bench.start().ok());
    const ahci::Disk& disk = bench.driver->disk(0);
    EXPECT_EQ(disk.blocks, 1000u);
    EXPECT_EQ(disk.physical_block_bytes, 4096u);
    EXPECT_FALSE(disk.native_queueing || disk.force_unit_access || disk.write_cache || disk.flush ||
                 disk.trim);
    EXPECT_TRUE(disk.rotational);
    EXPECT_EQ(disk.most_trim_ranges, 0u);
    EXPECT_EQ(bench.driver->submit(0, 0, {.operation = Operation::flush}).error(), Error::invalid_argument);
    const ahci::BlockRange range{0, 1};
    EXPECT_EQ(bench.driver->submit(0, 0, {.operation = Operation::trim, .ranges = {&range, 1}}).error(),
              Error::invalid_argument);
    bench.stop_and_expect_nothing_left();
}

TEST(AhciBringUp, TakesTheSmallestOfThreeDepths) {
    const auto depth = [](std::uint32_t adapter, std::uint32_t disk, std::uint32_t wanted) {
        Bench bench{{.disks = {{0, {.queue_depth = disk}}}, .slots = adapter}, {.queue_depth = wanted}};
        EXPECT_TRUE(bench.start().ok());
        const std::uint32_t depth = bench.driver->disk(0).queue_depth;
        const Content content(512);
        EXPECT_EQ(bench.submit(depth, Operation::write, {.content = &content}).error(),
                  Error::invalid_argument);
        EXPECT_TRUE(bench.submit(depth - 1, Operation::write, {.content = &content}).ok());
        bench.settle();
        bench.stop_and_expect_nothing_left();
        return depth;
    };
    EXPECT_EQ(depth(32, 32, 32), 32u);
    EXPECT_EQ(depth(8, 32, 32), 8u);
    EXPECT_EQ(depth(32, 4, 32), 4u);
    EXPECT_EQ(depth(32, 32, 1), 1u);
    EXPECT_EQ(depth(1, 32, 32), 1u);
}

TEST(AhciBringUp, RefusesSettingsOutOfRange) {
    for (const std::uint32_t depth : {0u, 33u}) {
        Bench bench{{}, {.queue_depth = depth}};
        EXPECT_EQ(bench.driver->probe().error(), Error::invalid_argument);
    }
}

TEST(AhciBringUp, TakesTheAdapterFromTheFirmware) {
    Bench polite{{.firmware_owns = true}};
    ASSERT_TRUE(polite.start().ok());
    EXPECT_EQ(polite.machine.device.peek(sheet::BOHC) & 3u, 2u) << "owned by the system, not by the firmware";
    EXPECT_FALSE(polite.logged("firmware"));
    polite.stop_and_expect_nothing_left();

    Bench rude{{.firmware_owns = true}};
    rude.machine.device.inject(AhciFault::firmware_keeps_the_hba);
    ASSERT_TRUE(rude.start().ok()) << "overruled";
    EXPECT_TRUE(rude.logged("firmware does not give up"));
    EXPECT_EQ(rude.run(Operation::read), Outcome::done);
    rude.stop();
    rude.expect_nothing_left();  // not clean: the model calls every access a violation
}

TEST(AhciBringUp, SilencesADriverThatWasThereBefore) {
    Bench bench;
    ASSERT_TRUE(bench.start().ok());
    bench.machine.device.defer(true);
    ASSERT_TRUE(bench.submit(0, Operation::read).ok());
    // Another driver comes, with the first one's commands still there.
    Bench::Driver next{bench.machine.platform, *bench.mapper, {}};
    ASSERT_TRUE(next.probe().ok());
    EXPECT_EQ(bench.machine.device.step(), 0u);
    EXPECT_EQ(bench.machine.device.outstanding(0), 0u);
    EXPECT_FALSE(bench.machine.device.interrupt_line());
    bench.stop_and_expect_nothing_left();
    EXPECT_EQ(bench.ended.size(), 1u);
}

TEST(AhciBringUp, ReportsAnAdapterThatIsGoneOrDoesNotReset) {
    Bench gone;
    gone.machine.device.inject(AhciFault::gone);
    EXPECT_EQ(gone.driver->probe().error(), Error::device_gone);

    Bench stuck;
    stuck.machine.device.inject(AhciFault::hba_reset_stuck);
    EXPECT_EQ(stuck.driver->probe().error(), Error::timed_out);
    EXPECT_TRUE(stuck.logged("did not end within a second"));
    stuck.machine.device.clear(AhciFault::hba_reset_stuck);
}

TEST(AhciBringUp, FindsItsDisksAmongOtherThings) {
    Bench bench{{.disks = {{1, {.serial = "one"}}, {3, {.packet_device = true}}, {31, {.serial = "last"}}},
                 .ports = 0x8000'00ff}};
    ASSERT_TRUE(bench.start().ok());
    EXPECT_EQ(bench.driver->ports(), 1u << 1 | 1u << 31);
    EXPECT_STREQ(bench.driver->disk(1).serial, "one");
    EXPECT_STREQ(bench.driver->disk(31).serial, "last");
    EXPECT_TRUE(bench.logged("port 3: the device is no ATA disk"));
    EXPECT_EQ(bench.driver->submit(3, 0, {}).error(), Error::invalid_argument);
    EXPECT_EQ(bench.driver->submit(32, 0, {}).error(), Error::invalid_argument);
    bench.stop_and_expect_nothing_left();
}

TEST(AhciBringUp, HasNoPortsWhereThereAreNoDisks) {
    Bench empty{{.disks = {}, .ports = 0x3f}};
    ASSERT_TRUE(empty.start().ok());
    EXPECT_EQ(empty.driver->ports(), 0u);
    empty.stop_and_expect_nothing_left();
}

TEST(AhciBringUp, WaitsForADiskThatSpinsUp) {
    Bench bench{{.staggered_spin_up = true, .spin_up_ns = 12'000'000'000}};
    ASSERT_TRUE(bench.start().ok());
    EXPECT_EQ(bench.driver->ports(), 1u);
    EXPECT_GE(bench.machine.platform.now_ns(), 12'000'000'000u);
    bench.stop_and_expect_nothing_left();
}

TEST(AhciBringUp, PassesOverADiskThatStaysBusy) {
    Bench bench{{.disks = {{0, {}}, {1, {}}}}};
    bench.machine.device.inject(AhciFault::signature_missing, 1, 0);
    ASSERT_TRUE(bench.start().ok());
    EXPECT_EQ(bench.driver->ports(), 2u);
    EXPECT_TRUE(bench.logged("port 0: the device stays busy"));
    bench.stop_and_expect_nothing_left();

    Bench alone;
    alone.machine.device.inject(AhciFault::signature_missing);
    EXPECT_EQ(alone.start().error(), Error::timed_out);
    alone.stop_and_expect_nothing_left();
}

TEST(AhciBringUp, PassesOverADiskWhoseIdentifyFails) {
    Bench aborted;
    aborted.machine.device.inject(AhciFault::command_aborted);
    ASSERT_TRUE(aborted.start().ok());
    EXPECT_EQ(aborted.driver->ports(), 0u);
    EXPECT_TRUE(aborted.logged("IDENTIFY DEVICE failed"));
    aborted.stop_and_expect_nothing_left();

    Bench silent;
    silent.machine.device.inject(AhciFault::command_never_completes);
    EXPECT_EQ(silent.start().error(), Error::timed_out);
    silent.stop_and_expect_nothing_left();

    Bench empty;
    empty.machine.device.inject(AhciFault::completes_without_data);
    EXPECT_EQ(empty.start().error(), Error::device_misbehaves)
        << "what was in the memory before is no answer";
    empty.stop_and_expect_nothing_left();
}

TEST(AhciBringUp, RefusesIdentifyDataThatMakeNoSense) {
    struct Nonsense {
        std::vector<std::pair<std::uint32_t, std::uint16_t>> words;
        const char* said;
    };
    for (const Nonsense& nonsense : std::vector<Nonsense>{
             {{{100, 0}, {101, 0}, {102, 0}, {103, 0}}, "number of blocks is impossible"},
             {{{103, 0xffff}}, "number of blocks is impossible"},
             {{{106, 0x5000}, {117, 0}, {118, 0}}, "no power of two"},
             {{{106, 0x5000}, {117, 300}, {118, 0}}, "no power of two"},
             {{{106, 0x5000}, {117, 0}, {118, 1}}, "no power of two"},
             {{{49, 0x0200}}, "no DMA"},
             {{{83, 0x4000}}, "no DMA with addresses of 48 bits"},
             {{{83, 0xffff}}, "no DMA with addresses of 48 bits"},
             {{{0, 0x8000}}, "no ATA disk"},
             {{{83, 0x4400}}, "no FLUSH CACHE EXT"},
         }) {
        Bench bench;
        for (const auto& [word, value] : nonsense.words)
            bench.machine.device.disk(0).set_identify_word(word, value);
        static_cast<void>(bench.start());
        EXPECT_EQ(bench.driver->ports(), 0u) << nonsense.said;
        EXPECT_TRUE(bench.logged(nonsense.said)) << nonsense.said;
        bench.stop_and_expect_nothing_left();
    }
    Bench checksum;
    checksum.machine.device.disk(0).set_identify_checksum_wrong(true);
    EXPECT_EQ(checksum.start().error(), Error::device_misbehaves);
    EXPECT_TRUE(checksum.logged("checksum"));
    checksum.stop_and_expect_nothing_left();
}

TEST(AhciBringUp, TakesOddButValidIdentifyData) {
    Bench bench;
    model::AhciDisk& disk = bench.machine.device.disk(0);
    disk.set_identify_word(27, 0x0041);   // a zero in the model's name
    disk.set_identify_word(28, 0x07c3);   // and what nobody can print
    disk.set_identify_word(76, 0xffff);   // no serial ATA capabilities, in the other way to say so
    disk.set_identify_word(106, 0x8000);  // sizes that do not hold
    ASSERT_TRUE(bench.start().ok());
    EXPECT_EQ(std::string(bench.driver->disk(0).model).substr(0, 3), "A??");
    EXPECT_FALSE(bench.driver->disk(0).native_queueing);
    EXPECT_EQ(bench.driver->disk(0).physical_block_bytes, 512u);
    const Content content = pattern(1, 512);
    EXPECT_EQ(bench.write(1, content), Outcome::done);
    bench.stop_and_expect_nothing_left();
}

TEST(AhciBringUp, BelievesInPhysicalBlocksUpToAMebibyte) {
    for (const std::uint16_t exponent :
         {std::uint16_t{3}, std::uint16_t{11}, std::uint16_t{12}, std::uint16_t{15}}) {
        Bench bench;
        bench.machine.device.disk(0).set_identify_word(106, static_cast<std::uint16_t>(0x6000 | exponent));
        ASSERT_TRUE(bench.start().ok());
        EXPECT_EQ(bench.driver->disk(0).physical_block_bytes, exponent <= 11 ? 512u << exponent : 512u);
        bench.stop_and_expect_nothing_left();
    }
}

// A BAR of the host's own registers and one port, of an adapter that claims more and interrupts for all.
class ShortBarPlatform : public ForwardingPlatform {
  public:
    static constexpr std::uint32_t bytes = 0x180;
    using ForwardingPlatform::ForwardingPlatform;
    std::uint32_t read32(std::uint32_t offset) {
        if (offset >= bytes) ++accesses_beyond;
        const std::uint32_t value = ForwardingPlatform::read32(offset);
        return offset == sheet::IS && all_interrupt ? value | 0xfffffffe : value;
    }
    void write32(std::uint32_t offset, std::uint32_t value) {
        if (offset >= bytes) ++accesses_beyond;
        if (offset == sheet::IS) acknowledged |= value;
        ForwardingPlatform::write32(offset, value);
    }

    bool all_interrupt = false;
    std::uint32_t acknowledged = 0;
    std::uint32_t accesses_beyond = 0;
};

TEST(AhciBringUp, TouchesNoRegistersBeyondItsBar) {
    DiskBench<StrictMapper, ShortBarPlatform> bench{{.disks = {{0, {}}, {1, {}}, {31, {}}}},
                                                  {.register_bytes = ShortBarPlatform::bytes}};
    ASSERT_TRUE(bench.start().ok());
    EXPECT_EQ(bench.driver->ports(), 1u);
    const Content content = pattern(1, 512);
    EXPECT_EQ(bench.write(1, content), Outcome::done);
    bench.platform->all_interrupt = true;
    EXPECT_EQ(bench.driver->take_interrupt(), 0u);
    bench.platform->all_interrupt = false;
    EXPECT_EQ(bench.platform->acknowledged & 0xfffffffe, 0xfffffffe) << "or they would come again for ever";
    bench.stop_and_expect_nothing_left();
    EXPECT_EQ(bench.platform->accesses_beyond, 0u);
}

TEST(AhciBringUp, RefusesABarThatHasRoomForNoPort) {
    DiskBench<StrictMapper, ShortBarPlatform> bench{{}, {.register_bytes = ShortBarPlatform::bytes - 1}};
    EXPECT_EQ(bench.driver->probe().error(), Error::device_misbehaves);
    EXPECT_TRUE(bench.logged("no port whose registers can be reached"));
}

TEST(AhciBringUp, GivesEverythingBackWhenMemoryRunsOut) {
    for (std::uint64_t after = 0; after < 2; ++after) {
        Bench ring{{.disks = {{0, {}}, {2, {}}}}};
        ring.machine.platform.refuse_ring(after);
        EXPECT_EQ(ring.start().error(), Error::no_memory);
        ring.stop_and_expect_nothing_left();

        Bench table{{.disks = {{0, {}}, {2, {}}}}};
        table.machine.platform.refuse_allocation(after);
        EXPECT_EQ(table.start().error(), Error::no_memory);
        table.stop_and_expect_nothing_left();
    }
}

TEST(AhciBringUp, StartsAgainAfterAStop) {
    Bench bench;
    for (int round = 0; round < 3; ++round) {
        ASSERT_TRUE(bench.start().ok());
        EXPECT_EQ(bench.driver->start().error(), Error::invalid_argument) << "it runs";
        const Content content = pattern(static_cast<std::uint64_t>(round), 4096);
        EXPECT_EQ(bench.write(8, content), Outcome::done);
        EXPECT_EQ(bench.read(8, 8), content);
        bench.stop();
        bench.stop();
        bench.machine.device.set_bus_master(false);
    }
    bench.expect_nothing_left();
    bench.expect_clean_device();
    EXPECT_EQ(bench.driver->counters().write_requests, 3u) << "counted since the beginning";
}

TEST(AhciStop, EndsWhatIsOutstandingAndWhatWaits) {
    Bench bench;
    ASSERT_TRUE(bench.start().ok());
    bench.machine.device.defer(true);
    for (std::uint32_t tag = 0; tag < 4; ++tag) ASSERT_TRUE(bench.submit(tag, Operation::read).ok());
    ASSERT_TRUE(bench.submit(4, Operation::flush).ok());
    ASSERT_TRUE(bench.submit(5, Operation::read).ok());
    bench.stop();
    EXPECT_EQ(bench.ended.size(), 6u);
    bench.expect_nothing_left();
    bench.expect_clean_device();
}

TEST(AhciStop, ResetsAnAdapterWhosePortDoesNotStop) {
    for (const AhciFault fault : {AhciFault::port_stop_stuck, AhciFault::fis_stop_stuck}) {
        Bench bench;
        ASSERT_TRUE(bench.start().ok());
        bench.machine.device.defer(true);
        ASSERT_TRUE(bench.submit(0, Operation::read).ok());
        bench.machine.device.inject(fault);
        bench.stop();
        EXPECT_FALSE(bench.logged("bus mastering must stay off"));
        bench.expect_nothing_left();
        bench.expect_clean_device();
    }
}

TEST(AhciStop, KeepsAnAdapterThatDoesNotBecomeQuietFromWhatItGivesBack) {
    Bench bench;
    ASSERT_TRUE(bench.start().ok());
    auto& device = bench.machine.device;
    device.defer(true);
    ASSERT_TRUE(bench.submit(0, Operation::read).ok());
    device.inject(AhciFault::hba_reset_stuck);
    device.inject(AhciFault::dma_after_stop);
    std::uint64_t reached = 0;
    bench.driver->stop([&](std::uint32_t port, std::uint32_t tag, Outcome outcome) {
        EXPECT_EQ(outcome, Outcome::gone);
        const std::uint64_t before = bench.machine.iommu.counts().accesses;
        device.step();
        reached += bench.machine.iommu.counts().accesses - before;
        bench.end(port, tag, outcome);
    });
    EXPECT_EQ(device.happened(AhciFault::dma_after_stop), 1u);
    EXPECT_EQ(reached, 0u);
    bench.expect_nothing_left();
}

TEST(AhciStop, TellsOfAnAdapterThatDoesNotBecomeQuiet) {
    Bench bench;
    ASSERT_TRUE(bench.start().ok());
    bench.machine.device.inject(AhciFault::hba_reset_stuck);
    bench.stop();
    EXPECT_TRUE(bench.logged("bus mastering must stay off"));
    bench.machine.device.set_bus_master(false);
    EXPECT_EQ(bench.driver->ensure_quiet().error(), Error::timed_out);
    EXPECT_EQ(bench.driver->start().error(), Error::timed_out) << "it gets no new memory";
    bench.machine.device.clear(AhciFault::hba_reset_stuck);
    EXPECT_TRUE(bench.driver->ensure_quiet().ok());
    bench.machine.device.set_bus_master(true);
    EXPECT_TRUE(bench.driver->start().ok());
    bench.stop();
    bench.expect_nothing_left();
}

TEST(AhciNarrowAdapter, NeverHearsOfAnAddressBeyondItsReach) {
    constexpr std::uint64_t border = std::uint64_t{1} << 32;
    Bench low{{.wide_addresses = false}, {}, {0, border - 1}};
    ASSERT_TRUE(low.start().ok());
    EXPECT_EQ(low.driver->address_bits(), 32u);
    const Content content = pattern(5, 8192);
    EXPECT_EQ(low.write(3, content), Outcome::done);
    EXPECT_EQ(low.read(3, 16), content);
    low.stop_and_expect_nothing_left();

    Bench high{{.wide_addresses = false}, {}, {border, 2 * border}};
    EXPECT_EQ(high.start().error(), Error::mapping_failed);
    EXPECT_TRUE(high.logged("beyond 4 GiB"));
    high.stop_and_expect_nothing_left();

    Bench wide{{}, {}, {border, 2 * border}};
    ASSERT_TRUE(wide.start().ok());
    EXPECT_EQ(wide.driver->address_bits(), 64u);
    EXPECT_EQ(wide.write(3, content), Outcome::done);
    EXPECT_EQ(wide.on_disk(3, 16), content);
    wide.stop_and_expect_nothing_left();
}

TEST(AhciNarrowAdapter, RefusesARequestThatLiesBeyond) {
    constexpr std::uint64_t border = std::uint64_t{1} << 32;
    constexpr std::uint64_t mebibyte = 1 << 20;
    Bench bench{{.wide_addresses = false}, {}, {border - mebibyte, border + mebibyte - 1}};
    ASSERT_TRUE(bench.start().ok()) << "IOVAs are given out from the bottom";
    const Content content = pattern(6, mebibyte);
    const std::uint64_t before = bench.machine.domain.live();
    const Status refused = bench.submit(0, Operation::write, {.blocks = 2048, .content = &content});
    EXPECT_EQ(refused.error(), Error::mapping_failed);
    EXPECT_EQ(bench.machine.domain.live(), before) << "nothing stays mapped";
    EXPECT_EQ(bench.driver->counters().write_requests, 0u);
    bench.stop_and_expect_nothing_left();
}

}  // namespace
}  // namespace dmatoll::test
