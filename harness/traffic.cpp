// SPDX-License-Identifier: BSD-2-Clause
#include "traffic.hpp"

#include "failure.hpp"
#include "iperf3.hpp"
#include "process.hpp"
#include "raw_frames.hpp"
#include "text.hpp"
#include "udp_echo.hpp"

namespace dmatoll::harness {
namespace {

constexpr double stream_seconds = 10;

template <class T>
std::unique_ptr<Traffic> start(const Trial& trial, const TrafficPlaces& places) {
    return std::make_unique<T>(trial, places);
}

}  // namespace

const std::vector<TrafficProgram>& traffic_programs() {
    static const std::vector<TrafficProgram> programs{
        {"iperf3", {"payload_bytes"}, start<Iperf3>},
        {"udp-echo", {"payload_bytes", "cool_down_ms"}, start<UdpEcho>},
        {"raw-frames", {"frame_bytes"}, start<RawFrames>},
        {"crash", {"payload_bytes", "kills"}, nullptr},
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
    if (!program || !program->start) fail("No way to run '{}' is known, which the workload {} needs", trial.program, trial.workload);
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
