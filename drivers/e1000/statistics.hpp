// SPDX-License-Identifier: BSD-2-Clause
// The device's own counters: 32 or 64 bits, cleared by reading; added up here so that none is lost and none
// wraps.
//
// [8254x] Intel 317453 §13.7.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "../core/counter.hpp"
#include "../core/platform.hpp"
#include "../core/register.hpp"

namespace dmatoll::e1000 {

struct DeviceStatistics {
    std::uint64_t crc_errors = 0;
    std::uint64_t symbol_errors = 0;
    std::uint64_t receive_errors = 0;
    std::uint64_t missed_packets = 0;
    std::uint64_t receive_no_buffers = 0;
    std::uint64_t receive_length_errors = 0;
    std::uint64_t receive_undersize = 0;
    std::uint64_t receive_oversize = 0;
    std::uint64_t sequence_errors = 0;
    std::uint64_t carrier_extension_errors = 0;
    std::uint64_t single_collisions = 0;
    std::uint64_t excessive_collisions = 0;
    std::uint64_t late_collisions = 0;
    std::uint64_t good_packets_received = 0;
    std::uint64_t broadcast_received = 0;
    std::uint64_t multicast_received = 0;
    std::uint64_t good_octets_received = 0;
    std::uint64_t good_packets_transmitted = 0;
    std::uint64_t good_octets_transmitted = 0;
    std::uint64_t multicast_transmitted = 0;
    std::uint64_t broadcast_transmitted = 0;
    std::uint64_t total_packets_received = 0;
    std::uint64_t total_octets_received = 0;
    std::uint64_t total_packets_transmitted = 0;
    std::uint64_t total_octets_transmitted = 0;
    std::uint64_t segmentation_contexts = 0;
    std::uint64_t segmentation_contexts_failed = 0;
};

struct DeviceStatisticName {
    const char* name;
    std::uint64_t DeviceStatistics::*member;
    std::uint32_t offset;
    bool wide;  // two registers, the upper half at offset + 4, whose reading clears both
};

// The order is that of `ethtool -S`, where each has `hw_` in front. Octets count the CRC.
inline constexpr std::array device_statistic_names{
    DeviceStatisticName{"crc_errors", &DeviceStatistics::crc_errors, 0x4000, false},
    DeviceStatisticName{"symbol_errors", &DeviceStatistics::symbol_errors, 0x4008, false},
    DeviceStatisticName{"receive_errors", &DeviceStatistics::receive_errors, 0x400c, false},
    DeviceStatisticName{"missed_packets", &DeviceStatistics::missed_packets, 0x4010, false},
    DeviceStatisticName{"receive_no_buffers", &DeviceStatistics::receive_no_buffers, 0x40a0, false},
    DeviceStatisticName{"receive_length_errors", &DeviceStatistics::receive_length_errors, 0x4040, false},
    DeviceStatisticName{"receive_undersize", &DeviceStatistics::receive_undersize, 0x40a4, false},
    DeviceStatisticName{"receive_oversize", &DeviceStatistics::receive_oversize, 0x40ac, false},
    DeviceStatisticName{"sequence_errors", &DeviceStatistics::sequence_errors, 0x4038, false},
    DeviceStatisticName{"carrier_extension_errors", &DeviceStatistics::carrier_extension_errors, 0x403c,
                        false},
    DeviceStatisticName{"single_collisions", &DeviceStatistics::single_collisions, 0x4014, false},
    DeviceStatisticName{"excessive_collisions", &DeviceStatistics::excessive_collisions, 0x4018, false},
    DeviceStatisticName{"late_collisions", &DeviceStatistics::late_collisions, 0x4020, false},
    DeviceStatisticName{"good_packets_received", &DeviceStatistics::good_packets_received, 0x4074, false},
    DeviceStatisticName{"broadcast_received", &DeviceStatistics::broadcast_received, 0x4078,
                        false},
    DeviceStatisticName{"multicast_received", &DeviceStatistics::multicast_received, 0x407c,
                        false},
    DeviceStatisticName{"good_octets_received", &DeviceStatistics::good_octets_received, 0x4088, true},
    DeviceStatisticName{"good_packets_transmitted", &DeviceStatistics::good_packets_transmitted, 0x4080,
                        false},
    DeviceStatisticName{"good_octets_transmitted", &DeviceStatistics::good_octets_transmitted, 0x4090, true},
    DeviceStatisticName{"multicast_transmitted", &DeviceStatistics::multicast_transmitted,
                        0x40f0, false},
    DeviceStatisticName{"broadcast_transmitted", &DeviceStatistics::broadcast_transmitted,
                        0x40f4, false},
    DeviceStatisticName{"total_packets_received", &DeviceStatistics::total_packets_received, 0x40d0, false},
    DeviceStatisticName{"total_octets_received", &DeviceStatistics::total_octets_received, 0x40c0, true},
    DeviceStatisticName{"total_packets_transmitted", &DeviceStatistics::total_packets_transmitted, 0x40d4,
                        false},
    DeviceStatisticName{"total_octets_transmitted", &DeviceStatistics::total_octets_transmitted, 0x40c8,
                        true},
    DeviceStatisticName{"segmentation_contexts", &DeviceStatistics::segmentation_contexts, 0x40f8, false},
    DeviceStatisticName{"segmentation_contexts_failed", &DeviceStatistics::segmentation_contexts_failed,
                        0x40fc, false},
};

// One updater at a time; readers anywhere.
class StatisticsAccumulator {
  public:
    // Reads every register once, and the narrow ones that hold something a second time (below).
    template <Platform P>
    void update(P& platform) {
        visit(platform, [this](std::size_t index, std::uint64_t amount) { totals_[index].add(amount); });
    }

