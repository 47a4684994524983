// SPDX-License-Identifier: BSD-2-Clause
#include "ublk_device.hpp"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <sstream>
#include <utility>

#include "ahci/settings.hpp"
#include "failure.hpp"
#include "ublk_parameters.hpp"

namespace dmatoll::user {
namespace {

// From the top: 11 bits that are ours, 16 of the disk's digest, 32 of domain, bus, device and function, 5 of
// the port.
constexpr std::uint64_t magic = 0x6d7;
constexpr unsigned magic_shift = 53;
constexpr unsigned digest_shift = 37;
constexpr unsigned address_shift = 5;
static_assert(ahci::most_ports == 1 << address_shift);

// A dead process's ring is taken apart in the background. On a machine with much else to do that was seen to take more than
// ten seconds; this many pauses are half a minute.
constexpr unsigned most_attempts = 6000;

std::optional<std::uint32_t> number_of(const std::string& bdf) {
    unsigned domain = 0;
    unsigned bus = 0;
    unsigned slot = 0;
    unsigned function = 0;
    if (std::sscanf(bdf.c_str(), "%x:%x:%x.%u", &domain, &bus, &slot, &function) != 4 || domain > 0xffff ||
        bus > 0xff || slot > 0x1f || function > 7) {
        return std::nullopt;
    }
    return domain << 16 | bus << 8 | slot << 3 | function;
}

// FNV-1a, folded. Of two disks of the same size, one in 65536 pairs has the same.
std::uint64_t digest(const DiskDescription& disk) {
    std::uint32_t hash = 0x811c'9dc5;
    for (const std::string* const text : {&disk.model, &disk.serial}) {
        for (const char character : *text) {
            hash = (hash ^ static_cast<unsigned char>(character)) * 0x0100'0193;
        }
        hash = hash * 0x0100'0193;  // as for a zero behind it
    }
    return (hash >> 16 ^ hash) & 0xffff;
}

bool same_parameters(const ublk_params& left, const ublk_params& right) {
    constexpr std::uint32_t known = UBLK_PARAM_TYPE_BASIC | UBLK_PARAM_TYPE_DISCARD;
    return (left.types & known) == (right.types & known) &&
           std::memcmp(&left.basic, &right.basic, sizeof(left.basic)) == 0 &&
           std::memcmp(&left.discard, &right.discard, sizeof(left.discard)) == 0;
}

}  // namespace

std::optional<std::uint64_t> ublk_mark(const std::string& bdf, const DiskDescription& disk) {
    const auto number = number_of(bdf);
    if (!number) {
        return std::nullopt;
    }
    return magic << magic_shift | digest(disk) << digest_shift | std::uint64_t{*number} << address_shift |
           disk.port;
}

std::optional<std::uint32_t> marked_port(std::uint64_t mark, const std::string& bdf) {
    const auto number = number_of(bdf);
    if (!number || mark >> magic_shift != magic || (mark >> address_shift & 0xffff'ffff) != *number) {
        return std::nullopt;
    }
    return static_cast<std::uint32_t>(mark % ahci::most_ports);
}

bool is_abandoned(UblkCommands& commands, std::uint32_t number) {
    for (unsigned attempt = 0; attempt < most_attempts; ++attempt) {
        ublksrv_ctrl_dev_info info{};
        if (commands.get_info(number, info) != 0 || info.state != UBLK_S_DEV_LIVE) {
            return true;
        }
        commands.pause();
    }
    return false;
}

UblkDevice::UblkDevice(UblkCommands& commands, std::string bdf, DiskDescription disk)
    : commands_{&commands}, bdf_{std::move(bdf)}, disk_{std::move(disk)} {}

std::optional<UblkDevice> UblkDevice::left_behind(UblkCommands& commands, const std::string& bdf,
                                                  const DiskDescription& disk, std::uint32_t number) {
    ublksrv_ctrl_dev_info info{};
    ublk_params parameters{};
    if (!is_abandoned(commands, number) || commands.get_info(number, info) != 0 ||
        info.state != UBLK_S_DEV_QUIESCED || ublk_mark(bdf, disk) != info.ublksrv_flags ||
        info.queue_depth != ublk_queue_depth(disk.queue_depth) ||
        commands.get_parameters(number, parameters) != 0 ||
        !same_parameters(parameters, ublk_parameters(disk))) {
        return std::nullopt;
    }
    UblkDevice device{commands, bdf, disk};
    device.number_ = number;
    device.state_ = State::live;
    return device;
}

std::string UblkDevice::name() const {
    return "device " + bdf_ + ", port " + std::to_string(disk_.port) + " (" + path() + ")";
}

void UblkDevice::make() {
    ublksrv_ctrl_dev_info info{};
    info.nr_hw_queues = 1;
    info.queue_depth = static_cast<std::uint16_t>(ublk_queue_depth(disk_.queue_depth));
    info.max_io_buf_bytes = ahci::most_transfer_bytes;
    info.flags = UBLK_F_USER_RECOVERY | UBLK_F_USER_RECOVERY_REISSUE;
    info.ublksrv_flags = ublk_mark(bdf_, disk_).value_or(0);
    if (const int error = commands_->add(info); error != 0) {
        throw system_failure("device " + bdf_ + ", port " + std::to_string(disk_.port) +
                                 ": the kernel makes no ublk device of " + std::to_string(info.queue_depth) +
                                 " requests",
                             -error);
    }
    number_ = info.dev_id;
    state_ = State::made;
    if ((info.flags & UBLK_F_USER_RECOVERY_REISSUE) == 0) {
        throw Failure{name() +
                      ": this kernel's ublk does not let a device outlive its server (Linux 6.1 does)"};
    }
    ublk_params parameters = ublk_parameters(disk_);
    if (const int error = commands_->set_parameters(number_, parameters); error != 0) {
        throw system_failure(name() + ": ublk refuses the disk's parameters", -error);
    }
}

bool UblkDevice::begin_recovery() {
    int error = 0;
    for (unsigned attempt = 0; attempt < most_attempts; ++attempt) {
        error = commands_->start_recovery(number_);
        // The last process died before it had fetched anything: then it stands where it stood.
        if (error == -EINVAL && recovering_) {
            error = 0;
        }
        if (error != -EBUSY) {
            break;
        }
        commands_->pause();
    }
    if (ublksrv_ctrl_dev_info info{};
        error == -EBUSY && commands_->get_info(number_, info) == 0 && info.state == UBLK_S_DEV_LIVE) {
        return false;
    }
    if (error != 0) {
        throw system_failure(name() + ": it cannot be taken over from the driver process that died", -error);
    }
    recovering_ = true;
    return true;
}

Descriptor UblkDevice::open_for_server() {
    if (state_ == State::made) {
        // A process fetched from it and died before there was a disk. Nobody has seen the device; the kernel
        // would not take other commands for it.
        remove();
    }
    if (state_ == State::live) {
        if (!begin_recovery()) {
            return Descriptor{};
        }
    } else {
        make();
    }
    int opened = -EBUSY;
    for (unsigned attempt = 0; attempt < most_attempts; ++attempt) {
        opened = commands_->open_channel(number_);
        // The device's node may be made by somebody else, a little later.
        if (opened != -EBUSY && opened != -ENOENT) {
            break;
        }
        commands_->pause();
    }
    if (opened < 0) {
        throw system_failure(name() + ": cannot open /dev/ublkc" + std::to_string(number_), -opened);
    }
    return Descriptor{opened};
}

void UblkDevice::serve(pid_t server) {
    const bool recovered = state_ == State::live;
    const int error =
        recovered ? commands_->end_recovery(number_, server) : commands_->start(number_, server);
    if (error != 0) {
        throw system_failure(
            name() + (recovered ? ": the kernel does not let it go on" : ": the kernel does not start it"),
            -error);
    }
    state_ = State::live;
    recovering_ = false;
}

bool UblkDevice::stop() {
    if (state_ != State::live) {
        return true;
    }
    if (commands_->stop(number_) != 0) {
        return false;
    }
    state_ = State::stopped;
    return true;
}

bool UblkDevice::remove() {
    if (state_ == State::none) {
        return true;
    }
    if (commands_->remove(number_) != 0) {
        return false;
    }
    state_ = State::none;
    recovering_ = false;
    return true;
}

void limit_requests(const UblkDevice& device) {
    const std::string queue = "/sys/block/" + device.path().substr(std::strlen("/dev/")) + "/queue/";
    const auto set = [&queue](const char* file, const std::string& value) {
        std::ofstream setting{queue + file};
        setting << value << std::flush;
        if (!setting) {
            throw system_failure("cannot write " + value + " to " + queue + file, errno);
        }
    };
    set("scheduler", "none");
    set("nr_requests", std::to_string(ublk_requests(device.disk().queue_depth)));
}

bool write_back(const UblkDevice& device, int patience_ms) {
    // A process, since what waits for a server that does not answer cannot be called back.
    const pid_t writer = ::fork();
    if (writer < 0) {
        return false;
    }
    if (writer == 0) {
        // What was written without the page cache may lie in the disk's own: fsync() flushes that one, too.
        const int disk = ::open(device.path().c_str(), O_RDONLY | O_CLOEXEC);
        ::_exit(disk >= 0 && ::ioctl(disk, BLKFLSBUF, 0) == 0 && ::fsync(disk) == 0 ? 0 : 1);
    }
    constexpr int step_ms = 5;
    for (int waited_ms = 0; waited_ms < patience_ms; waited_ms += step_ms) {
        int status = 0;
        if (::waitpid(writer, &status, WNOHANG) == writer) {
            return status == 0;
        }
        ::usleep(step_ms * 1000);
    }
    ::kill(writer, SIGKILL);
    return false;
}

std::string holder_of(const UblkDevice& device) {
    const Descriptor alone{::open(device.path().c_str(), O_RDONLY | O_EXCL | O_CLOEXEC)};
    if (alone.valid() || errno != EBUSY) {
        return {};
    }
    std::ifstream mounts{"/proc/self/mounts"};
    for (std::string line; std::getline(mounts, line);) {
        std::istringstream fields{line};
        std::string source;
        std::string place;
        if (fields >> source >> place && source == device.path()) {
            return "mounted at " + place;
        }
    }
    return "in use";
}

}  // namespace dmatoll::user
