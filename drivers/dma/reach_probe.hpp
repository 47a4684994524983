// SPDX-License-Identifier: BSD-2-Clause
// What a device reaches of its driver's own memory, tried: while two buffers are mapped, what it has no
// business with on their pages, and when their owner has taken them back, the buffers themselves, again and
// again until it fails.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "../core/address.hpp"
#include "../core/mapper.hpp"
#include "../core/platform.hpp"
#include "../core/result.hpp"
#include "../core/word.hpp"
#include "copy_engine.hpp"
#include "stray_access.hpp"

namespace dmatoll::dma {

struct ReachPlan {
    std::uint32_t rounds = 8;        // of each access
    std::uint32_t patience_ms = 50;  // with a buffer that stays within reach

    static constexpr std::uint32_t most_rounds = 1000;
    static constexpr std::uint32_t most_patience_ms = 10'000;
};

enum class Reach : std::uint8_t {
    neighbour_write,  // behind the end of a buffer that the device may write, on its page
    neighbour_read,   // behind the end of one that it may read
    backward_write,   // into a buffer that the device is to read
    backward_read,    // from a buffer that the device is to write: what its owner had left there
    stale_write,      // into a buffer that was unmapped
    stale_read,       // from one: what its owner keeps there since
};
// Of the accesses of one kind.
struct Reached {
    std::uint64_t accesses = 0;
    std::uint64_t reached = 0;
    std::uint64_t restarts = 0;  // of the device, by accesses that it did not end
    // Of stale ones, from when the owner had the buffer back until the access was begun:
    std::uint64_t longest_ns = 0;  // of those that reached it
    std::uint64_t refused_ns = 0;  // the longest of those that were the first in their round not to
    std::uint64_t open = 0;        // rounds that ended by patience, with the buffer still within reach
};

// Under which names it is told.
struct ReachName {
    const char* reached;
    const char* accesses;
    const char* restarts;
    // nullptr: it has none
    const char* longest_ns = nullptr;
    const char* refused_ns = nullptr;
    const char* open = nullptr;
};
inline constexpr std::array<ReachName, 6> reach_names{{
    {"neighbour_write", "neighbour_write_accesses", "neighbour_write_restarts"},
    {"neighbour_read", "neighbour_read_accesses", "neighbour_read_restarts"},
    {"backward_write", "backward_write_accesses", "backward_write_restarts"},
    {"backward_read", "backward_read_accesses", "backward_read_restarts"},
    {"stale_write", "stale_write_accesses", "stale_write_restarts", "stale_write_longest_ns", "stale_write_refused_ns",
     "stale_write_open"},
    {"stale_read", "stale_read_accesses", "stale_read_restarts", "stale_read_longest_ns", "stale_read_refused_ns",
     "stale_read_open"},
}};

// One caller at a time.
template <Platform P, Mapper M, CopyEngine E>
class ReachProbe {
  public:
    // All outlive the probe.
    ReachProbe(P& platform, M& mapper, E& engine, StrayAccess<E>& stray)
        : platform_{platform}, mapper_{mapper}, engine_{engine}, stray_{stray} {}
    ReachProbe(const ReachProbe&) = delete;
    ReachProbe& operator=(const ReachProbe&) = delete;

    [[nodiscard]] bool ready() const { return ready_; }
    [[nodiscard]] bool finished() const { return round_ == 2 * plan_.rounds; }
    [[nodiscard]] const Reached& found(Reach what) const { return found_[static_cast<std::size_t>(what)]; }

    // Takes two buffers; maps none yet. provide, give_back and errors: as CopyLoop's.
    template <class Provide, class GiveBack>
    Status begin(const ReachPlan& plan, Provide&& provide, GiveBack&& give_back) {
        if (ready_) return Error::invalid_argument;
        const Result<Memory> source = provide(Direction::to_device);
        if (!source.ok()) return source.error();
        const Result<Memory> destination = provide(Direction::from_device);
        if (!destination.ok()) {
            give_back(source.value(), Direction::to_device);
            return destination.error();
        }
        source_ = buffer(source.value());
        destination_ = buffer(destination.value());
        plan_ = plan;
        found_ = {};
        round_ = 0;
        stale_ = false;
        ready_ = true;
        return {};
    }

    template <class GiveBack>
    void end(GiveBack&& give_back) {
        if (!ready_) return;
        give_back(source_.memory, Direction::to_device);
        give_back(destination_.memory, Direction::from_device);
        ready_ = false;
    }

    // One use of the buffers, or one stale access. What the surroundings do between two rounds of a loop they
    // do here as well: what a strategy puts off comes when it would. Nothing is mapped when it returns. Errors:
    // the Mapper's, StrayAccess's, and timed_out (the device does not reach what is mapped for it).
    template <class Restart>
    Status step(Restart&& restart) {
        return stale_ ? access_stale(restart) : use(restart);
    }

  private:
    static constexpr std::uint32_t neighbour_offset = page_bytes / 2;
    static_assert(E::least_copy_bytes <= neighbour_offset);

    struct Buffer {
        Memory memory{};
        std::byte* bytes = nullptr;
        Iova iova{};
    };
    Buffer buffer(Memory memory) const {
        return Buffer{memory, static_cast<std::byte*>(platform_.cpu_address(memory)), {}};
    }

