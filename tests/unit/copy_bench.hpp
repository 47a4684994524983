// SPDX-License-Identifier: BSD-2-Clause
// A machine made of software whose device copies memory, whatever it is, and a driver that follows commands.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "core/address.hpp"
#include "core/result.hpp"
#include "dma/dma_driver.hpp"

namespace dmatoll::test {

// What came of a command, by name; numbers as text.
using Answer = std::map<std::string, std::string>;

template <class M, class Machine, class Platform, class Engine>
class CopyBenchOf {
  public:
    using Driver = dma::DmaDriver<Platform, M, Engine>;

    // As surroundings do it: quiet first, bus mastering afterwards.
    Status start() {
        if (const Status probed = driver->probe(); !probed.ok()) return probed;
        machine.device.set_bus_master(true);
        return driver->start();
    }

    Status execute(std::string_view line) {
        return driver->execute(
            std::span{line.data(), line.size()}, answer_,
            [this](Direction direction, std::uint64_t pages = 1) -> Result<Memory> {
                if (refuse_pages_after == 0) return Error::no_memory;
                if (refuse_pages_after > 0) --refuse_pages_after;
                const Memory first = machine.memory.allocate_pages(pages);
                pages_out[first.address] = direction;
                return first;
            },
            give_back());
    }
    auto give_back() {
        return [this](Memory memory, Direction direction, std::uint64_t pages = 1) {
            const auto found = pages_out.find(memory.address);
            ASSERT_TRUE(found != pages_out.end() && found->second == direction);
            pages_out.erase(found);
            machine.memory.free_pages(memory, pages);
        };
    }
    Answer answer() const {
        Answer result;
        for (const auto& line : std::span{answer_.lines}.first(answer_.count))
            result[line.name] = line.word != nullptr ? line.word : std::to_string(line.number);
        return result;
    }
    // Follows a line that must be taken.
    Answer follow(std::string_view line) {
        const Status status = execute(line);
        EXPECT_TRUE(status.ok()) << line << ": " << answer()["error"];
        return answer();
    }
    // Runs to the end of what was aimed at.
    Answer run(std::uint64_t copies) {
        follow("run copies=" + std::to_string(copies));
        for (int step = 0; driver->running() && step < 1'000'000; ++step) {
            driver->step();
            machine.platform.advance_ns(1000);
        }
        EXPECT_FALSE(driver->running());
        return follow("result");
    }
    // Has the driver probe its own buffers. Alarms ring between two rounds, as in the surroundings.
    Answer reach(const std::string& plan = "") {
        follow("reach " + plan);
        std::uint64_t alarms = machine.alarm.settings;
        std::uint64_t due_ns = ~std::uint64_t{0};
        for (int step = 0; driver->running() && step < 100'000; ++step) {
            driver->step();
            const std::uint64_t now = machine.platform.now_ns();
            if (std::exchange(alarms, machine.alarm.settings) != machine.alarm.settings)
                due_ns = now + machine.alarm.pending_ns;
            if constexpr (requires { mapper->on_alarm(); }) {
                if (now >= due_ns) {
                    due_ns = ~std::uint64_t{0};
                    mapper->on_alarm();
                }
            }
            machine.platform.advance_ns(100'000);
        }
        EXPECT_FALSE(driver->running());
        const Answer answer = follow("result");
        EXPECT_EQ(answer.at("state"), "ready");
        EXPECT_FALSE(answer.contains("failure")) << answer.at("failure");
        EXPECT_EQ(follow("end").at("state"), "ready");
        EXPECT_TRUE(pages_out.empty());
        EXPECT_EQ(follow("result").at("state"), "idle");
        return answer;
    }

    void stop_and_expect_nothing_left() {
        driver->stop(give_back());
        mapper->release_all();
        EXPECT_EQ(machine.iommu.mapped_pages(), 0u);
        EXPECT_EQ(machine.domain.live(), machine.domain.quarantined());
        EXPECT_EQ(machine.platform.rings_out(), 0u);
        EXPECT_EQ(machine.platform.pages_out(), 0u);
        EXPECT_EQ(machine.platform.tables_out(), machine.tables_at_start);
        EXPECT_EQ(machine.platform.misuses(), 0u);
        EXPECT_TRUE(pages_out.empty());
        EXPECT_EQ(machine.device.accesses_while_quiet(), 0u);
        for (const std::string& violation : machine.device.violations()) ADD_FAILURE() << violation;
    }
    void expect_no_fault() {
        EXPECT_EQ(machine.iommu.faults().size(), 0u);
        EXPECT_EQ(machine.iommu.stale_accesses().size(), 0u);
    }

    Machine machine;
    std::unique_ptr<M> mapper;
    std::unique_ptr<Driver> driver;
    std::map<std::uint64_t, Direction> pages_out;
    std::int64_t refuse_pages_after = -1;  // negative: never

  protected:
    template <class Options>
    explicit CopyBenchOf(const Options& options) : machine{options} {}

  private:
    dma::DmaAnswer answer_;
};

}  // namespace dmatoll::test
