// SPDX-License-Identifier: BSD-2-Clause
#include "hostile_driver.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <optional>
#include <set>
#include <sstream>
#include <utility>

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
#include "target/device_holders.hpp"
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

// What Linux answers. That anything is done is no breach where it stays with the process's own. Other processes have no
// numbers in its PID namespace; by a file of /proc they can be named.
constexpr std::array done{0, 0};
constexpr std::array no_such_memory{EFAULT, EFAULT};
constexpr std::array no_right{EPERM, EACCES};
constexpr std::array no_such_process{ESRCH, ESRCH};
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
    HostileCell{"process_read", process, no_such_process},
    HostileCell{"process_write", process, no_such_process},
    HostileCell{"process_file_read", process, no_right},
    HostileCell{"process_file_write", process, no_right},
    HostileCell{"trace_read", process, no_such_process},
    HostileCell{"trace_write", process, no_such_process},
    HostileCell{"machine_read", process, no_right},
    HostileCell{"machine_write", process, no_right},
    HostileCell{"signal", process, no_such_process},
    HostileCell{"exhaust_memory", machine, no_more_memory},
    HostileCell{"exhaust_mappings", machine, no_more_mappings},
    HostileCell{"outlive", machine, done},
    HostileCell{"write_bars", devices, done},
    HostileCell{"write_rom", devices, done},
    HostileCell{"write_command", devices, done},
    HostileCell{"write_messages", devices, done},
    HostileCell{"power_down", devices, done},
    HostileCell{"reach_beyond", devices, no_such_place},
    HostileCell{"message_table", process, done},
    HostileCell{"message_interrupt", machine, done},
    HostileCell{"dma_interrupt", machine, done},
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
// Where interrupts are asked for: CPU 0, by a vector [SDM 3 §11.11], which is what a machine without remapping does.
constexpr std::uint64_t interrupt_requests = 0xfee0'0000;
// Linux's for the heat of a CPU: it counts them always, takes one that nobody asked for, and says so.
constexpr std::uint64_t thermal_vector = 0xfa;
constexpr const char* thermal_count = "TRM:";
constexpr double delivery_seconds = 0.01;

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

// "Uid:    65534   65534   65534   65534"
uid_t user_of(const std::string& status) {
    constexpr std::string_view name = "Uid:";
    for (const auto& line : lines(status))
        if (line.starts_with(name)) return static_cast<uid_t>(std::strtoul(line.c_str() + name.size(), nullptr, 10));
    fail("The status of the driver process does not have its user");
}

// Lines of /proc/interrupts begin with a number or a name.
std::vector<std::string> interrupt_table() { return lines(read_file(system_paths().proc / "interrupts")); }

// CPU 0's, of "TRM:          0          0   Thermal event interrupts"; nothing: there is no such line.
std::optional<std::uint64_t> interrupts_named(const std::string& name) {
    for (const auto& line : interrupt_table()) {
        std::istringstream words{line};
        std::string first;
        std::uint64_t count = 0;
        if (words >> first && first == name && words >> count) return count;
    }
    return std::nullopt;
}

// The controllers' names say so: IR-IO-APIC, IR-PCI-MSI.
bool remaps_interrupts() {
    const auto table = interrupt_table();
    return std::any_of(table.begin(), table.end(),
                       [](const std::string& line) { return line.find(" IR-") != std::string::npos; });
}

