// SPDX-License-Identifier: BSD-2-Clause
#include "load_generator.hpp"

#include <arpa/inet.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <cstdio>
#include <cstring>
#include <vector>

#include "clock.hpp"
#include "echo_packet.hpp"
#include "failure.hpp"
#include "stop_request.hpp"

namespace dmatoll::workloads {
namespace {

constexpr std::size_t batch = 32;
// Between the announcement and the first packet: time for whoever read it to get ready.
constexpr std::uint64_t lead_ns = 20 * ns_per_ms;
// Replies wait in the socket for a batch, at most so long.
constexpr std::uint64_t fetch_interval_ns = ns_per_ms;
// After the cool-down, for the last replies.
constexpr std::uint64_t linger_ns = 200 * ns_per_ms;
// Room for the replies of a few batches of jumbo frames, and of a hiccup.
constexpr int receive_buffer_bytes = 4 << 20;

sockaddr_in ipv4_address(const std::string& text, std::uint16_t port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    if (::inet_pton(AF_INET, text.c_str(), &address.sin_addr) != 1)
        throw Failure{"'" + text + "' is no IPv4 address, such as 192.0.2.1"};
    return address;
}

const sockaddr* generic(const sockaddr_in& address) { return reinterpret_cast<const sockaddr*>(&address); }

// When the kernel received it; 0 if it did not say.
std::uint64_t stamp_of(msghdr& message) {
    for (cmsghdr* item = CMSG_FIRSTHDR(&message); item != nullptr; item = CMSG_NXTHDR(&message, item)) {
        if (item->cmsg_level != SOL_SOCKET || item->cmsg_type != SCM_TIMESTAMPNS) continue;
        timespec stamp{};
        std::memcpy(&stamp, CMSG_DATA(item), sizeof stamp);
        return to_ns(stamp);
    }
    return 0;
}

}  // namespace

// Buffers of both directions, prepared once: a packet to send differs from the one before in its header only.
struct LoadGenerator::Batches {
    explicit Batches(std::size_t payload_bytes)
        : slot_bytes{payload_bytes + 1},  // a reply that is too long shows
          sending(batch * payload_bytes),
          receiving(batch * slot_bytes) {
        for (std::size_t i = 0; i < batch; ++i) {
            const std::span<std::byte> payload{sending.data() + i * payload_bytes, payload_bytes};
            fill(payload);
            send_parts[i] = {payload.data(), payload.size()};
            send_messages[i].msg_hdr.msg_iov = &send_parts[i];
            send_messages[i].msg_hdr.msg_iovlen = 1;
            receive_parts[i] = {receiving.data() + i * slot_bytes, slot_bytes};
            receive_messages[i].msg_hdr.msg_iov = &receive_parts[i];
            receive_messages[i].msg_hdr.msg_iovlen = 1;
            receive_messages[i].msg_hdr.msg_control = control[i].data();
        }
    }

    std::size_t slot_bytes;
    std::vector<std::byte> sending;
    std::vector<std::byte> receiving;
    std::array<iovec, batch> send_parts{};
    std::array<iovec, batch> receive_parts{};
    std::array<mmsghdr, batch> send_messages{};
    std::array<mmsghdr, batch> receive_messages{};
    alignas(cmsghdr) std::array<std::array<char, CMSG_SPACE(sizeof(timespec))>, batch> control{};
};

LoadGenerator::LoadGenerator(const LoadOptions& options)
    : options_{options}, socket_{::socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)} {
    if (!socket_.valid()) fail_with_errno("cannot make a UDP socket");
    const auto set = [&](int level, int name, int value, const char* what) {
        if (::setsockopt(socket_.get(), level, name, &value, sizeof value) != 0)
            fail_with_errno(std::string{"cannot ask the socket for "} + what);
    };
    set(SOL_SOCKET, SO_TIMESTAMPNS, 1, "receive stamps");
    // Datagrams leave as they are or not at all: fragments would be another workload.
    set(IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO, "unfragmented datagrams");
    if (::setsockopt(socket_.get(), SOL_SOCKET, SO_RCVBUFFORCE, &receive_buffer_bytes,
                     sizeof receive_buffer_bytes) != 0)  // needs a privilege; the other one is bounded
        set(SOL_SOCKET, SO_RCVBUF, receive_buffer_bytes, "a larger receive buffer");
    if (!options.source.empty()) {
        const sockaddr_in own = ipv4_address(options.source, 0);
        if (::bind(socket_.get(), generic(own), sizeof own) != 0)
            fail_with_errno("cannot send from " + options.source);
    }
    const sockaddr_in server = ipv4_address(options.server, options.port);
    if (::connect(socket_.get(), generic(server), sizeof server) != 0)
        fail_with_errno("cannot reach " + options.server);
}

