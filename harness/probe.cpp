// SPDX-License-Identifier: BSD-2-Clause
#include "probe.hpp"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <ctime>

#include "catalogue.hpp"
#include "failure.hpp"
#include "kernel_log.hpp"
#include "process.hpp"
#include "sentinel_page.hpp"
#include "target/pci.hpp"
#include "target/system.hpp"

namespace dmatoll::harness {
namespace {

using nlohmann::json;

// The attackers are those of the catalogue's pairs: a device that does what nobody told it, and a driver that
// tells it to. The engine obeys in both cases; who is to be protected from it differs.
struct Pair {
    const char* name;  // in a record's protection
    const char* attacker;
    const char* asset;
};
constexpr Pair kernel_from_device{"kernel_from_device", "device", "kernel"};
constexpr Pair kernel_from_driver{"kernel_from_driver", "driver", "kernel"};
constexpr Pair driver_from_device{"driver_from_device", "device", "driver"};

constexpr std::array foreign_accesses{"foreign_write", "foreign_read"};
constexpr std::array own_accesses{"neighbour_write", "neighbour_read", "backward_write",
                                  "backward_read",   "stale_write",    "stale_read"};
constexpr std::uint64_t cells_in_all = 2 * foreign_accesses.size() + own_accesses.size();

// For the driver to end its rounds, beyond what it may wait in each.
constexpr double spare_seconds = 60;

bool is(const std::string& text, std::initializer_list<const char*> any) {
    return std::any_of(any.begin(), any.end(), [&](const char* each) { return text == each; });
}

const char* name_of(Promise::Kind kind) {
    switch (kind) {
        case Promise::Kind::none:
            return "nothing";
        case Promise::Kind::never:
            return "refused";
        case Promise::Kind::bounded:
            return "refused after";
    }
    return "unknown";
}

// By how much the timer may be late that ends a window. Our strategies have one of high resolution, and a softirq or a
// process behind it. Linux's queue has one of the timer wheel: its time is rounded up to ticks, it ends at the tick
// behind the one that it would be due at, and the CPU that reads the time may not have seen the latest.
std::uint64_t timer_slack_ns(DomainKind domain) {
    constexpr std::uint64_t latency_ns = 1'000'000;
    constexpr std::uint64_t late_ticks = 3;
    if (domain == DomainKind::own) return latency_ns;
    timespec tick{};
    ::clock_getres(CLOCK_MONOTONIC_COARSE, &tick);
    return late_ticks * (static_cast<std::uint64_t>(tick.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(tick.tv_nsec));
}

// Linux lets a device read what it may write where a VT-d does not support zero-length reads, with which a write may
// begin [VT-d, Capability Register, ZLR]. QEMU's does not.
bool has_write_only_mappings(const std::string& bdf) {
    constexpr unsigned zero_length_reads = 22;
    const fs::path file = device_path(bdf) / "iommu/intel-iommu/cap";
    const auto capabilities = read_attribute(file);
    if (!capabilities) return true;  // another kind of IOMMU
    return (std::strtoull(capabilities->c_str(), nullptr, 16) >> zero_length_reads & 1) != 0;
}

class Cells {
  public:
    Cells(const json& protection, bool write_only, std::uint64_t slack_ns,
          const std::function<void(std::uint64_t, std::uint64_t)>& step)
        : protection_{protection}, write_only_{write_only}, slack_ns_{slack_ns}, step_{step} {
        step_(0, cells_in_all);
    }

    void add(const Pair& pair, const std::string& access, const Observation& seen) {
        const Promise promise = promise_of(protection_.at(pair.name), access, write_only_);
        const Verdict verdict = judge(promise, seen, slack_ns_);
        json cell{{"attacker", pair.attacker},
                  {"asset", pair.asset},
                  {"access", access},
                  {"promised", name_of(promise.kind)},
                  {"accesses", seen.accesses},
                  {"reached", seen.reached},
                  {"verdict", harness::name_of(verdict)}};
        if (promise.kind == Promise::Kind::bounded) cell["promised_ns"] = promise.bound_ns;
        if (is(access, {"stale_write", "stale_read"})) {
            cell["longest_ns"] = seen.longest_ns;
            cell["refused_ns"] = seen.refused_ns;
            cell["open"] = seen.open;
        }
        cells_.push_back(std::move(cell));
        accesses_ += seen.accesses;
        if (verdict == Verdict::less_than_promised) ++less_;
        step_(cells_.size(), cells_in_all);
    }

    [[nodiscard]] json result() const {
        return {{"probe", {{"cells", cells_}, {"slack_ns", slack_ns_}, {"write_only_mappings", write_only_}}},
                {"metrics", {{"accesses", accesses_}, {"cells", cells_.size()}, {"less_than_promised", less_}}}};
    }

  private:
    const json& protection_;
    const bool write_only_;
    const std::uint64_t slack_ns_;
    const std::function<void(std::uint64_t, std::uint64_t)>& step_;
    json cells_ = json::array();
    std::uint64_t accesses_ = 0;
    std::uint64_t less_ = 0;
};

// Memory of the machine that the driver was never given.
class Foreign {
  public:
    explicit Foreign(Driver& driver) : driver_{driver} {}

    Observation write(std::uint64_t rounds) {
        return try_all(rounds, [this](std::uint64_t address, std::uint64_t secret) {
            driver_.command(fmt::format("stray_write iova={}", address));
            return page_.word() != secret;
        });
    }
    Observation read(std::uint64_t rounds) {
        return try_all(rounds, [this](std::uint64_t address, std::uint64_t secret) {
            return driver_.command(fmt::format("stray_read iova={}", address)).at("first") == secret;
        });
    }

  private:
    template <class Access>
    Observation try_all(std::uint64_t rounds, Access&& access) {
        Observation seen;
        for (std::uint64_t moved = 0; seen.accesses < rounds;) {
            const std::uint64_t secret = 0x5e41'7135'0000'0000 + ++secrets_;
            page_.set_word(secret);
            const std::uint64_t address = page_.physical_address();
            const bool reached = access(address, secret);
            if (page_.physical_address() != address) {
                if (++moved > rounds) fail("The page that no driver is given does not stay where it is");
                continue;
            }
            ++seen.accesses;
            if (reached) ++seen.reached;
        }
        return seen;
    }

    Driver& driver_;
    SentinelPage page_;
    std::uint64_t secrets_ = 0;
};

// Has the driver probe its own buffers; what came of it.
json reach(Driver& driver, std::uint64_t rounds, std::uint64_t patience_ms) {
    driver.command(fmt::format("reach rounds={} patience_ms={}", rounds, patience_ms));
    const double patience =
        now_seconds() + 2e-3 * static_cast<double>(rounds * patience_ms) + spare_seconds;
    json answer;
    while ((answer = driver.command("result")).value("state", "") == "running") {
        driver.require_alive();
        if (now_seconds() > patience) fail("The driver does not end the probe of its buffers");
        sleep_seconds(0.02);
    }
    driver.command("end");
    if (answer.contains("failure"))
        fail("The driver could not probe its buffers: {}", answer["failure"].get<std::string>());
    return answer;
}

Observation own_observation(const json& answer, const std::string& access) {
    const auto number = [&](const std::string& suffix) { return answer.value(access + suffix, std::uint64_t{0}); };
    const Observation seen{.accesses = number("_accesses"),
                           .reached = number(""),
                           .longest_ns = number("_longest_ns"),
                           .refused_ns = number("_refused_ns"),
                           .open = number("_open")};
    if (seen.accesses == 0) fail("The driver does not say what became of {}", access);
    return seen;
}

}  // namespace

const char* name_of(Verdict verdict) {
    switch (verdict) {
        case Verdict::as_promised:
            return "as promised";
        case Verdict::more_than_promised:
            return "more than promised";
        case Verdict::less_than_promised:
            return "less than promised";
    }
    return "unknown";
}

Verdict judge(const Promise& promise, const Observation& seen, std::uint64_t slack_ns) {
    switch (promise.kind) {
        case Promise::Kind::never:
            return seen.reached == 0 ? Verdict::as_promised : Verdict::less_than_promised;
        case Promise::Kind::bounded:
            if (seen.open > 0 || seen.longest_ns > promise.bound_ns + slack_ns) return Verdict::less_than_promised;
            break;
        case Promise::Kind::none:
            break;
    }
    return seen.reached == 0 ? Verdict::more_than_promised : Verdict::as_promised;
}

Promise promise_of(const json& protection, const std::string& access, bool write_only) {
    const std::string granularity = protection.at("granularity");
    if (is(access, {"foreign_write", "foreign_read"}))
        // Within a large page lies whatever else has it in memory.
        return {is(granularity, {"none", "2MiB-page"}) ? Promise::Kind::none : Promise::Kind::never};
    if (is(access, {"neighbour_write", "neighbour_read"}))
        return {is(granularity, {"byte", "domain"}) ? Promise::Kind::never : Promise::Kind::none};
    if (is(access, {"backward_write", "backward_read"})) {
        // A buffer that is copied is not mapped at all.
        if (granularity == "byte") return {Promise::Kind::never};
        if (access == "backward_read" && !write_only) return {};
        return {is(granularity, {"none", "pool"}) ? Promise::Kind::none : Promise::Kind::never};
    }
    if (is(access, {"stale_write", "stale_read"})) {
        const std::string window = protection.at("window");
        if (window == "zero") return {Promise::Kind::never};
        if (window == "bounded") return {Promise::Kind::bounded, protection.at("window_ns")};
        return {};
    }
    fail("There is no access '{}' to be probed", access);
}

json run_probe(const Trial& trial, const TrafficPlaces& places, const std::string& bdf, const json& protection,
               const std::function<void(std::uint64_t, std::uint64_t)>& step) {
    const std::uint64_t rounds = trial.parameters.at("rounds");
    Cells cells{protection, has_write_only_mappings(bdf), timer_slack_ns(find_strategy(trial.strategy)->domain), step};
    KernelLog log;
    Foreign foreign{places.driver};
    for (const Pair& pair : {kernel_from_device, kernel_from_driver}) {
        cells.add(pair, foreign_accesses[0], foreign.write(rounds));
        cells.add(pair, foreign_accesses[1], foreign.read(rounds));
    }
    const json answer = reach(places.driver, rounds, trial.parameters.at("patience_ms"));
    for (const char* access : own_accesses) cells.add(driver_from_device, access, own_observation(answer, access));

    // What the IOMMU said of it: it need not report each, and the kernel need not print each.
    std::uint64_t reported = 0;
    for (const auto& line : log.complaints())
        if (line.find("fault") != std::string::npos || line.find("DMAR") != std::string::npos) ++reported;
    json result = cells.result();
    result["probe"]["iommu_messages"] = reported;
    return result;
}

}  // namespace dmatoll::harness
