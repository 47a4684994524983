// SPDX-License-Identifier: BSD-2-Clause
#include "disk_window.hpp"

#include "failure.hpp"
#include "process.hpp"

namespace dmatoll::harness {
namespace {

constexpr double stream_seconds = 10;
constexpr std::uint64_t stream_requests = 4;
// What may be between the two that count: a full queue of the longest requests.
constexpr std::uint64_t in_flight_bytes = 64 << 20;

std::uint64_t bytes_moved(const Counts& counts) { return counts.at("bytes_read") + counts.at("bytes_written"); }

std::uint64_t requests(const Counts& counts) {
    return counts.at("read_requests") + counts.at("write_requests");
}

}  // namespace

nlohmann::json disk_metrics(std::uint64_t block_bytes, const MeasuredWindow& window) {
    const std::uint64_t bytes = bytes_moved(window.disk);
    const std::uint64_t ios = bytes / block_bytes;
    const std::uint64_t window_ms = (window.closed_ns - window.opened_ns) / 1'000'000;
    if (ios == 0) fail("The disk moved {} bytes in a window of {} ms, less than one block", bytes, window_ms);
    // The distribution's driver counts nothing.
    if (window.device.contains("bytes_read")) {
        const std::uint64_t driver = bytes_moved(window.device);
        const std::uint64_t slack = in_flight_bytes + bytes / 10;
        if (driver > bytes + slack || bytes > driver + slack)
            fail("The block layer and the driver disagree about the window: {} bytes and {} ({})", bytes, driver,
                 window.device_source);
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