void LoadGenerator::announce(const Window& window) const {
    const std::uint64_t ahead = now_ns(CLOCK_MONOTONIC);
    const std::uint64_t now = now_ns();
    const nlohmann::json line{{"event", "window"},
                              {"begin_monotonic_ns", ahead + (window.begin_ns - now)},
                              {"end_monotonic_ns", ahead + (window.end_ns - now)}};
    std::printf("%s\n", line.dump().c_str());
    std::fflush(stdout);
}

nlohmann::json LoadGenerator::run() {
    Batches batches{options_.payload_bytes};
    const std::uint64_t begin = now_ns() + lead_ns;
    const Schedule schedule{begin, options_.payload_bytes * 8, options_.load_bps};
    const Window window{begin + options_.warm_up_ms * ns_per_ms,
                        begin + (options_.warm_up_ms + options_.window_ms) * ns_per_ms};
    const std::uint64_t end = window.end_ns + options_.cool_down_ms * ns_per_ms;
    ReplyLedger ledger{schedule, window, end, options_.payload_bytes};
    if (options_.announce) announce(window);

    std::uint64_t fetch_at = begin;
    std::uint64_t fetch_after = 0;  // packets sent
    while (!stop_requested() && schedule.intended(ledger.next()) < end) {
        sleep_until(schedule.intended(ledger.next()));
        send_due(batches, schedule, ledger, end);
        if (const std::uint64_t now = now_ns(); now >= fetch_at || ledger.next() >= fetch_after) {
            fetch(batches, ledger);
            fetch_at = now + fetch_interval_ns;
            fetch_after = ledger.next() + batch;
        }
    }
    for (const std::uint64_t patience = now_ns() + linger_ns; !stop_requested();) {
        fetch(batches, ledger);
        if (ledger.all().lost() == 0 || now_ns() >= patience) break;
        pollfd wait{socket_.get(), POLLIN, 0};
        ::poll(&wait, 1, 10);
    }
    return results(ledger, window);
}

void LoadGenerator::send_due(Batches& batches, const Schedule& schedule, ReplyLedger& ledger,
                             std::uint64_t end_ns) {
    const std::uint64_t now = now_ns();
    const std::uint64_t due_until = std::min(now + 1, end_ns);
    std::uint64_t number = ledger.next();
    std::size_t count = 0;
    for (; count < batch && schedule.intended(number) < due_until; ++count, ++number) {
        const std::uint64_t intended = schedule.intended(number);
        put_header({static_cast<std::byte*>(batches.send_parts[count].iov_base), options_.payload_bytes},
                   {number, intended});
        lateness_.add(now - intended);
    }
    for (std::size_t done = 0; done < count && !stop_requested();) {
        const int sent = ::sendmmsg(socket_.get(), batches.send_messages.data() + done,
                                    static_cast<unsigned>(count - done), 0);
        if (sent > 0) {
            ledger.sent(static_cast<std::uint64_t>(sent), now_ns());
            done += static_cast<std::size_t>(sent);
        } else if (errno == EAGAIN) {
            // The interface is behind. The packet keeps its intended time: the delay is part of its latency.
            pollfd wait{socket_.get(), POLLOUT, 0};
            ::poll(&wait, 1, 10);
            if (now_ns() >= end_ns) return;
        } else if (errno == ECONNREFUSED) {  // an answer to an earlier packet; this one has not been tried
            ++refusals_;
        } else if (errno == EMSGSIZE) {
            fail_with_errno("a datagram with " + std::to_string(options_.payload_bytes) +
                            " bytes of payload does not fit the MTU of the way to " + options_.server);
        } else if (errno != EINTR) {  // no link, no route, no memory: the load goes on
            last_send_error_ = errno;
            ++send_failures_;
            ledger.skipped();
            ++done;
        }
    }
}

