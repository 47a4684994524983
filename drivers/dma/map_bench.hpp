// SPDX-License-Identifier: BSD-2-Clause
// What a map and an unmap take, each by itself: buffers are mapped and unmapped again while the device does
// nothing. The time between the two is given by how many others are mapped meanwhile, as rings and caches
// have it, and by how long the device would take, as Linux's dma_map_benchmark has it.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "../core/address.hpp"
#include "../core/mapper.hpp"
#include "../core/platform.hpp"
#include "../core/result.hpp"
#include "../core/tick_histogram.hpp"
#include "../core/ticks.hpp"

namespace dmatoll::dma {

struct BenchPlan {
    std::uint32_t pages = 1;  // of a buffer
    // By how many pages a buffer begins behind the end of a large one: with one no large page is mapped.
    std::uint32_t skew = 0;
    std::uint32_t held = 1;      // buffers mapped at a time, by each thread
    std::uint32_t hold_us = 0;   // for which each stays mapped, at least
    // Maps, and as many unmaps, of each thread: at least, since all go on until the slowest has them.
    std::uint32_t rounds = 1000;
    std::uint32_t threads = 1;

    static constexpr std::uint32_t most_pages = 1024;  // of a buffer and what is ahead of it
    static constexpr std::uint32_t most_pages_in_all = 4096;
    static constexpr std::uint32_t most_hold_us = 1000;
    static constexpr std::uint32_t most_rounds = 1'000'000;
    static constexpr std::uint32_t most_threads = 64;

    [[nodiscard]] constexpr std::uint64_t block_pages() const { return std::uint64_t{pages} + skew; }
};

// Ranges of single values are the command language's.
constexpr bool valid(const BenchPlan& plan) {
    return plan.block_pages() <= BenchPlan::most_pages &&
           plan.block_pages() * plan.held * plan.threads <= BenchPlan::most_pages_in_all;
}

// Each thread has its own part of it: step() of one thread is called by one caller at a time, all else by one
// caller while nobody is in step().
template <Platform P, Mapper M>
class MapBench {
  public:
    // Both outlive it.
    MapBench(P& platform, M& mapper) : platform_{platform}, mapper_{mapper} {}
    MapBench(const MapBench&) = delete;
    MapBench& operator=(const MapBench&) = delete;

    [[nodiscard]] bool ready() const { return workers_ != nullptr; }
    [[nodiscard]] const BenchPlan& plan() const { return plan_; }

    // Takes the buffers, and maps none yet. provide(Direction, pages) -> Result<Memory> gives pages that adjoin,
    // the first of them a large page's if so many are asked for; it and give_back(Memory, Direction, pages) as
    // CopyLoop's. Errors: invalid_argument, no_memory.
    template <class Provide, class GiveBack>
    Status begin(const BenchPlan& plan, Provide&& provide, GiveBack&& give_back) {
        if (ready() || !valid(plan)) return Error::invalid_argument;
        plan_ = plan;
        const Result<void*> workers = platform_.allocate(plan.threads * sizeof(Worker));
        if (!workers.ok()) return workers.error();
        // Zeroed, and all of it is what it is made of zeros.
        workers_ = static_cast<Worker*>(workers.value());
        for (std::uint32_t i = 0; i < plan_.threads; ++i) {
            if (const Status taken = take_buffers(workers_[i], provide); !taken.ok()) {
                end(give_back);
                return taken;
            }
        }
        for (auto* count : {&absent_, &behind_, &unfinished_}) count->store(plan_.threads, std::memory_order_relaxed);
        return {};
    }

    // Unmaps what an error left mapped, and gives all back. Nothing if nothing has begun.
    template <class GiveBack>
    void end(GiveBack&& give_back) {
        if (!ready()) return;
        for (std::uint32_t i = 0; i < plan_.threads; ++i) give_back_buffers(workers_[i], give_back);
        platform_.free(workers_, plan_.threads * sizeof(Worker));
        workers_ = nullptr;
    }

