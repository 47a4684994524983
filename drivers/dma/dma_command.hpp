// SPDX-License-Identifier: BSD-2-Clause
// The language in which the engine is told what to do, the same in both placements: a verb, then name=value
// with whole numbers, decimal or behind 0x. What a verb takes is one table; another verb is its lines in it. How many bytes
// a device copies at a time is its own: without `bytes` as many as it usually does.
//
//     begin bytes=... working_set=64 batch=16 lifetime=1 rest=0
//     run copies=0          until `end` or another number is reached; 0: until `end`
//     result                what the last run has come to, or comes to
//     look pair=0           where a pair of buffers is mapped, or was last
//     stray_read iova=...   the device reads there, whatever is there
//     stray_write iova=... word=0
//                           the device writes there: that word and zeros; 0: a word that nobody else has
//     reach rounds=8 patience_ms=50
//                           what the device reaches of the driver's own buffers, tried until `result` says ready
//     bench pages=1 skew=0 held=1 hold_us=0 rounds=1000 threads=1
//                           buffers are mapped and unmapped, and the device does nothing: what each of the two takes,
//                           by the time stamp counter, until `result` says ready
//     bench_parts pages=1 skew=0 rounds=1000
//                           the same, part by part, on a domain of our own
//     end
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "../core/address.hpp"
#include "copy_loop.hpp"
#include "map_bench.hpp"
#include "reach_probe.hpp"

namespace dmatoll::dma {

enum class DmaVerb : std::uint8_t { begin, run, result, look, stray_read, stray_write, reach, bench, bench_parts, end };

enum class DmaKey : std::uint8_t {
    bytes,
    working_set,
    batch,
    lifetime,
    rest,
    copies,
    pair,
    iova,
    rounds,
    patience_ms,
    pages,
    skew,
    held,
    hold_us,
    threads,
    word
};
inline constexpr std::size_t dma_keys = 16;

struct DmaParameter {
    DmaVerb verb;
    DmaKey key;
    std::uint64_t least;
    std::uint64_t most;
    std::uint64_t usual;  // with needed: none
    bool needed;
};

inline constexpr std::uint64_t most_count = ~std::uint32_t{0};

inline constexpr std::array dma_parameters{
    DmaParameter{DmaVerb::begin, DmaKey::bytes, CopyPlan::least_bytes, page_bytes, CopyPlan{}.bytes, false},
    DmaParameter{DmaVerb::begin, DmaKey::working_set, 1, CopyPlan::most_pairs, CopyPlan{}.working_set, false},
    DmaParameter{DmaVerb::begin, DmaKey::batch, 1, CopyPlan::most_batch, CopyPlan{}.batch, false},
    DmaParameter{DmaVerb::begin, DmaKey::lifetime, 0, most_count, CopyPlan{}.lifetime, false},
    DmaParameter{DmaVerb::begin, DmaKey::rest, 0, most_count, CopyPlan{}.rest, false},
    DmaParameter{DmaVerb::run, DmaKey::copies, 0, ~std::uint64_t{0}, 0, false},
    DmaParameter{DmaVerb::look, DmaKey::pair, 0, CopyPlan::most_pairs - 1, 0, true},
    // A buffer at IOVA 0 is none for an emulated part, which leaves it out: that nothing comes there shows
    // nothing.
    DmaParameter{DmaVerb::stray_read, DmaKey::iova, 1, ~std::uint64_t{0}, 0, true},
    DmaParameter{DmaVerb::stray_write, DmaKey::iova, 1, ~std::uint64_t{0}, 0, true},
    DmaParameter{DmaVerb::stray_write, DmaKey::word, 0, ~std::uint64_t{0}, 0, false},
    DmaParameter{DmaVerb::reach, DmaKey::rounds, 1, ReachPlan::most_rounds, ReachPlan{}.rounds, false},
    DmaParameter{DmaVerb::reach, DmaKey::patience_ms, 0, ReachPlan::most_patience_ms, ReachPlan{}.patience_ms,
                 false},
    DmaParameter{DmaVerb::bench, DmaKey::pages, 1, BenchPlan::most_pages, BenchPlan{}.pages, false},
    DmaParameter{DmaVerb::bench, DmaKey::skew, 0, 1, BenchPlan{}.skew, false},
    DmaParameter{DmaVerb::bench, DmaKey::held, 1, BenchPlan::most_pages_in_all, BenchPlan{}.held, false},
    DmaParameter{DmaVerb::bench, DmaKey::hold_us, 0, BenchPlan::most_hold_us, BenchPlan{}.hold_us, false},
    DmaParameter{DmaVerb::bench, DmaKey::rounds, 1, BenchPlan::most_rounds, BenchPlan{}.rounds, false},
    DmaParameter{DmaVerb::bench, DmaKey::threads, 1, BenchPlan::most_threads, BenchPlan{}.threads, false},
    DmaParameter{DmaVerb::bench_parts, DmaKey::pages, 1, BenchPlan::most_pages, BenchPlan{}.pages, false},
    DmaParameter{DmaVerb::bench_parts, DmaKey::skew, 0, 1, BenchPlan{}.skew, false},
    DmaParameter{DmaVerb::bench_parts, DmaKey::rounds, 1, BenchPlan::most_rounds, BenchPlan{}.rounds, false},
};

struct DmaCommand {
    DmaVerb verb = DmaVerb::result;
    std::array<std::uint64_t, dma_keys> values{};

