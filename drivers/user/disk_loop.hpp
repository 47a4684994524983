// SPDX-License-Identifier: BSD-2-Clause
// The data path: requests from ublk to the driver and back, in one thread that sleeps when there is nothing
// to do.
//
// Everything that can happen is found in one ring: a request of the block layer's, the interrupt, the
// supervisor's bell, clocks, SIGTERM. What it costs is entering the kernel, and being woken up; so one
// enter() hands over all answers, which fetch the next requests at the same time, and brings back all that
// came since. The device is looked at once for all interrupts of a batch.
//
// It does not spin on the device before it sleeps. Tried with one request of 4 KiB in flight: that saves the
// interrupt and one enter() of two, 6 % of the instructions, if the disk answers within a microsecond, and
// adds half of them if it takes ten (emulated, virtual clock, one boot).
#pragma once

#include <unistd.h>

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "ahci/driver.hpp"
#include "arena.hpp"
#include "disk_options.hpp"
#include "disk_state.hpp"
#include "fault.hpp"
#include "published_counters.hpp"
#include "ring.hpp"
#include "ublk_parameters.hpp"
#include "ublk_request.hpp"
#include "vfio_device.hpp"

namespace dmatoll::user {

// One disk and the queue that it is served by.
struct ServedDisk {
    std::uint32_t port = 0;
    unsigned place = 0;                                  // of the queue's descriptor in the ring's list
    std::uint32_t depth = 0;                             // requests that ublk may have here at a time
    const volatile ublksrv_io_desc* requests = nullptr;  // the kernel's description of each
    std::byte* buffers = nullptr;                        // one of most_transfer_bytes for each
};

// What else the ring's list holds, before the queues.
enum RingPlace : unsigned {
    interrupt_place,
    bell_place,
    stop_place,
    clock_place,
    alarm_place,
    first_queue_place,
};

// Driver: ahci::Driver. Mapper: tells the mapping counters.
template <class Driver, class Mapper>
class DiskLoop {
  public:
    // All outlive it. `clock`: a timer that expires every watch_period_ms. `bell`: does not block.
    DiskLoop(Driver& driver, Mapper& mapper, const VfioDevice& device, Ring& ring, int clock, int bell,
             DiskState& shared, bool polls_only)
        : driver_{driver},
          mapper_{mapper},
          device_{device},
          ring_{ring},
          clock_{clock},
          bell_{bell},
          shared_{shared},
          polls_only_{polls_only} {
        by_port_.fill(no_disk);
    }
    DiskLoop(const DiskLoop&) = delete;
    DiskLoop& operator=(const DiskLoop&) = delete;

    // Fetches requests of the queue at `place`. All commands go to the kernel by one call, which a death does
    // not interrupt: there is either none, or all (see ublk_device.hpp).
    void fetch(const ServedDisk& served) {
        Disk disk{};
        disk.served = served;
        disk.info = &driver_.disk(served.port);
        const std::uint32_t tags = disk.info->queue_depth;
        disk.free_tags = tags == ahci::most_tags ? ~std::uint32_t{0} : (std::uint32_t{1} << tags) - 1;
        by_port_[served.port] = static_cast<std::uint8_t>(disks_.size());
        disks_.push_back(disk);
        for (std::uint32_t request = 0; request < served.depth; ++request) {
            ring_.command(served.place, ublk::fetch, static_cast<std::uint16_t>(request), 0,
                          buffer(served, request), tag_of(disks_.size() - 1, request));
        }
        ring_.enter();
    }

    // The kernel's descriptions, which may be mapped only then.
    void set_requests(std::uint32_t port, const volatile ublksrv_io_desc* requests) {
        disks_[by_port_[port]].served.requests = requests;
    }

    // Serves until SIGTERM.
    void run() {
        for (const unsigned place : {interrupt_place, bell_place, stop_place, clock_place, alarm_place}) {
            if (place != interrupt_place || !polls_only_) {
                ring_.watch(place, watched | place);
            }
        }
        if (!polls_only_) {
            driver_.enable_interrupts();
        }
        while (!stopped_) {
            if (polls_only_) {
                poll();
            } else {
                ring_.enter_and_wait();
                ++system_calls_;
            }
            publish(shared_.wakeups, ++wakeups_);
            ring_.take_all([this](std::uint64_t tag, std::int32_t result, std::uint32_t flags) {
                if ((tag & watched) == 0) [[likely]] {
                    take_request(static_cast<std::uint32_t>(tag >> 16),
                                 static_cast<std::uint32_t>(tag & 0xffff), result);
                } else {
                    take_event(static_cast<unsigned>(tag & 0xffff), flags);
                }
            });
            if (interrupted_) {
                interrupted_ = false;
                take_interrupt();
            }
            if constexpr (requires { mapper_.flush_if_due(); }) {
                mapper_.flush_if_due();
            }
        }
        driver_.disable_interrupts();
    }

