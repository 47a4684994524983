// SPDX-License-Identifier: BSD-2-Clause
#include "ahci_disk.hpp"

#include <algorithm>
#include <bit>
#include <random>
#include <stdexcept>

namespace dmatoll::model {

namespace {

// Two characters a word, the first one in the high byte, padded with spaces [ATA8-ACS §3.3].
void put_text(AhciDisk::Identity& words, std::uint32_t first, std::uint32_t count, std::string text) {
    text.resize(std::size_t{count} * 2, ' ');
    for (std::uint32_t i = 0; i < count; ++i) {
        words[first + i] = static_cast<std::uint16_t>(static_cast<unsigned char>(text[2 * i]) << 8 |
                                                      static_cast<unsigned char>(text[2 * i + 1]));
    }
}

void put_number(AhciDisk::Identity& words, std::uint32_t first, std::uint32_t count, std::uint64_t number) {
    for (std::uint32_t i = 0; i < count; ++i) words[first + i] = static_cast<std::uint16_t>(number >> 16 * i);
}

// Word 255: the low byte is fixed, the high byte makes the sum of all bytes zero [ATA8-ACS, IDENTIFY DEVICE].
void put_checksum(AhciDisk::Identity& words) {
    words[255] = 0x00a5;
    unsigned sum = 0;
    for (const std::uint16_t word : words) sum += (word & 0xffu) + (word >> 8);
    words[255] = static_cast<std::uint16_t>(0x00a5 | (0x100 - (sum & 0xff)) << 8);
}

}  // namespace

AhciDisk::AhciDisk(const DiskOptions& options) : options_{options}, caching_{options.write_cache} {
    if (options.blocks == 0 || options.block_bytes < 512 || !std::has_single_bit(options.block_bytes) ||
        options.physical_block_bytes < options.block_bytes ||
        !std::has_single_bit(options.physical_block_bytes) || options.queue_depth > 32)
        throw std::invalid_argument{"a disk that ATA has no words for"};
}

// [ATA8-ACS, IDENTIFY DEVICE], by word; trim [ACS-2].
AhciDisk::Identity AhciDisk::identify() const {
    Identity words{};
    words[0] = 0x0040;  // an ATA device that is not removable
    words[1] = 16383;   // what disks beyond 8 GB say of cylinders, heads and sectors
    words[3] = 16;
    words[6] = 63;
    put_text(words, 10, 10, options_.serial);
    put_text(words, 23, 4, options_.firmware);
    put_text(words, 27, 20, options_.model);
    words[47] = 0x8001;
    words[49] = 0x0f00;  // LBA, DMA, IORDY
    words[50] = 0x4000;
    words[53] = 0x0006;  // words 64 to 70 and 88 are valid
    put_number(words, 60, 2, std::min<std::uint64_t>(options_.blocks, 0x0fff'ffff));
    words[63] = 0x0007;
    words[64] = 0x0003;
    for (std::uint32_t word = 65; word <= 68; ++word) words[word] = 120;
    if (options_.trim) words[69] = 1u << 14 | 1u << 5;  // deterministic, and zeros
    words[75] = static_cast<std::uint16_t>(options_.queue_depth > 0 ? options_.queue_depth - 1 : 0);
    words[76] = static_cast<std::uint16_t>(0x000e | (options_.queue_depth > 0 ? 1u << 8 : 0));
    words[80] = 0x03f0;  // up to ACS-2
    const unsigned cache = options_.write_cache ? 1u << 5 : 0;
    const unsigned flush = options_.flush ? 1u << 13 | 1u << 12 : 0;
    const unsigned fua = options_.force_unit_access ? 1u << 6 : 0;
    const unsigned log = options_.error_log ? 1u << 5 : 0;
    words[82] = static_cast<std::uint16_t>(1u << 14 | 1u << 3 | cache);
    words[83] = static_cast<std::uint16_t>(1u << 14 | 1u << 10 | flush);
    words[84] = static_cast<std::uint16_t>(1u << 14 | fua | log);
    words[85] = static_cast<std::uint16_t>(1u << 14 | 1u << 3 | (caching_ ? 1u << 5 : 0));
    words[86] = static_cast<std::uint16_t>(1u << 15 | 1u << 10 | flush);
    words[87] = static_cast<std::uint16_t>(1u << 14 | fua | log);
    words[88] = 0x407f;
    put_number(words, 100, 4, options_.blocks);
    if (options_.trim) words[105] = static_cast<std::uint16_t>(options_.most_trim_pages);
    const auto exponent =
        static_cast<unsigned>(std::countr_zero(options_.physical_block_bytes / options_.block_bytes));
    words[106] = static_cast<std::uint16_t>(1u << 14 | (exponent > 0 ? 1u << 13 | exponent : 0) |
                                            (options_.block_bytes > 512 ? 1u << 12 : 0));
    if (options_.block_bytes > 512) put_number(words, 117, 2, options_.block_bytes / 2);
    words[119] = words[120] = 1u << 14;
    if (options_.trim) words[169] = 1;
    words[209] = 1u << 14;
    words[217] = options_.rotational ? 7200 : 1;
    words[222] = 0x107f;
    for (const auto& [word, value] : identify_words_) words[word] = value;
    put_checksum(words);
    if (wrong_checksum_) words[255] = static_cast<std::uint16_t>(words[255] ^ 0x0100);
    return words;
}

void AhciDisk::set_identify_word(std::uint32_t word, std::optional<std::uint16_t> value) {
    if (word >= std::tuple_size_v<Identity>) throw std::out_of_range{"IDENTIFY has 256 words"};
    if (value) {
        identify_words_[word] = *value;
    } else {
        identify_words_.erase(word);
    }
}

void AhciDisk::check(std::uint64_t block) const {
    if (block >= options_.blocks) throw std::out_of_range{"a block beyond the end of the disk"};
}

AhciDisk::Block AhciDisk::shown(const Content* content) const {
    return content != nullptr && *content ? **content : Block(options_.block_bytes);
}

AhciDisk::Block AhciDisk::read(std::uint64_t block) const {
    check(block);
    const auto cached = cache_.find(block);
    return cached != cache_.end() ? shown(&cached->second.back()) : on_medium(block);
}

AhciDisk::Block AhciDisk::on_medium(std::uint64_t block) const {
    check(block);
    const auto found = medium_.find(block);
    return found != medium_.end() ? found->second : shown(nullptr);
}

void AhciDisk::settle(std::uint64_t block, const Content& content) {
    if (content) {
        medium_[block] = *content;
    } else {
        medium_.erase(block);
    }
}

void AhciDisk::write(std::uint64_t block, std::span<const std::byte> data, bool through) {
    check(block);
    if (data.size() != options_.block_bytes) throw std::invalid_argument{"not one block of data"};
    Block content{data.begin(), data.end()};
    if (through || !caching_) {
        cache_.erase(block);
        medium_[block] = std::move(content);
    } else {
        cache_[block].emplace_back(std::move(content));
    }
}

void AhciDisk::trim(std::uint64_t first, std::uint64_t count) {
    if (count == 0) return;
    check(first);
    check(first + count - 1);
    // Blocks that hold nothing need no entry.
    std::vector<std::uint64_t> touched;
    for (auto item = medium_.lower_bound(first); item != medium_.end() && item->first < first + count; ++item)
        touched.push_back(item->first);
    for (auto item = cache_.lower_bound(first); item != cache_.end() && item->first < first + count; ++item)
        touched.push_back(item->first);
    for (const std::uint64_t block : touched) {
        if (caching_) {
            cache_[block].emplace_back(std::nullopt);
        } else {
            medium_.erase(block);
        }
    }
}

void AhciDisk::flush() {
    for (const auto& [block, versions] : cache_) settle(block, versions.back());
    cache_.clear();
}

void AhciDisk::enable_write_cache(bool on) {
    if (!on) flush();
    caching_ = on;
}

void AhciDisk::power_loss(std::uint64_t seed) {
    std::mt19937_64 random{seed};
    for (const auto& [block, versions] : cache_) {
        const std::uint64_t kept = seed == 0 ? 0 : random() % (versions.size() + 1);
        if (kept > 0) settle(block, versions[kept - 1]);
    }
    cache_.clear();
    caching_ = options_.write_cache;
}

void AhciDisk::fail(std::uint64_t block, Failing failing) {
    check(block);
    failing_[block] = failing;
}

bool AhciDisk::fails(std::uint64_t block, bool writing) const {
    const auto found = failing_.find(block);
    return found != failing_.end() && (writing ? found->second.on_write : found->second.on_read);
}

}  // namespace dmatoll::model