void LoadGenerator::fetch(Batches& batches, ReplyLedger& ledger) {
    for (;;) {
        for (std::size_t i = 0; i < batch; ++i)
            batches.receive_messages[i].msg_hdr.msg_controllen = batches.control[i].size();
        const int count =
            ::recvmmsg(socket_.get(), batches.receive_messages.data(), batch, MSG_DONTWAIT, nullptr);
        if (count < 0 && errno == ECONNREFUSED) {
            ++refusals_;
            continue;
        }
        for (int i = 0; i < count; ++i) {
            auto& message = batches.receive_messages[static_cast<std::size_t>(i)];
            const std::uint64_t stamp = stamp_of(message.msg_hdr);
            if (stamp == 0)
                throw Failure{"the kernel stamped no time on a received datagram (SO_TIMESTAMPNS)"};
            const auto* const data = static_cast<const std::byte*>(message.msg_hdr.msg_iov->iov_base);
            if (!ledger.received({data, message.msg_len}, stamp))
                throw Failure{
                    "the clock was set while measuring: an echo arrived before its packet was to be sent. "
                    "Stop "
                    "what sets it and try again"};
        }
        if (count < static_cast<int>(batch)) return;
    }
}

std::uint64_t LoadGenerator::dropped_at_socket() const {
    std::array<std::uint32_t, SK_MEMINFO_VARS> counts{};
    socklen_t length = sizeof counts;
    if (::getsockopt(socket_.get(), SOL_SOCKET, SO_MEMINFO, counts.data(), &length) != 0)
        fail_with_errno("cannot read how many datagrams the socket dropped");
    return counts[SK_MEMINFO_DROPS];
}

namespace {

nlohmann::json tally_json(const Tally& tally) {
    return {{"sent", tally.sent},           {"received", tally.received},
            {"lost", tally.lost()},         {"duplicated", tally.duplicated},
            {"reordered", tally.reordered}, {"corrupted", tally.corrupted}};
}

nlohmann::json latency_json(const Histogram& latency) {
    nlohmann::json result{{"n", latency.count()},         {"min", latency.min()}, {"mean", latency.mean()},
                          {"stdev", latency.deviation()}, {"max", latency.max()}, {"from", "intended"}};
    static constexpr std::pair<const char*, double> percentiles[] = {
        {"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p99_9", 0.999}, {"p99_99", 0.9999}};
    for (const auto& [name, share] : percentiles) result[name] = latency.percentile(share);
    result["histogram"] = nlohmann::json::array();
    for (const auto& [bound, count] : latency.buckets()) result["histogram"].push_back({bound, count});
    return result;
}

}  // namespace

nlohmann::json LoadGenerator::results(const ReplyLedger& ledger, const Window& window) const {
    if (ledger.all().sent == 0 && send_failures_ > 0)
        fail_with_errno("nothing could be sent to " + options_.server, last_send_error_);
    const bool interrupted = stop_requested();
    if (ledger.all().received == 0 && !interrupted)
        throw Failure{"none of " + std::to_string(ledger.all().sent) + " packets came back from " +
                      options_.server + ", port " + std::to_string(options_.port) +
                      (refusals_ > 0                ? ": nobody listens there; is dmatoll-udp-echo running?"
                       : ledger.all().corrupted > 0 ? ": what answers there does not send back what it got"
                                                    : ": there is no answer at all")};
    const auto load = [&](std::uint64_t packets) {
        return static_cast<double>(packets * options_.payload_bytes * 8) / window.seconds();
    };
    nlohmann::json result{
        {"program", "dmatoll-udp-load"},
        {"interrupted", interrupted},
        {"parameters",
         {{"load_bps", options_.load_bps},
          {"payload_bytes", options_.payload_bytes},
          {"warm_up_ms", options_.warm_up_ms},
          {"window_ms", options_.window_ms},
          {"cool_down_ms", options_.cool_down_ms}}},
        {"whole_run", tally_json(ledger.all())},
        {"send_failures", send_failures_},
        {"dropped_at_generator", dropped_at_socket()},
        {"refusals", refusals_},
        {"send_lateness_ns",
         {{"mean", lateness_.mean()}, {"p99", lateness_.percentile(0.99)}, {"max", lateness_.max()}}}};
    auto& inside = result["window"] = tally_json(ledger.in_window());
    inside["arrived"] = ledger.arrived_in_window();
    inside["load_sent_bps"] = load(ledger.sent_in_window());
    inside["load_achieved_bps"] = load(ledger.arrived_in_window());
    if (ledger.latency().count() > 0) result["latency_ns"] = latency_json(ledger.latency());
    return result;
}

}  // namespace dmatoll::workloads
