// SPDX-License-Identifier: BSD-2-Clause
#include "packet_socket.hpp"

#include <arpa/inet.h>
#include <net/if.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstring>

#include "clock.hpp"
#include "echo_packet.hpp"
#include "failure.hpp"

namespace dmatoll::workloads {
namespace {

constexpr std::size_t header_bytes = 14;

constexpr unsigned block_bytes = 128 << 10;
constexpr unsigned blocks = 32;
// A block that fills slowly is handed over after that time.
constexpr unsigned block_ms = 10;
constexpr std::uint64_t retry_ns = 50'000;

unsigned index_of(const std::string& interface) {
    const unsigned index = ::if_nametoindex(interface.c_str());
    if (index == 0)
        throw Failure{"there is no network interface '" + interface + "' here; `ip link` lists them"};
    return index;
}

Descriptor packet_socket() {
    // Protocol 0: nothing is received until it is bound to one.
    Descriptor socket{::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0)};
    if (!socket.valid()) fail_with_errno("cannot make a packet socket, which needs root or CAP_NET_RAW");
    return socket;
}

template <class T>
void set(const Descriptor& socket, int level, int name, const T& value, const char* what) {
    if (::setsockopt(socket.get(), level, name, &value, sizeof value) != 0)
        fail_with_errno(std::string{"cannot set up a packet socket: "} + what);
}

void bind_to(const Descriptor& socket, const std::string& interface, std::uint16_t protocol) {
    sockaddr_ll address{};
    address.sll_family = AF_PACKET;
    address.sll_protocol = htons(protocol);
    address.sll_ifindex = static_cast<int>(index_of(interface));
    if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
        fail_with_errno("cannot bind to the interface " + interface);
}

// What the kernel charges to a socket for a frame that is with the device: its buffer, from a cache of powers
// of two, with room for headers (64) and the shared part (320), and its description (256).
int charge_for(std::size_t frame_bytes) {
    return static_cast<int>(std::bit_ceil(frame_bytes + 64 + 320) + 256);
}

}  // namespace

