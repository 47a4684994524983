// SPDX-License-Identifier: BSD-2-Clause
#include "hostile_driver.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <optional>
#include <sstream>

#include "cpus.hpp"
#include "failure.hpp"
#include "file.hpp"
#include "kernel_address.hpp"
#include "kernel_log.hpp"
#include "probe_cells.hpp"
#include "process.hpp"
#include "sentinel_file.hpp"
#include "sentinel_page.hpp"
#include "target/bus_state.hpp"
#include "target/network.hpp"
#include "target/system.hpp"
#include "text.hpp"

namespace dmatoll::harness {
namespace {

using nlohmann::json;

constexpr const char* kernel = "kernel";
constexpr const char* process = "process";
constexpr const char* devices = "devices";
constexpr const char* machine = "machine";

// What Linux answers. That anything is done is no breach where it stays with the process's own.
constexpr std::array done{0, 0};
constexpr std::array no_such_memory{EFAULT, EFAULT};
constexpr std::array no_right{EPERM, EACCES};
constexpr std::array no_more_memory{ENOMEM, ENOMEM};
constexpr std::array no_more_mappings{ENOSPC, ENOSPC};
constexpr std::array no_such_place{EINVAL, EFAULT};

// In the order in which they are tried.
constexpr std::array cells{
    HostileCell{"map_kernel_write", kernel, no_such_memory},
    HostileCell{"map_kernel_read", kernel, no_such_memory},
    HostileCell{"map_foreign_write", process, no_such_memory},
    HostileCell{"map_foreign_read", process, no_such_memory},
    HostileCell{"map_read_only", process, no_such_memory},
    HostileCell{"map_readable", process, done},
    HostileCell{"process_read", process, no_right},
    HostileCell{"process_write", process, no_right},
    HostileCell{"process_file_read", process, no_right},
    HostileCell{"process_file_write", process, no_right},
    HostileCell{"trace_read", process, no_right},
    HostileCell{"trace_write", process, no_right},
    HostileCell{"machine_read", process, no_right},
    HostileCell{"machine_write", process, no_right},
    HostileCell{"exhaust_memory", machine, no_more_memory},
    HostileCell{"exhaust_mappings", machine, no_more_mappings},
    HostileCell{"write_bars", devices, done},
    HostileCell{"write_rom", devices, done},
    HostileCell{"write_command", devices, done},
    HostileCell{"write_messages", devices, done},
    HostileCell{"power_down", devices, done},
    HostileCell{"reach_beyond", devices, no_such_place},
    HostileCell{"flood", machine, done},
    HostileCell{"flood_line", machine, done},
    HostileCell{"flood_kill", machine, done},
};

// Where no strategy has its IOVAs, within what the narrowest IOMMU translates.
constexpr std::uint64_t iova = std::uint64_t{1} << 37;
constexpr double patience_seconds = 60;
// Work of another process beside a flood: some milliseconds of a CPU.
constexpr const char* work = "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done";
// Interrupts that make a flood, at the least: a driver that works takes that many a second.
constexpr std::uint64_t fewest_interrupts = 100;
// Linux's note_interrupt() judges a line by so many.
constexpr std::uint64_t counted_together = 100'000;
// The flood's, where CPUs take turns: one that never rests would keep the others from theirs.
constexpr std::uint64_t rest_after = 64;

// "Max locked memory         162529280            162529280            bytes"; nothing: it is unlimited.
std::optional<std::uint64_t> locked_limit(const std::string& limits) {
    constexpr std::string_view name = "Max locked memory";
    for (const auto& line : lines(limits)) {
        if (!line.starts_with(name)) continue;
        const std::string value = trim(line.substr(name.size()));
        if (value.starts_with("unlimited")) return std::nullopt;
        return std::strtoull(value.c_str(), nullptr, 10);
    }
    fail("The limits of the driver process do not have its locked memory");
}

class Attack {
  public:
    Attack(Driver& driver, const std::string& bdf, ProbeCells& result)
        : driver_{driver}, bdf_{bdf}, result_{result} {}

    // What is right has to work, or that the rest fails shows nothing.
    void require_right() {
        require_copies();
        const json own = act("map_own", at(iova));
        if (own.at("errno") != 0)
            fail("The driver process cannot even map a page of its own: {}", own.dump());
        const json read = driver_.command("stray_read " + at(iova));
        act("unmap", at(iova));
        if (read.at("first") != own.at("word"))
            fail("The device does not reach a page that its driver has mapped: {}", read.dump());
    }

