// SPDX-License-Identifier: BSD-2-Clause
// What the harness reads from the programs that make traffic.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "dma_copy.hpp"
#include "failure.hpp"
#include "raw_frames.hpp"
#include "udp_echo.hpp"

namespace dmatoll::harness {
namespace {

nlohmann::json result() {
    return nlohmann::json::parse(R"({
        "parameters": {"load_bps": 100000000},
        "window": {"arrived": 4000, "load_sent_bps": 1e8, "load_achieved_bps": 9.4e7},
        "latency_ns": {"n": 4000, "p50": 200000}})");
}

MeasuredWindow window() {
    MeasuredWindow window;
    window.counters_ns = 500'000'000;
    window.device = {
        {"frames_transmitted", 4010}, {"frames_received", 4300}, {"bytes_transmitted", 6'071'140}};
    window.device_source = "test";
    return window;
}

template <class Call>
std::string complaint(Call call) {
    try {
        call();
    } catch (const Failure& failure) {
        return failure.what();
    }
    return "no complaint";
}

TEST(EchoMetrics, AreTheGeneratorsAndTheDevices) {
    const auto metrics = echo_metrics(result(), window());
    EXPECT_EQ(metrics.at("packets"), 4000);
    EXPECT_EQ(metrics.at("load_requested_bps"), 100'000'000);
    EXPECT_EQ(metrics.at("load_sent_bps"), 1e8);
    EXPECT_EQ(metrics.at("load_achieved_bps"), 9.4e7);
    EXPECT_EQ(metrics.at("latency_ns").at("p50"), 200'000);
    EXPECT_DOUBLE_EQ(metrics.at("throughput_bps"), 6'071'140 * 8 / 0.5);
}

TEST(EchoMetrics, AreRefusedIfTheDeviceCountedSomethingElse) {
    MeasuredWindow idle = window();
    idle.device["frames_transmitted"] = 0;
    EXPECT_NE(complaint([&] { echo_metrics(result(), idle); }).find("4000 echoes"), std::string::npos);
    MeasuredWindow silent = window();
    silent.device["frames_transmitted"] = 3000;
    EXPECT_NE(complaint([&] { echo_metrics(result(), silent); }).find("disagree"), std::string::npos);
    MeasuredWindow deaf = window();
    deaf.device["frames_received"] = 100;
    EXPECT_NE(complaint([&] { echo_metrics(result(), deaf); }).find("disagree"), std::string::npos);
}

TEST(EchoMetrics, HoldWhereEchoesAreLostBehindTheDevice) {
    MeasuredWindow busy = window();
    busy.device["frames_transmitted"] = 8000;
    EXPECT_EQ(echo_metrics(result(), busy).at("packets"), 4000);
}

TEST(EchoMetrics, AreNotMadeUp) {
    auto silent = result();
    silent["window"]["arrived"] = 0;
    EXPECT_NE(complaint([&] { echo_metrics(silent, window()); }).find("No echo came back"),
              std::string::npos);
    auto broken = result();
    broken["window"].erase("load_sent_bps");
    EXPECT_NE(complaint([&] { echo_metrics(broken, window()); }).find("load_sent_bps"), std::string::npos);
    auto timeless = result();
    timeless.erase("latency_ns");
    EXPECT_FALSE(echo_metrics(timeless, window()).contains("latency_ns"));
}

TEST(EchoFlags, MarkALoadThatWasMissedByMoreThanAFifth) {
    const auto flags = [](double achieved) {
        return echo_flags(
            {{"load_requested_bps", 100.0}, {"load_sent_bps", 100.0}, {"load_achieved_bps", achieved}});
    };
    EXPECT_TRUE(flags(80).empty());
    EXPECT_EQ(flags(79), nlohmann::json{"load-missed"});
    EXPECT_EQ(flags(121), nlohmann::json{"load-missed"});
}

TEST(EchoFlags, MarkALoadThatTheGeneratorDidNotApply) {
    const auto flags = [](double sent) {
        return echo_flags(
            {{"load_requested_bps", 100.0}, {"load_sent_bps", sent}, {"load_achieved_bps", 90.0}});
    };
    EXPECT_TRUE(flags(98.5).empty());
    EXPECT_EQ(flags(97), nlohmann::json{"load-not-offered"});
}

TEST(AnnouncedWindows, AreReadOrRefused) {
    const auto window = parse_announced_window(
        R"({"event":"window","begin_monotonic_ns":1790000000000000001,"end_monotonic_ns":1790000000500000001})");
    EXPECT_EQ(window.begin_ns, 1'790'000'000'000'000'001U);
    EXPECT_EQ(window.end_ns - window.begin_ns, 500'000'000U);
    for (const char* line : {"", "ready", "[]", R"({"event":"ready"})", R"({"event":"window"})",
                             R"({"event":"window","begin_monotonic_ns":"x","end_monotonic_ns":2})",
                             R"({"event":"window","begin_monotonic_ns":2,"end_monotonic_ns":2})"})
        EXPECT_THROW(parse_announced_window(line), Failure) << line;
}

TEST(FrameMetrics, CountWhatTheDeviceMoved) {
    MeasuredWindow window;
    window.counters_ns = 500'000'000;
    window.device = {{"frames_transmitted", 100'000}, {"frames_received", 90'000}};
    window.peer = {{"rx_packets", 70'000}, {"tx_packets", 120'000}};
    const auto sent = frame_metrics(Flow::transmit, 64, window);
    EXPECT_EQ(sent.at("packets"), 100'000);
    EXPECT_DOUBLE_EQ(sent.at("frames_per_second"), 200'000);
    EXPECT_DOUBLE_EQ(sent.at("throughput_bps"), 200'000.0 * 64 * 8);
    EXPECT_EQ(frame_metrics(Flow::receive, 64, window).at("packets"), 90'000) << "some of the flood was lost";
    EXPECT_EQ(frame_metrics(Flow::both, 64, window).at("packets"), 90'000) << "those that came back";
}

TEST(FrameMetrics, AreRefusedIfFramesComeBackDamaged) {
    MeasuredWindow window;
    window.counters_ns = 500'000'000;
    window.device = {{"frames_transmitted", 1000}, {"frames_received", 1000}, {"process_raw_frames_bad", 0}};
    EXPECT_EQ(frame_metrics(Flow::both, 64, window).at("packets"), 1000);
    window.device["process_raw_frames_bad"] = 3;
    EXPECT_NE(complaint([&] { frame_metrics(Flow::both, 64, window); }).find("3 of 1000"), std::string::npos);
}

TEST(FrameMetrics, AreRefusedIfMoreArrivedThanWasSent) {
    MeasuredWindow window;
    window.counters_ns = 500'000'000;
    window.device = {{"frames_transmitted", 100'000}, {"frames_received", 130'000}};
    window.peer = {{"rx_packets", 110'000}, {"tx_packets", 120'000}};
    for (const Flow flow : {Flow::receive, Flow::both})
        EXPECT_NE(complaint([&] { frame_metrics(flow, 64, window); }).find("disagree"), std::string::npos);
    window.device["frames_received"] = 0;
    EXPECT_NE(complaint([&] { frame_metrics(Flow::receive, 64, window); }).find("no frame"),
              std::string::npos);
}

MeasuredWindow copying() {
    MeasuredWindow window;
    window.counters_ns = 500'000'000;
    window.device = {{"copies", 1000}, {"bytes_copied", 1'514'000}, {"copies_bad", 0}, {"copies_lost", 0}, {"restarts", 0}};
    return window;
}

TEST(CopyMetrics, AreTheDevices) {
    const auto metrics = copy_metrics(copying());
    EXPECT_EQ(metrics.at("copies"), 1000);
    EXPECT_EQ(metrics.at("copied_bytes"), 1'514'000);
    EXPECT_DOUBLE_EQ(metrics.at("copies_per_second"), 2000);
    EXPECT_DOUBLE_EQ(metrics.at("throughput_bps"), 1'514'000 * 8 / 0.5);
}

TEST(CopyMetrics, AreRefusedIfSomethingWentWrong) {
    MeasuredWindow idle = copying();
    idle.device["copies"] = 0;
    EXPECT_NE(complaint([&] { copy_metrics(idle); }).find("copied nothing"), std::string::npos);
    for (const char* wrong : {"copies_bad", "copies_lost", "restarts"}) {
        MeasuredWindow window = copying();
        window.device[wrong] = 2;
        EXPECT_NE(complaint([&] { copy_metrics(window); }).find(std::string{wrong} + " is 2"), std::string::npos);
    }
}

}  // namespace
}  // namespace dmatoll::harness
