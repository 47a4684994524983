// SPDX-License-Identifier: BSD-2-Clause
// The disk behind a port of the AHCI model: its blocks, a volatile write cache, and what it says of itself.
//
// [ATA8-ACS] T13, AT Attachment 8 - ATA/ATAPI Command Set; [ACS-2] its successor.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace dmatoll::model {

struct DiskOptions {
    std::uint64_t blocks = 1 << 16;
    std::uint32_t block_bytes = 512;           // of a logical block
    std::uint32_t physical_block_bytes = 512;  // a power of two times block_bytes
    std::uint32_t queue_depth = 32;            // 1..32; 0: no native command queueing
    bool write_cache = true;
    bool flush = true;  // FLUSH CACHE EXT
    bool force_unit_access = true;
    bool trim = true;
    std::uint32_t most_trim_pages = 8;  // of 512 bytes in a command
    bool error_log = true;              // false: QEMU's habit, READ LOG EXT is refused
    bool rotational = false;
    bool packet_device = false;  // a CD drive by its signature, and nothing more
    std::string model = "dmatoll model disk";
    std::string serial = "M0001";
    std::string firmware = "1.0";
};

// Not thread-safe: the controller guards it.
class AhciDisk {
  public:
    using Block = std::vector<std::byte>;
    using Identity = std::array<std::uint16_t, 256>;

    explicit AhciDisk(const DiskOptions& options);

    [[nodiscard]] const DiskOptions& options() const { return options_; }
    [[nodiscard]] std::uint64_t blocks() const { return options_.blocks; }
    [[nodiscard]] std::uint32_t block_bytes() const { return options_.block_bytes; }

    // What IDENTIFY DEVICE answers, with its checksum, and with the words that a test replaced.
    [[nodiscard]] Identity identify() const;
    // Later answers have this word instead, the checksum is right; without a value as it was.
    void set_identify_word(std::uint32_t word, std::optional<std::uint16_t> value);
    void set_identify_checksum_wrong(bool wrong) { wrong_checksum_ = wrong; }

    // The block as the host sees it: zeros if it was never written, or trimmed.
    [[nodiscard]] Block read(std::uint64_t block) const;
    // Through: onto the medium, as forced unit access or without a write cache.
    void write(std::uint64_t block, std::span<const std::byte> data, bool through);
    void trim(std::uint64_t first, std::uint64_t count);
    void flush();
    void enable_write_cache(bool on);
    [[nodiscard]] bool caches_writes() const { return caching_; }

    // What was not on the medium is lost; or, with a seed, each block of it has one of the values that were
    // written since (the cache may have written any of them), or the old one. The seed 0: all is lost.
    void power_loss(std::uint64_t seed);

    // The block as it would be after a power loss that loses all.
    [[nodiscard]] Block on_medium(std::uint64_t block) const;
    [[nodiscard]] std::size_t blocks_in_cache() const { return cache_.size(); }

    // Media errors. A block that fails on reading does not heal by being written.
    struct Failing {
        bool on_read = true;
        bool on_write = false;
    };
    void fail(std::uint64_t block, Failing failing);
    void heal(std::uint64_t block) { failing_.erase(block); }
    [[nodiscard]] bool fails(std::uint64_t block, bool writing) const;

  private:
    using Content = std::optional<Block>;  // none: zeros

    void check(std::uint64_t block) const;
    void settle(std::uint64_t block, const Content& content);
    [[nodiscard]] Block shown(const Content* content) const;

    const DiskOptions options_;
    bool caching_;
    std::map<std::uint64_t, Block> medium_;
    std::map<std::uint64_t, std::vector<Content>> cache_;  // all versions since the last flush, oldest first
    std::map<std::uint64_t, Failing> failing_;
    std::map<std::uint32_t, std::uint16_t> identify_words_;
    bool wrong_checksum_ = false;
};

}  // namespace dmatoll::model