    // What the registers hold from before, other drivers' counts, is not ours.
    template <Platform P>
    void discard(P& platform) {
        visit(platform, [](std::size_t, std::uint64_t) {});
    }

    [[nodiscard]] std::uint64_t missed_packets() const { return totals_[missed_index].read(); }

    [[nodiscard]] DeviceStatistics read() const {
        DeviceStatistics result{};
        for (std::size_t i = 0; i < totals_.size(); ++i) {
            result.*device_statistic_names[i].member = totals_[i].read();
        }
        return result;
    }

  private:
    // count(index, how many since the last visit) for every register that holds something.
    template <Platform P, class Count>
    void visit(P& platform, Count&& count) {
        for (std::size_t i = 0; i < device_statistic_names.size(); ++i) {
            const DeviceStatisticName& statistic = device_statistic_names[i];
            if (statistic.wide) {
                // Low half first: reading the upper one clears both [8254x §13.7].
                const std::uint64_t low = platform.read32(statistic.offset);
                const std::uint64_t high = platform.read32(statistic.offset + 4);
                if (low != all_ones || high != all_ones) count(i, low | high << 32);
                continue;
            }
            const std::uint32_t first = platform.read32(statistic.offset);
            if (first == 0 || first == all_ones) continue;
            // QEMU's model keeps the error counters and the missed packets when they are read, against the
            // manual. A second reading tells: what was cleared is smaller now, unless as many came again
            // within the microsecond between.
            const std::uint32_t second = platform.read32(statistic.offset);
            if (second >= first) {
                count(i, second >= kept_[i] ? second - kept_[i] : second);
                kept_[i] = second;
            } else {
                count(i, std::uint64_t{first} + second);
                kept_[i] = 0;
            }
        }
    }

    static constexpr std::size_t missed_index = 3;
    static_assert(device_statistic_names[missed_index].member == &DeviceStatistics::missed_packets);

    std::array<Counter, device_statistic_names.size()> totals_{};
    std::array<std::uint32_t, device_statistic_names.size()> kept_{};
};

}  // namespace dmatoll::e1000
