// SPDX-License-Identifier: BSD-2-Clause
// The driver process of a device that copies memory: follows commands, and makes copies while it is told to.
// While it does it makes no system call of its own but one look at commands, signals and the clock in many
// rounds.
#pragma once

#include <sys/socket.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "core/counters.hpp"
#include "core/result.hpp"
#include "dma_arena.hpp"
#include "dma_options.hpp"
#include "dma_report.hpp"
#include "dma_state.hpp"
#include "dma/dma_driver.hpp"
#include "fault.hpp"
#include "hostile_driver.hpp"
#include "published_counters.hpp"
#include "slot_stack.hpp"
#include "wait_set.hpp"

namespace dmatoll::user {

// Driver: dma::DmaDriver. Mapper: the strategy below it.
template <class Driver, class Mapper>
class DmaServiceLoop {
  public:
    // All outlive it. `socket` does not block. `hostile`: who follows what no driver should; nullptr: nobody does.
    DmaServiceLoop(Driver& driver, Mapper& mapper, const DmaArena& arena, DmaState& shared, int socket, HostileDriver* hostile)
        : driver_{driver}, mapper_{mapper}, arena_{arena}, shared_{shared}, socket_{socket}, hostile_{hostile} {}
    DmaServiceLoop(const DmaServiceLoop&) = delete;
    DmaServiceLoop& operator=(const DmaServiceLoop&) = delete;

    // The driver has been started. Returns when the wait set reports a signal.
    void run(WaitSet& waiting) {
        waiting.set_patience(WaitSet::sleep);
        while (true) {
            const Events events = waiting.wait();
            // Waiting for the device counts as well: it is the platform's to count on.
            publish(shared_.wakeups, shared_.wakeups.load(std::memory_order_relaxed) + 1);
            ++looks_;
            if (events.stop) {
                return;
            }
            if (events.bell) {
                publish_counters();
                commit(static_cast<Fault>(shared_.fault.load(std::memory_order_relaxed)));
            }
            if (events.tap) {
                serve();
            }
            if constexpr (requires { mapper_.on_alarm(); }) {
                if (events.alarm) {
                    driver_.do_put_off([this] { mapper_.on_alarm(); });
                }
            }
            const std::uint32_t rounds = driver_.is_slow() ? 1 : rounds_between_waits;
            for (std::uint32_t round = 0; round < rounds && driver_.running(); ++round) {
                driver_.step();
                // Under load the alarm is looked at too late.
                if constexpr (requires { mapper_.flush_if_due(); }) {
                    driver_.do_put_off([this] { mapper_.flush_if_due(); });
                }
            }
            waiting.set_patience(driver_.running() ? WaitSet::do_not_sleep : WaitSet::sleep);
        }
    }

    // Nothing of the device's is left to do when this returns.
    void stop() {
        driver_.stop(give_back());
        publish_counters();
    }

  private:
    static constexpr std::uint32_t rounds_between_waits = 64;

    SlotStack& slots_of(Direction direction) {
        return direction == Direction::to_device ? sources_ : destinations_;
    }
    // One page, or several that adjoin: who wants these has all of the area for himself.
    auto provide() {
        return [this](Direction direction, std::uint64_t pages = 1) -> Result<Memory> {
            if (pages != 1) {
                if (pages > dma::CopyPlan::most_pairs - run_pages_) {
                    return Error::no_memory;
                }
                const std::uint64_t offset = run_pages_ * page_bytes;
                run_pages_ += pages;
                return memory_at(arena_.area(direction) + offset);
            }
            SlotStack& slots = slots_of(direction);
            if (slots.empty()) {
                return Error::no_memory;
            }
            return memory_at(arena_.area(direction) + slots.pop() * page_bytes);
        };
    }
    auto give_back() {
        return [this](Memory memory, Direction direction, std::uint64_t pages = 1) {
            if (pages != 1) {
                run_pages_ -= pages;
                return;
            }
            const std::uint64_t offset = memory.address - memory_at(arena_.area(direction)).address;
            slots_of(direction).push(static_cast<std::uint32_t>(offset / page_bytes));
        };
    }

    void serve() {
        std::array<char, longest_dma_message> message{};
        ssize_t got = 0;
        while ((got = ::recv(socket_, message.data(), message.size(), 0)) > 0) {
            const std::string answer = follow({message.data(), static_cast<std::size_t>(got)});
            // Without anybody who listens there is nobody to tell.
            [[maybe_unused]] const auto sent = ::send(socket_, answer.data(), answer.size(), MSG_NOSIGNAL);
        }
    }

    std::string follow(std::span<const char> line) {
        if (hostile_ != nullptr && is_hostile({line.data(), line.size()})) {
            return hostile_->follow({line.data(), line.size()});
        }
        // An answer says how it is, so the outcome itself need not be looked at.
        static_cast<void>(driver_.execute(line, answer_, provide(), give_back()));
        return to_text(answer_);
    }

    void publish_counters() {
        const MappingCounters mapping = driver_.mapping_counters();
        show_counters(dma_counter_names, driver_.counters(), mapping,
                      looks_ + mapping.maps + mapping.unmap_calls, shared_);
        finish_publication(shared_);
    }

    Driver& driver_;
    Mapper& mapper_;
    const DmaArena& arena_;
    DmaState& shared_;
    const int socket_;
    HostileDriver* const hostile_;
    SlotStack sources_{dma::CopyPlan::most_pairs};
    SlotStack destinations_{dma::CopyPlan::most_pairs};
    std::uint64_t run_pages_ = 0;  // that are out, of those that adjoin
    dma::DmaAnswer answer_;
    std::uint64_t looks_ = 0;
};

}  // namespace dmatoll::user
