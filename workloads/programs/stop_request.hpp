// SPDX-License-Identifier: BSD-2-Clause
// SIGINT and SIGTERM: a request to end and to print what was measured so far.
#pragma once

#include <sys/socket.h>

#include <csignal>

namespace dmatoll::workloads {

namespace detail {

inline volatile std::sig_atomic_t stop_requested = 0;
inline volatile std::sig_atomic_t socket_to_wake = -1;

inline void on_stop(int) {
    stop_requested = 1;
    // Whoever sleeps in a receive, or is about to, gets "no more" from it. It is one of the calls that a
    // signal handler may make.
    if (socket_to_wake >= 0) ::shutdown(socket_to_wake, SHUT_RD);
}

}  // namespace detail

inline bool stop_requested() { return detail::stop_requested != 0; }

// From now on. `socket`: what a blocking receive waits on, so that no signal is lost between the look at
// stop_requested() and the sleep.
inline void handle_stop_requests(int socket = -1) {
    detail::socket_to_wake = socket;
    struct sigaction action {};
    action.sa_handler = detail::on_stop;  // without SA_RESTART: a wait ends at once
    ::sigaction(SIGINT, &action, nullptr);
    ::sigaction(SIGTERM, &action, nullptr);
}

}  // namespace dmatoll::workloads
