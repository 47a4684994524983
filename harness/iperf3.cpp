// SPDX-License-Identifier: BSD-2-Clause
#include "iperf3.hpp"

#include <cmath>
#include <nlohmann/json.hpp>

#include "failure.hpp"
#include "file.hpp"
#include "meters/lab_instructions.hpp"
#include "target/network.hpp"
#include "text.hpp"

namespace dmatoll::harness {
namespace {

constexpr int port = 5201;
// iperf3's own bound for an answer of the other end; a dead peer ends the client, not the harness's patience.
constexpr int connect_timeout_ms = 5000;
// The warm-up begins some polls after the stream did, and the stream must outlast the window.
constexpr double margin_seconds = 0.1;

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

Iperf3::Iperf3(const Trial& trial) : transport_{trial.transport} {
    const auto parameter = [&](const char* name) { return trial.parameters.at(name); };
    // iperf3 takes whole seconds.
    duration_ = std::ceil(static_cast<double>(parameter("warm_up_ms") + parameter("window_ms")) / 1000.0 +
                          margin_seconds);
    const bool device_sends = trial.flow == Flow::transmit;
    const int server_cpu = static_cast<int>(device_sends ? other_cpu : device_cpu);
    const int client_cpu = static_cast<int>(device_sends ? device_cpu : other_cpu);
    const char* server_address = device_sends ? peer_address : device_address;
    const char* client_address = device_sends ? device_address : peer_address;

    server_ = std::make_unique<Child>(Command{.arguments = {"iperf3", "-4", "-s", "-1", "-J", "-i", "0", "-B",
                                                            server_address, "-p", std::to_string(port)},
                                              .cpu = server_cpu,
                                              .network_namespace = device_sends ? peer_namespace : ""});
    wait_until_listening(5);

    std::vector<std::string> arguments{"iperf3",
                                       "-4",
                                       "-J",
                                       "-i",
                                       "0",
                                       "-c",
                                       server_address,
                                       "-B",
                                       client_address,
                                       "-p",
                                       std::to_string(port),
                                       "-t",
                                       fmt::format("{:.0f}", duration_),
                                       "-l",
                                       std::to_string(parameter("payload_bytes")),
                                       "-b",
                                       std::to_string(parameter("load_bps")),
                                       "--connect-timeout",
                                       std::to_string(connect_timeout_ms)};
    if (transport_ == Transport::udp) arguments.push_back("-u");
    client_ = std::make_unique<Child>(Command{
        .arguments = arguments, .cpu = client_cpu, .network_namespace = device_sends ? "" : peer_namespace});
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
        (end == client_.get() ? client_output : server_output) = ended.output;
        const auto json = nlohmann::json::parse(ended.output, nullptr, false);
        const std::string said =
            json.is_object() && json.contains("error") ? error_of(json) : trim(ended.error);
        fail("The {} iperf3 ended too early with status {}: {}",
             end == client_.get() ? "sending" : "receiving", ended.status, said);
    }
}

Iperf3::Result Iperf3::finish() {
    const Ended client = client_->finish(duration_ + 10);
    client_output = client.output;
    const Ended server = server_->finish(5);
    server_output = server.output;
    if (client.status == -1) fail("The sending iperf3 did not end: the peer does not answer");
    Result result;
    result.sent = parse_iperf3(client.output, transport_);
    result.received = parse_iperf3(server.output, transport_);
    if (result.sent.bytes_sent == 0) fail("The sending iperf3 sent nothing");
    if (result.received.bytes_received == 0)
        fail("The receiving iperf3 received nothing of {} bytes sent", result.sent.bytes_sent);
    return result;
}

}  // namespace dmatoll::harness