    void map_memory() {
        const std::uint64_t physical = page_.physical_address();
        if (const auto address = kernel_address_of(physical)) {
            const json answer = map_and_stray("map_kernel", *address);
            require_still_at(physical);
        } else {
            for (const char* access : {"map_kernel_write", "map_kernel_read"})
                leave_out(access, "/proc/kcore does not say where the kernel has a page");
        }
        map_and_stray("map_foreign", page_.address());
        for (const char* name : {"map_read_only", "map_readable"}) {
            const std::uint64_t secret = next_secret();
            file_.set_word(secret);
            const json answer = act(name, at(iova));
            // What is mapped and not read there was not mapped as it should be to be written.
            const bool mapped = answer.at("errno") == 0;
            const bool read = mapped && driver_.command("stray_read " + at(iova)).at("first") == secret;
            driver_.command("stray_write " + at(iova));
            if (const bool written = file_.word() != secret; written || !mapped || read)
                add(name, written, answer);
            else
                leave_out(name, "the device does not read there what was mapped");
            act("unmap", at(iova));
        }
    }

    void read_and_write_memory() {
        const std::string there = fmt::format("process={} address={}", ::getpid(), page_.address());
        for (const char* name : {"process_read", "process_file_read", "trace_read"}) read(name, there);
        for (const char* name : {"process_write", "process_file_write", "trace_write"}) write(name, there);
        if (fs::exists("/dev/mem")) {
            const std::uint64_t physical = page_.physical_address();
            read("machine_read", fmt::format("address={}", physical));
            write("machine_write", fmt::format("address={}", physical));
            require_still_at(physical);
        } else {
            for (const char* access : {"machine_read", "machine_write"})
                leave_out(access, "there is no /dev/mem");
        }
    }

    void exhaust() {
        json answer = act("exhaust_memory");
        // The supervisor's word, not the process's.
        const std::uint64_t pid = driver_.command("stats").at("pid");
        const fs::path folder = system_paths().proc / std::to_string(pid);
        const bool too_much = holds_too_much(read_file(folder / "status"), read_file(folder / "limits"));
        add("exhaust_memory", too_much || answer.at("errno") == 0, answer);
        release();
        answer = act("exhaust_mappings");
        const auto most =
            read_attribute(system_paths().sys / "module/vfio_iommu_type1/parameters/dma_entry_limit");
        const std::uint64_t made = answer.value("mappings", std::uint64_t{0});
        if (!most)
            leave_out("exhaust_mappings", "the kernel does not say how many mappings a container may have");
        else if (made > std::strtoull(most->c_str(), nullptr, 10))
            add("exhaust_mappings", true, answer);
        else if (answer.at("errno") == 0)
            leave_out("exhaust_mappings", fmt::format("a container may have {} mappings, and it tries {}", *most, made));
        else
            add("exhaust_mappings", false, answer);
        release();
        require_copies();
    }

