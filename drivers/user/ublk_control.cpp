// SPDX-License-Identifier: BSD-2-Clause
#include "ublk_control.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <string>

#include "failure.hpp"

namespace dmatoll::user {
namespace {

// Ends what takes long by itself: a device stops when its requests have ended, and a request may take the
// disk half a minute.
constexpr int patience_s = 40;
constexpr unsigned pause_us = 5000;
constexpr std::uint16_t no_queue = 0xffff;

ublksrv_ctrl_cmd for_device(std::uint32_t number) {
    ublksrv_ctrl_cmd command{};
    command.dev_id = number;
    command.queue_id = no_queue;
    return command;
}

ublksrv_ctrl_cmd with_server(std::uint32_t number, pid_t server) {
    ublksrv_ctrl_cmd command = for_device(number);
    command.data[0] = static_cast<std::uint64_t>(server);
    return command;
}

}  // namespace

UblkControl::UblkControl() : control_{::open("/dev/ublk-control", O_RDWR | O_CLOEXEC)} {
    if (!control_.valid()) {
        const int error = errno;
        if (error == ENOENT || error == ENODEV) {
            throw Failure{
                "/dev/ublk-control is not there: the kernel's part of user-level block devices is not "
                "loaded. "
                "`modprobe ublk_drv` loads it (Linux 6.4 or newer)."};
        }
        throw system_failure("cannot open /dev/ublk-control", error);
    }
    io_uring_params parameters{};
    parameters.flags = IORING_SETUP_SQE128;
    if (const int error = ::io_uring_queue_init_params(4, &ring_, &parameters); error < 0) {
        throw system_failure(
            "cannot make an io_uring (/proc/sys/kernel/io_uring_disabled tells whether it is forbidden)",
            -error);
    }
    ::fcntl(ring_.ring_fd, F_SETFD, FD_CLOEXEC);
}

UblkControl::~UblkControl() { ::io_uring_queue_exit(&ring_); }

int UblkControl::command(std::uint32_t operation, ublksrv_ctrl_cmd command, std::span<std::byte> data) {
    io_uring_sqe* const entry = ::io_uring_get_sqe(&ring_);
    if (entry == nullptr) {
        return -EBUSY;
    }
    ::io_uring_prep_rw(IORING_OP_URING_CMD, entry, control_.get(), nullptr, 0, 0);
    entry->cmd_op = operation;
    const std::uint64_t number = ++last_command_;
    entry->user_data = number;
    std::vector<std::byte>& buffer = unanswered_[number];
    buffer.assign(data.begin(), data.end());
    if (!data.empty()) {
        command.addr = reinterpret_cast<std::uintptr_t>(buffer.data());
        command.len = static_cast<std::uint16_t>(buffer.size());
    }
    std::memcpy(entry->cmd, &command, sizeof(command));
    if (const int submitted = ::io_uring_submit(&ring_); submitted < 0) {
        return submitted;
    }
    __kernel_timespec patience{patience_s, 0};
    while (true) {
        io_uring_cqe* done = nullptr;
        const int waited = ::io_uring_wait_cqe_timeout(&ring_, &done, &patience);
        if (waited == -EINTR) {
            continue;
        }
        if (waited < 0) {
            return waited == -ETIME ? -ETIMEDOUT : waited;
        }
        const int result = done->res;
        const std::uint64_t answered = done->user_data;
        ::io_uring_cqe_seen(&ring_, done);
        // Another one's is of a command that took too long.
        if (answered == number) {
            std::copy(buffer.begin(), buffer.end(), data.begin());
            unanswered_.erase(number);
            return result;
        }
        unanswered_.erase(answered);
    }
}

int UblkControl::add(ublksrv_ctrl_dev_info& info) {
    info.dev_id = ~std::uint32_t{0};
    return command(ublk::add, for_device(info.dev_id), std::as_writable_bytes(std::span{&info, 1}));
}

int UblkControl::get_info(std::uint32_t number, ublksrv_ctrl_dev_info& info) {
    return command(ublk::get_info, for_device(number), std::as_writable_bytes(std::span{&info, 1}));
}

int UblkControl::set_parameters(std::uint32_t number, ublk_params& parameters) {
    return command(ublk::set_parameters, for_device(number),
                   std::as_writable_bytes(std::span{&parameters, 1}));
}

int UblkControl::get_parameters(std::uint32_t number, ublk_params& parameters) {
    parameters.len = sizeof(parameters);
    return command(ublk::get_parameters, for_device(number),
                   std::as_writable_bytes(std::span{&parameters, 1}));
}

int UblkControl::start(std::uint32_t number, pid_t server) {
    return command(ublk::start, with_server(number, server));
}

int UblkControl::end_recovery(std::uint32_t number, pid_t server) {
    return command(ublk::end_recovery, with_server(number, server));
}

int UblkControl::start_recovery(std::uint32_t number) {
    return command(ublk::start_recovery, for_device(number));
}

int UblkControl::stop(std::uint32_t number) { return command(ublk::stop, for_device(number)); }

int UblkControl::remove(std::uint32_t number) { return command(ublk::remove, for_device(number)); }

int UblkControl::open_channel(std::uint32_t number) {
    const std::string path = "/dev/ublkc" + std::to_string(number);
    const int opened = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
    return opened < 0 ? -errno : opened;
}

void UblkControl::pause() { ::usleep(pause_us); }

std::vector<std::uint32_t> UblkControl::devices() {
    std::vector<std::uint32_t> numbers;
    std::error_code error;
    constexpr std::string_view prefix = "ublkc";
    for (const auto& entry : std::filesystem::directory_iterator{"/sys/class/ublk-char", error}) {
        const std::string name = entry.path().filename().string();
        std::uint32_t number = 0;
        if (name.starts_with(prefix) &&
            std::from_chars(name.data() + prefix.size(), name.data() + name.size(), number).ec ==
                std::errc{}) {
            numbers.push_back(number);
        }
    }
    return numbers;
}

}  // namespace dmatoll::user
