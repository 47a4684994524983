// SPDX-License-Identifier: BSD-2-Clause
#include "disk_supervisor.hpp"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>
#include <vector>

#include "ahci/settings.hpp"
#include "disk_arena.hpp"
#include "disk_report.hpp"
#include "disk_report_order.hpp"
#include "disk_search.hpp"
#include "disk_state.hpp"
#include "disk_statistics.hpp"
#include "failure.hpp"
#include "queue_passing.hpp"
#include "supervisor.hpp"
#include "ublk_control.hpp"
#include "ublk_device.hpp"
#include "ublk_parameters.hpp"

namespace dmatoll::user {
namespace {

using nlohmann::json;

constexpr const char* program = "dmatoll-disk-user";

// What lies in caches for a disk that is to go. A disk that is written to for longer has much to lose.
constexpr int write_back_patience_ms = 30'000;

// A disk that nobody finds so often in a row is given up, and the others are served without it.
constexpr unsigned most_searches = 2;

// The buffers count twice, as they are locked by the process and pinned by VFIO, once more what waits for its
// unmapping, and the shadows of strategy `copy`; the rest is for rings and for the program
// itself. How many disks there are, nobody knows yet.
rlim_t locked_bytes(const DiskDriverOptions& driver) {
    const rlim_t buffers = rlim_t{ahci::most_ports} * disk_buffer_bytes(driver.queue_depth);
    const rlim_t deferred = rlim_t{driver.deferred_entries} * ahci::most_transfer_bytes;
    const rlim_t idle = rlim_t{driver.optimistic_entries + driver.quota_pages} * page_bytes;
    return 2 * buffers + deferred + idle + (rlim_t{128} << 20);
}

struct Marked {
    std::uint32_t number;
    std::uint32_t port;
};

// Devices that a supervisor of this controller made, and that nobody looks after any more.
std::vector<Marked> left_behind(UblkCommands& commands, const std::string& bdf) {
    std::vector<Marked> found;
    for (const std::uint32_t number : UblkControl::devices()) {
        ublksrv_ctrl_dev_info info{};
        if (commands.get_info(number, info) != 0) {
            continue;
        }
        if (const auto port = marked_port(info.ublksrv_flags, bdf)) {
            found.push_back({number, *port});
        }
    }
    return found;
}

// What outlives the base, which refers to it.
struct DiskParts {
    explicit DiskParts(const std::string& bdf) : pci{find_device(bdf)} {
        if (pci.kind != ahci_controller) {
            char kind[8];
            std::snprintf(kind, sizeof(kind), "%06x", pci.kind);
            throw Failure{"device " + pci.bdf + " (" + identity_text(pci.vendor, pci.model) +
                          ") is of class " + kind +
                          " and not an AHCI controller (010601). `lspci -nn` lists what is in this machine."};
        }
        require_vfio(pci);
    }
    PciDevice pci;
    SharedPage<DiskState> state;
};

class DiskSupervisor : private DiskParts, public Supervisor {
  public:
    explicit DiskSupervisor(const DiskOptions& options)
        : DiskParts{options.device}, Supervisor{program, options, pci, *state}, options_{options} {}

    ~DiskSupervisor() override { stop(); }

  private:
    ProcessStart prepare_process(int patience_ms) override {
        VfioDescriptors vfio = open_vfio(pci, patience_ms);
        state.clear();
        served_.clear();
        order_ = {};
        SocketPair sockets;
        // What the last process was not given goes with its socket.
        socket_ = std::move(sockets.ours);
        const int theirs = sockets.theirs.get();
        return {.options = to_text(DiskChildOptions{.process = process_options(), .driver = options_.driver}),
                .vfio = std::move(vfio),
                .counters = state.fd(),
                .bell = bell_end(),
                .own = theirs,
                .locked_bytes = locked_bytes(options_.driver),
                .own_descriptor = std::move(sockets.theirs)};
    }

    void follow_report(const std::string& line) override {
        const auto report = parse_disk_report(line);
        if (!report) {
            end_process("its report is not understood, or describes a disk that cannot be");
            return;
        }
        if (!order_.admit(report->kind)) {
            end_process("it reported something that was not for it to report then");
            return;
        }
        switch (report->kind) {
            case DiskReport::Kind::failed:
                report_failure(report->failure);
                break;
            case DiskReport::Kind::found:
                note_ = report->note;
                arena_ = report->arena;
                hand_out_queues(report->disks);
                break;
            case DiskReport::Kind::serving:
                begin_service();
                break;
        }
    }