    // Some pairs of that thread, or none: until all threads have come, and when it is through. True for one caller:
    // it was the last one to be through, and what all have found is together. Any error ends its thread's rounds.
    bool step(std::uint32_t thread) {
        Worker& worker = workers_[thread];
        if (worker.finished) return false;
        if (!worker.present) {
            worker.present = true;
            absent_.fetch_sub(1, std::memory_order_relaxed);
        }
        // So that what is timed is timed while all run, but for the last buffers of each, which are only unmapped.
        if (absent_.load(std::memory_order_relaxed) != 0) return false;
        // So that surroundings look after other things after a number of pages or one wait, not of pairs.
        const bool one = plan_.hold_us != 0 || plan_.pages >= pages_a_step;
        const std::uint32_t turns = one ? 1 : pages_a_step / plan_.pages;
        for (std::uint32_t i = 0; i < turns && !worker.finished; ++i) turn(worker);
        if (!worker.finished || unfinished_.fetch_sub(1, std::memory_order_acq_rel) != 1) return false;
        for (std::uint32_t i = 1; i < plan_.threads; ++i) {
            workers_[0].maps.add(workers_[i].maps);
            workers_[0].unmaps.add(workers_[i].unmaps);
            workers_[0].clock.add(workers_[i].clock);
            if (workers_[0].error == Error::none) workers_[0].error = workers_[i].error;
        }
        // Each run pays for all that it has put off, and for nothing of the one before, a warm-up's for instance.
        if constexpr (requires { mapper_.flush_now(); }) timed_put_off([this] { mapper_.flush_now(); });
        return true;
    }

    // What is done between steps, in the first thread, of what the strategy has put off: until that thread is through.
    template <class Do>
    void time_put_off(Do&& what) {
        if (workers_[0].finished) return what();
        timed_put_off(what);
    }

    [[nodiscard]] bool finished(std::uint32_t thread) const { return workers_[thread].finished; }
    // Behind the last step():
    [[nodiscard]] Error error() const { return workers_[0].error; }
    [[nodiscard]] const TickHistogram& maps() const { return workers_[0].maps; }
    [[nodiscard]] const TickHistogram& unmaps() const { return workers_[0].unmaps; }
    // Of two readings of the clock with nothing between: a share of each of the others.
    [[nodiscard]] const TickHistogram& clock() const { return workers_[0].clock; }
    [[nodiscard]] const TickHistogram& put_off() const { return workers_[0].put_off; }

  private:
    static constexpr std::uint32_t pages_a_step = 64;
    static constexpr Direction direction = Direction::to_device;

    struct Piece {
        Iova iova;
        std::uint32_t length;
    };
    struct Buffer {
        Memory block;  // as it was provided
        Piece* pieces;  // a page at least, each
        std::uint32_t mapped;  // pieces
        std::uint64_t mapped_at_ns;
    };
    struct alignas(64) Worker {
        TickHistogram maps;
        TickHistogram unmaps;
        TickHistogram clock;
        TickHistogram put_off;
        Buffer* buffers;  // as many as are held
        std::uint32_t provided;
        std::uint32_t turn;
        std::uint32_t mapped;  // turns that did
        std::uint32_t oldest;
        bool present;
        bool finished;
        Error error;
    };

    template <class Do>
    void timed_put_off(Do&& what) {
        const std::uint64_t begun = read_ticks();
        what();
        workers_[0].put_off.add(read_ticks() - begun);
    }

    // Books of one thread's buffers, in one piece of memory.
    [[nodiscard]] std::size_t buffers_bytes() const {
        return std::size_t{plan_.held} * (sizeof(Buffer) + plan_.pages * sizeof(Piece));
    }

