// SPDX-License-Identifier: BSD-2-Clause
#include "raw_frames.hpp"

#include "failure.hpp"
#include "paths.hpp"
#include "text.hpp"

namespace dmatoll::harness {
namespace {

constexpr const char* frames_program = "dmatoll-frames";
// Reaches a device in every placement, also a driver process that tells nobody its address.
constexpr const char* everybody = "ff:ff:ff:ff:ff:ff";
// An address that nobody has: what the peer pays for a flood is not measured, and takes turns from the
// device's CPU on the virtual clock. The driver process's default, too.
constexpr const char* nobody = "02:00:00:00:00:01";
// Frames that show that the stream flows.
constexpr std::uint64_t stream_frames = 64;
constexpr double stream_seconds = 10;
constexpr double link_seconds = 10;
// Of the peer's ring, which is no axis.
constexpr std::uint32_t peer_in_flight = 64;
// On the virtual clock. QEMU 7.2 gives the first vCPU all instructions up to the next timer.
// If it neither idles nor sets an earlier timer meanwhile, the second gets none: it takes its own timer's
// interrupt, does not come to the first instruction of it, and the guest with this program on that CPU stands
// still. Rests of the sender are where it gets its turns. They are rare, since going to sleep and waking up
// is in the measured window.
constexpr std::uint32_t rest_after = 256;

const char* counter_of(Flow flow) {
    return flow == Flow::transmit ? "frames_transmitted" : "frames_received";
}

}  // namespace

nlohmann::json frame_metrics(Flow flow, std::uint64_t frame_bytes, const MeasuredWindow& window) {
    const std::uint64_t own = window.device.at(counter_of(flow));
    if (own == 0) fail("The device under test moved no frame in the window ({})", window.device_source);
    // At the other end: the peer, or the device's own transmitter; what is sent has no other end. A receiver
    // may lose frames, and a flood makes it; but nobody receives what was not sent, except what was in rings
    // and queues when the counters were read.
    if (flow != Flow::transmit) {
        const std::uint64_t sent =
            flow == Flow::receive ? window.peer.at("tx_packets") : window.device.at("frames_transmitted");
        if (sent == 0 || own > sent + 512 + sent / 20)
            fail("Both ends disagree about the window: {} frames sent, {} received ({})", sent, own,
                 window.device_source);
    }
    if (const auto bad = window.device.find("process_raw_frames_bad");
        bad != window.device.end() && bad->second > 0)
        fail("{} of {} frames did not come back as they were sent ({})", bad->second, own,
             window.device_source);
    const double rate = static_cast<double>(own) / (static_cast<double>(window.counters_ns) * 1e-9);
    const double bps = rate * static_cast<double>(frame_bytes) * 8;
    return {
        {"packets", own}, {"frames_per_second", rate}, {"throughput_bps", bps}, {"load_achieved_bps", bps}};
}

RawFrames::RawFrames(const Trial& trial, const TrafficPlaces& places)
    : flow_{trial.flow},
      frame_bytes_{trial.parameters.at("frame_bytes")},
      load_bps_{trial.parameters.at("load_bps")},
      warm_up_ms_{trial.parameters.at("warm_up_ms")},
      virtual_clock_{places.virtual_clock},
      driver_{places.driver} {
    // Without an interface the driver process makes and takes the frames: it has begun already.
    if (places.device.interface) {
        if (flow_ == Flow::both) {
            looped_ = places.device.interface;
            loop_back(true);
        }
        start(places.device, "device",
              flow_ == Flow::transmit  ? "transmit"
              : flow_ == Flow::receive ? "receive"
                                       : "loopback",
              std::max(trial.settings.transmit_descriptors / 4, 1U));
    }
    if (flow_ == Flow::receive) start(places.peer, "peer", "transmit", peer_in_flight);
}

RawFrames::~RawFrames() {
    programs_.clear();
    if (!looped_) return;
    try {
        loop_back(false);
    } catch (const std::exception&) {
        // The interface may be gone with its driver. One that is there and has no link fails the next trial.
    }
}

void RawFrames::start(const TrafficEnd& end, const char* name, const char* flow, std::uint32_t in_flight) {
    const fs::path program = our_program(frames_program);
    if (program.empty())
        throw Unavailable{
            fmt::format("The program {} is neither beside dmatoll nor in PATH; build it", frames_program)};
    std::vector<std::string> arguments{program.string(),
                                       "--interface",
                                       end.interface->name(),
                                       "--flow",
                                       flow,
                                       "--frame-bytes",
                                       std::to_string(frame_bytes_),
                                       "--in-flight",
                                       std::to_string(in_flight)};
    if (std::string{flow} == "transmit") {
        arguments.insert(arguments.end(), {"--destination", flow_ == Flow::receive ? everybody : nobody});
    }
    if (virtual_clock_ && load_bps_ == 0 && flow_ == Flow::transmit)
        arguments.insert(arguments.end(), {"--rest-after", std::to_string(rest_after)});
    if (load_bps_ > 0 && std::string{flow} != "receive")
        arguments.insert(
            arguments.end(),
            {"--rate", std::to_string(std::max(load_bps_ / (frame_bytes_ * 8), std::uint64_t{1}))});
    programs_.push_back(
        {name,
         Child{Command{.arguments = arguments, .cpu = end.cpu, .network_namespace = end.network_namespace}},
         {}});
}

void RawFrames::loop_back(bool on) {
    const Ended ended = run({.arguments = {"ethtool", "-K", looped_->name(), "loopback", on ? "on" : "off"},
                             .network_namespace = looped_->network_namespace()});
    if (ended.status != 0) {
        const std::string driver = looped_->driver();
        const std::string name = looped_->name();
        if (on) looped_ = nullptr;
        throw Unavailable{fmt::format("The driver {} of {} does not loop its PHY back: {}", driver, name,
                                      trim(ended.error + ended.output))};
    }
    looped_->wait_until_running(link_seconds);
}

void RawFrames::warm_up(const std::function<void()>& require_driver) {
    const char* counter = counter_of(flow_);
    const std::uint64_t at_start = driver_.counters().at(counter);
    const double patience = now_seconds() + stream_seconds;
    while (driver_.counters().at(counter) - at_start < stream_frames) {
        require_running();
        require_driver();
        if (now_seconds() > patience)
            fail("No stream within {} s of starting it: fewer than {} {} ({})", stream_seconds, stream_frames,
                 counter, driver_.counter_source());
        sleep_seconds(0.01);
    }
    sleep_seconds(static_cast<double>(warm_up_ms_) * 1e-3);
}

void RawFrames::require_running() {
    for (auto& program : programs_) {
        if (!program.child.wait_for(0)) continue;
        const Ended ended = program.child.finish(0);
        program.output = ended.output;
        fail("{} at the {} ended too early with status {}: {}", frames_program, program.end, ended.status,
             trim(ended.error));
    }
}

nlohmann::json RawFrames::finish(const MeasuredWindow& window) {
    nlohmann::json record;
    record["metrics"] = frame_metrics(flow_, frame_bytes_, window);
    if (load_bps_ > 0) record["metrics"]["load_requested_bps"] = load_bps_;
    for (auto& program : programs_) {
        const Ended ended = program.child.terminate(5);
        program.output = ended.output;
        const auto result = nlohmann::json::parse(ended.output, nullptr, false);
        if (ended.status != 0 || !result.is_object())
            fail("{} at the {} ended with status {}: {}", frames_program, program.end, ended.status,
                 trim(ended.error));
        const auto received = result.value("received", nlohmann::json::object());
        if (const auto others = received.value("other_lengths", std::uint64_t{0}); others > 0)
            fail("{} of the frames that {} at the {} got had another length than {} bytes", others,
                 frames_program, program.end, frame_bytes_);
        // They reached the driver, but no program: what a packet costs is too little by that.
        if (received.value("dropped", std::uint64_t{0}) > 0) record["flags"] = {"frames-dropped"};
        record["meters"][fmt::format("frames_{}", program.end)] = {
            {"available", true}, {"source", "dmatoll-frames, the whole run"}, {"result", result}};
    }
    return record;
}

std::map<std::string, std::string> RawFrames::raw_outputs() {
    std::map<std::string, std::string> outputs;
    for (const auto& program : programs_)
        outputs[fmt::format("frames-{}.json", program.end)] = program.output;
    return outputs;
}

}  // namespace dmatoll::harness