    // Each disk that was found is answered, in order, by its queue or by nothing.
    void hand_out_queues(const std::vector<DiskDescription>& found) {
        if (!was_ready() && devices_.empty()) {
            take_over(found);
        }
        for (const UblkDevice& device : devices_) {
            if (look_for(device.disk(), found) == Whereabouts::silent && searches_ < most_searches &&
                may_restart()) {
                ++searches_;
                const std::string reason = "the disk of " + device.path() + " (port " +
                                           std::to_string(device.disk().port) + ", " + device.disk().model +
                                           ") did not answer: it is looked for again";
                print_message(reason);
                // With a reason, the first start would be the last.
                end_process(was_ready() ? reason : std::string{});
                return;
            }
        }
        for (UblkDevice& device : devices_) {
            if (look_for(device.disk(), found) != Whereabouts::there) {
                lose(device);
            }
        }
        erase_lost();
        for (const DiskDescription& disk : found) {
            UblkDevice* const device = device_of(disk);
            if (device == nullptr) {
                // A disk that was not there when the block devices were made.
                if (!send_queue(socket_.get(), {.port = disk.port, .depth = 0}, {})) {
                    end_process({});
                    return;
                }
                continue;
            }
            const Descriptor channel = device->open_for_server();
            if (!channel.valid()) {
                lose(*device,
                     "went on when its driver process was dead, and the kernel gives it to no other");
                erase_lost();
                if (!send_queue(socket_.get(), {.port = disk.port, .depth = 0}, {})) {
                    end_process({});
                    return;
                }
                continue;
            }
            if (!send_queue(socket_.get(), {.port = disk.port, .depth = ublk_queue_depth(disk.queue_depth)},
                            channel)) {
                // It died meanwhile: the next one is given the queues.
                end_process({});
                return;
            }
            served_.push_back(disk.port);
            // Closed here: the device's server is told from everybody else by having it.
        }
        if (served_.empty()) {
            throw Failure{"device " + pci.bdf + " has no disk" + (was_ready() ? " any more" : "") +
                          ". `dmesg` may tell of ports that the driver of the kernel had found."};
        }
    }

    // Block devices for the disks: those that a supervisor left behind which was killed, if they are of the
    // same disks, and new ones.
    void take_over(const std::vector<DiskDescription>& found) {
        const std::vector<Marked> old = left_behind(commands_, pci.bdf);
        for (const DiskDescription& disk : found) {
            devices_.emplace_back(commands_, pci.bdf, disk);
        }
        for (const Marked& marked : old) {
            const auto same_port = [&marked](const UblkDevice& device) {
                return device.disk().port == marked.port;
            };
            const auto place = std::find_if(devices_.begin(), devices_.end(), same_port);
            std::optional<UblkDevice> kept;
            if (place != devices_.end() && !place->live()) {
                kept = UblkDevice::left_behind(commands_, pci.bdf, place->disk(), marked.number);
            }
            const std::string path = "/dev/ublkb" + std::to_string(marked.number);
            if (kept) {
                print_message("an earlier supervisor left " + path + " behind: taking it over");
                print_event({{"event", "taken_over"}, {"device", pci.bdf}, {"block", path}});
                place->become(std::move(*kept));
            } else if (!is_abandoned(commands_, marked.number)) {
                throw Failure{path + " of port " + std::to_string(marked.port) + " of device " + pci.bdf +
                              " is served by another process"};
            } else {
                print_message("an earlier supervisor left " + path +
                              " behind, which fits no disk of today: removing it");
                commands_.stop(marked.number);
                commands_.remove(marked.number);
                print_event({{"event", "removed"}, {"device", pci.bdf}, {"block", path}});
            }
        }
    }

    [[nodiscard]] UblkDevice* device_of(const DiskDescription& disk) {
        const auto found = std::find_if(devices_.begin(), devices_.end(),
                                        [&disk](const UblkDevice& device) { return device.disk() == disk; });
        return found == devices_.end() ? nullptr : &*found;
    }