EthernetAddress own_address(const std::string& interface) {
    index_of(interface);
    const Descriptor socket{::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
    ifreq request{};
    interface.copy(request.ifr_name, sizeof request.ifr_name - 1);
    if (::ioctl(socket.get(), SIOCGIFHWADDR, &request) != 0)
        fail_with_errno("cannot read the address of " + interface);
    EthernetAddress address{};
    std::memcpy(address.data(), request.ifr_hwaddr.sa_data, address.size());
    return address;
}

FrameSender::FrameSender(const FramesOptions& options)
    : socket_{packet_socket()}, frame_(options.frame_bytes - crc_bytes) {
    bind_to(socket_, options.interface, 0);
    set(socket_, SOL_PACKET, PACKET_QDISC_BYPASS, 1, "PACKET_QDISC_BYPASS");
    // The bound on frames with the device: beyond it, sending sleeps until some have gone. The kernel doubles
    // what is asked for.
    const int bound = charge_for(frame_.size()) * static_cast<int>(options.in_flight) / 2;
    if (::setsockopt(socket_.get(), SOL_SOCKET, SO_SNDBUFFORCE, &bound, sizeof bound) != 0)
        set(socket_, SOL_SOCKET, SO_SNDBUF, bound, "SO_SNDBUF");
    const timeval patience{.tv_sec = 0, .tv_usec = 100'000};
    set(socket_, SOL_SOCKET, SO_SNDTIMEO, patience, "SO_SNDTIMEO");

    fill(frame_);
    const EthernetAddress source = own_address(options.interface);
    const EthernetAddress destination = options.destination.value_or(source);
    const std::uint16_t ethertype = htons(experimental_ethertype);
    std::memcpy(frame_.data(), destination.data(), destination.size());
    std::memcpy(frame_.data() + 6, source.data(), source.size());
    std::memcpy(frame_.data() + 12, &ethertype, sizeof ethertype);
    part_ = {frame_.data(), frame_.size()};
    for (auto& message : messages_) {
        message.msg_hdr.msg_iov = &part_;
        message.msg_hdr.msg_iovlen = 1;
    }
}

std::size_t FrameSender::send(std::size_t count) {
    const int sent =
        ::sendmmsg(socket_.get(), messages_.data(), static_cast<unsigned>(std::min(count, batch)), 0);
    if (sent >= 0) return static_cast<std::size_t>(sent);
    switch (errno) {
        case ENOBUFS:  // its ring is full, and nothing tells when it no longer is
            ++refused_;
            sleep_until(now_ns() + retry_ns);
            return 0;
        case EINTR:
        case EAGAIN:
            return 0;
        case ENETDOWN:  // the link may come back
            sleep_until(now_ns() + ns_per_ms);
            return 0;
        case EMSGSIZE:
            fail_with_errno("a frame of " + std::to_string(frame_.size() + crc_bytes) +
                            " bytes does not fit the interface's MTU (`ip link set DEV mtu N`)");
        default:
            fail_with_errno("cannot send");
    }
}

FrameCounter::FrameCounter(const std::string& interface, std::uint32_t frame_bytes)
    : socket_{packet_socket()}, length_{frame_bytes - crc_bytes} {
    set(socket_, SOL_PACKET, PACKET_VERSION, static_cast<int>(TPACKET_V3), "PACKET_VERSION");
    tpacket_req3 request{};
    request.tp_block_size = block_bytes;
    request.tp_block_nr = blocks;
    request.tp_frame_size = 2048;  // of no meaning for this version, but checked
    request.tp_frame_nr = block_bytes / request.tp_frame_size * blocks;
    request.tp_retire_blk_tov = block_ms;
    set(socket_, SOL_PACKET, PACKET_RX_RING, request, "PACKET_RX_RING");
    const std::size_t size = std::size_t{block_bytes} * blocks;
    void* memory = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, socket_.get(), 0);
    if (memory == MAP_FAILED) fail_with_errno("cannot map the receive ring of a packet socket");
    ring_ = {static_cast<std::byte*>(memory), size};
    bind_to(socket_, interface, experimental_ethertype);
}

FrameCounter::~FrameCounter() { ::munmap(ring_.data(), ring_.size()); }

void FrameCounter::take() {
    for (;;) {
        std::byte* const begin = ring_.data() + block_ * block_bytes;
        auto& block = reinterpret_cast<tpacket_block_desc*>(begin)->hdr.bh1;
        // The frames of the block must not be read before its status says that they are there.
        const std::atomic_ref status{block.block_status};
        if ((status.load(std::memory_order_acquire) & TP_STATUS_USER) == 0) return;
        const std::byte* frame = begin + block.offset_to_first_pkt;
        for (std::uint32_t i = 0; i < block.num_pkts; ++i) {
            const auto* header = reinterpret_cast<const tpacket3_hdr*>(frame);
            bytes_ += header->tp_len;
            if (header->tp_len != length_) ++other_lengths_;
            frame += header->tp_next_offset;
        }
        frames_ += block.num_pkts;
        // The kernel must not fill the block again before its frames have been read.
        status.store(TP_STATUS_KERNEL, std::memory_order_release);
        block_ = (block_ + 1) % blocks;
    }
}

void FrameCounter::wait(int milliseconds) const {
    pollfd wait{socket_.get(), POLLIN, 0};
    if (::poll(&wait, 1, milliseconds) <= 0 || (wait.revents & POLLERR) == 0) return;
    // The interface went down. Asking for the error takes it away, and the interface may come back.
    int error = 0;
    socklen_t length = sizeof error;
    ::getsockopt(socket_.get(), SOL_SOCKET, SO_ERROR, &error, &length);
    sleep_until(now_ns() + ns_per_ms);
}

std::uint64_t FrameCounter::dropped() const {
    tpacket_stats_v3 statistics{};
    socklen_t length = sizeof statistics;
    if (::getsockopt(socket_.get(), SOL_PACKET, PACKET_STATISTICS, &statistics, &length) != 0)
        fail_with_errno("cannot read how many frames the packet socket dropped");
    return statistics.tp_drops;
}

}  // namespace dmatoll::workloads