bool emulated() { return read_attribute(system_paths().sys / "class/dmi/id/sys_vendor").value_or("") == "QEMU"; }

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
        const json read = stray("stray_read");
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
            const bool read = mapped && stray("stray_read").at("first") == secret;
            stray("stray_write");
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

    // Another process that is the driver's user's: with one --user for both a second device's driver would be.
    void end_process() {
        const uid_t user = user_of(read_file(folder() / "status"));
        Child bystander{{.arguments = {"sh", "-c", "echo begins; exec sleep 600"}, .user = user}};
        if (!bystander.read_line(patience_seconds))
            fail("No process of user {} starts: {}", user, trim(bystander.finish(0).error));
        const json answer = act("signal", fmt::format("process={}", bystander.pid()));
        constexpr double to_end_seconds = 0.1;
        add("signal", bystander.wait_for(to_end_seconds), answer);
    }

    void exhaust() {
        json answer = act("exhaust_memory");
        const fs::path folder = this->folder();
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

    // Who holds the device has it, and the next driver has not.
    void outlive() {
        const auto before = device_holders();
        const auto inside = pid_namespace_of(driver_.command("stats").at("pid").get<pid_t>());
        const json answer = act("outlive");
        std::set<ProcessMark> children = device_holders();
        // Others of this machine may take a device meanwhile.
        std::erase_if(children, [&](const ProcessMark& holder) {
            return before.contains(holder) || pid_namespace_of(holder.pid) != inside;
        });
        if (answer.at("errno") == 0 && children.empty())
            return leave_out("outlive", "no other process holds the device when it has forked one");
        const std::string obstacle = obstacle_to_next();
        std::erase_if(children, [](const ProcessMark& child) { return !lives(child); });
        // The device is to be given back, whoever has it.
        for (const ProcessMark& child : children) ::kill(child.pid, SIGKILL);
        add("outlive", !children.empty() || !obstacle.empty(), answer);
        if (!obstacle.empty()) fail("The driver process was killed, and no other one has the device: {}", obstacle);
    }

    void configure() {
        const BusState before;
        const std::uint64_t another = registers_of_another(bdf_);
        const auto try_it = [&](const char* name, const std::string& parameters) {
            const json answer = act(name, parameters);
            const auto changes = BusState{}.changes_since(before, bdf_);
            judge(name, {.accesses = 1, .reached = changes.empty() ? 0U : 1U}, answer, as_json(changes));
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
              answer, as_json(changes));
        require_as_before(before);
        // How it has left its own device is its own affair; the next driver's it is not.
        start_over();
        require_copies();
    }

    void ask_for_interrupts() {
        write_message_table();
        dma_interrupt();
        // The table is the kernel's again.
        start_over();
        require_copies();
    }

    void flood(std::uint64_t flood_ms, bool taking_turns) {
        const Undergone undisturbed = undergo(flood_ms);
        KernelLog log;
        json answer = act("flood", fmt::format("rest_after={}", taking_turns ? rest_after : 0));
        // A message has a vector of its own since.
        pin_interrupts(bdf_, device_cpu);
        const Undergone flooded = undergo(flood_ms);
        const std::uint64_t interrupts = flooded.interrupts;
        if (interrupts < undisturbed.interrupts + fewest_interrupts)
            fail("The flood was none: {} interrupts, and {} without it", interrupts, undisturbed.interrupts);
        answer["answer"] = fmt::format("{} interrupts", interrupts);
        const auto judged = [&](const char* access, std::uint64_t harm, const json& more = json::object()) {
            judge(access, {.accesses = interrupts, .reached = harm}, answer, more);
        };
        judged("flood", flooded.ended ? 0 : 1,
               {{"work_ns", flooded.work_ns},
                {"undisturbed_work_ns", undisturbed.work_ns},
                {"undisturbed_interrupts", undisturbed.interrupts}});
        const std::string obstacle = obstacle_to_next();
        if (!obstacle.empty()) answer["answer"] = obstacle;
        const auto complaints = log.complaints();
        const std::uint64_t dead = dead_lines_among(complaints);
        if (const std::string blind = blind_to_dead_lines(interrupts, complaints); dead == 0 && !blind.empty())
            leave_out("flood_line", blind);
        else
            judged("flood_line", dead);
        judged("flood_kill", obstacle.empty() ? 0 : 1);
    }

  private:
    // What is measured in a flood, and just so without one: interrupts of the device's while some time goes by and
    // then some work is done on its CPU, and how long that takes.
    struct Undergone {
        std::uint64_t interrupts;
        std::uint64_t work_ns;
        bool ended;  // within patience
    };
    [[nodiscard]] Undergone undergo(std::uint64_t flood_ms) const {
        const std::uint64_t before = interrupts_taken(bdf_);
        sleep_seconds(static_cast<double>(flood_ms) * 1e-3);
        const std::uint64_t begun_ns = now_ns();
        const Ended ended = run({.arguments = {"sh", "-c", work}, .cpu = device_cpu}, patience_seconds);
        return {interrupts_taken(bdf_) - before, now_ns() - begun_ns, ended.status == 0};
    }

    static std::string at(std::uint64_t place) { return fmt::format("iova={}", place); }
    std::uint64_t next_secret() { return 0x5e42'7135'0000'0000 + ++secrets_; }
    static Pair pair_of(const std::string& access) {
        return {kernel_from_driver.name, kernel_from_driver.attacker, find_hostile_cell(access)->asset};
    }

    // Of /proc. The supervisor's word, not the process's.
    [[nodiscard]] fs::path folder() {
        return system_paths().proc / std::to_string(driver_.command("stats").at("pid").get<std::uint64_t>());
    }

    // The table of messages is in a BAR that a process may map. What a message does is up to what it passes: the
    // device's domain, or the remapping of interrupts.
    void write_message_table() {
        constexpr std::uint64_t mark = 0x0000'4d53;
        act("map_own", at(iova));
        json answer = act("write_message_table", fmt::format("address={} word={}", iova, mark));
        const bool sent = (stray("stray_read").at("first").get<std::uint64_t>() & 0xffff'ffff) == mark;
        act("unmap", at(iova));
        if (!answer.contains("absent") && answer.at("errno") == 0 && !sent)
            answer["absent"] = "the device sends no message to where its table says";
        if (answer.contains("absent")) {
            add("message_table", false, answer);
            return judge("message_interrupt", {}, answer, json::object(), interrupt_promise());
        }
        const std::uint64_t physical = page_.physical_address();
        const std::uint64_t secret = next_secret();
        page_.set_word(secret);
        answer = act("write_message_table", fmt::format("address={} word={}", physical, mark));
        sleep_seconds(delivery_seconds);
        add("message_table", page_.word() != secret, answer);
        require_still_at(physical);
        ask_for_interrupt("message_interrupt", [&] {
            return act("write_message_table",
                       fmt::format("address={} word={}", interrupt_requests, thermal_vector));
        });
    }

    void dma_interrupt() {
        // VT-d takes no other writes for requests [VT-d, requests to the interrupt address range]; QEMU splits longer ones.
        if (!emulated())
            return leave_out("dma_interrupt", "the shortest write of the device's is longer than a request, which is of four bytes",
                             interrupt_promise());
        strayed_ = {};
        ask_for_interrupt("dma_interrupt", [&] {
            harness::stray(driver_, fmt::format("stray_write word={}", thermal_vector), interrupt_requests, strayed_);
            return json{{"errno", 0},
                        {"answer", "done"},
                        {"tried", "has its device write to where interrupts are asked for"}};
        });
    }

    // ask() -> answer
    template <class Ask>
    void ask_for_interrupt(const char* access, Ask&& ask) {
        const auto promise = interrupt_promise();
        const auto earlier = interrupts_named(thermal_count);
        if (!earlier) return leave_out(access, "the kernel does not count thermal interrupts (TRM)", promise);
        sleep_seconds(delivery_seconds);
        const auto before = interrupts_named(thermal_count);
        if (before != earlier) return leave_out(access, "the machine has thermal interrupts of its own", promise);
        json answer = ask();
        sleep_seconds(delivery_seconds);
        const std::uint64_t made = interrupts_named(thermal_count).value_or(*before) - *before;
        if (answer.at("errno") == 0)
            answer["answer"] = fmt::format("{}; interrupt remapping is {}{}", answer.at("answer").get<std::string>(),
                                           remaps_interrupts() ? "on" : "off", emulated() ? ", emulated by QEMU" : "");
        judge(access, {.accesses = 1, .reached = made, .restarts = std::exchange(strayed_.restarts, 0)}, answer, json::object(), promise);
    }

    // Nothing without remapping, nor of QEMU's, which lets a request through that names no entry of it (seen with 7.2).
    static std::optional<Promise> interrupt_promise() {
        return remaps_interrupts() && !emulated() ? std::nullopt : std::optional{Promise{}};
    }

    // Or what was tried was tried elsewhere.
    void require_still_at(std::uint64_t physical) const {
        if (page_.physical_address() != physical)
            fail("The page that no driver is given does not stay where it is; run it again");
    }

    json act(const std::string& name, const std::string& parameters = {}) {
        check_interrupted();
        strayed_ = {};
        json answer = driver_.command(trim("hostile " + name + " " + parameters));
        if (!answer.contains("errno") || !answer.contains("answer"))
            fail("The driver process does not say what came of {}: {}", name, answer.dump());
        return answer;
    }
    // The device goes where the acts map. What was mapped there is not its business.
    json stray(const char* verb) { return harness::stray(driver_, verb, iova, strayed_); }
    // What it says itself stands beside what was seen.
    static json told(const json& answer) {
        json more{{"answer", answer.at("answer")}};
        if (answer.contains("tried")) more["tried"] = answer["tried"];
        return more;
    }
    void add(const std::string& access, bool reached, const json& answer) {
        judge(access, {.accesses = 1, .reached = reached ? 1U : 0U, .restarts = std::exchange(strayed_.restarts, 0)}, answer);
    }
    static json as_json(const std::vector<std::string>& changes) {
        return changes.empty() ? json::object() : json{{"changes", changes}};
    }
    // What was reached is a breach whatever was answered. `beside`: what the cell has beyond that. `promise`: not the
    // strategy's.
    void judge(const std::string& access, const Observation& seen, const json& answer,
               const json& beside = json::object(), const std::optional<Promise>& promise = std::nullopt) {
        if (seen.reached == 0)
            if (const std::string reason = shows_nothing(*find_hostile_cell(access), answer); !reason.empty())
                return leave_out(access, reason, promise);
        json more = told(answer);
        more.update(beside);
        result_.add(pair_of(access), access, seen, more, promise);
    }
    void leave_out(const std::string& access, const std::string& reason, const std::optional<Promise>& promise = std::nullopt) {
        result_.leave_out(pair_of(access), access, reason, promise);
    }

    // The device is told to go there whether that was mapped or not.
    json map_and_stray(const std::string& name, std::uint64_t address) {
        const json answer = act(name, fmt::format("iova={} address={}", iova, address));
        std::uint64_t secret = next_secret();
        page_.set_word(secret);
        stray("stray_write");
        add(name + "_write", page_.word() != secret, answer);
        secret = next_secret();
        page_.set_word(secret);
        add(name + "_read", stray("stray_read").at("first") == secret, answer);
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

    // start_over(), and use it. What was in the way of that; empty: nothing.
    std::string obstacle_to_next() {
        try {
            start_over();
            require_copies();
            return {};
        } catch (const Interrupted&) {
            throw;
        } catch (const Failure& failure) {
            return failure.what();
        }
    }

    Driver& driver_;
    const std::string& bdf_;
    ProbeCells& result_;
    SentinelPage page_;
    SentinelFile file_;
    Observation strayed_{};  // since the last act, and the last cell
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
    attack.end_process();
    attack.exhaust();
    attack.outlive();
    attack.configure();
    attack.ask_for_interrupts();
    attack.flood(trial.parameters.at("flood_ms"), places.virtual_clock);
    record["probe"]["faults_logged"] = faults_among(log.complaints());
}

}  // namespace dmatoll::harness
