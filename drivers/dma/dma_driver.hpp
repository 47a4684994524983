// SPDX-License-Identifier: BSD-2-Clause
// The driver of a device that copies memory: the engine, its load, stray accesses and what mapping takes, as commands.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

#include "../core/address.hpp"
#include "../core/copy.hpp"
#include "../core/counters.hpp"
#include "../core/mapper.hpp"
#include "../core/platform.hpp"
#include "../core/result.hpp"
#include "../core/tick_histogram.hpp"
#include "../core/ticks.hpp"
#include "bench_names.hpp"
#include "copy_engine.hpp"
#include "copy_loop.hpp"
#include "dma_command.hpp"
#include "map_bench.hpp"
#include "part_bench.hpp"
#include "reach_probe.hpp"
#include "stray_access.hpp"

namespace dmatoll::dma {

// What came of a command: names, and words or numbers.
struct DmaAnswer {
    DmaAnswer() = default;
    DmaAnswer(const DmaAnswer&) = delete;  // a line may point at `blamed`
    DmaAnswer& operator=(const DmaAnswer&) = delete;

    struct Line {
        const char* name;
        const char* word;  // nullptr: it is the number
        std::uint64_t number;
    };
    // Three of any run, and five for an access of `reach`, or one for a counter, or a summary for each part of a
    // mapping, or three and the counters.
    static constexpr std::uint32_t most_lines =
        4 + static_cast<std::uint32_t>(summary_fields.size()) * static_cast<std::uint32_t>(works);
    static_assert(3 + 6 * reach_names.size() <= most_lines);
    static_assert(4 + 4 * summary_fields.size() + dma_counter_names.size() <= most_lines);

    std::array<Line, most_lines> lines{};
    std::uint32_t count = 0;

    // Of an `error`: the word of the command that is wrong, if it is one; it ends with a zero.
    std::array<char, 48> blamed{};

    void say(const char* name, const char* word) { add({name, word, 0}); }
    void say(const char* name, std::uint64_t number) { add({name, nullptr, number}); }
    // Nothing but that.
    void refuse(const char* why, std::span<const char> word) {
        count = 0;
        say("error", why);
        const std::size_t length = word.size() < blamed.size() - 1 ? word.size() : blamed.size() - 1;
        for (std::size_t i = 0; i < length; ++i) blamed[i] = word[i];
        blamed[length] = '\0';
        if (length != 0) say("word", blamed.data());
    }

  private:
    void add(const Line& line) {
        if (count < most_lines) lines[count++] = line;
    }
};

// execute(), refresh(), start() and stop() belong to one caller at a time; step() of each thread to one that runs
// between `run` and its end. running(), counters() and mapping_counters() may be called from anywhere.
template <Platform P, Mapper M, CopyEngine E>
class DmaDriver {
  public:
    // All outlive the driver. Touches nothing. `device`: what the engine is told of it.
    template <class Device>
    DmaDriver(P& platform, M& mapper, const Device& device)
        : platform_{platform},
          mapper_{mapper},
          engine_{platform, device},
          stray_{engine_},
          loop_{platform, mapper, engine_},
          reach_{platform, mapper, engine_, stray_},
          bench_{platform, mapper},
          parts_{platform} {}
    DmaDriver(const DmaDriver&) = delete;
    DmaDriver& operator=(const DmaDriver&) = delete;

    // As the engine's.
    Status probe() { return engine_.probe(); }
    Status start() { return engine_.start(); }

    // Nobody calls step() any more. Whatever was begun is ended; the device does no DMA after the return. May
    // follow any outcome of start(), and be called twice.
    template <class GiveBack>
    void stop(GiveBack&& give_back) {
        running_.store(false, std::memory_order_relaxed);
        loop_.stop(give_back);
        end_other(give_back);
    }

    // Something has been told to run and is not through: step() is to be called.
    [[nodiscard]] bool running() const { return running_.load(std::memory_order_acquire); }
    // By so many threads, 0 to threads() - 1.
    [[nodiscard]] std::uint32_t threads() const { return bench_.ready() ? bench_.plan().threads : 1; }

