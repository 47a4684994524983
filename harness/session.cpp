// SPDX-License-Identifier: BSD-2-Clause
#include "session.hpp"

#include <cstdio>

#include "cpus.hpp"
#include "crash.hpp"
#include "failure.hpp"
#include "fio.hpp"
#include "hostile_driver.hpp"
#include "lab/marker.hpp"
#include "map_unmap.hpp"
#include "meters/counters.hpp"
#include "meters/proc_stat.hpp"
#include "paths.hpp"
#include "probe.hpp"
#include "process.hpp"
#include "provenance.hpp"
#include "record.hpp"
#include "symbols.hpp"
#include "target/pci.hpp"
#include "traffic.hpp"

namespace dmatoll::harness {
namespace {

constexpr double link_seconds = 10;
// After it was switched on, an emulated part receives nothing for a second; a real link trains.
constexpr double answer_seconds = 10;
// A controller looks for disks after its driver has it.
constexpr double disk_seconds = 15;

}  // namespace

namespace {

// A driver that does not know a parameter may ignore it, as the kernel's module loader does: the trial is
// then not what it says it is.
void require_in_force(const Trial& trial, const nlohmann::json& effective) {
    const DriverSettings usual;
    const auto wanted = to_json(trial.settings);
    const auto usually = to_json(usual);
    std::vector<std::string> names{"completion", "code_generation", "page_size", "iova_allocator"};
    for (const auto& name : parameters_of(trial.strategy)) names.push_back(name);
    // What polls elsewhere is not counted.
    if (trial.placement == "kernel" && trial.settings.completion == "poll")
        if (const auto cpu = effective.find("polling_cpu"); cpu == effective.end() || *cpu != device_cpu)
            fail("The driver was asked to poll on CPU {}, and says {}", device_cpu,
                 cpu == effective.end() ? "nothing about it" : cpu->dump());
    for (const auto& name : names) {
        if (wanted.at(name) == usually.at(name)) continue;
        const auto found = effective.find(name);
        if (found == effective.end() || *found != wanted.at(name))
            fail("The driver was asked for {} {}, and says {}", name, wanted.at(name).dump(),
                 found == effective.end() ? "nothing about it" : found->dump());
    }
}

// Between two readings of the driver, by its own clock: it may say when it counted, since asking a busy
// process takes a while.
std::optional<std::uint64_t> between(const Counts& before, const Counts& after) {
    if (!before.contains(counted_at) || !after.contains(counted_at)) return std::nullopt;
    if (after.at(counted_at) <= before.at(counted_at)) return std::nullopt;
    return after.at(counted_at) - before.at(counted_at);
}

}  // namespace

Session::Session(SessionSettings settings, Sink& sink) : settings_{std::move(settings)}, sink_{sink} {
    pin_to_cpu(other_cpu());
    run_first();
    environment_ = settings_.environment;
    environment_.update(machine_provenance());
    try {
        ownership_.take(settings_.device, settings_.force);
        if (has_cable())
            set_up_peer();
        else if (!settings_.peer.empty())
            ownership_.take(settings_.peer, settings_.force);
    } catch (...) {
        ownership_.restore();
        throw;
    }
}

Session::~Session() {
    take_down_driver();
    witness_.reset();
    for (const auto& problem : ownership_.restore().problems)
        fmt::print(stderr, "dmatoll: not restored: {}\n", problem);
}

bool Session::has_cable() const {
    return !settings_.peer.empty() && !pci_device(settings_.device).is_disk_controller();
}

void Session::set_up_peer() {
    ownership_.take(settings_.peer, settings_.force);
    PciDevice peer = pci_device(settings_.peer);
    if (peer.interfaces.empty()) {
        load_modules_for(peer.bdf);
        // The device under test may be of the same kind: it must not be taken along.
        unbind(settings_.device);
        peer = pci_device(settings_.peer);
    }
    if (peer.driver.empty()) fail("The peer {} has no driver, and none could be loaded for it", peer.bdf);
    const std::string name = wait_for_interface(peer.bdf, 5);
    ownership_.note_namespace(peer_namespace);
    move_to_namespace(name, peer_namespace);
    peer_.emplace(name, peer_namespace);
    peer_->configure(peer_address);
    pin_interrupts(peer.bdf, other_cpu());
}

void Session::set_up_driver(const Trial& trial) {
    take_down_driver();
    if (!trial.copies_memory() && !peer_ && has_cable()) {
        witness_.reset();
        set_up_peer();
    }
    // A device that copies by way of a disk waits for it.
    if (trial.copies_by_disk() && settings_.virtual_clock && !metronome_) metronome_.emplace(other_cpu());
    driver_ = start_driver(trial, settings_.device, ownership_, device_cpu);
    driven_ = fmt::format("{}/{}/{} ({})", trial.device, trial.placement, trial.strategy, trial.id);
    interrupt_ = pin_interrupts(settings_.device, device_cpu);
    if (driver_->interface().empty()) return;
    interface_.emplace(driver_->interface(), "");
    // Both ends of the cable; a user driver has set its own end already.
    interface_->set_mtu(trial.settings.mtu);
    peer_->set_mtu(trial.settings.mtu);
    if (trial.placement == "kernel" && !trial.settings.offloads) interface_->set_offloads(false);
    // What one connection learnt of the path must not help the next one. The device under test sends from
    // here, the peer from a namespace that goes away.
    ownership_.change_setting(tcp_metrics_setting(), "1");
    interface_->configure(device_address);
    interface_->set_neighbour(peer_address, peer_->mac());
    peer_->set_neighbour(device_address, interface_->mac());
    interrupt_ = pin_interrupts(settings_.device, device_cpu);
    interface_->wait_until_running(link_seconds);
    wait_until_peer_answers(answer_seconds);
}

void Session::set_up_disk(const Trial& trial) {
    const auto port = static_cast<unsigned>(trial.parameters.at("port"));
    disk_ = wait_for_disk(*driver_, settings_.device, port, disk_seconds);
    disk_->set_queue(trial.settings.max_sectors_kb);
    // A disk may have fewer tags, in all placements alike; that is in the record. All else any driver can have.
    auto deviations = disk_->queue_deviations(trial.settings.max_sectors_kb);
    deviations.erase("nr_requests");
    if (!deviations.empty())
        fail("The queue of {} is not as in the other placements, and would not compare: {}", disk_->name(),
             deviations.dump());
    // Each port may have a vector of its own, which it asks for when it has found a disk.
    interrupt_ = pin_interrupts(settings_.device, device_cpu);
    if (trial.writes_to_disk() && !settings_.force) require_writable(disk_->name());
    if (settings_.virtual_clock && !metronome_) metronome_.emplace(other_cpu());
}

void Session::take_down_driver() {
    interface_.reset();
    disk_.reset();
    if (!driver_) return;
    try {
        driver_->stop();
    } catch (const std::exception& error) {
        try {
            sink_.problem(fmt::format("after {}: {}", driven_, error.what()));
        } catch (const std::exception&) {
            fmt::print(stderr, "dmatoll: after {}: {}\n", driven_, error.what());
        }
    }
    driver_.reset();
}

void Session::run(const Trial& trial) {
    check_interrupted();
    sink_.start(trial);
    auto record = requested(trial, settings_.run);
    record["environment"] = environment_;
    record["device"]["bdf"] = settings_.device;
    try {
        if (trial.combination() != combination_) {
            combination_ = trial.combination();
            combination_problem_.clear();
            combination_unavailable_ = false;
            try {
                set_up_driver(trial);
            } catch (const Interrupted&) {
                throw;
            } catch (const Failure& failure) {
                combination_problem_ = failure.what();
                combination_unavailable_ = dynamic_cast<const Unavailable*>(&failure) != nullptr;
                take_down_driver();
            }
        }
        if (!combination_problem_.empty()) {
            record["status"] = combination_unavailable_ ? "skipped" : "error";
            record["reason"] = combination_problem_;
        } else {
            if (trial.pattern) set_up_disk(trial);
            if (trial.probes())
                probe(trial, record);
            else if (trial.attacks())
                attack(trial, record);
            else
                record.merge_patch(trial.makes_faults()            ? measure_faults(trial)
                                   : trial.program == "fio-verify" ? verify(trial)
                                   : trial.times_mapping()         ? time_mapping(trial)
                                                                   : measure(trial));
            record["status"] = "ok";
        }
    } catch (const Interrupted&) {
        throw;
    } catch (const std::exception& error) {
        record["status"] = dynamic_cast<const Unavailable*>(&error) != nullptr ? "skipped" : "error";
        record["reason"] = error.what();
        // Whatever state it is in: the next trial begins with a fresh driver, and a beat.
        metronome_.reset();
        take_down_driver();
        combination_.clear();
    }
    // What failed because somebody wants the end is no result.
    check_interrupted();
    sink_.record(trial, record);
}

TrafficPlaces Session::places() {
    const auto end = [](std::optional<Interface>& interface, const char* address, int cpu) {
        return interface ? TrafficEnd{.interface = &*interface,
                                      .address = address,
                                      .network_namespace = interface->network_namespace(),
                                      .cpu = cpu}
                         : TrafficEnd{.cpu = cpu};
    };
    return {.device = end(interface_, device_address, device_cpu),
            .peer = end(peer_, peer_address, other_cpu()),
            .disk = disk_ ? &*disk_ : nullptr,
            .driver = *driver_,
            .virtual_clock = settings_.virtual_clock};
}

void Session::require_alive() {
    driver_->require_alive();
    if (metronome_) metronome_->require_beating();
}

nlohmann::json Session::measure_faults(const Trial& trial) {
    nlohmann::json record = settings_in_force(trial);
    const std::uint64_t begun = now_ns();
    record.merge_patch(run_faults(
        trial, places(), [&](std::uint64_t done, std::uint64_t total) { sink_.step(trial, done, total); }));
    record["window_ns"] = now_ns() - begun;
    // Whatever a driver is like after that, the next trial has its own.
    take_down_driver();
    combination_.clear();
    return record;
}

void Session::probe(const Trial& trial, nlohmann::json& record) {
    record.merge_patch(settings_in_force(trial));
    const std::uint64_t begun = now_ns();
    // The peer ends to be one: nobody may have been told of it.
    const SecondDevice second = second_device();
    run_probe(trial, places(), second, record,
              [&](std::uint64_t done, std::uint64_t total) { sink_.step(trial, done, total); });
    record["window_ns"] = now_ns() - begun;
}

nlohmann::json Session::time_mapping(const Trial& trial) {
    nlohmann::json record = settings_in_force(trial);
    record.merge_patch(run_map_unmap(trial, places(), [&](const std::function<void()>& work) {
        const std::uint64_t opened = now_ns();
        lab::open_window();
        work();
        lab::close_window();
        record["window_ns"] = now_ns() - opened;
        record["meters"]["lab_instructions"] = lab_window();
    }));
    return record;
}

// Of the window that was closed just now.
nlohmann::json Session::lab_window() {
    const std::uint64_t number = windows_++;
    if (settings_.virtual_clock) return {{"available", true}, {"window", number}};
    return {{"available", false}, {"reason", "counts on the lab's virtual clock only"}};
}

SecondDevice Session::second_device() {
    if (settings_.peer.empty()) return {.absent = "there is no second device: --peer names one"};
    if (!witness_ && without_witness_.empty()) {
        peer_.reset();
        try {
            witness_.emplace(settings_.peer);
        } catch (const Unavailable& unavailable) {
            without_witness_ = unavailable.what();
        }
    }
    return {.witness = witness_ ? &*witness_ : nullptr, .absent = without_witness_};
}

void Session::attack(const Trial& trial, nlohmann::json& record) {
    record.merge_patch(settings_in_force(trial));
    const std::uint64_t begun = now_ns();
    run_hostile_driver(trial, places(), settings_.device, record,
                       [&](std::uint64_t done, std::uint64_t total) { sink_.step(trial, done, total); });
    record["window_ns"] = now_ns() - begun;
    // Whatever a driver is like after that, the next trial has its own.
    take_down_driver();
    combination_.clear();
}

nlohmann::json Session::verify(const Trial& trial) {
    const std::uint64_t begun = now_ns();
    const Counts before = driver_->counters();
    nlohmann::json result = run_fio_verify(
        trial, places(), [&] { require_alive(); },
        [&](const std::string& output) { sink_.raw(trial, "fio.json", output); });
    const Counts counts = difference(before, driver_->counters());
    nlohmann::json record = settings_in_force(trial);
    record["window_ns"] = now_ns() - begun;
    record["meters"]["driver_counters"] = {
        {"available", !counts.empty()}, {"source", driver_->counter_source()}, {"counts", counts_json(counts)}};
    record.merge_patch(result);
    return record;
}

nlohmann::json Session::measure(const Trial& trial) {
    const auto traffic = start_traffic(trial, places());
    const auto save_outputs = [&] {
        for (const auto& [name, content] : traffic->raw_outputs())
            if (!content.empty()) sink_.raw(trial, name, content);
    };
    try {
        traffic->warm_up([&] { require_alive(); });
        // It watched until the stream began only.
        require_alive();

        const std::uint64_t wanted_ns = trial.parameters.at("window_ms") * 1'000'000;
        const CpuTicks ticks_before = settings_.virtual_clock ? CpuTicks{} : read_cpu_ticks(device_cpu);
        const Counts peer_before = peer_ ? peer_->interface_statistics() : Counts{};
        const std::uint64_t counters_opened = now_ns();
        const Counts before = driver_->counters();
        const std::uint64_t disk_opened = now_ns();
        const Counts disk_before = disk_ ? disk_->statistics() : Counts{};
        const std::uint64_t opened = now_ns();
        lab::open_window();
        sleep_until_ns(opened + wanted_ns);
        lab::close_window();
        const std::uint64_t closed = now_ns();
        const std::uint64_t disk_closed = now_ns();
        const Counts disk_after = disk_ ? disk_->statistics() : Counts{};
        const Counts after = driver_->counters();
        const std::uint64_t counters_closed = now_ns();
        if (settings_.profile) sink_.raw(trial, "maps.txt", process_maps());
        nlohmann::json lab_instructions = lab_window();
        const Counts peer_after = peer_ ? peer_->interface_statistics() : Counts{};
        const CpuTicks ticks_after = settings_.virtual_clock ? CpuTicks{} : read_cpu_ticks(device_cpu);

        traffic->window_closed();
        traffic->require_running();
        require_alive();
        Counts moved = difference(before, after);
        moved.erase(counted_at);  // a time, no count
        const MeasuredWindow window{
            .opened_ns = opened,
            .closed_ns = closed,
            .counters_ns = between(before, after).value_or(counters_closed - counters_opened),
            .device = std::move(moved),
            .device_source = driver_->counter_source(),
            .peer = difference(peer_before, peer_after),
            .disk = difference(disk_before, disk_after),
            .disk_ns = disk_closed - disk_opened};
        const nlohmann::json result = traffic->finish(window);
        save_outputs();
        if (settings_.profile) sink_.raw(trial, "kernel-symbols", kernel_symbols());

        nlohmann::json record = settings_in_force(trial);
        record["window_ns"] = closed - opened;
        if (disk_) record["ios_interval_ns"] = window.disk_ns;
        // An echo's are the generator's, of its own window.
        else if (trial.copies_memory()) record["copies_interval_ns"] = window.counters_ns;
        else if (trial.program != "udp-echo") record["packets_interval_ns"] = window.counters_ns;
        auto& metrics = record["metrics"];
        const Counts& counts = window.device;
        if (counts.contains("maps") && counts.contains("unmaps")) {
            metrics["iommu"] = {{"maps", counts.at("maps")}, {"unmaps", counts.at("unmaps")}};
            if (counts.contains("invalidations"))
                metrics["iommu"]["invalidations"] = counts.at("invalidations");
        }
        for (const auto* name : {"polls", "idle_polls"})
            if (counts.contains(name)) metrics[name] = counts.at(name);

        auto& meters = record["meters"];
        if (counts.empty())
            meters["driver_counters"] = {{"available", false}, {"reason", window.device_source}};
        else
            meters["driver_counters"] = {{"available", true},
                                         {"source", window.device_source},
                                         {"interval_ns", window.counters_ns},
                                         {"counts", counts_json(counts)}};
        if (peer_)
            meters["peer_counters"] = {
                {"available", true}, {"source", "/proc/net/dev"}, {"counts", counts_json(window.peer)}};
        if (disk_)
            meters["block_layer"] = {{"available", true},
                                     {"source", "/sys/block/" + disk_->name() + "/stat"},
                                     {"interval_ns", window.disk_ns},
                                     {"counts", counts_json(window.disk)}};
        if (settings_.virtual_clock) {
            meters["proc_stat"] = {
                {"available", false},
                {"reason", "sampled at the tick, which aliases with timers on the virtual clock"}};
        } else {
            const std::uint64_t busy = ticks_after.busy - ticks_before.busy;
            const std::uint64_t idle = ticks_after.idle - ticks_before.idle;
            meters["proc_stat"] = {{"available", true},
                                   {"source", "/proc/stat"},
                                   {"cpu", device_cpu},
                                   {"busy_ticks", busy},
                                   {"idle_ticks", idle}};
            if (busy + idle > 0)
                metrics["cpu_utilisation"] = static_cast<double>(busy) / static_cast<double>(busy + idle);
        }
        meters["lab_instructions"] = std::move(lab_instructions);
        record.merge_patch(result);
        // Whose turn it is decides which vCPU's work a latency contains.
        if (settings_.virtual_clock && metrics.contains("latency_ns"))
            record["latency_stamp"] = disk_ ? "of the emulator, virtual clock" : "turn-ordered, virtual clock";
        return record;
    } catch (...) {
        save_outputs();
        throw;
    }
}

nlohmann::json Session::settings_in_force(const Trial& trial) {
    nlohmann::json record;
    const auto effective = driver_->effective();
    require_in_force(trial, effective);
    record["completion"] = trial.settings.completion;
    record["effective"] = effective;
    for (const auto& name : parameters_of(trial.strategy))
        if (effective.contains(name)) record["strategy"]["parameters"][name] = effective[name];
    // Our drivers that poll have asked for none.
    record["device"]["interrupt"] = trial.settings.completion == "poll" ? "none" : interrupt_;
    if (interface_) {
        record["device"]["interface"] = interface_->name();
        record["effective"]["mtu"] = interface_->mtu();
        record["effective"]["offloads"] = interface_->offloads();
        record["effective"]["rings"] = interface_->rings();
    }
    if (peer_) {
        record["effective"]["peer_offloads"] = peer_->offloads();
        record["effective"]["peer_driver"] = peer_->driver();
        record["effective"]["peer_mtu"] = peer_->mtu();
    }
    if (disk_) {
        record["device"]["disk"] = {
            {"name", disk_->name()}, {"port", trial.parameters.at("port")}, {"bytes", disk_->bytes()}};
        record["effective"]["queue"] = disk_->queue();
        if (const auto deviations = disk_->queue_deviations(trial.settings.max_sectors_kb); !deviations.empty())
            record["effective"]["queue_deviations"] = deviations;
    }
    if (metronome_)
        record["virtual_clock"] = {
            {"beat_us", Metronome::beat_us},
            {"what", "a process wakes at this beat on the CPU that is not measured: without it the clock would jump "
                     "to any timer while all wait for a disk, which answers on the host's time"}};
    record["domain"]["attached"] = effective.at("domain");
    record["strategy"]["page_size"] = effective.at("page_size");
    if (effective.contains("code_generation")) record["code_generation"] = effective["code_generation"];
    return record;
}

}  // namespace dmatoll::harness
