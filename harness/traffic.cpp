// SPDX-License-Identifier: BSD-2-Clause
#include "traffic.hpp"

#include "dma_copy.hpp"
#include "failure.hpp"
#include "fio.hpp"
#include "iperf3.hpp"
#include "process.hpp"
#include "raw_frames.hpp"
#include "sync_read.hpp"
#include "text.hpp"
#include "udp_echo.hpp"

namespace dmatoll::harness {
namespace {

constexpr double stream_seconds = 10;

constexpr std::uint64_t most_ms = 3'600'000;
constexpr std::uint64_t most_load_bps = 1'000'000'000'000;
// A header that says which packet it is, up to an unfragmented datagram at an MTU of 9000.
constexpr std::uint64_t least_echo_bytes = 16;
constexpr std::uint64_t most_echo_bytes = 8972;
// An AHCI controller has 32 at most.
constexpr std::uint64_t most_port = 31;

// And what all of them need.
std::vector<NeededParameter> with(std::vector<NeededParameter> own) {
    own.push_back({"warm_up_ms", 0, most_ms});
    own.push_back({"window_ms", 1, most_ms});
    return own;
}

template <class T>
std::unique_ptr<Traffic> start(const Trial& trial, const TrafficPlaces& places) {
    return std::make_unique<T>(trial, places);
}

}  // namespace

const std::vector<TrafficProgram>& traffic_programs() {
    static const std::vector<TrafficProgram> programs{
        {"iperf3", DeviceKind::network, with({{"load_bps", 0, most_load_bps}, {"payload_bytes", 1, 1 << 20}}), start<Iperf3>},
        // Without a cool-down the last echoes have no time to come back.
        {"udp-echo", DeviceKind::network,
         with({{"load_bps", 1000, most_load_bps},
               {"payload_bytes", least_echo_bytes, most_echo_bytes},
               {"cool_down_ms", 1, most_ms}}),
         start<UdpEcho>},
        {"raw-frames", DeviceKind::network, with({{"load_bps", 0, most_load_bps}, {"frame_bytes", 64, 1518}}), start<RawFrames>},
        // As begin in drivers/dma/dma_command.hpp.
        {"dma-copy", DeviceKind::network,
         with({{"copy_bytes", 60, 4096},
               {"working_set_pairs", 1, 4096},
               {"batch_copies", 1, 255},
               {"lifetime_copies", 0, 1'000'000}}),
         start<DmaCopy>},
        // As reach in drivers/dma/dma_command.hpp.
        {"probe", std::nullopt, {{"rounds", 1, 1000}, {"patience_ms", 1, 10'000}}, nullptr},
        // As bench in drivers/dma/dma_command.hpp.
        {"map-unmap", DeviceKind::network,
         {{"buffer_pages", 1, 1024},
          {"skew_pages", 0, 1},
          {"held_buffers", 1, 4096},
          {"hold_us", 0, 1000},
          {"rounds", 1, 1'000'000},
          {"warm_up_rounds", 0, 1'000'000},
          {"threads", 1, 64}},
         nullptr},
        {"probe-driver", DeviceKind::network, {{"flood_ms", 1, 60'000}}, nullptr},
        {"crash", DeviceKind::network,
         with({{"load_bps", 1000, most_load_bps},
               {"payload_bytes", least_echo_bytes, most_echo_bytes},
               {"kills", 1, 100'000}}),
         nullptr},
        {"fio", DeviceKind::disk,
         with({{"block_bytes", 512, 1 << 20}, {"io_depth", 1, 256}, {"port", 0, most_port}}), start<Fio>},
        // Any multiple of 512 bytes up to the largest, and as many requests at a time as there are.
        {"fio-verify", DeviceKind::disk,
         {{"most_block_bytes", 4096, 1 << 20},
          {"io_depth", 1, 256},
          {"port", 0, most_port},
          {"verify_bytes", 1 << 20, std::uint64_t{1} << 40}},
         nullptr},
        {"sync-read", DeviceKind::disk,
         with({{"block_bytes", 512, 1 << 20},
               {"region_bytes", 512, std::uint64_t{1} << 40},
               {"load_bps", 0, most_load_bps},
               {"model_request_us", 0, 1'000'000},
               {"model_bytes_per_second", 0, 1'000'000'000'000},
               {"direct", 0, 1},
               {"port", 0, most_port}}),
         start<SyncRead>},
    };
    return programs;
}

const TrafficProgram* find_traffic_program(const std::string& name) {
    for (const auto& program : traffic_programs())
        if (name == program.name) return &program;
    return nullptr;
}

std::unique_ptr<Traffic> start_traffic(const Trial& trial, const TrafficPlaces& places) {
    const TrafficProgram* program = find_traffic_program(trial.program);
    if (!program || !program->start)
        fail("No way to run '{}' is known, which the workload {} needs", trial.program, trial.workload);
    return program->start(trial, places);
}

void wait_for_stream(const Interface& interface, const std::string& counter, std::uint64_t frames,
                     const std::function<void()>& check) {
    const std::uint64_t at_start = interface.interface_statistics().at(counter);
    const double patience = now_seconds() + stream_seconds;
    while (interface.interface_statistics().at(counter) - at_start < frames) {
        check();
        if (now_seconds() > patience)
            fail("No stream within {} s of starting it: fewer than {} frames reached the interface {}",
                 stream_seconds, frames, interface.name());
        sleep_seconds(0.01);
    }
}

}  // namespace dmatoll::harness
