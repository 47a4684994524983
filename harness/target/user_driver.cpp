// SPDX-License-Identifier: BSD-2-Clause
#include "user_driver.hpp"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <vector>

#include "../catalogue.hpp"
#include "../failure.hpp"
#include "../paths.hpp"
#include "../sentinel_file.hpp"
#include "../text.hpp"
#include "pci.hpp"
#include "system.hpp"

namespace dmatoll::harness {
namespace {
constexpr const char* tap_name = "dmatoll0";
constexpr const char* vfio_driver = "vfio-pci";
// Longer than the supervisor waits for the first life of its driver process, with two disks that it takes over slowly, or
// that are slow to be written back and let go of: a driver that outlived its supervisor would keep the device.
constexpr double start_seconds = 160;
constexpr double stop_seconds = 160;

// A trial of faults lives on being restarted, and so does one that kills an attacker; any other is spoilt by it.
std::string allowed_restarts(const Trial& trial) { return trial.makes_faults() || trial.attacks() ? "always" : "0"; }
// What an attacker does may take it a while.
constexpr const char* attack_watchdog_ms = "10000";

bool drives_disks(const Trial& trial) { return kind_of(trial.device) == DeviceKind::disk && !trial.copies_memory(); }

std::string program_of(const Trial& trial) {
    return fmt::format("dmatoll-{}-user{}",
                       drives_disks(trial)     ? "disk"
                       : trial.copies_memory() ? "dma"
                                               : "net",
                       code_generation(trial) == "kernel-like" ? "-kernel-like" : "");
}

// Where the driver hands to the kernel what the device does.
std::string surface_module(const Trial& trial) { return drives_disks(trial) ? "ublk_drv" : "tun"; }

// As the program spells it.
std::string option_of(const StrategyParameter& parameter) {
    std::string option = std::string{"--"} + parameter.name;
    std::replace(option.begin(), option.end(), '_', '-');
    return option;
}

// What has its default is left to the program.
std::vector<std::string> driver_options(const Trial& trial) {
    const DriverSettings& settings = trial.settings;
    const DriverSettings usual;
    std::vector<std::string> result{"--strategy", trial.strategy};
    const auto add = [&](const char* name, const std::string& value) {
        result.emplace_back(name);
        result.push_back(value);
    };
    if (!drives_disks(trial) && !trial.copies_memory()) {
        add("--receive-descriptors", std::to_string(settings.receive_descriptors));
        add("--transmit-descriptors", std::to_string(settings.transmit_descriptors));
        add("--interrupts-per-second", std::to_string(settings.interrupts_per_second));
    }
    if (settings.mtu != usual.mtu) add("--mtu", std::to_string(settings.mtu));
    if (settings.offloads != usual.offloads) add("--offloads", settings.offloads ? "on" : "off");
    if (settings.completion != usual.completion) add("--completion", settings.completion);
    for (const StrategyParameter* parameter : parameters::all)
        if (const std::uint32_t value = settings.*parameter->value; value != usual.*parameter->value)
            add(option_of(*parameter).c_str(), std::to_string(value));
    if (settings.page_size != usual.page_size) add("--page-size", std::to_string(settings.page_size));
    if (settings.iova_allocator != usual.iova_allocator) add("--iova-allocator", settings.iova_allocator);
    if (trial.makes_faults()) result.emplace_back("--allow-faults");
    if (trial.attacks()) {
        add("--hostile", SentinelFile::path().string());
        add("--watchdog-ms", attack_watchdog_ms);
    }
    if (drives_disks(trial) || trial.copies_memory()) return result;
    if (trial.driver_is_workload()) {
        add("--raw", trial.flow == Flow::both ? "loopback" : name_of(trial.flow));
        add("--frame-bytes", std::to_string(trial.parameters.at("frame_bytes")));
    } else {
        add("--tap", tap_name);
    }
    return result;
}

}  // namespace

std::vector<DiskPlace> disks_of_event(const nlohmann::json& event) {
    constexpr std::string_view devices = "/dev/";
    std::vector<DiskPlace> disks;
    try {
        for (const auto& disk : event.at("disks")) {
            const std::string block = disk.at("block");
            if (!block.starts_with(devices) || block.find('/', devices.size()) != std::string::npos ||
                block.size() == devices.size())
                fail("The user driver says that a disk is '{}', which is no file in /dev", block);
            disks.push_back({disk.at("port").get<unsigned>(), block.substr(devices.size())});
        }
    } catch (const nlohmann::json::exception& error) {
        fail("The user driver does not say which disks it has: {}", error.what());
    }
    return disks;
}

UserDriver::UserDriver(const Trial& trial, const std::string& bdf, Ownership& ownership, int cpu)
    : bdf_{bdf},
      cpu_{cpu},
      interface_{trial.driver_is_workload() || trial.copies_memory() || drives_disks(trial) ? "" : tap_name},
      socket_path_{(system_paths().run / "user.sock").string()} {
    const fs::path program = our_program(program_of(trial));
    if (program.empty())
        throw Unavailable{
            fmt::format("The program {} is neither beside dmatoll nor in PATH; build it", program_of(trial))};
    set_driver_override(bdf, vfio_driver);
    const std::string surface = surface_module(trial);
    // The kernel frees the devices of a driver that was killed when their module goes.
    if (drives_disks(trial) && !fs::exists(system_paths().sys / "module" / surface)) ownership.note_module(surface);
    for (const auto& module : {std::string{"vfio-pci"}, std::string{"vfio_iommu_type1"}, surface}) {
        const Ended loaded = run({.arguments = {"modprobe", module}});
        if (loaded.status != 0)
            throw Unavailable{fmt::format("{} is not there: the module {} cannot be loaded: {}",
                                          module == surface ? "The way into the kernel" : "VFIO", module,
                                          trim(loaded.error))};
    }
    bind_driver(bdf, vfio_driver);
    std::vector<std::string> arguments{program.string(),        "--device",  bdf,          "--cpu",
                                       std::to_string(cpu),     "--control", socket_path_, "--restart",
                                       allowed_restarts(trial), "--json"};
    for (const auto& option : driver_options(trial)) arguments.push_back(option);
    child_.emplace(Command{.arguments = arguments});
    const auto ready = wait_until_ready();
    if (drives_disks(trial)) disks_ = disks_of_event(ready);
    socket_ = Descriptor{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::snprintf(address.sun_path, sizeof address.sun_path, "%s", socket_path_.c_str());
    if (::connect(socket_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
        fail("Cannot reach the user driver at {}: {}", socket_path_, system_error(errno));
}

// Before it is, it may tell what it does about disks that a supervisor left behind which was killed.
nlohmann::json UserDriver::wait_until_ready() {
    const double deadline = now_seconds() + start_seconds;
    std::string last = "no answer";
    while (const auto line = child_->read_line(std::max(0.0, deadline - now_seconds()))) {
        auto event = nlohmann::json::parse(*line, nullptr, false);
        if (event.is_object() && event.value("event", "") == "ready") return event;
        last = *line;
    }
    const Ended ended = child_->terminate(stop_seconds);
    child_.reset();
    fail("The user driver did not become ready on {}: status {}, {}{}", bdf_, ended.status, last,
         ended.error.empty() ? "" : "; it said: " + trim(ended.error));
}

UserDriver::~UserDriver() {
    try {
        stop();
    } catch (const std::exception&) {
        // The ownership file still tells how the device was.
    }
}

std::string UserDriver::interface() const { return interface_; }

void UserDriver::make_fault(const std::string& how) {
    if (how == "kill") {
        const pid_t driver = ask().value("pid", 0);
        if (driver <= 1 || ::kill(driver, SIGKILL) != 0)
            fail("Cannot kill the driver process {}: {}", driver, system_error(errno));
        return;
    }
    const std::string answer = request("fault " + how);
    if (answer.find("error") != std::string::npos)
        fail("The user driver does not take `fault {}`: {}", how, trim(answer));
}

// The supervisor says so by itself. To ask it would wait for a driver process that hangs, and cost the
// device's CPU.
std::uint64_t UserDriver::restarts() {
    child_->wait_for(0);  // takes what it has printed
    while (const auto line = child_->read_line(0)) {
        const auto event = nlohmann::json::parse(*line, nullptr, false);
        if (!event.is_object() || event.value("event", "") != "restarted") continue;
        ++restarts_;
        // A message has a vector of its own in each life.
        pin_interrupts(bdf_, cpu_);
    }
    return restarts_;
}

nlohmann::json UserDriver::command(const std::string& line) {
    const std::string text = request(line);
    auto answer = nlohmann::json::parse(text, nullptr, false);
    if (!answer.is_object() || answer.contains("error"))
        fail("The user driver does not take `{}`: {}", line, trim(text));
    return answer;
}

nlohmann::json UserDriver::ask() {
    const std::string answer = request("stats");
    auto json = nlohmann::json::parse(answer, nullptr, false);
    if (!json.is_object() || !json.contains("counters"))
        fail("The user driver's answer to `stats` is no object with counters: {}", trim(answer));
    return json;
}

std::string UserDriver::request(const std::string& what) {
    write_all(socket_.get(), what + "\n", socket_path_);
    std::string answer;
    const double deadline = now_seconds() + 5;
    while (answer.find('\n') == std::string::npos) {
        pollfd wait{socket_.get(), POLLIN, 0};
        char block[8192];
        ssize_t got = 0;
        if (::poll(&wait, 1, 1000) == 1) {
            got = ::read(socket_.get(), block, sizeof block);
            if (got <= 0) fail("The user driver closed its control socket {}", socket_path_);
            answer.append(block, static_cast<std::size_t>(got));
        }
        if (now_seconds() > deadline)
            fail("The user driver did not answer `{}` on {} within 5 s", what, socket_path_);
    }
    return answer;
}

Counts UserDriver::counters() {
    Counts counts;
    const auto answer = ask();
    for (const auto& [name, value] : answer.at("counters").items()) counts[name] = value.get<std::uint64_t>();
    // Asking it takes a while, the longer the busier it is.
    if (answer.contains(counted_at)) counts[counted_at] = answer[counted_at].get<std::uint64_t>();
    if (answer.contains("process"))
        for (const auto& [name, value] : answer["process"].items())
            counts["process_" + name] = value.get<std::uint64_t>();
    return counts;
}

nlohmann::json UserDriver::effective() {
    auto answer = ask();
    nlohmann::json result = answer.value("parameters", nlohmann::json::object());
    for (const auto* name : {"domain", "page_size", "arena", "strategy", "placement", "code_generation"})
        if (answer.contains(name)) result[name] = answer[name];
    // What runs, whatever was started.
    std::error_code unreadable;
    const fs::path running =
        fs::read_symlink(fmt::format("/proc/{}/exe", answer.value("pid", 0)), unreadable);
    if (!unreadable) result["program"] = running.filename().string();
    result["driver"] = pci_device(bdf_).driver;
    return result;
}

void UserDriver::require_alive() {
    if (!child_ || child_->wait_for(0)) {
        const Ended ended = child_ ? child_->finish(0) : Ended{};
        fail("The user driver of {} ended with status {}: {}", bdf_, ended.status,
             trim(last_lines(ended.output + ended.error, 5)));
    }
}

void UserDriver::stop() {
    if (!child_) return;
    socket_.reset();
    const Ended ended = child_->terminate(stop_seconds);
    child_.reset();
    unbind(bdf_);
    if (ended.status != 0)
        fail("The user driver of {} ended with status {} when it was told to: {}", bdf_, ended.status,
             trim(last_lines(ended.output + ended.error, 5)));
}

}  // namespace dmatoll::harness
