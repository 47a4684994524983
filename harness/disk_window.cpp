// SPDX-License-Identifier: BSD-2-Clause
#include "disk_window.hpp"

#include <cmath>

#include "failure.hpp"
#include "process.hpp"

namespace dmatoll::harness {
namespace {

constexpr double stream_seconds = 10;
constexpr std::uint64_t stream_requests = 4;
// Intervals differ by the edges, where the load is not what it is in the middle: seen was less than their share once.
constexpr double edge_factor = 2;
// Between readings at a different time, though of the same length: the load is not quite even. Seen was 0.1 %.
constexpr double uneven_share = 0.01;

std::uint64_t bytes_moved(const Counts& counts) { return counts.at("bytes_read") + counts.at("bytes_written"); }

std::uint64_t requests(const Counts& counts) {
    return counts.at("read_requests") + counts.at("write_requests");
}

// The two are not read at the same moment: what was in flight one has counted and the other has not, and the longer
// interval contains more.
std::uint64_t difference_allowed(std::uint64_t bytes, std::uint64_t in_flight_bytes, const MeasuredWindow& window) {
    const auto block_layer_ns = static_cast<double>(window.disk_ns);
    const double longer = std::abs(static_cast<double>(window.counters_ns) - block_layer_ns) / block_layer_ns;
    return in_flight_bytes +
           static_cast<std::uint64_t>(static_cast<double>(bytes) * (edge_factor * longer + uneven_share));
}

}  // namespace

nlohmann::json disk_metrics(std::uint64_t block_bytes, std::uint64_t in_flight_bytes, const MeasuredWindow& window) {
    const std::uint64_t bytes = bytes_moved(window.disk);
    const std::uint64_t ios = bytes / block_bytes;
    const std::uint64_t window_ms = (window.closed_ns - window.opened_ns) / 1'000'000;
    if (ios == 0) fail("The disk moved {} bytes in a window of {} ms, less than one block", bytes, window_ms);
    // The distribution's driver counts nothing.
    if (window.device.contains("bytes_read")) {
        const std::uint64_t driver = bytes_moved(window.device);
        const std::uint64_t apart = bytes > driver ? bytes - driver : driver - bytes;
        const std::uint64_t slack = difference_allowed(bytes, block_bytes + in_flight_bytes, window);
        if (apart > slack)
            fail("The block layer and the driver disagree about the window: {} bytes in {} us and {} in {} us ({}); up to {} "
                 "may be in flight or beyond the other's edges",
                 bytes, window.disk_ns / 1000, driver, window.counters_ns / 1000, window.device_source, slack);
    }
    const double seconds = static_cast<double>(window.disk_ns) * 1e-9;
    const double bps = static_cast<double>(bytes) * 8 / seconds;
    return {{"ios", ios},
            {"iops", static_cast<double>(bytes) / static_cast<double>(block_bytes) / seconds},
            {"throughput_bps", bps},
            {"load_achieved_bps", bps}};
}

void wait_for_requests(const Disk& disk, const std::function<void()>& check) {
    const std::uint64_t at_start = requests(disk.statistics());
    const double patience = now_seconds() + stream_seconds;
    while (requests(disk.statistics()) - at_start < stream_requests) {
        check();
        if (now_seconds() > patience)
            fail("No stream within {} s of starting it: the disk {} completed fewer than {} requests",
                 stream_seconds, disk.name(), stream_requests);
        sleep_seconds(0.01);
    }
}

}  // namespace dmatoll::harness