    // An access was made. What it reached may be known later.
    void count_access(Reach what, bool ended) {
        Reached& found = found_[static_cast<std::size_t>(what)];
        ++found.accesses;
        if (!ended) ++found.restarts;
    }
    void count_reached(Reach what, bool reached) {
        if (reached) ++found_[static_cast<std::size_t>(what)].reached;
    }

    // Words that lie, or may have come to lie, in the buffers during one use.
    struct Words {
        std::uint64_t stamp;      // what is copied from source to destination
        std::uint64_t left;       // by the owner in the destination, when he gives it to the device
        std::uint64_t neighbour;  // behind the end of the source
        std::uint64_t written_behind = 0;
        std::uint64_t written_backward = 0;
    };

    template <class Restart>
    Status use(Restart&& restart) {
        Words words{.stamp = stray_.next_word(), .left = stray_.next_word(), .neighbour = stray_.next_word()};
        store_word(source_.bytes, words.stamp);
        store_word(source_.bytes + neighbour_offset, words.neighbour);
        store_word(destination_.bytes, words.left);
        if (const Status mapped = map(); !mapped.ok()) return mapped;
        const Status tried = trespass(words, restart);
        mapper_.unmap(source_.iova, E::least_copy_bytes, Direction::to_device, 0);
        mapper_.unmap(destination_.iova, E::least_copy_bytes, Direction::from_device, E::least_copy_bytes);
        returned_ns_ = platform_.now_ns();
        if (!tried.ok()) return tried;
        if (load_word(destination_.bytes) != words.stamp) return Error::timed_out;
        count_reached(Reach::neighbour_write, load_word(destination_.bytes + neighbour_offset) == words.written_behind);
        count_reached(Reach::backward_write, load_word(source_.bytes) == words.written_backward);
        // What the owner keeps there from now on is his.
        secret_ = stray_.next_word();
        store_word(source_.bytes, secret_);
        stale_ = true;
        return {};
    }

    Status map() {
        const Result<Iova> source = mapper_.map(source_.memory, E::least_copy_bytes, Direction::to_device);
        if (!source.ok()) return source.error();
        const Result<Iova> destination =
            mapper_.map(destination_.memory, E::least_copy_bytes, Direction::from_device);
        if (!destination.ok()) {
            mapper_.unmap(source.value(), E::least_copy_bytes, Direction::to_device, 0);
            return destination.error();
        }
        source_.iova = source.value();
        destination_.iova = destination.value();
        return {};
    }

    // What the buffers are mapped for, so that their translations are cached, between accesses that they are
    // not mapped for.
    template <class Restart>
    Status trespass(Words& words, Restart&& restart) {
        const auto left = stray_.read(destination_.iova, restart);
        if (!left.ok()) return left.error();
        count_access(Reach::backward_read, left.value().ended);
        count_reached(Reach::backward_read, left.value().first == words.left);
        if (const Status copied = engine_.copy_and_wait(source_.iova, destination_.iova, E::least_copy_bytes);
            !copied.ok()) {
            static_cast<void>(restart());
            return copied;
        }
        const auto neighbour = stray_.read(source_.iova + neighbour_offset, restart);
        if (!neighbour.ok()) return neighbour.error();
        count_access(Reach::neighbour_read, neighbour.value().ended);
        count_reached(Reach::neighbour_read, neighbour.value().first == words.neighbour);
        const auto behind = stray_.write(destination_.iova + neighbour_offset, restart);
        if (!behind.ok()) return behind.error();
        count_access(Reach::neighbour_write, behind.value().ended);
        words.written_behind = behind.value().word;
        const auto backward = stray_.write(source_.iova, restart);
        if (!backward.ok()) return backward.error();
        count_access(Reach::backward_write, backward.value().ended);
        words.written_backward = backward.value().word;
        return {};
    }

    // Writes in one round, reads in the next.
    template <class Restart>
    Status access_stale(Restart&& restart) {
        const Reach what = round_ % 2 == 0 ? Reach::stale_write : Reach::stale_read;
        bool reached = false;
        if (what == Reach::stale_write) {
            const auto written = stray_.write(destination_.iova, restart);
            if (!written.ok()) return written.error();
            count_access(what, written.value().ended);
            reached = load_word(destination_.bytes) == written.value().word;
        } else {
            const auto read = stray_.read(source_.iova, restart);
            if (!read.ok()) return read.error();
            count_access(what, read.value().ended);
            reached = read.value().first == secret_;
        }
        count_reached(what, reached);
        const std::uint64_t since_ns = engine_.began_ns() - returned_ns_;
        Reached& found = found_[static_cast<std::size_t>(what)];
        if (reached) {
            if (since_ns > found.longest_ns) found.longest_ns = since_ns;
            if (since_ns < std::uint64_t{plan_.patience_ms} * 1'000'000) return {};
            ++found.open;
        } else if (since_ns > found.refused_ns) {
            found.refused_ns = since_ns;
        }
        stale_ = false;
        ++round_;
        return {};
    }

    P& platform_;
    M& mapper_;
    E& engine_;
    StrayAccess<E>& stray_;
    ReachPlan plan_{};
    bool ready_ = false;
    bool stale_ = false;  // the buffers have been used and unmapped
    std::uint32_t round_ = 0;
    Buffer source_{};
    Buffer destination_{};
    std::uint64_t returned_ns_ = 0;  // when the owner had them back
    std::uint64_t secret_ = 0;       // that he put into the source then
    std::array<Reached, reach_names.size()> found_{};
};

}  // namespace dmatoll::dma
