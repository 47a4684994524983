// SPDX-License-Identifier: BSD-2-Clause
// Runs trials on this machine, one after the other: the lab's guest does so, and a machine with real
// hardware.
#pragma once

#include <nlohmann/json.hpp>

#include <memory>
#include <optional>
#include <string>

#include "metronome.hpp"
#include "probe.hpp"
#include "sink.hpp"
#include "target/driver.hpp"
#include "target/ownership.hpp"
#include "traffic.hpp"

namespace dmatoll::harness {

struct SessionSettings {
    std::string run;     // the run's name, for the records; empty in the lab, where the host adds it
    std::string device;  // PCI addresses
    std::string peer;    // at the other end of a network card's cable; beside disks the probe's second device, or empty
    bool force = false;  // take them even if they carry the default route, or disks that are not empty
    bool virtual_clock = false;
    bool profile = false;  // keep what it takes to give addresses names: see symbols.hpp
    nlohmann::json environment;  // complete, but for what only this machine knows
};

class Session {
  public:
    // Takes the device and the peer, and sets up a network card's. Throws Failure.
    Session(SessionSettings settings, Sink& sink);
    // Gives everything back; says on stderr what could not be.
    ~Session();
    Session(const Session&) = delete;
    Session& operator=(const Session&) = delete;

    // Runs one trial and hands exactly one record to the sink, whatever happens. The driver of the trial
    // before is kept if it is of the same combination. Throws only Interrupted, and what the sink throws.
    void run(const Trial& trial);

  private:
    [[nodiscard]] bool has_cable() const;
    void set_up_peer();
    void set_up_driver(const Trial& trial);
    void take_down_driver();
    TrafficPlaces places();
    // The peer, as a device that is in nobody's reach: it is at no cable's end meanwhile.
    SecondDevice second_device();
    nlohmann::json measure(const Trial& trial);
    nlohmann::json measure_faults(const Trial& trial);
    // What these find is in the record at once, and stays there if they throw.
    void probe(const Trial& trial, nlohmann::json& record);
    void attack(const Trial& trial, nlohmann::json& record);
    nlohmann::json time_mapping(const Trial& trial);
    nlohmann::json lab_window();
    nlohmann::json verify(const Trial& trial);
    // The driver lives, and the beat beats, if there has to be one. Throws Failure.
    void require_alive();
    // The disk that the trial is about, with its queue set.
    void set_up_disk(const Trial& trial);
    // What is really in force of what the trial asked for, for its record.
    nlohmann::json settings_in_force(const Trial& trial);

    SessionSettings settings_;
    Sink& sink_;
    nlohmann::json environment_;
    Ownership ownership_;
    std::optional<Interface> peer_;
    std::optional<Witness> witness_;  // instead of peer_
    std::string without_witness_;     // why there cannot be one
    std::string driven_;  // by driver_, for whoever is told of it: the combination, and its first trial
    std::string combination_;
    std::string combination_problem_;
    bool combination_unavailable_ = false;
    std::unique_ptr<Driver> driver_;
    std::optional<Interface> interface_;
    std::optional<Disk> disk_;
    std::optional<Metronome> metronome_;
    std::string interrupt_;
    std::uint64_t windows_ = 0;  // opened so far: the lab's meter numbers them likewise
};

}  // namespace dmatoll::harness
