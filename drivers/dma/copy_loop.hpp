// SPDX-License-Identifier: BSD-2-Clause
// The engine under load: pairs of buffers that are mapped, copied by the device and unmapped, round and
// round. What is spent beside the mapping is some tens of instructions a copy.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../core/address.hpp"
#include "../core/counter.hpp"
#include "../core/counters.hpp"
#include "../core/mapper.hpp"
#include "../core/platform.hpp"
#include "../core/result.hpp"
#include "../core/word.hpp"
#include "copy_engine.hpp"

namespace dmatoll::dma {

struct CopyPlan {
    std::uint32_t bytes = 0;         // of a copy; 0: as many as the device usually copies
    std::uint32_t working_set = 64;  // pairs of a source and a destination, each a page of its own
    std::uint32_t batch = 16;        // copies with the device at a time; at most working_set
    std::uint32_t lifetime = 1;      // copies that a mapping serves; 0: it is kept to the end
    std::uint32_t rest = 0;          // after so many copies the loop sleeps for a moment; 0: never

    static constexpr std::uint32_t most_pairs = 4096;
    static constexpr std::uint32_t most_batch = 255;
    static constexpr std::uint32_t least_bytes = 60;  // of any device
};

constexpr bool valid(const CopyPlan& plan) {
    return plan.working_set >= 1 && plan.working_set <= CopyPlan::most_pairs && plan.batch >= 1 &&
           plan.batch <= plan.working_set && plan.batch <= CopyPlan::most_batch;
}

// Whether a device copies that many bytes at a time.
template <CopyEngine E>
constexpr bool copies(std::uint32_t bytes) {
    return bytes >= E::least_copy_bytes && bytes <= E::most_copy_bytes && bytes % E::copy_unit_bytes == 0;
}

// A source carries a stamp that it never had before each time it is mapped, and when both ends have been
// unmapped the destination must carry it: so a copy is judged, and not by what the device says.
//
// counters() may be called from anywhere; all else by one caller at a time.
template <Platform P, Mapper M, CopyEngine E>
class CopyLoop {
  public:
    // All outlive the loop.
    CopyLoop(P& platform, M& mapper, E& engine)
        : platform_{platform}, mapper_{mapper}, engine_{engine} {}
    CopyLoop(const CopyLoop&) = delete;
    CopyLoop& operator=(const CopyLoop&) = delete;

    [[nodiscard]] bool ready() const { return pairs_ != nullptr; }

    // Takes the buffers; maps none yet. provide(Direction) -> Result<Memory>: a page. After an error nothing
    // is kept. Errors: invalid_argument (the plan, or there are buffers already), not_supported (the device does not
    // copy so many bytes at a time), no_memory.
    template <class Provide, class GiveBack>
    Status begin(const CopyPlan& plan, Provide&& provide, GiveBack&& give_back) {
        static_assert(CopyPlan::most_batch <= E::most_in_flight && CopyPlan::least_bytes <= E::least_copy_bytes &&
                      copies<E>(E::usual_copy_bytes));
        if (!valid(plan) || ready()) return Error::invalid_argument;
        const std::uint32_t bytes = plan.bytes != 0 ? plan.bytes : E::usual_copy_bytes;
        if (!copies<E>(bytes)) return Error::not_supported;
        const Result<void*> table = platform_.allocate(plan.working_set * sizeof(Pair));
        if (!table.ok()) return table.error();
        plan_ = plan;
        plan_.bytes = bytes;
        pairs_ = static_cast<Pair*>(table.value());
        next_pair_ = oldest_pair_ = pair_count_ = 0;
        to_begin_ = since_rest_ = 0;
        for (; pair_count_ < plan.working_set; ++pair_count_) {
            Pair& pair = pairs_[pair_count_];
            const Result<Memory> source = provide(Direction::to_device);
            const Result<Memory> destination =
                source.ok() ? provide(Direction::from_device) : Result<Memory>{source.error()};
            if (!destination.ok()) {
                if (source.ok()) give_back(source.value(), Direction::to_device);
                end(give_back);
                return destination.error();
            }
            pair.source = source.value();
            pair.destination = destination.value();
            pair.source_bytes = static_cast<std::byte*>(platform_.cpu_address(pair.source));
            pair.destination_bytes = static_cast<std::byte*>(platform_.cpu_address(pair.destination));
        }
        return {};
    }