    [[nodiscard]] constexpr std::uint64_t value(DmaKey key) const {
        return values[static_cast<std::size_t>(key)];
    }
    [[nodiscard]] constexpr CopyPlan plan() const {
        return CopyPlan{.bytes = number(DmaKey::bytes),
                        .working_set = number(DmaKey::working_set),
                        .batch = number(DmaKey::batch),
                        .lifetime = number(DmaKey::lifetime),
                        .rest = number(DmaKey::rest)};
    }
    [[nodiscard]] constexpr ReachPlan reach_plan() const {
        return ReachPlan{.rounds = number(DmaKey::rounds), .patience_ms = number(DmaKey::patience_ms)};
    }
    // What bench_parts does not take is as little as there can be.
    [[nodiscard]] constexpr BenchPlan bench_plan() const {
        BenchPlan plan{.pages = number(DmaKey::pages), .skew = number(DmaKey::skew), .rounds = number(DmaKey::rounds)};
        if (verb == DmaVerb::bench_parts) return plan;
        plan.held = number(DmaKey::held);
        plan.hold_us = number(DmaKey::hold_us);
        plan.threads = number(DmaKey::threads);
        return plan;
    }

  private:
    [[nodiscard]] constexpr std::uint32_t number(DmaKey key) const {
        return static_cast<std::uint32_t>(value(key));
    }
};

// What is wrong with a command, and with which of its words.
struct DmaComplaint {
    const char* what = nullptr;  // nullptr: nothing
    std::span<const char> word{};
};

namespace detail {

inline constexpr std::array<const char*, 10> verb_names{
    "begin", "run", "result", "look", "stray_read", "stray_write", "reach", "bench", "bench_parts", "end"};
inline constexpr std::array<const char*, dma_keys> key_names{"bytes",  "working_set", "batch", "lifetime", "rest",
                                                             "copies", "pair",        "iova",  "rounds",   "patience_ms",
                                                             "pages",  "skew",        "held",  "hold_us",  "threads",
                                                             "word"};

constexpr bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\n'; }

constexpr bool equal(std::span<const char> word, const char* name) {
    for (const char c : word) {
        if (*name == '\0' || *name++ != c) return false;
    }
    return *name == '\0';
}

// The first word of `text`, which loses it.
constexpr std::span<const char> take_word(std::span<const char>& text) {
    std::size_t begin = 0;
    while (begin < text.size() && is_blank(text[begin])) ++begin;
    std::size_t end = begin;
    while (end < text.size() && !is_blank(text[end])) ++end;
    const std::span<const char> word = text.subspan(begin, end - begin);
    text = text.subspan(end);
    return word;
}

constexpr bool parse_number(std::span<const char> digits, std::uint64_t& number) {
    std::uint64_t base = 10;
    if (digits.size() > 2 && digits[0] == '0' && digits[1] == 'x') {
        base = 16;
        digits = digits.subspan(2);
    }
    if (digits.empty()) return false;
    number = 0;
    for (const char c : digits) {
        std::uint64_t digit = base;
        if (c >= '0' && c <= '9') digit = static_cast<std::uint64_t>(c - '0');
        if (c >= 'a' && c <= 'f') digit = static_cast<std::uint64_t>(c - 'a') + 10;
        if (digit >= base || number > (~std::uint64_t{0} - digit) / base) return false;
        number = number * base + digit;
    }
    return true;
}

constexpr const DmaParameter* parameter_of(DmaVerb verb, std::span<const char> name) {
    for (const DmaParameter& parameter : dma_parameters) {
        if (parameter.verb == verb && equal(name, key_names[static_cast<std::size_t>(parameter.key)]))
            return &parameter;
    }
    return nullptr;
}

}  // namespace detail

// `command` is filled in only if there is no complaint. Ranges of single values are checked here, and what
// they are together.
constexpr DmaComplaint parse_dma_command(std::span<const char> text, DmaCommand& command) {
    DmaCommand parsed{};
    const std::span<const char> verb = detail::take_word(text);
    std::size_t number = 0;
    while (number < detail::verb_names.size() && !detail::equal(verb, detail::verb_names[number])) ++number;
    if (number == detail::verb_names.size()) {
        return {"there are begin, run, result, look, stray_read, stray_write, reach, bench, bench_parts and end, not", verb};
    }
    parsed.verb = static_cast<DmaVerb>(number);
    std::array<bool, dma_keys> given{};
    for (std::span<const char> word = detail::take_word(text); !word.empty();
         word = detail::take_word(text)) {
        std::size_t equals = 0;
        while (equals < word.size() && word[equals] != '=') ++equals;
        if (equals == word.size()) return {"name=value was expected, not", word};
        const DmaParameter* const parameter = detail::parameter_of(parsed.verb, word.first(equals));
        if (parameter == nullptr) return {"this command has no such parameter:", word};
        const auto key = static_cast<std::size_t>(parameter->key);
        if (given[key]) return {"this parameter is there twice:", word};
        given[key] = true;
        std::uint64_t value = 0;
        if (!detail::parse_number(word.subspan(equals + 1), value))
            return {"a whole number was expected, not", word};
        if (value < parameter->least || value > parameter->most) return {"out of range:", word};
        parsed.values[key] = value;
    }
    for (const DmaParameter& parameter : dma_parameters) {
        const auto key = static_cast<std::size_t>(parameter.key);
        if (parameter.verb != parsed.verb || given[key]) continue;
        if (parameter.needed) {
            const char* const name = detail::key_names[key];
            std::size_t length = 0;
            while (name[length] != '\0') ++length;
            return {"this command needs a value for", {name, length}};
        }
        parsed.values[key] = parameter.usual;
    }
    if (parsed.verb == DmaVerb::begin && !valid(parsed.plan()))
        return {"a batch is no more than the working set", verb};
    if ((parsed.verb == DmaVerb::bench || parsed.verb == DmaVerb::bench_parts) && !valid(parsed.bench_plan()))
        return {"a buffer and its skew are 1024 pages at most, and all that is held at a time 4096", verb};
    command = parsed;
    return {};
}

}  // namespace dmatoll::dma
