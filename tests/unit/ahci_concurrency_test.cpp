// SPDX-License-Identifier: BSD-2-Clause
// The AHCI driver on several CPUs at once: submitters, the interrupt's side and the watch, each a thread.
#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "ahci_machine.hpp"

namespace dmatoll::test {
namespace {

// What the surroundings promise each other: a tag is one thread's, from its end to its next submission.
struct Tag {
    std::atomic<bool> in_flight{false};
    Memory memory{};
    std::uint64_t submitted = 0;
    std::uint64_t failed = 0;
};

void run_threads(const model::AhciOptions& options, AhciFault fault, std::uint32_t every) {
    constexpr std::uint32_t submitters = 3;
    constexpr std::uint64_t each = 1500;
    DiskBench<StrictMapper> bench{options};
    ASSERT_TRUE(bench.start().ok());
    const std::uint32_t depth = bench.driver->disk(0).queue_depth;
    std::vector<Tag> tags(depth);
    for (Tag& tag : tags) tag.memory = bench.machine.memory.allocate_pages(1);
    std::atomic<std::uint64_t> ended{0};
    std::atomic<std::uint64_t> failed{0};
    std::atomic<bool> wrong{false};
    std::atomic<std::uint32_t> submitting{submitters};
    const auto sink = [&](std::uint32_t tag, Outcome outcome) {
        if (outcome != Outcome::done) failed.fetch_add(1);
        ended.fetch_add(1);
        if (!tags[tag].in_flight.exchange(false)) wrong.store(true);
    };
    std::vector<std::thread> threads;
    std::atomic<std::uint64_t> taken{0};
    for (std::uint32_t thread = 0; thread < submitters; ++thread) {
        threads.emplace_back([&, thread] {
            std::mt19937_64 random{thread};
            for (std::uint64_t done = 0; done < each;) {
                const auto tag =
                    static_cast<std::uint32_t>(random() % ((depth + submitters - 1 - thread) / submitters)) *
                        submitters +
                    thread;
                if (tags[tag].in_flight.exchange(true)) {
                    bench.machine.platform.advance_ns(500);
                    std::this_thread::yield();
                    continue;
                }
                const Segment segment{tags[tag].memory, 4096};
                const bool flush = random() % 20 == 0;
                const Status status = bench.driver->submit(
                    0, tag,
                    flush ? ahci::Request{.operation = Operation::flush}
                          : ahci::Request{.operation = random() % 2 == 0 ? Operation::read : Operation::write,
                                          .first_block = tag * 8,
                                          .blocks = 8,
                                          .segments = {&segment, 1}});
                if (!status.ok()) wrong.store(true);
                taken.fetch_add(1);
                if (++done % every == 0) bench.machine.device.inject(fault);
            }
            submitting.fetch_sub(1);
        });
    }
    threads.emplace_back([&] {
        std::uint32_t idle = 0;
        while (submitting.load() != 0 || ended.load() != taken.load()) {
            const bool line = bench.machine.device.interrupt_line();
            if (line) bench.driver->take_interrupt();
            const bool any = bench.driver->complete(0, sink) != 0;
            if (bench.driver->needs_recovery(0)) bench.driver->recover(0, sink);
            idle = any ? 0 : idle + 1;
            if (idle == 2000) {
                idle = 0;
                if (bench.driver->watch(0, sink)) bench.driver->recover(0, sink);
            }
            bench.machine.platform.advance_ns(2000);
            std::this_thread::yield();
        }
    });
    // A second CPU that completes, as a timer's does.
    threads.emplace_back([&] {
        while (submitting.load() != 0 || ended.load() != taken.load()) {
            bench.driver->complete(0, sink);
            static_cast<void>(bench.driver->counters());
            std::this_thread::yield();
        }
    });
    for (std::thread& thread : threads) thread.join();
    EXPECT_FALSE(wrong.load()) << "a tag ended that was not in flight, or was refused";
    EXPECT_EQ(taken.load(), submitters * each);
    EXPECT_EQ(ended.load(), submitters * each);
    const StorageCounters counters = bench.driver->counters();
    EXPECT_EQ(counters.read_requests + counters.write_requests + counters.flush_requests,
              submitters * each - failed.load());
    EXPECT_EQ(counters.request_errors, failed.load());
    if (every > each) {
        EXPECT_EQ(failed.load(), 0u);
        EXPECT_EQ(counters.recoveries, 0u);
    } else {
        EXPECT_GT(counters.recoveries, 0u);
    }
    for (Tag& tag : tags) bench.machine.memory.free_pages(tag.memory, 1);
    bench.stop_and_expect_nothing_left();
}

TEST(AhciConcurrency, NothingIsLostOrEndedTwice) {
    run_threads({.command_ns = 5'000, .order_seed = 3}, AhciFault::command_aborted, 1'000'000);
    run_threads({.disks = {{0, {.queue_depth = 0}}}, .command_ns = 5'000}, AhciFault::command_aborted,
                1'000'000);
}

TEST(AhciConcurrency, SubmittersGoOnDuringRecovery) {
    run_threads({.command_ns = 5'000, .order_seed = 3}, AhciFault::command_aborted, 100);
    run_threads({.disks = {{0, {.error_log = false}}}, .command_ns = 5'000, .order_seed = 4},
                AhciFault::command_aborted, 300);
    run_threads({.command_ns = 5'000, .order_seed = 5}, AhciFault::interface_error, 300);
}

}  // namespace
}  // namespace dmatoll::test