    // Waits for what is in flight, unmaps what is mapped, and gives the buffers back: give_back(Memory,
    // Direction). Nothing if there are none.
    template <class GiveBack>
    void end(GiveBack&& give_back) {
        if (!ready()) return;
        drain();
        for (std::uint32_t i = 0; i < pair_count_; ++i) {
            if (pairs_[i].mapped) unmap(pairs_[i]);
            give_back(pairs_[i].source, Direction::to_device);
            give_back(pairs_[i].destination, Direction::from_device);
        }
        platform_.free(pairs_, plan_.working_set * sizeof(Pair));
        pairs_ = nullptr;
    }

    // The engine too: what is in flight is not waited for, since the device may be kept from memory already.
    template <class GiveBack>
    void stop(GiveBack&& give_back) {
        const std::uint32_t unfinished = engine_.in_flight();
        engine_.stop();
        forget(unfinished);
        end(give_back);
    }

    // From now on that many copies; 0: as many as there are steps.
    void aim_at(std::uint64_t copies) {
        to_begin_ = copies != 0 ? copies : ~std::uint64_t{0};
        idle_since_ns_ = 0;
    }
    // All that was aimed at is done.
    [[nodiscard]] bool finished() const { return to_begin_ == 0 && engine_.in_flight() == 0; }

    // One round: gives the device copies until a batch is with it, and takes back what is done. Errors: the
    // Mapper's (nothing can be mapped for as long as the device may take), and those of restart().
    Status step() {
        const Error refused = fill();
        engine_.ring_doorbell();
        const std::uint32_t done = collect();
        if (done == 0) [[unlikely]]
            return wait_for_device(refused);
        idle_since_ns_ = 0;
        if (plan_.rest != 0 && (since_rest_ += done) >= plan_.rest) [[unlikely]] {
            since_rest_ = 0;
            platform_.delay_us(rest_us);
        }
        return {};
    }

    // Takes back what is with the device, and begins nothing.
    void drain() {
        to_begin_ = 0;
        idle_since_ns_ = 0;
        while (engine_.in_flight() != 0) {
            // After a restart nothing is in flight, whatever came of it.
            if (collect() == 0 && !wait_for_device(Error::none).ok()) break;
        }
    }

    struct Place {
        Iova source{};
        Iova destination{};
        bool mapped = false;
    };
    // Where a pair is mapped, or was last.
    [[nodiscard]] std::uint32_t pairs() const { return ready() ? plan_.working_set : 0; }
    [[nodiscard]] Place place(std::uint32_t pair) const {
        return Place{pairs_[pair].source_iova, pairs_[pair].destination_iova, pairs_[pair].mapped};
    }

    enum class Buffer : std::uint8_t { none, source, destination };
    struct Found {
        Buffer buffer = Buffer::none;
        std::uint32_t pair = 0;
    };
    // Which of the buffers holds that word there. It was put there by nobody who should have: nothing is said
    // about the copy that it overwrote.
    Found find(std::uint64_t word, std::uint64_t offset) {
        for (std::uint32_t i = 0; i < pairs(); ++i) {
            Pair& pair = pairs_[i];
            for (const Buffer buffer : {Buffer::source, Buffer::destination}) {
                const std::byte* const bytes =
                    buffer == Buffer::source ? pair.source_bytes : pair.destination_bytes;
                if (load_word(bytes + offset) != word) continue;
                pair.stamp = unjudged;
                return Found{buffer, i};
            }
        }
        return {};
    }

    [[nodiscard]] const CopyPlan& plan() const { return plan_; }

    [[nodiscard]] DmaCounters counters() const {
        return DmaCounters{.copies = copies_.read(),
                           .bytes_copied = bytes_.read(),
                           .copies_bad = bad_.read(),
                           .copies_lost = lost_.read(),
                           .restarts = restarts_.read()};
    }

    // The engine's, counted. Nothing of the loop's is in flight.
    Status restart() {
        restarts_.add(1);
        return engine_.restart();
    }

  private:
    // A copy takes microseconds, an invalidation that frees IOVAs milliseconds.
    static constexpr std::uint64_t patience_ns = 100'000'000;
    static constexpr std::uint32_t rest_us = 50;
    static constexpr std::uint64_t unjudged = 0;

    struct Pair {
        Memory source;
        Memory destination;
        std::byte* source_bytes;
        std::byte* destination_bytes;
        Iova source_iova;
        Iova destination_iova;
        std::uint64_t stamp;
        std::uint32_t left;  // copies that the mapping still serves
        bool mapped;
    };

