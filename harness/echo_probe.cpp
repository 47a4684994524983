// SPDX-License-Identifier: BSD-2-Clause
#include "echo_probe.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ctime>

#include "failure.hpp"
#include "process.hpp"
#include "target/network.hpp"

namespace dmatoll::harness {

EchoProbe::EchoProbe(const Settings& settings) : payload_(settings.payload_bytes, 'x') {
    if (settings.load_bps == 0 || payload_.size() < sizeof(std::uint64_t))
        fail("A probe needs a load and {} bytes of payload at least; it has {} bits/s and {} bytes",
             sizeof(std::uint64_t), settings.load_bps, payload_.size());
    interval_ns_ = std::max<std::uint64_t>(payload_.size() * 8'000'000'000 / settings.load_bps, 1);
    next_ns_ = now_ns();
    const InNamespace inside{settings.network_namespace};
    socket_ = Descriptor{::socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
    sockaddr_in server{};
    server.sin_family = AF_INET;
    server.sin_port = htons(settings.port);
    if (!socket_.valid() || ::inet_pton(AF_INET, settings.server.c_str(), &server.sin_addr) != 1 ||
        ::connect(socket_.get(), reinterpret_cast<const sockaddr*>(&server), sizeof server) != 0)
        fail("Cannot send to {} port {}: {}", settings.server, settings.port, system_error(errno));
}

void EchoProbe::run_until(std::uint64_t deadline_ns, const std::function<bool()>& done) {
    for (;;) {
        check_interrupted();
        const std::uint64_t now = now_ns();
        send_due(now);
        receive();
        if (now >= deadline_ns || done()) return;
        wait_until(std::min(next_ns_, deadline_ns));
    }
}

void EchoProbe::drain_until(std::uint64_t deadline_ns) {
    while (now_ns() < deadline_ns) {
        receive();
        wait_until(deadline_ns);
        check_interrupted();
    }
}

void EchoProbe::send_due(std::uint64_t now) {
    for (; next_ns_ <= now; next_ns_ += interval_ns_) {
        const std::uint64_t sequence = answered_.size();
        std::memcpy(payload_.data(), &sequence, sizeof sequence);
        answered_.push_back(false);
        // One that the socket does not take is lost like any other.
        [[maybe_unused]] const ssize_t sent = ::send(socket_.get(), payload_.data(), payload_.size(), 0);
    }
}

void EchoProbe::receive() {
    std::vector<char> datagram(payload_.size() + 1);
    for (;;) {
        const ssize_t got = ::recv(socket_.get(), datagram.data(), datagram.size(), 0);
        if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
        if (got < 0) continue;  // a refusal that came back: the server is gone, and the end will tell
        std::uint64_t sequence = 0;
        if (static_cast<std::size_t>(got) != payload_.size()) continue;
        std::memcpy(&sequence, datagram.data(), sizeof sequence);
        if (sequence >= answered_.size() || answered_[sequence]) continue;
        answered_[sequence] = true;
        replies_.push_back(now_ns());
    }
}

void EchoProbe::wait_until(std::uint64_t deadline_ns) const {
    const std::uint64_t now = now_ns();
    if (deadline_ns <= now) return;
    const timespec limit{static_cast<time_t>((deadline_ns - now) / 1'000'000'000),
                         static_cast<long>((deadline_ns - now) % 1'000'000'000)};
    pollfd wait{socket_.get(), POLLIN, 0};
    ::ppoll(&wait, 1, &limit, nullptr);
}

std::uint64_t EchoProbe::lost() const {
    return static_cast<std::uint64_t>(std::count(answered_.begin(), answered_.end(), false));
}

std::vector<std::uint64_t> outages(const std::vector<std::uint64_t>& replies,
                                   const std::vector<std::uint64_t>& faults) {
    std::vector<std::uint64_t> result;
    for (std::size_t i = 0; i < faults.size(); ++i) {
        std::uint64_t longest = 0;
        auto reply = std::upper_bound(replies.begin(), replies.end(), faults[i]);
        // Before the first reply there is nothing to measure from but the fault itself.
        std::uint64_t before = reply == replies.begin() ? faults[i] : *(reply - 1);
        for (; reply != replies.end() && (i + 1 == faults.size() || *reply <= faults[i + 1]); ++reply) {
            longest = std::max(longest, *reply - before);
            before = *reply;
        }
        result.push_back(longest);
    }
    return result;
}

}  // namespace dmatoll::harness