    void erase_lost() {
        std::erase_if(devices_, [](const UblkDevice& device) { return device.lost(); });
    }

    // It is not there any more, or another one, or cannot be had.
    void lose(UblkDevice& device, const char* why = "is not there any more") {
        print_message("the disk of " + device.path() + " (port " + std::to_string(device.disk().port) + ", " +
                      device.disk().model + ") " + why + ": what is asked of it ends with errors");
        print_event({{"event", "lost"}, {"device", pci.bdf}, {"block", device.path()}});
        device.stop();
        device.remove();
        device.mark_lost();
    }

    void begin_service() {
        for (UblkDevice& device : devices_) {
            if (std::find(served_.begin(), served_.end(), device.disk().port) != served_.end()) {
                // A device that goes on without a server may not be had back from it.
                if (!process_lives()) {
                    return;
                }
                device.serve(pid());
                limit_requests(device);
            }
        }
        served_.clear();
        searches_ = 0;
        announce(note_, {{"disks", disks()}, {"strategy", options_.driver.strategy}, {"arena", arena_}});
    }

    [[nodiscard]] json disks() const {
        json all = json::array();
        for (const UblkDevice& device : devices_) {
            json disk(device.disk());
            disk["block"] = device.path();
            all.push_back(std::move(disk));
        }
        return all;
    }

    void before_stop() override {
        for (UblkDevice& device : devices_) {
            if (!device.live()) {
                continue;
            }
            if (const std::string holder = holder_of(device); !holder.empty()) {
                print_message(
                    device.path() + " is " + holder +
                    ": what it wrote is brought to the disk now, and what is asked of it from now on "
                    "ends with errors. Unmount or close it before the driver is stopped.");
                print_event(
                    {{"event", "in_use"}, {"device", pci.bdf}, {"block", device.path()}, {"holder", holder}});
            }
            if (!write_back(device, write_back_patience_ms)) {
                print_message("not all that was written to " + device.path() +
                              " could be brought to the disk");
            }
            device.stop();
        }
    }

    void after_stop() override {
        for (UblkDevice& device : devices_) {
            const std::string path = device.path();
            if (!device.stop() || !device.remove()) {
                print_message("the kernel does not let go of " + path +
                              ": something may still have it open. `dmatoll-disk-user --device " + pci.bdf +
                              " --remove` tries again.");
            }
        }
        devices_.clear();
    }

    std::string statistics() override {
        return disk_statistics(*state, options_, disks(), pid(), restarts());
    }

    const DiskOptions& options_;
    UblkControl commands_;
    std::vector<UblkDevice>
        devices_;  // by port; of all disks that were there at the first start, and still are
    std::vector<std::uint32_t> served_;  // ports whose queues the process has been given, not served yet
    unsigned searches_ = 0;              // restarts since all was well, for a disk that did not answer
    DiskReportOrder order_;              // of the process
    Descriptor socket_;                  // to the process
    std::string note_;
    std::string arena_;
};

int remove_left_behind(const std::string& bdf) {
    UblkControl commands;
    int result = 0;
    for (const Marked& marked : left_behind(commands, bdf)) {
        const std::string path = "/dev/ublkb" + std::to_string(marked.number);
        const bool abandoned = is_abandoned(commands, marked.number);
        const bool removed =
            abandoned && commands.stop(marked.number) == 0 && commands.remove(marked.number) == 0;
        std::fprintf(stderr, "%s %s: %s %s\n", program, bdf.c_str(), path.c_str(),
                     removed ? "is removed"
                     : !abandoned
                         ? "is being served. End its dmatoll-disk-user by SIGTERM; that removes it, too."
                         : "cannot be removed: something has it open");
        result |= removed ? 0 : 1;
    }
    return result;
}

}  // namespace

int supervise_disks(const DiskOptions& options) {
    if (::geteuid() != 0) {
        throw Failure{
            "this program needs root to open VFIO's group and to make block devices (the driver itself then "
            "runs without privileges). Start it with sudo."};
    }
    return options.remove ? remove_left_behind(options.device) : DiskSupervisor{options}.run();
}

}  // namespace dmatoll::user
