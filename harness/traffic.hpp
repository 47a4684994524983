// SPDX-License-Identifier: BSD-2-Clause
// What a workload does to the device under test: how it is started, when it flows, and what it says. The
// window, the counters of both ends and the meters are the session's.
#pragma once

#include <nlohmann/json.hpp>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "catalogue.hpp"
#include "plan.hpp"
#include "target/disk.hpp"
#include "target/driver.hpp"
#include "target/network.hpp"

namespace dmatoll::harness {

// One end of the cable.
struct TrafficEnd {
    const Interface* interface = nullptr;  // none: the driver process makes or takes the frames itself
    std::string address{};                 // IPv4
    std::string network_namespace{};       // empty: ours
    int cpu = 0;                           // where its program runs
};

struct TrafficPlaces {
    TrafficEnd device;
    TrafficEnd peer;
    const Disk* disk = nullptr;  // of the device under test; none: it is a network card
    Driver& driver;  // of the device under test
    // The CPUs take turns, and one that never idles may keep the others from theirs.
    bool virtual_clock = false;
};

// What the session read at both edges of the window, as differences.
struct MeasuredWindow {
    std::uint64_t opened_ns = 0;  // monotonic, of this machine; both ends are on it
    std::uint64_t closed_ns = 0;
    // From one reading of the driver's counters to the other: a little more than the window.
    std::uint64_t counters_ns = 0;
    Counts device;  // under the names of drivers/core/counters.hpp
    std::string device_source;
    Counts peer;  // as Interface::interface_statistics(); empty without one
    Counts disk;  // as Disk::statistics(); empty without one
    std::uint64_t disk_ns = 0;  // from one reading of it to the other
};

// Started by its constructor; its destructor ends whatever still runs.
class Traffic {
  public:
    Traffic() = default;
    virtual ~Traffic() = default;
    Traffic(const Traffic&) = delete;
    Traffic& operator=(const Traffic&) = delete;

    // Returns when the window may open: the stream flows, and has done so for the warm-up. Calls
    // `require_driver` while it waits, which throws if the driver has died. Throws Failure if nothing flows.
    virtual void warm_up(const std::function<void()>& require_driver) = 0;
    // Throws Failure if a program of it is not running any more.
    virtual void require_running() = 0;
    // Right behind the window's end, still before the counters of its end are compared.
    virtual void window_closed() {}
    // Waits for the end of all programs, and checks that both ends agree about the window. Returns a merge
    // patch for the record: metrics (packets, throughput_bps, load_achieved_bps at least) and
    // meters.<program>. Throws Failure.
    virtual nlohmann::json finish(const MeasuredWindow& window) = 0;
    // What its programs have printed so far, by file name: kept beside the records, for failed trials, too.
    virtual std::map<std::string, std::string> raw_outputs() = 0;
};

// A parameter that a way to run workloads needs, and what it takes.
struct NeededParameter {
    std::string name;
    std::uint64_t least;
    std::uint64_t most;
};

// A way to run workloads: what a workload.toml may name as its `program`.
struct TrafficProgram {
    const char* name;
    std::optional<DeviceKind> kind;  // that it is for; none: any
    std::vector<NeededParameter> needed;
    // None: it is no stream through a window, but a way of its own (crash.hpp).
    std::unique_ptr<Traffic> (*start)(const Trial&, const TrafficPlaces&);
};
const std::vector<TrafficProgram>& traffic_programs();
const TrafficProgram* find_traffic_program(const std::string& name);  // nullptr: unknown

// By the trial's program. Throws Failure.
std::unique_ptr<Traffic> start_traffic(const Trial& trial, const TrafficPlaces& places);

// Waits until `interface` has counted that many frames more, under the name of interface_statistics(). Throws
// Failure after 10 seconds, and what `check` throws.
void wait_for_stream(const Interface& interface, const std::string& counter, std::uint64_t frames,
                     const std::function<void()>& check);

}  // namespace dmatoll::harness
