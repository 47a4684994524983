// SPDX-License-Identifier: BSD-2-Clause
#include "probe.hpp"

#include <algorithm>
#include <array>
#include <ctime>
#include <optional>

#include "catalogue.hpp"
#include "failure.hpp"
#include "hostile_driver.hpp"
#include "kernel_log.hpp"
#include "probe_cells.hpp"
#include "process.hpp"
#include "sentinel_page.hpp"

namespace dmatoll::harness {
namespace {

using nlohmann::json;

constexpr const char* foreign_write = "foreign_write";
constexpr const char* foreign_read = "foreign_read";
constexpr const char* other_domain_write = "other_domain_write";
constexpr const char* other_domain_read = "other_domain_read";
constexpr std::array own_accesses{"neighbour_write", "neighbour_read", "backward_write",
                                  "backward_read",   "stale_write",    "stale_read"};
constexpr std::uint64_t cells_in_all = 8 + own_accesses.size();

// For the driver to end its rounds, beyond what it may wait in each.
constexpr double spare_seconds = 300;
constexpr std::uint64_t spare_ms = 5;

bool is(const std::string& text, std::initializer_list<const char*> any) {
    return std::any_of(any.begin(), any.end(), [&](const char* each) { return text == each; });
}

// By how much the timer may be late that ends a window. Our strategies have one of high resolution, and a softirq or a
// process behind it. Linux's queue has one of the timer wheel: its time is rounded up to ticks, and it ends at the tick
// behind the one that it would be due at. 10 ms, three ticks of 250 a second, were seen to be 15.98 to 19.91 ms, four to
// five.
std::uint64_t timer_slack_ns(DomainKind domain) {
    constexpr std::uint64_t latency_ns = 1'000'000;
    constexpr std::uint64_t late_ticks = 3;
    if (domain == DomainKind::own) return latency_ns;
    timespec tick{};
    ::clock_getres(CLOCK_MONOTONIC_COARSE, &tick);
    return late_ticks * (static_cast<std::uint64_t>(tick.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(tick.tv_nsec));
}

bool promises_anything(const json& protection) { return protection.at("granularity") != "none"; }

// Buffers of the driver's that are mapped, so that what a strategy maps beyond them is, too.
class MappedBuffers {
  public:
    explicit MappedBuffers(Driver& driver) : driver_{driver} {
        constexpr int pairs = 8;
        driver_.command(fmt::format("begin working_set={} batch=1 lifetime=0", pairs));
        try {
            driver_.command(fmt::format("run copies={}", pairs));
            const double patience = now_seconds() + spare_seconds;
            while (driver_.command("result").value("state", "") == "running") {
                if (now_seconds() > patience) fail("The driver does not end {} copies", pairs);
                sleep_seconds(0.02);
            }
        } catch (...) {
            end();
            throw;
        }
    }
    ~MappedBuffers() { end(); }
    MappedBuffers(const MappedBuffers&) = delete;
    MappedBuffers& operator=(const MappedBuffers&) = delete;

  private:
    void end() {
        try {
            driver_.command("end");
        } catch (const std::exception&) {
            // Whoever needs the driver next is told.
        }
    }

    Driver& driver_;
};

// Memory of the machine that the driver was never given.
class Foreign {
  public:
    explicit Foreign(Driver& driver) : driver_{driver} {}

    Observation write(std::uint64_t rounds) {
        return try_all(rounds, [this](std::uint64_t address, std::uint64_t secret, Observation& seen) {
            stray(driver_, "stray_write", address, seen);
            return page_.word() != secret;
        });
    }
    Observation read(std::uint64_t rounds) {
        return try_all(rounds, [this](std::uint64_t address, std::uint64_t secret, Observation& seen) {
            return stray(driver_, "stray_read", address, seen).at("first") == secret;
        });
    }

  private:
    template <class Access>
    Observation try_all(std::uint64_t rounds, Access&& access) {
        Observation seen;
        for (std::uint64_t moved = 0; seen.accesses < rounds;) {
            check_interrupted();
            const std::uint64_t secret = 0x5e41'7135'0000'0000 + ++secrets_;
            page_.set_word(secret);
            const std::uint64_t address = page_.physical_address();
            const bool reached = access(address, secret, seen);
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

// A page that is mapped for a second device only, at an address where this one has nothing.
class OtherDomain {
  public:
    OtherDomain(Driver& driver, Witness& witness) : driver_{driver}, witness_{witness} {
        // It may have something there: then it would reach that.
        while (driver_.command(fmt::format("stray_read iova={}", iova_)).at("content") == "data") {
            iova_ += step;
            if (iova_ >= end) fail("The driver has something mapped at each of {} addresses", (end - first) / step);
        }
        witness_.map(iova_);
    }
    ~OtherDomain() {
        try {
            witness_.unmap(iova_);
        } catch (const std::exception&) {
            // It goes with the domain.
        }
    }
    OtherDomain(const OtherDomain&) = delete;
    OtherDomain& operator=(const OtherDomain&) = delete;

    Observation write(std::uint64_t rounds) {
        return try_all(rounds, [this](std::uint64_t secret, Observation& seen) {
            stray(driver_, "stray_write", iova_, seen);
            return witness_.page().word() != secret;
        });
    }
    Observation read(std::uint64_t rounds) {
        return try_all(rounds, [this](std::uint64_t secret, Observation& seen) {
            const bool read = stray(driver_, "stray_read", iova_, seen).at("first") == secret;
            // Otherwise it might have read what it did not know again.
            return read || witness_.page().word() != secret;
        });
    }

  private:
    // Within what the narrowest IOMMU translates, and above what strategies take first.
    static constexpr std::uint64_t first = std::uint64_t{1} << 37;
    static constexpr std::uint64_t end = std::uint64_t{1} << 38;
    static constexpr std::uint64_t step = std::uint64_t{1} << 33;

    template <class Access>
    Observation try_all(std::uint64_t rounds, Access&& access) {
        Observation seen;
        for (; seen.accesses < rounds; ++seen.accesses) {
            check_interrupted();
            const std::uint64_t secret = 0x5e43'7135'0000'0000 + ++secrets_;
            witness_.page().set_word(secret);
            if (access(secret, seen)) ++seen.reached;
        }
        return seen;
    }

    Driver& driver_;
    Witness& witness_;
    std::uint64_t iova_ = first;
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
    // What is missing must not pass for what was refused.
    const auto number = [&](const std::string& suffix) {
        const auto found = answer.find(access + suffix);
        if (found == answer.end() || !found->is_number_unsigned())
            fail("The driver does not say what became of {}: {}{} is missing", access, access, suffix);
        return found->get<std::uint64_t>();
    };
    Observation seen{.accesses = number("_accesses"), .reached = number(""), .restarts = number("_restarts")};
    if (seen.accesses == 0) fail("The driver made no {}", access);
    if (is(access, {"stale_write", "stale_read"})) {
        seen.longest_ns = number("_longest_ns");
        seen.refused_ns = number("_refused_ns");
        seen.open = number("_open");
    }
    return seen;
}

}  // namespace

json stray(Driver& driver, const std::string& verb, std::uint64_t iova, Observation& seen) {
    json answer = driver.command(fmt::format("{} iova={}", verb, iova));
    if (answer.contains("restarted")) ++seen.restarts;
    return answer;
}

const char* name_of(Verdict verdict) {
    switch (verdict) {
        case Verdict::as_promised:
            return "as promised";
        case Verdict::more_than_promised:
            return "more than promised";
        case Verdict::less_than_promised:
            return "less than promised";
        case Verdict::not_tried:
            return "not tried";
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

Promise promise_of(const json& protection, const std::string& access) {
    const std::string granularity = protection.at("granularity");
    if (!is(granularity, {"none", "byte", "page", "2MiB-page", "pool", "domain"}))
        fail("There is no protection by '{}' that could be probed", granularity);
    // Of a driver to which nothing of the kernel's is open. It holds for the kernel's other wards as well.
    if (find_hostile_cell(access) != nullptr) return {granularity == "domain" ? Promise::Kind::never : Promise::Kind::none};
    if (is(access, {foreign_write, foreign_read}))
        // Within a large page lies whatever else has it in memory.
        return {is(granularity, {"none", "2MiB-page"}) ? Promise::Kind::none : Promise::Kind::never};
    // However large its pages are, nothing of another domain's is among them.
    if (is(access, {other_domain_write, other_domain_read}))
        return {granularity == "none" ? Promise::Kind::none : Promise::Kind::never};
    // A buffer that is copied is not mapped at all; what is, is by pages.
    const Promise by_copy{granularity == "byte" ? Promise::Kind::never : Promise::Kind::none};
    if (is(access, {"neighbour_write", "neighbour_read"})) return by_copy;
    // Page tables that let a device write and not read are rare: in Linux's of VT-d what may be written may be read.
    if (access == "backward_read") return by_copy;
    if (access == "backward_write")
        return {is(granularity, {"none", "pool"}) ? Promise::Kind::none : Promise::Kind::never};
    if (is(access, {"stale_write", "stale_read"})) {
        const std::string window = protection.at("window");
        if (window == "zero") return {Promise::Kind::never};
        if (window == "bounded") return {Promise::Kind::bounded, protection.at("window_ns")};
        return {};
    }
    fail("There is no access '{}' to be probed", access);
}

void run_probe(const Trial& trial, const TrafficPlaces& places, const SecondDevice& second, json& record,
               const std::function<void(std::uint64_t, std::uint64_t)>& step) {
    const json protection = record.at("strategy").at("protection");
    const std::uint64_t rounds = trial.parameters.at("rounds");
    const std::uint64_t slack_ns = timer_slack_ns(find_strategy(trial.strategy)->domain);
    ProbeCells cells{protection, slack_ns, cells_in_all, record, step};
    KernelLog log;
    {
        const MappedBuffers mapped{places.driver};
        Foreign foreign{places.driver};
        // A driver in the kernel needs no device to reach its memory.
        const bool owner = !promises_anything(protection.at(kernel_from_driver.name));
        // Where all memory is within reach a read shows it. A page may move before a write, and it would hit another.
        const bool anywhere = !promises_anything(protection.at(kernel_from_device.name));
        for (const Pair& pair : {kernel_from_device, kernel_from_driver}) {
            const bool untried = owner && pair.name == kernel_from_driver.name;
            if (untried || anywhere)
                cells.leave_out(pair, foreign_write);
            else
                cells.add(pair, foreign_write, foreign.write(rounds));
            if (untried)
                cells.leave_out(pair, foreign_read);
            else
                cells.add(pair, foreign_read, foreign.read(rounds));
        }
        // What has no domain has nobody else's either: an address is a place in memory.
        const bool translated = !anywhere && second.witness != nullptr;
        std::optional<OtherDomain> other;
        if (translated) other.emplace(places.driver, *second.witness);
        for (const Pair& pair : {kernel_from_device, kernel_from_driver}) {
            if (!translated || (owner && pair.name == kernel_from_driver.name)) {
                for (const char* access : {other_domain_write, other_domain_read})
                    cells.leave_out(pair, access, second.absent);
                continue;
            }
            cells.add(pair, other_domain_write, other->write(rounds));
            cells.add(pair, other_domain_read, other->read(rounds));
        }
    }
    // Longer than what is promised, or its end would not be seen.
    const Promise stale = promise_of(protection.at(driver_from_device.name), "stale_write");
    const std::uint64_t patience_ms =
        std::max(trial.parameters.at("patience_ms"), (stale.bound_ns + slack_ns) / 1'000'000 + spare_ms);
    const json answer = reach(places.driver, rounds, patience_ms);
    for (const char* access : own_accesses) cells.add(driver_from_device, access, own_observation(answer, access));
    record["probe"]["faults_logged"] = faults_among(log.complaints());
}

}  // namespace dmatoll::harness