    // What step() does takes long, compared with a round of copies or of maps: a stray access may hang the device, and
    // buffers that stay mapped for a time are waited for.
    [[nodiscard]] bool is_slow() const {
        return reach_.ready() || (bench_.ready() && bench_.plan().hold_us != 0);
    }

    // One round. After the last one, or an error, it does not run any more; the error stands in the answer to
    // `result`.
    void step(std::uint32_t thread = 0) {
        if (other_) [[unlikely]]
            return step_other(thread);
        const Status stepped = loop_.step();
        if (stepped.ok() && !loop_.finished()) [[likely]]
            return;
        end_run(stepped.error());
    }

    // For surroundings that look between steps whether it is time for what the strategy has put off: no map and no unmap
    // that a benchmark times holds it. In the thread that calls step(0).
    template <class Do>
    void do_put_off(Do&& what) {
        if (!bench_.ready()) [[likely]]
            return what();
        bench_.time_put_off(what);
    }

    // Follows one line; what came of it, or why nothing did (a line `error`), is the answer. While something
    // runs only `result`, and `end` when step() is not called any more. provide and give_back: as CopyLoop's.
    // Errors: invalid_argument (the line), ring_full (the loop runs), device_gone (behind stop()), those of
    // CopyLoop::begin(), and of a device that cannot be started again.
    template <class Provide, class GiveBack>
    Status execute(std::span<const char> line, DmaAnswer& answer, Provide&& provide, GiveBack&& give_back) {
        answer.count = 0;
        answers_run_ = false;
        DmaCommand command{};
        if (const DmaComplaint complaint = parse_dma_command(line, command); complaint.what != nullptr) {
            answer.refuse(complaint.what, complaint.word);
            return Error::invalid_argument;
        }
        if (running() && command.verb != DmaVerb::result && command.verb != DmaVerb::end)
            return refuse(answer, Error::ring_full, "copies are being made: `end` ends that");
        if (!engine_.is_on() && command.verb != DmaVerb::result)
            return refuse(answer, Error::device_gone, "the device has been stopped");
        if (other_ && command.verb != DmaVerb::result && command.verb != DmaVerb::end)
            return refuse(answer, Error::invalid_argument, "buffers are probed or measured: `end` ends that");
        switch (command.verb) {
            case DmaVerb::begin:
                if (loop_.ready())
                    return refuse(answer, Error::invalid_argument, "it has begun already: `end` comes first");
                if (const Status begun = loop_.begin(command.plan(), provide, give_back); !begun.ok())
                    return refuse(answer, begun.error(),
                                  begun.error() == Error::not_supported
                                      ? "the device does not copy that many bytes at a time"
                                      : describe(begun.error()));
                begin_run();
                break;
            case DmaVerb::run:
                if (!loop_.ready()) return refuse_unbegun(answer);
                loop_.aim_at(command.value(DmaKey::copies));
                begin_run();
                running_.store(true, std::memory_order_release);
                answers_run_ = true;
                break;
            case DmaVerb::reach:
            case DmaVerb::bench:
            case DmaVerb::bench_parts:
                if (loop_.ready())
                    return refuse(answer, Error::invalid_argument, "it has begun already: `end` comes first");
                if (const Status begun = begin_other(command, answer, provide, give_back); !begun.ok()) return begun;
                begin_run();
                running_.store(true, std::memory_order_release);
                answers_run_ = true;
                break;
            case DmaVerb::end:
                if (other_) {
                    if (running()) end_run(Error::none);
                    report(answer);
                    end_other(give_back);
                    return {};
                }
                if (!loop_.ready()) return refuse_unbegun(answer);
                if (running()) {
                    loop_.drain();
                    end_run(Error::none);
                }
                loop_.end(give_back);
                break;
            case DmaVerb::look:
                return look(command, answer);
            case DmaVerb::stray_read:
            case DmaVerb::stray_write:
                return stray(command, answer);
            case DmaVerb::result:
                break;
        }
        report(answer);
        return {};
    }

    // What began a run is answered by how far that has come; any other answer stays.
    void refresh(DmaAnswer& answer) const {
        if (!answers_run_) return;
        answer.count = 0;
        report(answer);
    }

    [[nodiscard]] DmaCounters counters() const { return loop_.counters(); }
    [[nodiscard]] MappingCounters mapping_counters() const { return mapper_.counters(); }