    void configure() {
        const BusState before;
        const std::uint64_t another = registers_of_another(bdf_);
        const auto try_it = [&](const char* name, const std::string& parameters) {
            const json answer = act(name, parameters);
            const auto changes = BusState{}.changes_since(before, bdf_);
            judge(name, {.accesses = 1, .reached = changes.empty() ? 0U : 1U}, answer, changes);
            act("restore_config");
        };
        const std::string there = fmt::format("address={}", another);
        for (const char* name : {"write_bars", "write_rom"}) {
            if (another != 0)
                try_it(name, there);
            else
                leave_out(name, "no other device has registers in memory");
        }
        try_it("write_command", "");
        try_it("write_messages", fmt::format("address={}", page_.physical_address() & 0xffff'f000));
        try_it("power_down", "");
        // What stayed changed is no doing of the next act's.
        require_as_before(before);
        const json answer = act("reach_beyond");
        const auto changes = BusState{}.changes_since(before, bdf_);
        judge("reach_beyond",
              {.accesses = answer.value("tries", std::uint64_t{0}),
               .reached = answer.value("moved", std::uint64_t{0}) + (changes.empty() ? 0 : 1)},
              answer, changes);
        require_as_before(before);
        // How it has left its own device is its own affair; the next driver's it is not.
        start_over();
        require_copies();
    }

    void flood(std::uint64_t flood_ms, bool taking_turns) {
        KernelLog log;
        json answer = act("flood", fmt::format("rest_after={}", taking_turns ? rest_after : 0));
        // A message has a vector of its own since.
        pin_interrupts(bdf_, device_cpu);
        const std::uint64_t before = interrupts_taken(bdf_);
        sleep_seconds(static_cast<double>(flood_ms) * 1e-3);
        const Ended ended = run({.arguments = {"sh", "-c", work}, .cpu = device_cpu}, patience_seconds);
        const std::uint64_t interrupts = interrupts_taken(bdf_) - before;
        if (interrupts < fewest_interrupts) fail("The flood was none: {} interrupts", interrupts);
        answer["answer"] = fmt::format("{} interrupts", interrupts);
        const auto judged = [&](const char* access, std::uint64_t harm) {
            judge(access, {.accesses = interrupts, .reached = harm}, answer);
        };
        judged("flood", ended.status == 0 ? 0 : 1);
        bool back = true;
        try {
            start_over();
            require_copies();
        } catch (const Interrupted&) {
            throw;
        } catch (const Failure& failure) {
            answer["answer"] = failure.what();
            back = false;
        }
        const auto complaints = log.complaints();
        const std::uint64_t dead = dead_lines_among(complaints);
        if (const std::string blind = blind_to_dead_lines(interrupts, complaints); dead == 0 && !blind.empty())
            leave_out("flood_line", blind);
        else
            judged("flood_line", dead);
        judged("flood_kill", back ? 0 : 1);
    }

  private:
    static std::string at(std::uint64_t place) { return fmt::format("iova={}", place); }
    std::uint64_t next_secret() { return 0x5e42'7135'0000'0000 + ++secrets_; }
    static Pair pair_of(const std::string& access) {
        return {kernel_from_driver.name, kernel_from_driver.attacker, find_hostile_cell(access)->asset};
    }

    // Or what was tried was tried elsewhere.
    void require_still_at(std::uint64_t physical) const {
        if (page_.physical_address() != physical)
            fail("The page that no driver is given does not stay where it is; run it again");
    }

    json act(const std::string& name, const std::string& parameters = {}) {
        check_interrupted();
        json answer = driver_.command(trim("hostile " + name + " " + parameters));
        if (!answer.contains("errno") || !answer.contains("answer"))
            fail("The driver process does not say what came of {}: {}", name, answer.dump());
        return answer;
    }
    // What it says itself stands beside what was seen.
    static json told(const json& answer) {
        json more{{"answer", answer.at("answer")}};
        if (answer.contains("tried")) more["tried"] = answer["tried"];
        return more;
    }
    void add(const std::string& access, bool reached, const json& answer) {
        judge(access, {.accesses = 1, .reached = reached ? 1U : 0U}, answer);
    }
    // What was reached is a breach whatever was answered.
    void judge(const std::string& access, const Observation& seen, const json& answer,
               const std::vector<std::string>& changes = {}) {
        if (seen.reached == 0)
            if (const std::string reason = shows_nothing(*find_hostile_cell(access), answer); !reason.empty())
                return leave_out(access, reason);
        json more = told(answer);
        if (!changes.empty()) more["changes"] = changes;
        result_.add(pair_of(access), access, seen, more);
    }
    void leave_out(const std::string& access, const std::string& reason) {
        result_.leave_out(pair_of(access), access, reason);
    }

    // The device is told to go there whether that was mapped or not.
    json map_and_stray(const std::string& name, std::uint64_t address) {
        const json answer = act(name, fmt::format("iova={} address={}", iova, address));
        std::uint64_t secret = next_secret();
        page_.set_word(secret);
        driver_.command("stray_write " + at(iova));
        add(name + "_write", page_.word() != secret, answer);
        secret = next_secret();
        page_.set_word(secret);
        add(name + "_read", driver_.command("stray_read " + at(iova)).at("first") == secret, answer);
        act("unmap", at(iova));
        return answer;
    }

    void read(const char* name, const std::string& there) {
        const std::uint64_t secret = next_secret();
        page_.set_word(secret);
        const json answer = act(name, there);
        add(name, answer.at("word") == secret, answer);
    }
    void write(const char* name, const std::string& there) {
        const std::uint64_t secret = next_secret();
        page_.set_word(secret);
        const json answer = act(name, there + fmt::format(" word={}", next_secret()));
        add(name, page_.word() != secret, answer);
    }

    void release() {
        if (const json answer = act("release"); answer.at("errno") != 0)
            fail("The driver process could not unmap what it held too much of: {}", answer.dump());
    }

    void require_as_before(const BusState& before) const {
        if (const auto changes = BusState{}.changes_since(before, bdf_); !changes.empty())
            fail("The bus is not as it was: {}", join(changes, ", "));
    }

    void require_copies() {
        constexpr std::uint64_t copies = 64;
        driver_.command("begin working_set=8 batch=8");
        driver_.command(fmt::format("run copies={}", copies));
        const double patience = now_seconds() + patience_seconds;
        json answer;
        while ((answer = driver_.command("result")).value("state", "") == "running") {
            if (now_seconds() > patience) fail("The driver does not end {} copies", copies);
            sleep_seconds(0.02);
        }
        driver_.command("end");
        if (answer.value("copies", std::uint64_t{0}) != copies ||
            answer.value("copies_bad", std::uint64_t{0}) != 0 || answer.contains("failure"))
            fail("The device does not copy: {}", answer.dump());
    }

    // The process is killed, and another one takes the device.
    void start_over() {
        const std::uint64_t restarts = driver_.restarts();
        driver_.make_fault("kill");
        const double patience = now_seconds() + patience_seconds;
        while (driver_.restarts() == restarts) {
            driver_.require_alive();
            if (now_seconds() > patience)
                fail("The driver process was killed, and no other one has come in its place");
            sleep_seconds(0.02);
        }
    }

    Driver& driver_;
    const std::string& bdf_;
    ProbeCells& result_;
    SentinelPage page_;
    SentinelFile file_;
    std::uint64_t secrets_ = 0;
};

}  // namespace

std::span<const HostileCell> hostile_cells() { return cells; }

const HostileCell* find_hostile_cell(const std::string& access) {
    const auto found = std::find_if(cells.begin(), cells.end(),
                                    [&](const HostileCell& cell) { return access == cell.access; });
    return found == cells.end() ? nullptr : &*found;
}

std::string shows_nothing(const HostileCell& cell, const json& answer) {
    if (answer.contains("absent")) return answer["absent"];
    const int error = answer.at("errno");
    if (std::find(cell.held.begin(), cell.held.end(), error) != cell.held.end()) return {};
    return fmt::format("it was answered {}, which is not how it is held back", answer.at("answer").get<std::string>());
}

// "VmLck:      1234 kB"
bool holds_too_much(const std::string& status, const std::string& limits) {
    constexpr std::string_view name = "VmLck:";
    const auto limit = locked_limit(limits);
    for (const auto& line : lines(status)) {
        if (!line.starts_with(name)) continue;
        return !limit || std::strtoull(line.c_str() + name.size(), nullptr, 10) * 1024 > *limit;
    }
    fail("The status of the driver process does not have its locked memory");
}

std::uint64_t dead_lines_among(const std::vector<std::string>& complaints) {
    return static_cast<std::uint64_t>(
        std::count_if(complaints.begin(), complaints.end(), [](const std::string& complaint) {
            return complaint.find("nobody cared") != std::string::npos ||
                   complaint.find("Disabling IRQ") != std::string::npos;
        }));
}

std::string blind_to_dead_lines(std::uint64_t interrupts, const std::vector<std::string>& complaints) {
    if (interrupts < counted_together)
        return fmt::format("{} interrupts: Linux gives a line up after 99900 of {} that nobody served", interrupts,
                           counted_together);
    if (std::find(complaints.begin(), complaints.end(), overwritten) != complaints.end())
        return "the kernel's log was overwritten before it was read";
    return {};
}

void run_hostile_driver(const Trial& trial, const TrafficPlaces& places, const std::string& bdf, json& record,
                        const std::function<void(std::uint64_t, std::uint64_t)>& step) {
    const json protection = record.at("strategy").at("protection");
    ProbeCells result{protection, 0, cells.size(), record, step};
    KernelLog log;
    Attack attack{places.driver, bdf, result};
    attack.require_right();
    attack.map_memory();
    attack.read_and_write_memory();
    attack.exhaust();
    attack.configure();
    attack.flood(trial.parameters.at("flood_ms"), places.virtual_clock);
    record["probe"]["faults_logged"] = faults_among(log.complaints());
}

}  // namespace dmatoll::harness
