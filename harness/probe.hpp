// SPDX-License-Identifier: BSD-2-Clause
// Whether a strategy protects what it says: accesses that must fail are tried, and what came of them is held
// against what was promised.
#pragma once

#include <nlohmann/json.hpp>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "target/witness.hpp"
#include "traffic.hpp"

namespace dmatoll::harness {

// What a strategy says about one access.
struct Promise {
    enum class Kind : std::uint8_t {
        none,     // nothing: it may succeed
        never,    // it fails
        bounded,  // it fails once so much time has passed
    };
    Kind kind = Kind::none;
    std::uint64_t bound_ns = 0;
};

// What became of the accesses of one kind.
struct Observation {
    std::uint64_t accesses = 0;
    std::uint64_t reached = 0;
    std::uint64_t restarts = 0;  // of the device by its driver, as it did not end the access
    // Of accesses to a buffer that had been taken back, since then:
    std::uint64_t longest_ns = 0;  // until the last one that reached it was begun
    std::uint64_t refused_ns = 0;  // until the first one that did not
    std::uint64_t open = 0;        // tries that were given up with the buffer still within reach
};

enum class Verdict : std::uint8_t {
    as_promised,
    more_than_promised,
    less_than_promised,
    not_tried,  // nothing is promised, and trying shows nothing or does harm
};
const char* name_of(Verdict verdict);

// `slack_ns`: by how much the system's timers may be late.
Verdict judge(const Promise& promise, const Observation& observation, std::uint64_t slack_ns);

// What `protection` (of one pair, as in a record: granularity, window, window_ns) says about an access:
// "foreign_*" to memory that was never given to the device, "other_domain_*" to what is mapped for another one only, or as in
// drivers/dma/reach_probe.hpp. Throws Failure if there is no such access or granularity.
Promise promise_of(const nlohmann::json& protection, const std::string& access);

// Has the device stray (drivers/dma/dma_command.hpp; `verb` with what it takes beside the IOVA), and counts it if the driver had to start it again. What the
// driver says of it.
nlohmann::json stray(Driver& driver, const std::string& verb, std::uint64_t iova, Observation& seen);

// The second device of this machine, or why there is none.
struct SecondDevice {
    Witness* witness = nullptr;
    std::string absent;
};

// Tries all accesses, and holds them against what `record` says of the strategy's protection, by pair. Adds to the
// record, cell by cell: probe {cells, slack_ns, at the end faults_logged} and metrics {accesses, cells,
// less_than_promised}. Calls step(cells done, of how many). Throws Failure if what is right does not work, either;
// the record has what was found until then.
void run_probe(const Trial& trial, const TrafficPlaces& places, const SecondDevice& second, nlohmann::json& record,
               const std::function<void(std::uint64_t, std::uint64_t)>& step);

}  // namespace dmatoll::harness