  private:
    using Loop = CopyLoop<P, M, E>;

    void begin_run() {
        failure_ = Error::none;
        began_ns_ = ended_ns_ = platform_.now_ns();
        began_ticks_ = ended_ticks_ = read_ticks();
        before_ = loop_.counters();
        mapping_before_ = mapper_.counters();
    }

    void end_run(Error failure) {
        failure_ = failure;
        ended_ns_ = platform_.now_ns();
        ended_ticks_ = read_ticks();
        running_.store(false, std::memory_order_release);
    }

    template <class Provide, class GiveBack>
    Status begin_other(const DmaCommand& command, DmaAnswer& answer, Provide&& provide, GiveBack&& give_back) {
        Status begun;
        if (command.verb == DmaVerb::reach) {
            begun = reach_.begin(command.reach_plan(), provide, give_back);
        } else if (command.verb == DmaVerb::bench) {
            if (!CpuPlatform<P> && command.bench_plan().threads != 1)
                return refuse(answer, Error::not_supported, "this driver has one thread");
            begun = bench_.begin(command.bench_plan(), provide, give_back);
        } else {
            if (platform_.domain() == nullptr)
                return refuse(answer, Error::not_supported,
                              "there is no domain of our own: nobody tells what Linux's DMA API does inside");
            begun = parts_.begin(command.bench_plan(), provide, give_back);
        }
        other_ = begun.ok();
        return begun.ok() ? begun : refuse(answer, begun.error(), describe(begun.error()));
    }

    template <class GiveBack>
    void end_other(GiveBack&& give_back) {
        reach_.end(give_back);
        bench_.end(give_back);
        parts_.end(give_back);
        other_ = false;
    }

    [[gnu::noinline, gnu::cold]] void step_other(std::uint32_t thread) {
        if (bench_.ready()) {
            if (bench_.step(thread)) end_run(bench_.error());
        } else if (parts_.ready()) {
            const Status stepped = parts_.step();
            if (!stepped.ok() || parts_.finished()) end_run(stepped.error());
        } else {
            const Status stepped = reach_.step([this] { return loop_.restart(); });
            if (!stepped.ok() || reach_.finished()) end_run(stepped.error());
        }
    }

    // Of the last run, as far as it has come.
    void report(DmaAnswer& answer) const {
        const bool runs = running();
        answer.say("state", runs ? "running" : loop_.ready() || other_ ? "ready" : "idle");
        if (failure_ != Error::none && !runs) answer.say("failure", describe(failure_));
        answer.say("nanoseconds", (runs ? platform_.now_ns() : ended_ns_) - began_ns_);
        if (other_) {
            // Until then they are step()'s.
            if (!runs) report_other(answer);
            if (!bench_.ready()) return;
        }
        const DmaCounters now = loop_.counters();
        const MappingCounters mapping = mapper_.counters();
        for (const auto& name : dma_counter_names)
            answer.say(name.name, counter(name, now, mapping) - counter(name, before_, mapping_before_));
    }

    void report_other(DmaAnswer& answer) const {
        if (reach_.ready()) return report_reach(answer);
        answer.say("ticks", ended_ticks_ - began_ticks_);
        if (bench_.ready()) {
            say_summary(answer, map_names, bench_.maps());
            say_summary(answer, unmap_names, bench_.unmaps());
            say_summary(answer, clock_names, bench_.clock());
            if (bench_.put_off().count() != 0) say_summary(answer, put_off_names, bench_.put_off());
            return;
        }
        for (std::size_t i = 0; i < works; ++i) {
            const TickHistogram& found = parts_.found(static_cast<Work>(i));
            if (found.count() != 0) say_summary(answer, part_summary_names[i], found);
        }
    }

    static void say_summary(DmaAnswer& answer, const SummaryNames& names, const TickHistogram& ticks) {
        const TickHistogram::Summary summary = ticks.summary();
        for (std::size_t field = 0; field < summary_fields.size(); ++field)
            answer.say(names.of(field), summary.*summary_fields[field].value);
    }

