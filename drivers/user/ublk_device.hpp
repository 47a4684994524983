// SPDX-License-Identifier: BSD-2-Clause
// A disk's block device as the supervisor holds it: it outlives the driver processes that serve it.
//
// In order: open_for_server() gives a new process the channel; when that says that it serves, serve() lets
// requests through. After a death both come again, and what the dead process had not answered is asked of the
// new one. close() ends it.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>

#include "descriptor.hpp"
#include "disk_report.hpp"
#include "ublk_control.hpp"

namespace dmatoll::user {

// Stands in a device's info, where the kernel keeps it: which controller's port it belongs to, and a digest
// of the disk's model and serial number. Nothing if `bdf` is not a PCI address, or of a domain beyond 16
// bits.
std::optional<std::uint64_t> ublk_mark(const std::string& bdf, const DiskDescription& disk);
// Whether the mark is of that controller; its port then.
std::optional<std::uint32_t> marked_port(std::uint64_t mark, const std::string& bdf);

// Whether nobody serves it, and nobody who did is about to end.
bool is_abandoned(UblkCommands& commands, std::uint32_t number);

class UblkDevice {
  public:
    // Nothing is there before open_for_server(). `commands` outlives it.
    UblkDevice(UblkCommands& commands, std::string bdf, DiskDescription disk);
    // One that a supervisor left which was killed: the same disk's, with the same parameters. Otherwise
    // nothing.
    static std::optional<UblkDevice> left_behind(UblkCommands& commands, const std::string& bdf,
                                                 const DiskDescription& disk, std::uint32_t number);

    // The channel for a process that has just begun. Invalid: the kernel holds the device for served, by a
    // process that is gone, and it can only be stopped. Throws Failure.
    Descriptor open_for_server();
    // The process has fetched all requests. Throws Failure.
    void serve(pid_t server);
    // Requests that come from now on end with errors; what is there already is done first, if somebody
    // serves. False: it takes too long. May be called again.
    bool stop();
    // No server has it open. False: the kernel does not let go of it.
    bool remove();

    [[nodiscard]] const DiskDescription& disk() const { return disk_; }
    [[nodiscard]] std::string path() const { return "/dev/ublkb" + std::to_string(number_); }
    // Nothing is there before open_for_server(): takes the place of one that is.
    void become(UblkDevice&& kept) {
        number_ = kept.number_;
        state_ = kept.state_;
    }
    // Its disk is not there any more.
    void mark_lost() { lost_ = true; }
    [[nodiscard]] bool lost() const { return lost_; }
    // Requests are let through, or wait for the next server.
    [[nodiscard]] bool live() const { return state_ == State::live; }

  private:
    enum class State : std::uint8_t {
        none,     // there is no device
        made,     // it has its parameters, and no disk yet
        live,     // there is a disk
        stopped,  // there was one
    };

    void make();
    // False: see open_for_server(). Throws Failure when the last server does not go.
    [[nodiscard]] bool begin_recovery();
    [[nodiscard]] std::string name() const;

    UblkCommands* commands_;
    std::string bdf_;
    DiskDescription disk_;
    std::uint32_t number_ = 0;
    State state_ = State::none;
    bool recovering_ = false;  // begun, and not yet ended
    bool lost_ = false;
};

// Limits how many requests are with the server at a time to what ublk_parameters.hpp says, which takes a
// queue without scheduler. Throws Failure.
void limit_requests(const UblkDevice& device);

// Writes what lies in caches for it: of the file system that is mounted from it, of itself, and of the disk.
// False: not within that time.
bool write_back(const UblkDevice& device, int patience_ms);

// Where it is mounted, or what else holds it; empty: nobody does.
std::string holder_of(const UblkDevice& device);

}  // namespace dmatoll::user
