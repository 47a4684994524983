// SPDX-License-Identifier: BSD-2-Clause
// dmatoll-frames: raw Ethernet frames, sent, counted, or both.
#include <cstdio>
#include <exception>
#include <nlohmann/json.hpp>
#include <optional>

#include "clock.hpp"
#include "failure.hpp"
#include "frames_options.hpp"
#include "packet_socket.hpp"
#include "schedule.hpp"
#include "stop_request.hpp"

namespace dmatoll::workloads {
namespace {

// For the last frames, which are on their way or in a block that the ring has not handed over yet.
constexpr std::uint64_t linger_ns = 50 * ns_per_ms;
constexpr int longest_wait_ms = 100;
// Long enough for the CPU to go idle.
constexpr std::uint64_t rest_ns = 50'000;

class Run {
  public:
    explicit Run(const FramesOptions& options) : options_{options} {
        if (options.receives()) counter_.emplace(options.interface, options.frame_bytes);
        if (options.transmits()) sender_.emplace(options);
    }

    nlohmann::json go() {
        const std::uint64_t begin = now_ns(CLOCK_MONOTONIC);
        const auto elapsed = [&] { return now_ns(CLOCK_MONOTONIC) - begin; };
        const auto over = [&] {
            return stop_requested() ||
                   (options_.duration_ms > 0 && elapsed() >= options_.duration_ms * ns_per_ms);
        };
        // One frame a step; a rate of 0 has no schedule.
        const Schedule schedule{now_ns(), 1, std::max(options_.frames_per_second, std::uint64_t{1})};
        while (!over()) {
            if (sender_ && options_.frames_per_second > 0) {
                sleep_until(schedule.intended(sent_));
                send(schedule.due_before(now_ns() + 1) - sent_);
            } else if (sender_) {
                send_up_to_the_next_rest();
            } else {
                counter_->wait(longest_wait_ms);
            }
            if (counter_) counter_->take();
        }
        const std::uint64_t duration = elapsed();
        if (sender_ && counter_) {
            sleep_until(now_ns() + linger_ns);
            counter_->take();
        }
        return results(duration);
    }

  private:
    void send(std::uint64_t count) {
        while (count > 0 && !stop_requested()) {
            const std::size_t sent = sender_->send(std::min(count, std::uint64_t{FrameSender::batch}));
            if (sent == 0) return;
            sent_ += sent;
            count -= sent;
        }
    }

    void send_up_to_the_next_rest() {
        if (options_.rest_after == 0) return send(FrameSender::batch);
        send(std::min(sent_at_rest_ + options_.rest_after - sent_, std::uint64_t{FrameSender::batch}));
        if (sent_ - sent_at_rest_ < options_.rest_after) return;
        sleep_until(now_ns() + rest_ns);
        sent_at_rest_ = sent_;
    }

    nlohmann::json results(std::uint64_t duration_ns) {
        nlohmann::json result{{"program", "dmatoll-frames"},
                              {"frame_bytes", options_.frame_bytes},
                              {"duration_ns", duration_ns}};
        if (sender_)
            result["sent"] = {
                {"frames", sent_}, {"bytes", sent_ * options_.frame_bytes}, {"refused", sender_->refused()}};
        if (counter_)
            result["received"] = {{"frames", counter_->frames()},
                                  {"bytes", counter_->bytes() + counter_->frames() * crc_bytes},
                                  {"other_lengths", counter_->other_lengths()},
                                  {"dropped", counter_->dropped()}};
        return result;
    }

    FramesOptions options_;
    std::optional<FrameCounter> counter_;
    std::optional<FrameSender> sender_;
    std::uint64_t sent_ = 0;
    std::uint64_t sent_at_rest_ = 0;
};

}  // namespace
}  // namespace dmatoll::workloads

int main(int argc, char** argv) {
    using namespace dmatoll::workloads;
    try {
        const auto options = parse_frames_options(argc, argv);
        if (!options) return 0;
        be_punctual();
        Run run{*options};
        handle_stop_requests();
        std::printf("%s\n", run.go().dump().c_str());
        return 0;
    } catch (const std::exception& error) {
        std::fprintf(stderr, "dmatoll-frames: %s\n", error.what());
        return 1;
    }
}
