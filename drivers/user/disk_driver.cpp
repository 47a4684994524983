// SPDX-License-Identifier: BSD-2-Clause
#include "disk_driver.hpp"

#include <poll.h>
#include <sys/mman.h>
#include <sys/timerfd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <exception>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "adapter_registers.hpp"
#include "ahci/driver.hpp"
#include "by_strategy.hpp"
#include "device_platform.hpp"
#include "disk_arena.hpp"
#include "disk_loop.hpp"
#include "disk_options.hpp"
#include "disk_report.hpp"
#include "disk_state.hpp"
#include "driver_process.hpp"
#include "failure.hpp"
#include "flush_alarm.hpp"
#include "mapping/iova/any.hpp"
#include "queue_passing.hpp"
#include "ring.hpp"
#include "sandbox.hpp"
#include "signals.hpp"
#include "vfio_container.hpp"
#include "vfio_device.hpp"

namespace dmatoll::user {
namespace {

constexpr const char* program = "dmatoll-disk-user";

// An error is recovered from in the loop.
using DiskPlatform = DevicePlatform;
static_assert(ahci::AdapterPlatform<DiskPlatform>);

// What the ring waits for beside the disks' queues, and one command for each request of two disks.
constexpr unsigned ring_entries = 128;

// A buffer is read from and written to.
template <class Mapper>
void map_buffers(Mapper& mapper, const Arena& arena, const DiskChildOptions& options) {
    constexpr std::size_t most = std::size_t{1} << 30;
    for (std::size_t done = 0; done < arena.bytes(); done += most) {
        map_pool(mapper, arena.start() + done, std::min(arena.bytes() - done, most), Direction::bidirectional,
                 "device " + options.process.bdf, "buffers");
    }
}

// ---- queues ----

// Of one disk, with what the kernel writes about its requests.
struct Queue {
    QueueMessage message;
    Descriptor channel;
    void* requests = MAP_FAILED;

    [[nodiscard]] std::size_t bytes() const { return ublk::queue_bytes(message.depth, page_bytes); }
};

class Queues {
  public:
    Queues() = default;
    ~Queues() {
        for (const Queue& queue : all_) {
            if (queue.requests != MAP_FAILED) {
                ::munmap(queue.requests, queue.bytes());
            }
        }
    }
    Queues(const Queues&) = delete;
    Queues& operator=(const Queues&) = delete;

    // Waits for what the supervisor gives for each of the disks. False: SIGTERM came first, or the supervisor
    // is gone. Throws Failure.
    bool receive(int socket, int stop, const std::vector<DiskDescription>& disks) {
        for (const DiskDescription& disk : disks) {
            std::array<pollfd, 2> waiting{{{socket, POLLIN, 0}, {stop, POLLIN, 0}}};
            int found = 0;
            do {
                found = ::poll(waiting.data(), waiting.size(), -1);
            } while (found < 0 && errno == EINTR);
            if (waiting[1].revents != 0) {
                return false;
            }
            Queue queue;
            const auto message = receive_queue(socket, queue.channel);
            if (!message) {
                return false;
            }
            if (message->port != disk.port || message->depth > ublk_queue_depth(disk.queue_depth)) {
                throw Failure{"the supervisor gave a queue for port " + std::to_string(message->port) +
                              " of " + std::to_string(message->depth) + " requests for the disk at port " +
                              std::to_string(disk.port)};
            }
            queue.message = *message;
            if (message->depth != 0) {
                all_.push_back(std::move(queue));
            }
        }
        return true;
    }

    // Throws Failure.
    static const ublksrv_io_desc* map(Queue& queue) {
        queue.requests = ::mmap(nullptr, queue.bytes(), PROT_READ, MAP_SHARED | MAP_POPULATE,
                                queue.channel.get(), UBLKSRV_CMD_BUF_OFFSET);
        if (queue.requests == MAP_FAILED) {
            throw system_failure(
                "cannot map the requests for the disk at port " + std::to_string(queue.message.port), errno);
        }
        return static_cast<const ublksrv_io_desc*>(queue.requests);
    }

    std::vector<Queue>& all() { return all_; }

  private:
    std::vector<Queue> all_;
};

Descriptor periodic_clock() {
    Descriptor clock{::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK)};
    constexpr long period_ns = ahci::watch_period_ms * 1'000'000L;
    constexpr timespec period{period_ns / 1'000'000'000, period_ns % 1'000'000'000};
    const itimerspec setting{period, period};
    if (!clock.valid() || ::timerfd_settime(clock.get(), 0, &setting, nullptr) != 0) {
        throw system_failure("cannot make the clock by which the disks are looked after", errno);
    }
    return clock;
}

// ---- from a device that nobody drives to one that nobody drives ----

template <class Driver, class Mapper>
class Service {
  public:
    Service(const DiskChildOptions& options, Driver& driver, Mapper& mapper, VfioDevice& device,
            const FlushAlarm& alarm, int stop, DiskState& shared)
        : options_{options},
          driver_{driver},
          mapper_{mapper},
          device_{device},
          alarm_{alarm},
          stop_{stop},
          shared_{shared} {}

    // The device has been started. Returns when SIGTERM came. Throws Failure.
    void run() {
        std::vector<DiskDescription> disks;
        std::size_t bytes = 0;
        for (std::uint32_t ports = driver_.ports(); ports != 0; ports &= ports - 1) {
            const auto port = static_cast<std::uint32_t>(std::countr_zero(ports));
            disks.push_back(describe(port, driver_.disk(port)));
            bytes += disk_buffer_bytes(disks.back().queue_depth);
        }
        if (disks.empty()) {
            throw Failure{"device " + options_.process.bdf + ": no port of this controller has a disk"};
        }
        const Arena arena{bytes, options_.driver.page_size};
        publish(shared_.hugepages, arena.hugepages() ? 1 : 0);
        map_buffers(mapper_, arena, options_);
        send_report(to_text(DiskReport{.kind = DiskReport::Kind::found,
                                       .disks = disks,
                                       .arena = arena.hugepages() ? "hugepages" : "4KiB",
                                       .note = arena.fallback_reason(),
                                       .failure = {}}));
        Queues queues;
        if (!queues.receive(inherited_own, stop_, disks)) {
            return;
        }
        serve(arena, queues);
    }