    void report_reach(DmaAnswer& answer) const {
        for (std::size_t i = 0; i < reach_names.size(); ++i) {
            const ReachName& name = reach_names[i];
            const Reached& found = reach_.found(static_cast<Reach>(i));
            answer.say(name.accesses, found.accesses);
            answer.say(name.reached, found.reached);
            answer.say(name.restarts, found.restarts);
            if (name.open == nullptr) continue;
            answer.say(name.longest_ns, found.longest_ns);
            answer.say(name.refused_ns, found.refused_ns);
            answer.say(name.open, found.open);
        }
    }

    static Status refuse(DmaAnswer& answer, Error error, const char* why) {
        answer.refuse(why, {});
        return error;
    }
    static Status refuse_unbegun(DmaAnswer& answer) {
        return refuse(answer, Error::invalid_argument, "nothing has begun: `begin` comes first");
    }

    Status look(const DmaCommand& command, DmaAnswer& answer) const {
        const auto pair = static_cast<std::uint32_t>(command.value(DmaKey::pair));
        if (pair >= loop_.pairs())
            return refuse(answer, Error::invalid_argument, "there is no such pair of buffers");
        const typename Loop::Place place = loop_.place(pair);
        answer.say("pair", pair);
        answer.say("source_iova", place.source.value);
        answer.say("destination_iova", place.destination.value);
        answer.say("mapped", place.mapped ? 1 : 0);
        return {};
    }

    Status stray(const DmaCommand& command, DmaAnswer& answer) {
        const Iova iova{command.value(DmaKey::iova)};
        if (offset_in_page(iova.value) + E::least_copy_bytes > page_bytes)
            return refuse(answer, Error::invalid_argument,
                          "what the device accesses at a time must lie within one page: this does not");
        if (engine_.is_own(iova))
            return refuse(answer, Error::invalid_argument, "the engine itself works by the pages there");
        const Status made =
            command.verb == DmaVerb::stray_read ? stray_read(iova, answer) : stray_write(iova, command.value(DmaKey::word), answer);
        return made.ok() ? made : refuse(answer, made.error(), describe(made.error()));
    }

    // Memory that holds zeros is not told apart from a refused read: who wants to know has something else lie
    // there.
    Status stray_read(Iova iova, DmaAnswer& answer) {
        const auto read = stray_.read(iova, [this] { return loop_.restart(); });
        if (!read.ok()) return read.error();
        if (!read.value().ended) answer.say("restarted", 1);
        using Content = typename StrayAccess<E>::Content;
        const Content content = read.value().content;
        answer.say("reached", content == Content::data ? 1 : 0);
        answer.say("content", content == Content::zeros     ? "zeros"
                              : content == Content::stale   ? "stale"
                              : content == Content::nothing ? "nothing"
                                                            : "data");
        answer.say("first", read.value().first);
        return {};
    }

    // The word is looked for in all buffers: elsewhere the driver sees nothing, and who asks has to look.
    Status stray_write(Iova iova, std::uint64_t word, DmaAnswer& answer) {
        const auto written =
            stray_.write(iova, word != 0 ? word : stray_.next_word(), [this] { return loop_.restart(); });
        if (!written.ok()) return written.error();
        if (!written.value().ended) answer.say("restarted", 1);
        const typename Loop::Found found = loop_.find(written.value().word, offset_in_page(iova.value));
        answer.say("mark", written.value().word);
        answer.say("found", found.buffer == Loop::Buffer::source        ? "source"
                            : found.buffer == Loop::Buffer::destination ? "destination"
                                                                        : "nowhere");
        if (found.buffer != Loop::Buffer::none) answer.say("pair", found.pair);
        return {};
    }

    P& platform_;
    M& mapper_;
    E engine_;
    StrayAccess<E> stray_;
    Loop loop_;
    ReachProbe<P, M, E> reach_;
    MapBench<P, M> bench_;
    PartBench<P> parts_;
    bool other_ = false;  // one of these three has begun
    std::atomic<bool> running_{false};
    bool answers_run_ = false;  // the last line was one that began a run
    Error failure_ = Error::none;
    std::uint64_t began_ns_ = 0;
    std::uint64_t ended_ns_ = 0;
    std::uint64_t began_ticks_ = 0;
    std::uint64_t ended_ticks_ = 0;
    DmaCounters before_{};
    MappingCounters mapping_before_{};
};

}  // namespace dmatoll::dma