    template <class Provide>
    Status take_buffers(Worker& worker, Provide&& provide) {
        const Result<void*> books = platform_.allocate(buffers_bytes());
        if (!books.ok()) return books.error();
        worker.buffers = static_cast<Buffer*>(books.value());
        auto* const pieces = reinterpret_cast<Piece*>(worker.buffers + plan_.held);
        for (; worker.provided < plan_.held; ++worker.provided) {
            const Result<Memory> block = provide(direction, plan_.block_pages());
            if (!block.ok()) return block.error();
            worker.buffers[worker.provided] = Buffer{block.value(), pieces + worker.provided * plan_.pages, 0, 0};
        }
        return {};
    }

    template <class GiveBack>
    void give_back_buffers(Worker& worker, GiveBack&& give_back) {
        if (worker.buffers == nullptr) return;
        for (std::uint32_t i = 0; i < worker.provided; ++i) {
            unmap(worker.buffers[i]);
            give_back(worker.buffers[i].block, direction, plan_.block_pages());
        }
        platform_.free(worker.buffers, buffers_bytes());
    }

    // The oldest buffer is unmapped and mapped again; at first and at last it is one of the two.
    void turn(Worker& worker) {
        Buffer& buffer = worker.buffers[worker.oldest];
        if (worker.turn >= plan_.held) {
            if (plan_.hold_us != 0) hold(buffer);
            const std::uint64_t begun = read_ticks();
            unmap(buffer);
            worker.unmaps.add(read_ticks() - begun);
        }
        if (worker.turn < plan_.rounds || behind_.load(std::memory_order_relaxed) != 0) {
            const std::uint64_t begun = read_ticks();
            worker.error = map(buffer).error();
            const std::uint64_t ended = read_ticks();
            worker.clock.add(read_ticks() - ended);
            if (worker.error != Error::none) [[unlikely]] {
                if (worker.turn < plan_.rounds) behind_.fetch_sub(1, std::memory_order_relaxed);
                worker.finished = true;
                return;
            }
            worker.maps.add(ended - begun);
            ++worker.mapped;
            if (plan_.hold_us != 0) buffer.mapped_at_ns = platform_.now_ns();
        }
        worker.oldest = worker.oldest + 1 == plan_.held ? 0 : worker.oldest + 1;
        if (++worker.turn == plan_.rounds) behind_.fetch_sub(1, std::memory_order_relaxed);
        worker.finished = worker.turn == worker.mapped + plan_.held;
    }

    // As a driver does it: in as many pieces as the strategy makes of it.
    Status map(Buffer& buffer) {
        Memory rest = buffer.block + plan_.skew * page_bytes;
        auto left = static_cast<std::uint32_t>(plan_.pages * page_bytes);
        while (left != 0) {
            const std::uint32_t length = mapper_.extent(rest, left, direction);
            const Result<Iova> iova = mapper_.map(rest, length, direction);
            if (!iova.ok()) [[unlikely]]
                return iova.error();
            buffer.pieces[buffer.mapped++] = Piece{iova.value(), length};
            rest = rest + length;
            left -= length;
        }
        return {};
    }

    void unmap(Buffer& buffer) {
        for (std::uint32_t i = 0; i < buffer.mapped; ++i)
            mapper_.unmap(buffer.pieces[i].iova, buffer.pieces[i].length, direction, 0);
        buffer.mapped = 0;
    }

    void hold(const Buffer& buffer) {
        const std::uint64_t held_us = (platform_.now_ns() - buffer.mapped_at_ns) / 1000;
        if (held_us < plan_.hold_us) platform_.delay_us(plan_.hold_us - static_cast<std::uint32_t>(held_us));
    }

    P& platform_;
    M& mapper_;
    BenchPlan plan_{};
    Worker* workers_ = nullptr;
    // Threads that have not come yet, that have fewer rounds than they are to have, and that are not through.
    std::atomic<std::uint32_t> absent_{0};
    std::atomic<std::uint32_t> behind_{0};
    std::atomic<std::uint32_t> unfinished_{0};
};

}  // namespace dmatoll::dma
