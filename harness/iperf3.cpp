// SPDX-License-Identifier: BSD-2-Clause
#include "iperf3.hpp"

#include <cmath>
#include <nlohmann/json.hpp>

#include "failure.hpp"
#include "file.hpp"
#include "text.hpp"

namespace dmatoll::harness {
namespace {

constexpr int port = 5201;
// iperf3's own bound for an answer of the other end; a dead peer ends the client, not the harness's patience.
constexpr int connect_timeout_ms = 5000;
// The warm-up begins some polls after the stream did, and the stream must outlast the window.
constexpr double margin_seconds = 0.1;
// Frames that show that the stream proper flows, and not only its set-up.
constexpr std::uint64_t stream_frames = 64;
// Of a buffer of 64 KiB, in frames of an MTU of 1500 bytes.
constexpr std::uint64_t most_segments = 46;
// Header bytes of a frame without its payload: Ethernet 14, IPv4 20, and UDP 8 or TCP 20 with 12 of
// timestamps.
constexpr std::uint64_t udp_header_bytes = 14 + 20 + 8;
constexpr std::uint64_t tcp_header_bytes = 14 + 20 + 20 + 12;

// What iperf3 says went wrong, whatever it is.
std::string error_of(const nlohmann::json& json) {
    const auto& error = json.at("error");
    return error.is_string() ? error.get<std::string>() : error.dump();
}

}  // namespace

Iperf3Totals parse_iperf3(std::string_view output, Transport transport) {
    const auto json = nlohmann::json::parse(output, nullptr, false);
    if (!json.is_object()) fail("iperf3 wrote no JSON object: '{}'", trim(output.substr(0, 200)));
    if (json.contains("error")) fail("iperf3 ended with: {}", error_of(json));
    Iperf3Totals totals;
    try {
        const auto& end = json.at("end");
        if (transport == Transport::tcp) {
            const auto& sent = end.at("sum_sent");
            const auto& received = end.at("sum_received");
            totals.bytes_sent = sent.at("bytes");
            totals.bytes_received = received.at("bytes");
            totals.seconds = std::max(sent.at("seconds").get<double>(), received.at("seconds").get<double>());
            totals.retransmits = sent.value("retransmits", std::uint64_t{0});
        } else {
            // The byte count of `sum` is zero at the receiving end.
            const auto& sum = end.at("sum");
            const std::uint64_t datagram_bytes = json.at("start").at("test_start").at("blksize");
            totals.datagrams = sum.at("packets");
            totals.datagrams_lost = static_cast<std::uint64_t>(
                std::max<std::int64_t>(sum.value("lost_packets", std::int64_t{0}), 0));
            totals.seconds = sum.at("seconds");
            totals.bytes_sent = totals.datagrams * datagram_bytes;
            totals.bytes_received =
                (totals.datagrams - std::min(totals.datagrams, totals.datagrams_lost)) * datagram_bytes;
        }
    } catch (const nlohmann::json::exception& error) {
        fail("iperf3's output lacks what is expected: {}", error.what());
    }
    return totals;
}

Iperf3::Iperf3(const Trial& trial, const TrafficPlaces& places)
    : transport_{trial.transport},
      device_sends_{trial.flow == Flow::transmit},
      load_bps_{trial.parameters.at("load_bps")},
      warm_up_ms_{trial.parameters.at("warm_up_ms")},
      peer_{*places.peer.interface} {
    // iperf3 takes whole seconds.
    duration_ = std::ceil(static_cast<double>(warm_up_ms_ + trial.parameters.at("window_ms")) / 1000.0 +
                          margin_seconds);
    const TrafficEnd& server = device_sends_ ? places.peer : places.device;
    const TrafficEnd& client = device_sends_ ? places.device : places.peer;

    server_ = std::make_unique<Child>(Command{.arguments = {"iperf3", "-4", "-s", "-1", "-J", "-i", "0", "-B",
                                                            server.address, "-p", std::to_string(port)},
                                              .cpu = server.cpu,
                                              .network_namespace = server.network_namespace});
    wait_until_listening(5);

    std::vector<std::string> arguments{"iperf3",
                                       "-4",
                                       "-J",
                                       "-i",
                                       "0",
                                       "-c",
                                       server.address,
                                       "-B",
                                       client.address,
                                       "-p",
                                       std::to_string(port),
                                       "-t",
                                       fmt::format("{:.0f}", duration_),
                                       "-l",
                                       std::to_string(trial.parameters.at("payload_bytes")),
                                       "-b",
                                       std::to_string(load_bps_),
                                       "--connect-timeout",
                                       std::to_string(connect_timeout_ms)};
    if (transport_ == Transport::udp) arguments.push_back("-u");
    client_ = std::make_unique<Child>(
        Command{.arguments = arguments, .cpu = client.cpu, .network_namespace = client.network_namespace});
}

void Iperf3::warm_up(const std::function<void()>& require_driver) {
    // The warm-up begins when the stream does, not when its program is started.
    wait_for_stream(peer_, device_sends_ ? "rx_packets" : "tx_packets", stream_frames, [&] {
        require_running();
        require_driver();
    });
    sleep_seconds(static_cast<double>(warm_up_ms_) * 1e-3);
}

// Its listening socket in the table of its own namespace: local address:port, remote address:port, state 0A.
void Iperf3::wait_until_listening(double seconds) {
    const std::string listening = fmt::format(":{:04X} 00000000:0000 0A", port);
    const double deadline = now_seconds() + seconds;
    while (read_attribute(fmt::format("/proc/{}/net/tcp", server_->pid())).value_or("").find(listening) ==
           std::string::npos) {
        if (server_->wait_for(0)) {
            const Ended ended = server_->finish(0);
            fail("The receiving iperf3 ended with status {}: {}", ended.status,
                 trim(ended.error + ended.output));
        }
        if (now_seconds() > deadline) fail("The receiving iperf3 did not listen within {} s", seconds);
        sleep_seconds(0.005);
    }
}

void Iperf3::require_running() {
    for (auto* end : {client_.get(), server_.get()}) {
        if (!end->wait_for(0)) continue;
        const Ended ended = end->finish(0);
        (end == client_.get() ? client_output_ : server_output_) = ended.output;
        const auto json = nlohmann::json::parse(ended.output, nullptr, false);
        const std::string said =
            json.is_object() && json.contains("error") ? error_of(json) : trim(ended.error);
        fail("The {} iperf3 ended too early with status {}: {}",
             end == client_.get() ? "sending" : "receiving", ended.status, said);
    }
}

std::map<std::string, std::string> Iperf3::raw_outputs() {
    return {{"client.json", client_output_}, {"server.json", server_output_}};
}

nlohmann::json Iperf3::finish(const MeasuredWindow& window) {
    const Ended client = client_->finish(duration_ + 10);
    client_output_ = client.output;
    const Ended server = server_->finish(5);
    server_output_ = server.output;
    if (client.status == -1) fail("The sending iperf3 did not end: the peer does not answer");
    const Iperf3Totals sent = parse_iperf3(client.output, transport_);
    const Iperf3Totals received = parse_iperf3(server.output, transport_);
    if (sent.bytes_sent == 0) fail("The sending iperf3 sent nothing");
    if (received.bytes_received == 0)
        fail("The receiving iperf3 received nothing of {} bytes sent", sent.bytes_sent);
    nlohmann::json record;
    record["metrics"] = read_window(window);
    record["meters"]["iperf3"] = {{"available", true},
                                  {"source", "iperf3 -J, the whole run"},
                                  {"bytes_sent", sent.bytes_sent},
                                  {"bytes_received", received.bytes_received},
                                  {"retransmits", sent.retransmits},
                                  {"datagrams", received.datagrams},
                                  {"datagrams_lost", received.datagrams_lost}};
    return record;
}

nlohmann::json Iperf3::read_window(const MeasuredWindow& window) const {
    const std::uint64_t own_packets =
        window.device.at(device_sends_ ? "frames_transmitted" : "frames_received");
    const std::uint64_t wire_bytes = window.device.at(device_sends_ ? "bytes_transmitted" : "bytes_received");
    const std::uint64_t peer_packets = window.peer.at(device_sends_ ? "rx_packets" : "tx_packets");
    const std::uint64_t window_ms = (window.closed_ns - window.opened_ns) / 1'000'000;
    if (own_packets == 0) fail("The device under test moved no frame in a window of {} ms", window_ms);
    if (peer_packets == 0) fail("The peer moved no frame in a window of {} ms", window_ms);
    // Counters of both ends are read at almost the same time; frames in rings and queues make up the
    // rest. More may arrive than the sender computed: a part that ends a segmented buffer with an empty
    // frame, as QEMU's e1000 does, sends one frame more for at least two; QEMU's e1000e counts a buffer as
    // one frame whatever it is segmented into. Fewer may: a ring that overflows in slow start loses frames,
    // which is a result and not a mistake.
    const bool tcp = transport_ == Transport::tcp;
    const std::uint64_t sent = device_sends_ ? own_packets : peer_packets;
    const std::uint64_t arrived = device_sends_ ? peer_packets : own_packets;
    const std::uint64_t in_flight = 64 + sent / 50;
    const std::uint64_t most = sent + in_flight + (device_sends_ && tcp ? sent * most_segments : 0);
    if (arrived > most || (tcp && arrived + in_flight + sent / 4 < sent))
        fail(
            "Both ends disagree about the window: {} frames sent, {} received; the device under test "
            "counts {} ({}), the peer {}",
            sent, arrived, own_packets, window.device_source, peer_packets);

    const double seconds = static_cast<double>(window.counters_ns) * 1e-9;
    // What was on the wire: a frame that arrived was there, and so was one that was sent.
    const std::uint64_t packets = device_sends_ ? std::max(own_packets, peer_packets) : own_packets;
    const std::uint64_t headers = packets * (tcp ? tcp_header_bytes : udp_header_bytes);
    nlohmann::json metrics;
    metrics["packets"] = packets;
    metrics["throughput_bps"] = static_cast<double>(wire_bytes) * 8 / seconds;
    metrics["load_achieved_bps"] =
        static_cast<double>(wire_bytes - std::min(headers, wire_bytes)) * 8 / seconds;
    if (load_bps_ > 0) metrics["load_requested_bps"] = load_bps_;
    return metrics;
}

}  // namespace dmatoll::harness