    // Requests that are with the device stay unanswered: ublk gives them to the next server, or ends them.
    void stop() {
        driver_.stop([](std::uint32_t, std::uint32_t, ahci::Outcome) {});
        publish_counters();
    }

  private:
    static constexpr std::uint64_t watched = std::uint64_t{1} << 63;
    static constexpr std::uint8_t no_disk = 0xff;
    // Looks at the devices between two signs of life, when polling.
    static constexpr std::uint32_t looks_between_signs = 64;

    struct Disk {
        ServedDisk served;
        const ahci::Disk* info = nullptr;
        std::uint32_t free_tags = 0;                           // of the device's
        std::array<std::uint16_t, ahci::most_tags> request{};  // ublk's, by the device's tag
        std::array<std::int32_t, ahci::most_tags> answer{};    // if it goes well
        // Requests that wait, the first in front. Rare, unless the disk has less tags than ublk_requests()
        // says.
        std::array<std::uint16_t, ublk_queue_depth(ahci::most_tags)> waiting{};
        std::uint32_t waiting_count = 0;
    };

    static std::uint64_t tag_of(std::size_t disk, std::uint32_t request) {
        return std::uint64_t{disk} << 16 | request;
    }
    static std::byte* buffer(const ServedDisk& served, std::uint32_t request) {
        return served.buffers + std::size_t{request} * ahci::most_transfer_bytes;
    }

    // ---- requests ----

    void take_request(std::uint32_t index, std::uint32_t request, std::int32_t result) {
        Disk& disk = disks_[index];
        if (result != UBLK_IO_RES_OK) [[unlikely]] {
            // The device is being stopped: this place fetches no more.
            return;
        }
        if (disk.waiting_count != 0 || !start(disk, request)) [[unlikely]] {
            disk.waiting[disk.waiting_count++] = static_cast<std::uint16_t>(request);
            ++delayed_;
        }
    }

    // False: not now, because something has run out that a completion brings back. Where there is none to
    // come the driver says so in time.
    bool start(Disk& disk, std::uint32_t request) {
        const volatile ublksrv_io_desc& described = disk.served.requests[request];
        const ublksrv_io_desc asked{described.op_flags, {described.nr_sectors}, described.start_sector, 0};
        const DiskRequest wanted = to_disk_request(asked, *disk.info);
        if (wanted.error != 0) [[unlikely]] {
            ++refused_;
            answer(disk, request, wanted.error);
            return true;
        }
        if (disk.free_tags == 0) [[unlikely]] {
            return false;
        }
        const auto tag = static_cast<std::uint32_t>(std::countr_zero(disk.free_tags));
        const Segment segment{memory_at(buffer(disk.served, request)), wanted.bytes};
        const ahci::BlockRange range{wanted.first_block, wanted.blocks};
        ahci::Request command{.operation = wanted.operation,
                              .force_unit_access = wanted.force_unit_access,
                              .first_block = wanted.first_block,
                              .blocks = wanted.blocks};
        if (wanted.bytes != 0) {
            command.segments = {&segment, 1};
        } else if (wanted.operation == ahci::Operation::trim) {
            command.ranges = {&range, 1};
        }
        // The driver may end it at once.
        disk.free_tags &= disk.free_tags - 1;
        disk.request[tag] = static_cast<std::uint16_t>(request);
        disk.answer[tag] = static_cast<std::int32_t>(wanted.bytes);
        const Status taken = driver_.submit(disk.served.port, tag, command);
        if (taken.ok()) [[likely]] {
            return true;
        }
        disk.free_tags |= std::uint32_t{1} << tag;
        if (taken.error() == Error::no_memory || taken.error() == Error::no_iova_space) {
            return false;
        }
        answer(disk, request, -EIO);
        return true;
    }

    void answer(const Disk& disk, std::uint32_t request, std::int32_t result) {
        ring_.command(disk.served.place, ublk::commit_and_fetch, static_cast<std::uint16_t>(request), result,
                      buffer(disk.served, request), tag_of(index_of(disk), request));
    }

    [[nodiscard]] std::size_t index_of(const Disk& disk) const {
        return static_cast<std::size_t>(&disk - disks_.data());
    }

    void finish(Disk& disk, std::uint32_t tag, ahci::Outcome outcome) {
        disk.free_tags |= std::uint32_t{1} << tag;
        answer(disk, disk.request[tag],
               outcome == ahci::Outcome::done ? disk.answer[tag] : error_of(outcome));
    }

    void start_waiting(Disk& disk) {
        std::uint32_t started = 0;
        while (started < disk.waiting_count && start(disk, disk.waiting[started])) {
            ++started;
        }
        for (std::uint32_t i = started; i < disk.waiting_count; ++i) {
            disk.waiting[i - started] = disk.waiting[i];
        }
        disk.waiting_count -= started;
    }

    // ---- the device ----

