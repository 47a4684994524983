// SPDX-License-Identifier: BSD-2-Clause
// The receive, transmit and reclaim sides on threads of their own, as the driver allows.
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "machine.hpp"

namespace dmatoll::test {
namespace {

template <class M>
using Concurrency = EveryStrategy<M>;
TYPED_TEST_SUITE(Concurrency, EveryMapper, StrategyNames);

TYPED_TEST(Concurrency, TransmitReclaimAndReceiveAtTheSameTime) {
    constexpr std::uint32_t frames = 5'000;
    Bench<TypeParam> bench{{.receive_descriptors = 64, .transmit_descriptors = 64}};
    ASSERT_TRUE(bench.start().ok());
    // One page for each frame in flight; a frame's page is its cookie's.
    const Memory pages = bench.machine.memory.allocate_pages(64);
    const Bytes frame = make_frame({.payload = 300});
    for (std::uint64_t i = 0; i < 64; ++i) {
        std::memcpy(bench.machine.at(pages + i * page_bytes, frame.size()), frame.data(), frame.size());
    }
    std::atomic<bool> done = false;
    std::uint64_t next_expected = 0;
    std::uint32_t reclaimed = 0;
    std::uint64_t on_wire = 0;

    std::thread transmitter{[&] {
        for (std::uint64_t i = 0; i < frames;) {
            const Segment segment{pages + (i % 64) * page_bytes,
                                         static_cast<std::uint32_t>(frame.size())};
            const Status status = bench.driver->transmit({&segment, 1}, {}, i);
            if (status.ok()) {
                ++i;
            } else {
                ASSERT_EQ(status.error(), Error::ring_full);
                std::this_thread::yield();
            }
        }
    }};
    std::thread reclaimer{[&] {
        while (reclaimed < frames) {
            const std::uint32_t count =
                bench.driver->reclaim(16, [&](std::uint64_t cookie, std::uint32_t, std::uint32_t) {
                    EXPECT_EQ(cookie, next_expected++);
                });
            reclaimed += count;
            for (const model::WireFrame& sent : bench.machine.device.take_wire())
                on_wire += sent.bytes == frame ? 1 : 0;
            if (count == 0) std::this_thread::yield();
        }
    }};
    std::uint32_t sent = 0;
    std::thread receiver{[&] {
        while (!done) {
            bench.receive(16);
            bench.refill();
            bench.received.clear();
        }
    }};
    std::thread partner{[&] {
        for (; sent < 2'000; ++sent) bench.machine.device.receive_frame(frame);
    }};
    // Deferred unmappings that are due while all of that goes on.
    std::thread alarm{[&] {
        if constexpr (requires { bench.mapper->on_alarm(); }) {
            while (!done) {
                bench.machine.platform.advance_ns(10'000'000);
                bench.mapper->on_alarm();
            }
        }
    }};
    transmitter.join();
    reclaimer.join();
    partner.join();
    done = true;
    receiver.join();
    alarm.join();
    bench.receive(64);
    bench.driver->update_statistics();
    EXPECT_EQ(on_wire, frames);
    EXPECT_EQ(bench.driver->counters().frames_transmitted, frames);
    EXPECT_EQ(bench.driver->counters().frames_received + bench.driver->counters().receive_missed, 2'000u);
    bench.stop_and_expect_nothing_left();
}

}  // namespace
}  // namespace dmatoll::test