  private:
    void serve(const Arena& arena, Queues& queues) {
        const Descriptor clock = periodic_clock();
        Ring ring{ring_entries};
        std::vector<int> descriptors(first_queue_place);
        descriptors[interrupt_place] = device_.interrupt_fd();
        descriptors[bell_place] = inherited_bell;
        descriptors[stop_place] = stop_;
        descriptors[clock_place] = clock.get();
        descriptors[alarm_place] = alarm_.fd();
        for (const Queue& queue : queues.all()) {
            descriptors.push_back(queue.channel.get());
        }
        ring.register_descriptors(descriptors);
        DiskLoop<Driver, Mapper> loop{driver_,     mapper_,        device_, ring,
                                      clock.get(), inherited_bell, shared_, options_.driver.poll};
        unsigned place = first_queue_place;
        std::byte* buffers = arena.start();
        for (Queue& queue : queues.all()) {
            loop.fetch({.port = queue.message.port,
                        .place = place++,
                        .depth = queue.message.depth,
                        .requests = nullptr,
                        .buffers = buffers});
            loop.set_requests(queue.message.port, Queues::map(queue));
            buffers += disk_buffer_bytes(driver_.disk(queue.message.port).queue_depth);
        }
        send_report(to_text(DiskReport{
            .kind = DiskReport::Kind::serving, .disks = {}, .arena = {}, .note = {}, .failure = {}}));
        loop.run();
        loop.stop();
    }

    const DiskChildOptions& options_;
    Driver& driver_;
    Mapper& mapper_;
    VfioDevice& device_;
    const FlushAlarm& alarm_;
    const int stop_;
    DiskState& shared_;
};

// set_up_addresses(bits): of an IOVA that the adapter takes.
template <ScatterMapper Mapper, class SetUp>
void drive(const DiskChildOptions& options, Mapper& mapper, DiskPlatform& platform, VfioDevice& device,
           const FlushAlarm& alarm, int stop, DiskState& shared, SetUp&& set_up_addresses) {
    using Driver = ahci::Driver<DiskPlatform, Mapper>;
    const std::string& bdf = options.process.bdf;
    Driver driver{platform, mapper,
                  ahci::Settings{.queue_depth = options.driver.queue_depth,
                                 .register_bytes = static_cast<std::uint32_t>(device.register_bytes())}};
    // What an earlier driver left in the device must not come alive: it is quiet before it may reach memory.
    require(driver.probe(), "device " + bdf + " cannot be brought into a known state");
    set_up_addresses(driver.address_bits());
    prepare_strategy(mapper, options.driver, {.to_device = CopySlots::most, .from_device = CopySlots::most},
                     "device " + options.process.bdf);
    if (!options.driver.poll) {
        device.enable_interrupt(true);
    }
    device.set_bus_mastering(true);
    std::exception_ptr trouble;
    try {
        require(driver.start(), "device " + bdf + ": it cannot be started");
        Service{options, driver, mapper, device, alarm, stop, shared}.run();
    } catch (const Failure&) {
        trouble = std::current_exception();
    }
    driver.stop([](std::uint32_t, std::uint32_t, ahci::Outcome) {});
    if (!options.driver.poll) {
        device.disable_interrupt();
    }
    device.set_bus_mastering(false);
    mapper.release_all();
    if (trouble) {
        std::rethrow_exception(trouble);
    }
}

void run(const DiskChildOptions& options) {
    drop_privileges({options.process.user, options.process.group});
    ::signal(SIGINT, SIG_IGN);  // on Ctrl-C the supervisor decides
    const Descriptor stop = take_signals({SIGTERM});
    const SharedPage<DiskState> shared{Descriptor{inherited_counters}};
    VfioContainer container{Descriptor{inherited_container}};
    VfioDevice device{Descriptor{inherited_device}, options.process.bdf, adapter_registers::bar,
                      adapter_registers::fewest_bytes, adapter_registers::most_bytes};
    // Of huge pages if there are any: QEMU's adapter ends, and the guest with it, at a command table that goes on in a page
    // which is not the next in memory.
    const Arena rings{disk_ring_bytes, 0};

    IovaAllocator allocator;
    UserDomain domain{container, allocator};
    DiskPlatform platform{program, device, {rings.start(), rings.bytes()}, domain, *shared};
    FlushAlarm alarm;
    const auto set_up_addresses = [&](unsigned bits_of_adapter) {
        set_up_iovas(allocator, platform, container, std::min(bits_of_adapter, options.process.address_bits),
                     options.driver);
    };
    with_strategy(options.driver.strategy, domain, platform, alarm, [&](auto& mapper) {
        drive(options, mapper, platform, device, alarm, stop.get(), *shared, set_up_addresses);
    });
    allocator.tear_down(platform);
}

}  // namespace

int drive_disks(const char* options) {
    try {
        run(disk_child_options(options));
        return 0;
    } catch (const std::exception& error) {
        send_report(to_text(DiskReport{.kind = DiskReport::Kind::failed,
                                       .disks = {},
                                       .arena = {},
                                       .note = {},
                                       .failure = error.what()}));
        std::fprintf(stderr, "%s: %s\n", program, error.what());
        return 1;
    }
}

}  // namespace dmatoll::user