    void take_interrupt() {
        std::uint32_t ports = driver_.take_interrupt();
        if (!device_.sends_messages()) {
            device_.unmask_interrupt();
            ++system_calls_;
        }
        bool freed = false;
        for (; ports != 0; ports &= ports - 1) {
            const std::uint8_t index = by_port_[static_cast<std::uint32_t>(std::countr_zero(ports))];
            if (index != no_disk) [[likely]] {
                freed |= complete(disks_[index]) != 0;
            }
        }
        if (freed) {
            start_all_waiting();
        }
    }

    // Of all disks: they share the IOVAs.
    void start_all_waiting() {
        for (Disk& disk : disks_) {
            if (disk.waiting_count != 0) [[unlikely]] {
                start_waiting(disk);
            }
        }
    }

    std::uint32_t complete(Disk& disk) {
        const std::uint32_t port = disk.served.port;
        const std::uint32_t count = driver_.complete(
            port, [&](std::uint32_t tag, ahci::Outcome outcome) { finish(disk, tag, outcome); });
        if (driver_.needs_recovery(port)) [[unlikely]] {
            recover(disk);
        }
        return count;
    }

    // A reset of the adapter for one disk stops the others' ports as well. It may take minutes: whoever waits
    // for a request that is done, of this disk or another, is answered before.
    [[gnu::noinline, gnu::cold]] void recover(Disk& failed) {
        hand_over();
        recover_port(failed);
        for (Disk& disk : disks_) {
            if (driver_.needs_recovery(disk.served.port)) {
                recover_port(disk);
            }
        }
    }

    void recover_port(Disk& disk) {
        driver_.recover(disk.served.port, [&](std::uint32_t tag, ahci::Outcome outcome) {
            finish(disk, tag, outcome);
            hand_over();
        });
    }

    // What the ring brings back meanwhile waits there.
    void hand_over() {
        ring_.enter();
        ++system_calls_;
    }

    // Until there is something for the kernel to do; not for too long, since somebody may look for a sign of
    // life.
    void poll() {
        for (std::uint32_t look = 0; look < looks_between_signs && !ring_.has_work(); ++look) {
            std::uint32_t done = 0;
            for (Disk& disk : disks_) {
                if (busy(disk)) {
                    done += complete(disk);
                }
            }
            if (done != 0) {
                start_all_waiting();
            }
        }
        if (ring_.has_work()) {
            ring_.enter();
            ++system_calls_;
        }
    }

    [[nodiscard]] static bool busy(const Disk& disk) {
        return std::popcount(disk.free_tags) != static_cast<int>(disk.info->queue_depth);
    }

    // ---- everything else ----

    void take_event(unsigned place, std::uint32_t flags) {
        switch (place) {
            case interrupt_place:
                interrupted_ = true;
                break;
            case bell_place:
                drain(bell_);
                publish_counters();
                commit(static_cast<Fault>(shared_.fault.load(std::memory_order_relaxed)));
                break;
            case stop_place:
                stopped_ = true;
                break;
            case clock_place:
                on_clock();
                break;
            case alarm_place:
                if constexpr (requires { mapper_.on_alarm(); }) {
                    mapper_.on_alarm();
                }
                break;
            default:
                break;
        }
        if ((flags & IORING_CQE_F_MORE) == 0) [[unlikely]] {
            ring_.watch(place, watched | place);
        }
    }

    void on_clock() {
        // A periodic timerfd runs on only once its expiration has been read.
        std::uint64_t expirations = 0;
        [[maybe_unused]] const auto got = ::read(clock_, &expirations, sizeof(expirations));
        for (Disk& disk : disks_) {
            if (driver_.watch(disk.served.port, [&](std::uint32_t tag, ahci::Outcome outcome) {
                    finish(disk, tag, outcome);
                })) [[unlikely]] {
                recover(disk);
            }
        }
        start_all_waiting();
    }

    static void drain(int pipe) {
        std::array<std::byte, 64> rings{};
        while (::read(pipe, rings.data(), rings.size()) == static_cast<ssize_t>(rings.size())) {
        }
    }

    // At the bell only: on the data path it would cost as much as a request.
    void publish_counters() {
        const MappingCounters mapping = mapper_.counters();
        show_counters(storage_counter_names, driver_.counters(), mapping,
                      system_calls_ + mapping.maps + mapping.unmap_calls, shared_);
        publish(shared_.requests_refused, refused_);
        publish(shared_.requests_delayed, delayed_);
        finish_publication(shared_);
    }

    Driver& driver_;
    Mapper& mapper_;
    const VfioDevice& device_;
    Ring& ring_;
    const int clock_;
    const int bell_;
    DiskState& shared_;
    const bool polls_only_;
    std::vector<Disk> disks_;
    std::array<std::uint8_t, ahci::most_ports> by_port_{};
    bool interrupted_ = false;
    bool stopped_ = false;
    std::uint64_t wakeups_ = 0;
    std::uint64_t system_calls_ = 0;
    std::uint64_t refused_ = 0;
    std::uint64_t delayed_ = 0;
};

}  // namespace dmatoll::user