    // Why it ended: none if a batch is with the device, or nothing is left to begin.
    Error fill() {
        while (engine_.in_flight() < plan_.batch && to_begin_ != 0) {
            Pair& pair = pairs_[next_pair_];
            if (!pair.mapped) {
                if (const Status mapped = map(pair); !mapped.ok()) [[unlikely]]
                    return mapped.error();
            }
            engine_.submit(pair.source_iova, pair.destination_iova, plan_.bytes);
            next_pair_ = behind(next_pair_);
            --to_begin_;
        }
        return Error::none;
    }

    std::uint32_t collect() {
        const std::uint32_t done = engine_.collect([this](std::uint32_t bytes) {
            Pair& pair = pairs_[oldest_pair_];
            if (bytes != plan_.bytes) [[unlikely]]
                bad_.add(1);
            release(pair);
        });
        if (done != 0) {
            copies_.add(done);
            bytes_.add(std::uint64_t{done} * plan_.bytes);
        }
        return done;
    }

    // A copy from this pair has ended, and no other is under way: a batch is no more than the working set.
    void release(Pair& pair) {
        oldest_pair_ = behind(oldest_pair_);
        if (plan_.lifetime != 0 && --pair.left == 0) unmap(pair);
    }

    Status map(Pair& pair) {
        pair.stamp = ++stamps_;
        store_word(pair.source_bytes, pair.stamp);
        const Result<Iova> source = mapper_.map(pair.source, plan_.bytes, Direction::to_device);
        if (!source.ok()) [[unlikely]]
            return source.error();
        const Result<Iova> destination = mapper_.map(pair.destination, plan_.bytes, Direction::from_device);
        if (!destination.ok()) [[unlikely]] {
            mapper_.unmap(source.value(), plan_.bytes, Direction::to_device, 0);
            return destination.error();
        }
        pair.source_iova = source.value();
        pair.destination_iova = destination.value();
        pair.left = plan_.lifetime;
        pair.mapped = true;
        return {};
    }

    void unmap(Pair& pair) {
        mapper_.unmap(pair.source_iova, plan_.bytes, Direction::to_device, 0);
        mapper_.unmap(pair.destination_iova, plan_.bytes, Direction::from_device, plan_.bytes);
        pair.mapped = false;
        if (load_word(pair.destination_bytes) != pair.stamp && pair.stamp != unjudged) [[unlikely]]
            bad_.add(1);
    }

    [[gnu::noinline, gnu::cold]] Status wait_for_device(Error refused) {
        if (refused == Error::none && engine_.in_flight() == 0) return {};
        const std::uint64_t now = platform_.now_ns();
        if (idle_since_ns_ == 0) idle_since_ns_ = now;
        if (now - idle_since_ns_ < patience_ns) return {};
        idle_since_ns_ = 0;
        if (engine_.in_flight() == 0) return refused;
        return give_up();
    }

    // The device does not end what it has.
    Status give_up() {
        const std::uint32_t lost = engine_.in_flight();
        platform_.log(LogLevel::warning, "copies did not end within 100 ms: the device is started again");
        const Status restarted = restart();
        lost_.add(lost);
        forget(lost);
        return restarted;
    }

    // The oldest copies, which the device does not do any more.
    void forget(std::uint32_t copies) {
        for (; copies != 0; --copies) {
            pairs_[oldest_pair_].stamp = unjudged;
            release(pairs_[oldest_pair_]);
        }
    }

    [[nodiscard]] std::uint32_t behind(std::uint32_t pair) const {
        return pair + 1 == plan_.working_set ? 0 : pair + 1;
    }

    P& platform_;
    M& mapper_;
    E& engine_;
    CopyPlan plan_{};
    Pair* pairs_ = nullptr;
    std::uint32_t pair_count_ = 0;   // that have their buffers
    std::uint32_t next_pair_ = 0;    // to be copied next
    std::uint32_t oldest_pair_ = 0;  // with the device
    std::uint64_t to_begin_ = 0;
    std::uint64_t stamps_ = 0;
    std::uint64_t idle_since_ns_ = 0;  // 0: it is not idle
    std::uint32_t since_rest_ = 0;

    alignas(64) Counter copies_;
    Counter bytes_;
    Counter bad_;
    Counter lost_;
    Counter restarts_;
};

}  // namespace dmatoll::dma
