// SPDX-License-Identifier: BSD-2-Clause
#include "ring.hpp"

#include "failure.hpp"

namespace dmatoll::user {

Ring::Ring(unsigned entries) {
    io_uring_params parameters{};
    parameters.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG |
                       IORING_SETUP_COOP_TASKRUN;
    if (const int error = ::io_uring_queue_init_params(entries, &ring_, &parameters); error < 0) {
        throw system_failure(
            "cannot make an io_uring (Linux 6.1 has what it takes; /proc/sys/kernel/io_uring_disabled tells "
            "whether "
            "it is forbidden to unprivileged processes)",
            -error);
    }
    if (const int error = ::io_uring_register_ring_fd(&ring_); error < 0) {
        ::io_uring_queue_exit(&ring_);
        throw system_failure("cannot register the io_uring's own descriptor", -error);
    }
}

void Ring::register_descriptors(std::span<const int> descriptors) {
    if (const int error =
            ::io_uring_register_files(&ring_, descriptors.data(), static_cast<unsigned>(descriptors.size()));
        error < 0) {
        throw system_failure("cannot register what the driver process waits for with its io_uring", -error);
    }
}

}  // namespace dmatoll::user
