// SPDX-License-Identifier: BSD-2-Clause
// The device model against the datasheet, without a driver: what the other tests lean on.
#include <gtest/gtest.h>

#include <cstring>

#include "machine.hpp"

namespace dmatoll::test {
namespace {

using namespace model::datasheet;
using model::Arrival;

TEST(Checksum, KnownVectors) {
    // The example of RFC 1071 §3.
    const std::uint8_t example[] = {0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7};
    EXPECT_EQ(model::ones_sum(std::as_bytes(std::span{example})), 0xddf2);
    EXPECT_EQ(model::ones_sum(std::as_bytes(std::span{example}.first(3))), 0xf201);
    EXPECT_EQ(model::ethernet_crc(std::as_bytes(std::span{"123456789", 9})), 0xcbf43926u);
}

class DeviceModelTest : public testing::Test {
  protected:
    static constexpr Iova ring{0x10'0000};
    static constexpr Iova buffer{0x20'0000};

    DeviceModelTest() {
        EXPECT_TRUE(iommu.map(ring, ring_memory, page_bytes, Direction::bidirectional).ok());
        EXPECT_TRUE(iommu.map(buffer, buffer_memory, 4 * page_bytes, Direction::bidirectional).ok());
        device.set_bus_master(true);
        device.write32(CTRL, ctrl_slu);
    }
    void enable_receiver(std::uint32_t more = 0) {
        for (std::uint64_t i = 0; i < 8; ++i) descriptor(i, (buffer + i * 2048).value, 0, 0);
        device.write32(RDBAL, static_cast<std::uint32_t>(ring.value));
        device.write32(RDBAH, 0);
        device.write32(RDLEN, 128);
        device.write32(RDT, 7);
        device.write32(RCTL, rctl_en | rctl_bam | more);
    }
    void descriptor(std::uint64_t index, std::uint64_t address, std::uint32_t lower, std::uint32_t upper) {
        std::byte* const where = memory.at(ring_memory + index * 16, 16);
        std::memcpy(where, &address, 8);
        std::memcpy(where + 8, &lower, 4);
        std::memcpy(where + 12, &upper, 4);
    }
    std::uint32_t word(std::uint64_t offset) {
        std::uint32_t value;
        std::memcpy(&value, memory.at(ring_memory + offset, 4), 4);
        return value;
    }

    model::PhysicalMemory memory{1 << 20};
    model::SoftwareIommu iommu{memory};
    model::E1000Device device{iommu};
    Memory ring_memory = memory.allocate_pages(1);
    Memory buffer_memory = memory.allocate_pages(4);
    Bytes frame = make_frame({.payload = 200});
};

TEST_F(DeviceModelTest, StoresAFrameWithItsCrcAndWritesTheDescriptorBack) {
    enable_receiver();
    EXPECT_EQ(device.receive_frame(frame), Arrival::stored);
    EXPECT_EQ(word(8) & 0xffff, frame.size() + 4);
    EXPECT_EQ(word(12) & 0xff, static_cast<std::uint32_t>(receive_dd | receive_eop)) << "RXCSUM is off";
    EXPECT_EQ(std::memcmp(memory.at(buffer_memory), frame.data(), frame.size()), 0);
    std::uint32_t crc;
    std::memcpy(&crc, memory.at(buffer_memory + frame.size(), 4), 4);
    EXPECT_EQ(crc, model::ethernet_crc(frame));
    EXPECT_EQ(device.read32(RDH), 1u);
    EXPECT_EQ(device.read32(ICR), cause_rxt0 | cause_lsc);
    EXPECT_EQ(device.read32(ICR), 0u) << "read to clear";
    EXPECT_TRUE(device.violations().empty());
}

TEST_F(DeviceModelTest, HeadNeverPassesTheTail) {
    enable_receiver(rctl_secrc);
    for (int i = 0; i < 7; ++i) EXPECT_EQ(device.receive_frame(frame), Arrival::stored);
    EXPECT_EQ(device.receive_frame(frame), Arrival::no_descriptor);
    EXPECT_EQ(device.read32(RDH), 7u);
    EXPECT_EQ(word(7 * 16 + 12), 0u) << "the descriptor at the tail is software's";
    EXPECT_NE(device.read32(ICR) & cause_rxo, 0u);
    EXPECT_EQ(device.read32(MPC), 1u);
    EXPECT_EQ(device.read32(MPC), 0u) << "read to clear";
    EXPECT_EQ(device.read32(GPRC), 7u);
    EXPECT_EQ(device.read32(TPR), 8u);
    EXPECT_EQ(device.read32(GORCL), 7 * (frame.size() + 4));
    EXPECT_EQ(device.read32(GORCL), 7 * (frame.size() + 4)) << "the high half clears both";
    device.read32(GORCH);
    EXPECT_EQ(device.read32(GORCL), 0u);
}

TEST_F(DeviceModelTest, FiltersByAddressAndSize) {
    enable_receiver();
    FrameShape other{.payload = 200, .destination_last = 0x57};
    EXPECT_EQ(device.receive_frame(make_frame(other)), Arrival::filtered);
    Bytes broadcast = frame;
    std::fill(broadcast.begin(), broadcast.begin() + 6, std::byte{0xff});
    EXPECT_EQ(device.receive_frame(broadcast), Arrival::stored);
    EXPECT_EQ(device.receive_frame(make_frame({.payload = 1500})), Arrival::wrong_size);
    EXPECT_EQ(device.receive_frame(frame, true), Arrival::damaged);
    EXPECT_EQ(device.read32(CRCERRS), 1u);
    EXPECT_EQ(device.read32(ROC), 1u);
    device.write32(RCTL, device.read32(RCTL) & ~rctl_bam);
    EXPECT_EQ(device.receive_frame(broadcast), Arrival::filtered);
    device.write32(RCTL, 0);
    EXPECT_EQ(device.receive_frame(frame), Arrival::receiver_off);
}

TEST_F(DeviceModelTest, AFrameLongerThanABufferTakesSeveralDescriptors) {
    enable_receiver(rctl_secrc | 3u << 16);                                          // 256 bytes
    EXPECT_EQ(device.receive_frame(make_frame({.payload = 534})), Arrival::stored);  // 600 bytes
    EXPECT_EQ(word(8) & 0xffff, 256u);
    EXPECT_EQ(word(12) & 0xff, std::uint32_t{receive_dd});
    EXPECT_EQ(word(32 + 8) & 0xffff, 88u);
    EXPECT_EQ(word(32 + 12) & 0xff, static_cast<std::uint32_t>(receive_dd | receive_eop));
}

TEST_F(DeviceModelTest, TransmitsALegacyDescriptorAndReportsStatusOnlyIfAsked) {
    std::memcpy(memory.at(buffer_memory, frame.size()), frame.data(), frame.size());
    const auto length = static_cast<std::uint32_t>(frame.size());
    descriptor(0, buffer.value, 100u, 0);
    descriptor(1, buffer.value + 100, (length - 100) | 0x0bu << 24, 0xabcd'0000);
    device.write32(TDBAL, static_cast<std::uint32_t>(ring.value));
    device.write32(TDBAH, 0);
    device.write32(TDLEN, 128);
    device.write32(TCTL, tctl_en | tctl_psp);
    device.write32(TDT, 2);
    const std::vector<model::WireFrame> wire = device.take_wire();
    ASSERT_EQ(wire.size(), 1u);
    EXPECT_EQ(wire[0].bytes, frame);
    EXPECT_TRUE(wire[0].crc_good);
    EXPECT_EQ(word(12), 0u);
    EXPECT_EQ(word(28), 0xabcd'0001u) << "only the status changes";
    EXPECT_EQ(device.read32(TDH), 2u);
    EXPECT_EQ(device.read32(GPTC), 1u);
    EXPECT_EQ(device.read32(ICR) & (cause_txdw | cause_txqe), cause_txdw | cause_txqe);
}

TEST_F(DeviceModelTest, WithoutLinkNothingIsTransmittedAndWithItEverything) {
    device.inject(model::Fault::link_loss);
    descriptor(0, buffer.value, 60u | 0x0bu << 24, 0);
    device.write32(TDBAL, static_cast<std::uint32_t>(ring.value));
    device.write32(TDBAH, 0);
    device.write32(TDLEN, 128);
    device.write32(TCTL, tctl_en);
    device.write32(TDT, 1);
    EXPECT_TRUE(device.take_wire().empty());
    device.clear(model::Fault::link_loss);
    EXPECT_EQ(device.take_wire().size(), 1u);
}

TEST_F(DeviceModelTest, ResetReallyResetsUnlessItIsTheEmulatorsHabit) {
    enable_receiver();
    device.write32(CTRL, device.read32(CTRL) | ctrl_rst);
    EXPECT_NE(device.read32(CTRL) & ctrl_rst, 0u) << "it clears itself, but not at once";
    EXPECT_FALSE(device.violations().empty()) << "that was too early";
    device.set_time(1'000'000);
    EXPECT_EQ(device.read32(CTRL) & ctrl_rst, 0u);
    EXPECT_EQ(device.read32(RCTL), 0u);
    EXPECT_EQ(device.read32(RDLEN), 0u);
    EXPECT_NE(device.read32(MTA), 0u) << "undefined after a reset: software clears it";

    model::E1000Device habit{iommu, {.reset_resets = false}};
    habit.write32(RCTL, rctl_upe);
    habit.write32(CTRL, ctrl_rst);
    EXPECT_EQ(habit.read32(CTRL) & ctrl_rst, 0u);
    EXPECT_EQ(habit.read32(RCTL), rctl_upe);
}

TEST_F(DeviceModelTest, NoticesMisuse) {
    const auto said = [&](const char* what) {
        for (const std::string& violation : device.violations()) {
            if (violation.find(what) != std::string::npos) return true;
        }
        return false;
    };
    device.write32(0x0444, 1);
    EXPECT_TRUE(said("unknown register"));
    device.write32(RDLEN, 100);
    device.write32(RCTL, rctl_en);
    EXPECT_TRUE(said("length of 100 bytes"));
    device.write32(RDBAL, 0x1000);
    EXPECT_TRUE(said("moved while the receiver is on"));
    device.write32(RDT, 1000);
    EXPECT_TRUE(said("tail beyond the ring"));
    device.forget_violations();
    device.write32(RCTL, 0);
    enable_receiver();
    device.set_bus_master(false);
    EXPECT_EQ(device.receive_frame(frame), Arrival::dma_refused);
    EXPECT_TRUE(said("before bus mastering"));
    EXPECT_EQ(device.accesses_while_quiet(), 1u);
}

TEST_F(DeviceModelTest, ThrottlingHoldsTheLineBack) {
    enable_receiver();
    device.read32(ICR);
    device.write32(ITR, 1000);  // 256 us
    device.write32(IMS, cause_rxt0);
    device.set_time(1'000'000);
    device.receive_frame(frame);
    EXPECT_TRUE(device.interrupt_line());
    device.read32(ICR);
    EXPECT_FALSE(device.interrupt_line());
    device.receive_frame(frame);
    EXPECT_FALSE(device.interrupt_line()) << "too soon after the last one";
    device.set_time(1'000'000 + 255'000);
    EXPECT_FALSE(device.interrupt_line());
    device.set_time(1'000'000 + 256'000);
    EXPECT_TRUE(device.interrupt_line());
    EXPECT_EQ(device.interrupts_raised(), 2u);
}

TEST_F(DeviceModelTest, MinimumThresholdRaisesItsCause) {
    enable_receiver(1u << 8);  // a quarter of eight
    device.read32(ICR);
    for (int i = 0; i < 4; ++i) device.receive_frame(frame);
    EXPECT_EQ(device.read32(ICR) & cause_rxdmt0, 0u) << "three are left";
    device.receive_frame(frame);
    EXPECT_NE(device.read32(ICR) & cause_rxdmt0, 0u) << "two are left";
}

TEST_F(DeviceModelTest, AnAbortedDescriptorReadHaltsTheReceiver) {
    enable_receiver();
    ASSERT_TRUE(iommu.unmap(ring, page_bytes, Invalidate::now).ok());
    EXPECT_EQ(device.receive_frame(frame), Arrival::dma_refused);
    EXPECT_EQ(device.aborted_accesses(), 1u);
    EXPECT_EQ(device.receive_frame(frame), Arrival::dma_refused);
    EXPECT_EQ(device.aborted_accesses(), 1u) << "it stays halted";
}

TEST(Fault, EveryOneHasAName) {
    std::set<std::string> names;
    for (int i = 0; i <= static_cast<int>(model::Fault::dma_after_stop); ++i) {
        names.insert(model::name_of(static_cast<model::Fault>(i)));
    }
    EXPECT_EQ(names.size(), static_cast<std::size_t>(model::Fault::dma_after_stop) + 1);
    EXPECT_FALSE(names.contains("unknown"));
}

}  // namespace
}  // namespace dmatoll::test
