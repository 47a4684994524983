// SPDX-License-Identifier: BSD-2-Clause
// Raw Ethernet frames without the IP stack: by dmatoll-frames on the device's interface, or by the driver
// process itself where it has none; and by dmatoll-frames on the peer.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "plan.hpp"
#include "process.hpp"
#include "traffic.hpp"

namespace dmatoll::harness {

// What both ends counted in the window: packets (loopback: those that came back), frames_per_second,
// throughput_bps and load_achieved_bps (bits of frames with their CRC). Throws Failure if the ends contradict
// each other.
nlohmann::json frame_metrics(Flow flow, std::uint64_t frame_bytes, const MeasuredWindow& window);

class RawFrames final : public Traffic {
  public:
    RawFrames(const Trial& trial, const TrafficPlaces& places);
    ~RawFrames() override;

    void warm_up(const std::function<void()>& require_driver) override;
    void require_running() override;
    nlohmann::json finish(const MeasuredWindow& window) override;
    std::map<std::string, std::string> raw_outputs() override;

  private:
    struct Program {
        const char* end;  // "device" or "peer"
        Child child;
        std::string output;
    };

    void start(const TrafficEnd& end, const char* name, const char* flow, std::uint32_t in_flight);
    void loop_back(bool on);

    Flow flow_;
    std::uint64_t frame_bytes_;
    std::uint64_t load_bps_;
    std::uint64_t warm_up_ms_;
    bool virtual_clock_;
    Driver& driver_;
    const Interface* looped_ = nullptr;
    std::vector<Program> programs_;
};

}  // namespace dmatoll::harness
