// SPDX-License-Identifier: BSD-2-Clause
// How the supervisor gives the driver process its disks' channels: a message each, by a socket.
#pragma once

#include <cstdint>
#include <optional>

#include "descriptor.hpp"

namespace dmatoll::user {

struct QueueMessage {
    std::uint32_t port = 0;
    std::uint32_t depth = 0;  // requests; 0: this disk is not served
};

// A pair of connected sockets whose messages are whole. Throws Failure.
struct SocketPair {
    SocketPair();
    Descriptor ours;
    Descriptor theirs;
};

// Without a channel when `depth` is 0. Never waits. False: the other side is gone. Throws Failure.
[[nodiscard]] bool send_queue(int socket, const QueueMessage& message, const Descriptor& channel);

// What the next message brings; waits for it. Nothing: the other side is gone, or sends something else.
std::optional<QueueMessage> receive_queue(int socket, Descriptor& channel);

}  // namespace dmatoll::user
