// SPDX-License-Identifier: BSD-2-Clause
#include "session.hpp"

#include <cmath>
#include <cstdio>

#include "failure.hpp"
#include "file.hpp"
#include "iperf3.hpp"
#include "lab/marker.hpp"
#include "meters/counters.hpp"
#include "meters/lab_instructions.hpp"
#include "meters/proc_stat.hpp"
#include "process.hpp"
#include "provenance.hpp"
#include "record.hpp"
#include "symbols.hpp"
#include "target/pci.hpp"
#include "text.hpp"

namespace dmatoll::harness {
namespace {

constexpr double link_seconds = 10;
// After it was switched on, an emulated part receives nothing for a second; a real link trains.
constexpr double answer_seconds = 10;
constexpr double traffic_seconds = 10;
// Frames that show that the stream proper flows, and not only its set-up.
constexpr std::uint64_t stream_frames = 64;
// Header bytes of a frame without its payload: Ethernet 14, IPv4 20, and UDP 8 or TCP 20 with 12 of
// timestamps.
constexpr std::uint64_t udp_header_bytes = 14 + 20 + 8;
constexpr std::uint64_t tcp_header_bytes = 14 + 20 + 20 + 12;

}  // namespace

Session::Session(SessionSettings settings, Sink& sink) : settings_{std::move(settings)}, sink_{sink} {
    pin_to_cpu(static_cast<int>(other_cpu));
    run_first();
    environment_ = settings_.environment;
    environment_.update(machine_provenance());
    try {
        set_up_peer();
    } catch (...) {
        ownership_.restore();
        throw;
    }
}

Session::~Session() {
    take_down_driver();
    for (const auto& problem : ownership_.restore().problems)
        fmt::print(stderr, "dmatoll: not restored: {}\n", problem);
}

void Session::set_up_peer() {
    ownership_.take(settings_.device, settings_.force);
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
    pin_interrupts(peer.bdf, static_cast<int>(other_cpu));
}

void Session::set_up_driver(const Trial& trial) {
    take_down_driver();
    driver_ = start_driver(trial, settings_.device, ownership_, static_cast<int>(device_cpu));
    interface_.emplace(driver_->interface(), "");
    // What one connection learnt of the path must not help the next one. The device under test sends from
    // here, the peer from a namespace that goes away.
    ownership_.change_setting(tcp_metrics_setting(), "1");
    interface_->configure(device_address);
    interface_->set_neighbour(peer_address, peer_->mac());
    peer_->set_neighbour(device_address, interface_->mac());
    interrupt_ = pin_interrupts(settings_.device, static_cast<int>(device_cpu));
    interface_->wait_until_running(link_seconds);
    wait_until_peer_answers(answer_seconds);
}

void Session::take_down_driver() {
    interface_.reset();
    if (!driver_) return;
    try {
        driver_->stop();
    } catch (const std::exception& error) {
        fmt::print(stderr, "dmatoll: {}\n", error.what());
    }
    driver_.reset();
}

void Session::save_raw(const Trial& trial, const std::string& name, const std::string& content) {
    if (!content.empty()) sink_.raw(trial, name, content);
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
            record.merge_patch(measure(trial));
            record["status"] = "ok";
        }
    } catch (const Interrupted&) {
        throw;
    } catch (const std::exception& error) {
        record["status"] = "error";
        record["reason"] = error.what();
        // Whatever state it is in: the next trial begins with a fresh driver.
        take_down_driver();
        combination_.clear();
    }
    // What failed because somebody wants the end is no result.
    check_interrupted();
    sink_.record(trial, record);
}

