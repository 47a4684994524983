// SPDX-License-Identifier: BSD-2-Clause
// The AHCI model with one port programmed by hand: what the tests of the model itself start from. Nothing
// here comes from the driver.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "core/address.hpp"
#include "model/ahci_datasheet.hpp"
#include "model/ahci_device.hpp"
#include "model/physical_memory.hpp"
#include "model/software_iommu.hpp"

namespace dmatoll::test {

namespace sheet = model::ahci_datasheet;
using model::AhciFault;

struct RawCommand {
    std::uint8_t code = 0;
    std::uint64_t address = 0;
    std::uint32_t count = 0;  // of the register; of a queued command, of blocks
    std::uint16_t features = 0;
    std::uint8_t device = sheet::device_lba;
    bool writes = false;
    std::vector<std::pair<Iova, std::uint32_t>> prds{};  // address, bytes
};

class AhciModel {
  public:
    static constexpr Iova list{0x10'0000};  // and the received FIS behind it
    static constexpr Iova received{0x10'0400};
    static constexpr Iova tables{0x20'0000};  // a page each
    static constexpr Iova data{0x40'0000};
    static constexpr std::uint32_t data_pages = 64;

    explicit AhciModel(const model::AhciOptions& options = {}, std::uint32_t used_port = 0)
        : device{iommu, options}, port{used_port} {
        EXPECT_TRUE(iommu.map(list, list_memory, page_bytes, Direction::bidirectional).ok());
        EXPECT_TRUE(iommu.map(tables, table_memory, 32 * page_bytes, Direction::bidirectional).ok());
        EXPECT_TRUE(iommu.map(data, data_memory, data_pages * page_bytes, Direction::bidirectional).ok());
        device.set_bus_master(true);
    }

    std::uint32_t read(std::uint32_t offset) {
        return device.read32(model::AhciDevice::at_port(port, offset));
    }
    void write(std::uint32_t offset, std::uint32_t value) {
        device.write32(model::AhciDevice::at_port(port, offset), value);
    }
    void pass(std::uint64_t nanoseconds) { device.set_time(now += nanoseconds); }

    // Everything up to a port that runs [AHCI 1.3.1 §10.1.2].
    void bring_up() {
        device.write32(sheet::GHC, sheet::ghc_ae);
        pass(100'000'000);  // the link, and the signature
        start();
        write(sheet::PXIE, sheet::ie_known);
        device.write32(sheet::GHC, sheet::ghc_ae | sheet::ghc_ie);
    }
    void start() {
        write(sheet::CLB, static_cast<std::uint32_t>(list.value));
        write(sheet::CLBU, 0);
        write(sheet::FB, static_cast<std::uint32_t>(received.value));
        write(sheet::FBU, 0);
        write(sheet::SERR, ~0u);
        write(sheet::PXIS, ~0u);
        device.write32(sheet::IS, ~0u);
        write(sheet::CMD, read(sheet::CMD) | sheet::cmd_fre);
        write(sheet::CMD, read(sheet::CMD) | sheet::cmd_st);
    }
    void stop() {
        write(sheet::CMD, read(sheet::CMD) & ~sheet::cmd_st);
        pass(1'000'000);
        EXPECT_EQ(read(sheet::CMD) & sheet::cmd_cr, 0u);
    }
    void comreset() {
        write(sheet::SCTL, sheet::sctl_det_comreset);
        pass(1'100'000);
        write(sheet::SCTL, 0);
        pass(100'000'000);
    }
    // What ends a command that hangs.
    void reset_disk() {
        stop();
        comreset();
        start_again();
    }
    void start_again() {
        stop();
        write(sheet::SERR, ~0u);
        write(sheet::PXIS, ~0u);
        device.write32(sheet::IS, ~0u);
        write(sheet::CMD, read(sheet::CMD) | sheet::cmd_st);
    }

    void put(std::uint64_t table, std::uint64_t offset, std::uint32_t value) {
        std::memcpy(memory.at(table_memory + table * page_bytes + offset, 4), &value, 4);
    }
    void put_header(std::uint32_t slot, std::uint32_t word, std::uint32_t value) {
        std::memcpy(memory.at(list_memory + slot * 32 + word * 4, 4), &value, 4);
    }
    std::uint32_t header(std::uint32_t slot, std::uint32_t word) { return list_word(slot * 32 + word * 4); }
    std::uint32_t list_word(std::uint64_t offset) {
        std::uint32_t value;
        std::memcpy(&value, memory.at(list_memory + offset, 4), 4);
        return value;
    }
    std::uint8_t received_byte(std::uint64_t offset) {
        return std::to_integer<std::uint8_t>(*memory.at(list_memory + 0x400 + offset));
    }

    // Header and table of a slot; nothing is issued.
    void prepare(std::uint32_t slot, const RawCommand& command, bool queued = false) {
        std::memset(memory.at(table_memory + slot * page_bytes, page_bytes), 0, page_bytes);
        const std::uint32_t features = queued ? command.count : command.features;
        const std::uint32_t count = queued ? slot << 3 : command.count;
        const std::uint64_t a = command.address;
        put(slot, 0, 0x8027u | std::uint32_t{command.code} << 16 | (features & 0xff) << 24);
        put(slot, 4, static_cast<std::uint32_t>(a & 0xff'ffff) | std::uint32_t{command.device} << 24);
        put(slot, 8, static_cast<std::uint32_t>(a >> 24 & 0xff'ffff) | (features >> 8 & 0xff) << 24);
        put(slot, 12, count & 0xffff);
        for (std::size_t i = 0; i < command.prds.size(); ++i) {
            const auto& [address, bytes] = command.prds[i];
            put(slot, 0x80 + 16 * i, static_cast<std::uint32_t>(address.value));
            put(slot, 0x84 + 16 * i, static_cast<std::uint32_t>(address.value >> 32));
            put(slot, 0x8c + 16 * i, bytes - 1);
        }
        const auto table = static_cast<std::uint32_t>(tables.value + slot * page_bytes);
        put_header(
            slot, 0,
            5u | (command.writes ? 1u << 6 : 0) | static_cast<std::uint32_t>(command.prds.size()) << 16);
        put_header(slot, 1, 0);
        put_header(slot, 2, table);
        put_header(slot, 3, 0);
    }
    void issue(std::uint32_t slots) { write(sheet::CI, slots); }
    void issue_queued(std::uint32_t slots) {
        write(sheet::SACT, slots);
        write(sheet::CI, slots);
    }
    // One that is not queued, in slot 0, to its end.
    void run(const RawCommand& command) {
        prepare(0, command);
        issue(1);
        pass(1'000'000);
    }

    // One that is queued, to its end.
    void run_queued(std::uint32_t slot, const RawCommand& command) {
        prepare(slot, queued(command), true);
        issue_queued(1u << slot);
        pass(1'000'000);
    }

    RawCommand reading(std::uint64_t block, std::uint32_t blocks, std::uint64_t where = 0) const {
        return {.code = sheet::read_dma_ext,
                .address = block,
                .count = blocks,
                .prds = {{data + where, blocks * 512}}};
    }
    RawCommand writing(std::uint64_t block, std::uint32_t blocks, std::uint64_t where = 0) const {
        return {.code = sheet::write_dma_ext,
                .address = block,
                .count = blocks,
                .writes = true,
                .prds = {{data + where, blocks * 512}}};
    }
    RawCommand queued(RawCommand command) const {
        command.code = command.writes ? sheet::write_fpdma_queued : sheet::read_fpdma_queued;
        return command;
    }
    static RawCommand flushing() { return {.code = sheet::flush_cache_ext, .device = 0}; }
    RawCommand identifying() const {
        return {.code = sheet::identify_device, .device = 0, .prds = {{data, 512}}};
    }
    RawCommand reading_error_log() const {
        return {.code = sheet::read_log_ext,
                .address = sheet::log_queued_error,
                .count = 1,
                .device = 0,
                .prds = {{data, 512}}};
    }

    std::byte* at(std::uint64_t where, std::uint64_t bytes = 1) {
        return memory.at(data_memory + where, bytes);
    }
    void fill(std::uint64_t where, std::uint64_t bytes, std::uint8_t value) {
        std::memset(at(where, bytes), value, bytes);
    }
    bool said(const std::string& what) const {
        for (const std::string& violation : device.violations()) {
            if (violation.find(what) != std::string::npos) return true;
        }
        return false;
    }
    void expect_no_violations() const {
        for (const std::string& violation : device.violations()) ADD_FAILURE() << violation;
    }

    model::PhysicalMemory memory{1 << 20};
    model::SoftwareIommu iommu{memory};
    Memory list_memory = memory.allocate_pages(1);
    Memory table_memory = memory.allocate_pages(32);
    Memory data_memory = memory.allocate_pages(data_pages);
    model::AhciDevice device;
    std::uint32_t port = 0;
    std::uint64_t now = 1'000'000;
};

}  // namespace dmatoll::test
