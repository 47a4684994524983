// SPDX-License-Identifier: BSD-2-Clause
// An io_uring of one thread: what the driver process of disks waits on, and answers the block layer by.
//
// Nothing of the kernel's runs in this thread but within enter(): it interrupts nobody, and what came in
// meanwhile is done at one go. Descriptors are registered, and so is the ring's own.
#pragma once

#include <liburing.h>
#include <poll.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <span>

#include "ublk_interface.hpp"

namespace dmatoll::user {

class Ring {
  public:
    // `entries`: a power of two, of what is submitted at a time; twice as many may be found at a time. Throws
    // Failure.
    explicit Ring(unsigned entries);
    // Stays open, and the end of the process closes it. Where a process closed it and lived on for a moment, requests
    // of ublk stayed in flight for ever, and no other process got the disk (seen under a load of flushes on Linux
    // 6.12; presumably its commands are cancelled there beside requests that are just handed to them).
    ~Ring() = default;
    Ring(const Ring&) = delete;
    Ring& operator=(const Ring&) = delete;

    // Once. The others take a descriptor's place in the list. Throws Failure.
    void register_descriptors(std::span<const int> descriptors);

    // Reports the descriptor by `tag` each time that it becomes ready, for good unless its report has no
    // IORING_CQE_F_MORE.
    void watch(unsigned place, std::uint64_t tag) {
        io_uring_sqe* const entry = next();
        ::io_uring_prep_poll_multishot(entry, static_cast<int>(place), POLLIN);
        entry->flags = IOSQE_FIXED_FILE;
        entry->user_data = tag;
    }

    // A command to the ublk queue at that place: `operation` of ublk::fetch and ublk::commit_and_fetch.
    void command(unsigned place, std::uint32_t operation, std::uint16_t request, std::int32_t result,
                 const std::byte* buffer, std::uint64_t tag) {
        io_uring_sqe* const entry = next();
        ::io_uring_prep_rw(IORING_OP_URING_CMD, entry, static_cast<int>(place), nullptr, 0, 0);
        entry->flags = IOSQE_FIXED_FILE;
        entry->cmd_op = operation;
        entry->user_data = tag;
        ublksrv_io_cmd command{};
        command.tag = request;
        command.result = result;
        command.addr = reinterpret_cast<std::uintptr_t>(buffer);
        std::memcpy(entry->cmd, &command, sizeof(command));
    }

    // Submits what was asked for, and waits until something is found. False: a signal came first.
    bool enter_and_wait() { return ::io_uring_submit_and_wait(&ring_, 1) >= 0; }
    // Submits, and lets the kernel do what it has to; does not wait.
    void enter() { ::io_uring_submit_and_get_events(&ring_); }
    // Whether enter() has something to do.
    [[nodiscard]] bool has_work() const {
        return ::io_uring_sq_ready(&ring_) != 0 ||
               (IO_URING_READ_ONCE(*ring_.sq.kflags) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) != 0;
    }

    // use(tag, result, flags) for all that was found.
    template <class Use>
    unsigned take_all(Use&& use) {
        unsigned head = 0;
        unsigned count = 0;
        io_uring_cqe* found = nullptr;
        io_uring_for_each_cqe(&ring_, head, found) {
            ++count;
            use(found->user_data, found->res, found->flags);
        }
        ::io_uring_cq_advance(&ring_, count);
        return count;
    }

  private:
    io_uring_sqe* next() {
        io_uring_sqe* entry = ::io_uring_get_sqe(&ring_);
        while (entry == nullptr) [[unlikely]] {
                ::io_uring_submit(&ring_);
                entry = ::io_uring_get_sqe(&ring_);
            }
        return entry;
    }

    io_uring ring_{};
};

}  // namespace dmatoll::user