nlohmann::json Session::measure(const Trial& trial) {
    const bool transmit = trial.flow == Flow::transmit;
    const std::string frames = transmit ? "frames_transmitted" : "frames_received";
    const std::string bytes = transmit ? "bytes_transmitted" : "bytes_received";
    const std::string peer_frames = transmit ? "rx_packets" : "tx_packets";

    const Counts at_start = peer_->interface_statistics();
    Iperf3 traffic{trial};
    try {
        // The warm-up begins when the stream does, not when its program is started.
        const double patience = now_seconds() + traffic_seconds;
        while (peer_->interface_statistics().at(peer_frames) - at_start.at(peer_frames) < stream_frames) {
            traffic.require_running();
            driver_->require_alive();
            if (now_seconds() > patience)
                fail(
                    "No stream within {} s of starting iperf3: fewer than {} frames reached the peer's "
                    "interface",
                    traffic_seconds, stream_frames);
            sleep_seconds(0.01);
        }
        sleep_seconds(static_cast<double>(trial.parameters.at("warm_up_ms")) * 1e-3);

        const std::uint64_t wanted_ns = trial.parameters.at("window_ms") * 1'000'000;
        const CpuTicks ticks_before =
            settings_.virtual_clock ? CpuTicks{} : read_cpu_ticks(static_cast<int>(device_cpu));
        const Counts peer_before = peer_->interface_statistics();
        const std::uint64_t counters_opened = now_ns();
        const Counts before = driver_->counters(*interface_);
        const std::uint64_t opened = now_ns();
        lab::open_window();
        sleep_until_ns(opened + wanted_ns);
        lab::close_window();
        const std::uint64_t closed = now_ns();
        if (settings_.profile) save_raw(trial, "maps.txt", process_maps());
        const Counts after = driver_->counters(*interface_);
        const std::uint64_t counters_closed = now_ns();
        const std::uint64_t window_number = windows_++;
        const Counts peer_after = peer_->interface_statistics();
        const CpuTicks ticks_after =
            settings_.virtual_clock ? CpuTicks{} : read_cpu_ticks(static_cast<int>(device_cpu));

        traffic.require_running();
        driver_->require_alive();
        const auto result = traffic.finish();
        save_raw(trial, "client.json", traffic.client_output);
        save_raw(trial, "server.json", traffic.server_output);
        if (settings_.profile) save_raw(trial, "kernel-symbols", kernel_symbols());

        const std::uint64_t window_ns = closed - opened;
        const Counts counts = difference(before, after);
        const Counts peer = difference(peer_before, peer_after);
        const std::uint64_t own_packets = counts.at(frames);
        const std::uint64_t peer_packets = peer.at(peer_frames);
        const std::uint64_t wire_bytes = counts.at(bytes);
        if (own_packets == 0)
            fail("The device under test moved no frame in a window of {} ms",
                 trial.parameters.at("window_ms"));
        if (peer_packets == 0)
            fail("The peer moved no frame in a window of {} ms", trial.parameters.at("window_ms"));
        // Counters of both ends are read at almost the same time; frames in rings and queues make up the
        // rest. More may arrive than the sender computed: a part that ends a segmented buffer with an empty
        // frame, as QEMU's does, sends one frame more for at least two. Fewer may: a ring that overflows in
        // slow start loses frames, which is a result and not a mistake.
        const bool tcp = trial.transport == Transport::tcp;
        const std::uint64_t sent = transmit ? own_packets : peer_packets;
        const std::uint64_t arrived = transmit ? peer_packets : own_packets;
        const std::uint64_t in_flight = 64 + sent / 50;
        const std::uint64_t most = sent + in_flight + (transmit && tcp ? sent / 2 : 0);
        if (arrived > most || (tcp && arrived + in_flight + sent / 4 < sent))
            fail(
                "Both ends disagree about the window: {} frames sent, {} received; the device under test "
                "counts {} ({}), the peer {}",
                sent, arrived, own_packets, driver_->counter_source(), peer_packets);
        // What was on the wire: a frame that arrived was there, and so was one that was sent.
        const std::uint64_t packets = transmit ? std::max(own_packets, peer_packets) : own_packets;

        // Bytes were counted from one reading of the counters to the other, which is a little more than the
        // window.
        const double seconds = static_cast<double>(counters_closed - counters_opened) * 1e-9;
        const std::uint64_t headers =
            own_packets * (trial.transport == Transport::tcp ? tcp_header_bytes : udp_header_bytes);
        nlohmann::json record;
        record["window_ns"] = window_ns;
        record["completion"] = "interrupt";
        record["device"]["interrupt"] = interrupt_;
        record["device"]["interface"] = interface_->name();
        const auto effective = driver_->effective();
        record["effective"] = effective;
        record["effective"]["offloads"] = interface_->offloads();
        record["effective"]["peer_offloads"] = peer_->offloads();
        record["effective"]["peer_driver"] = peer_->driver();
        record["effective"]["rings"] = interface_->rings();
        record["domain"]["attached"] = effective.at("domain");
        record["strategy"]["page_size"] = effective.at("page_size");
        if (effective.contains("code_generation")) record["code_generation"] = effective["code_generation"];
        auto& metrics = record["metrics"];
        metrics["packets"] = packets;
        metrics["throughput_bps"] = static_cast<double>(wire_bytes) * 8 / seconds;
        metrics["load_achieved_bps"] =
            static_cast<double>(wire_bytes - std::min(headers, wire_bytes)) * 8 / seconds;
        if (const auto load = trial.parameters.at("load_bps"); load > 0) metrics["load_requested_bps"] = load;
        if (counts.contains("maps") && counts.contains("unmaps")) {
            metrics["iommu"] = {{"maps", counts.at("maps")}, {"unmaps", counts.at("unmaps")}};
            if (counts.contains("invalidations"))
                metrics["iommu"]["invalidations"] = counts.at("invalidations");
        }
        for (const auto* name : {"polls", "idle_polls"})
            if (counts.contains(name)) metrics[name] = counts.at(name);

        auto& meters = record["meters"];
        meters["driver_counters"] = {{"available", true},
                                     {"source", driver_->counter_source()},
                                     {"interval_ns", counters_closed - counters_opened},
                                     {"counts", counts_json(counts)}};
        meters["peer_counters"] = {
            {"available", true}, {"source", "/proc/net/dev"}, {"counts", counts_json(peer)}};
        meters["iperf3"] = {{"available", true},
                            {"source", "iperf3 -J, the whole run"},
                            {"bytes_sent", result.sent.bytes_sent},
                            {"bytes_received", result.received.bytes_received},
                            {"retransmits", result.sent.retransmits},
                            {"datagrams", result.received.datagrams},
                            {"datagrams_lost", result.received.datagrams_lost}};
        if (settings_.virtual_clock) {
            meters["proc_stat"] = {
                {"available", false},
                {"reason", "sampled at the tick, which aliases with timers on the virtual clock"}};
            meters["lab_instructions"] = {{"available", true}, {"window", window_number}};
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
            meters["lab_instructions"] = {{"available", false},
                                          {"reason", "counts on the lab's virtual clock only"}};
        }
        return record;
    } catch (...) {
        save_raw(trial, "client.json", traffic.client_output);
        save_raw(trial, "server.json", traffic.server_output);
        throw;
    }
}

}  // namespace dmatoll::harness
