// SPDX-License-Identifier: BSD-2-Clause
#include "queue_passing.hpp"

#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>

#include "failure.hpp"

namespace dmatoll::user {
namespace {

// Room for one descriptor behind a message.
struct Ancillary {
    alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(sizeof(int))> bytes{};
};

}  // namespace

SocketPair::SocketPair() {
    std::array<int, 2> ends{};
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0) {
        throw system_failure("cannot make a pair of sockets to pass queues by", errno);
    }
    ours = Descriptor{ends[0]};
    theirs = Descriptor{ends[1]};
}

bool send_queue(int socket, const QueueMessage& message, const Descriptor& channel) {
    iovec data{const_cast<QueueMessage*>(&message), sizeof(message)};
    Ancillary ancillary;
    msghdr header{};
    header.msg_iov = &data;
    header.msg_iovlen = 1;
    if (message.depth != 0) {
        header.msg_control = ancillary.bytes.data();
        header.msg_controllen = ancillary.bytes.size();
        cmsghdr* const control = CMSG_FIRSTHDR(&header);
        control->cmsg_level = SOL_SOCKET;
        control->cmsg_type = SCM_RIGHTS;
        control->cmsg_len = CMSG_LEN(sizeof(int));
        const int descriptor = channel.get();
        std::memcpy(CMSG_DATA(control), &descriptor, sizeof(descriptor));
    }
    if (::sendmsg(socket, &header, MSG_DONTWAIT | MSG_NOSIGNAL) == static_cast<ssize_t>(sizeof(message))) {
        return true;
    }
    const int error = errno;
    if (error == EPIPE || error == ECONNRESET || error == ENOTCONN) {
        return false;
    }
    throw system_failure("cannot pass a queue to the driver process", error);
}

std::optional<QueueMessage> receive_queue(int socket, Descriptor& channel) {
    QueueMessage message;
    iovec data{&message, sizeof(message)};
    Ancillary ancillary;
    msghdr header{};
    header.msg_iov = &data;
    header.msg_iovlen = 1;
    header.msg_control = ancillary.bytes.data();
    header.msg_controllen = ancillary.bytes.size();
    ssize_t got = 0;
    do {
        got = ::recvmsg(socket, &header, MSG_CMSG_CLOEXEC);
    } while (got < 0 && errno == EINTR);
    if (got != static_cast<ssize_t>(sizeof(message))) {
        return std::nullopt;
    }
    channel.reset();
    const cmsghdr* const control = CMSG_FIRSTHDR(&header);
    if (control != nullptr && control->cmsg_level == SOL_SOCKET && control->cmsg_type == SCM_RIGHTS &&
        control->cmsg_len == CMSG_LEN(sizeof(int))) {
        int descriptor = -1;
        std::memcpy(&descriptor, CMSG_DATA(control), sizeof(descriptor));
        channel = Descriptor{descriptor};
    }
    return (message.depth != 0) == channel.valid() ? std::optional{message} : std::nullopt;
}

}  // namespace dmatoll::user
