// SPDX-License-Identifier: BSD-2-Clause
#include "run_local.hpp"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <set>

#include "failure.hpp"
#include "file.hpp"
#include "process.hpp"
#include "record.hpp"
#include "session.hpp"
#include "target/disk.hpp"
#include "target/pci.hpp"

namespace dmatoll::harness {
namespace {

class DirectorySink final : public Sink {
  public:
    DirectorySink(RunDirectory& run, Progress& progress) : run_{run}, progress_{progress} {}
    void start(const Trial& trial) override { progress_.started(trial); }
    void step(const Trial& trial, std::uint64_t done, std::uint64_t total) override {
        progress_.step(trial, done, total);
    }
    void raw(const Trial& trial, const std::string& name, std::string_view content) override {
        run_.save_raw(trial.id, name, content);
    }
    void record(const Trial& trial, const nlohmann::json& record) override {
        run_.append(record);
        progress_.finished(trial, record);
    }
    void problem(const std::string& text) override { progress_.problem(text); }

  private:
    RunDirectory& run_;
    Progress& progress_;
};

class LineSink final : public Sink {
  public:
    explicit LineSink(std::string path) : path_{std::move(path)} {
        file_ = Descriptor{::open(path_.c_str(), O_WRONLY | O_APPEND | O_NOCTTY | O_CLOEXEC)};
        if (!file_.valid()) fail("Cannot open {} for the records: {}", path_, system_error(errno));
    }
    void start(const Trial& trial) override { send({{"event", "start"}, {"trial", trial.id}}); }
    void step(const Trial& trial, std::uint64_t done, std::uint64_t total) override {
        send({{"event", "step"}, {"trial", trial.id}, {"done", done}, {"total", total}});
    }
    void raw(const Trial& trial, const std::string& name, std::string_view content) override {
        send({{"event", "raw"}, {"trial", trial.id}, {"name", name}, {"content", content}});
    }
    void record(const Trial& trial, const nlohmann::json& record) override {
        send({{"event", "record"}, {"trial", trial.id}, {"record", record}});
    }
    void problem(const std::string& text) override { send({{"event", "problem"}, {"text", text}}); }

  private:
    void send(const nlohmann::json& event) {
        write_all(file_.get(), event.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n",
                  path_);
    }

    std::string path_;
    Descriptor file_;
};

// Why a machine that is no guest does not run the trial, with that device.
std::optional<std::string> not_here(const Trial& trial, const PciDevice& device) {
    const DeviceKind kind = device.is_disk_controller() ? DeviceKind::disk : DeviceKind::network;
    if (kind_of(trial.device) != kind)
        return fmt::format("it is about a {}, and {} is a {}", trial.device, device.bdf,
                           kind == DeviceKind::disk ? "disk controller" : "network card");
    if (trial.ends_its_guest()) return "it ends the kernel that it runs on: in the lab only";
    GuestShape shape = trial.guest;
    // Who times mapping wants CPUs for its threads: the plan has held these against this machine's.
    if (trial.times_mapping()) shape.vcpus = GuestShape{}.vcpus;
    if (shape != GuestShape{})
        return "it is about the shape of a guest (" + label(trial.guest) + "): in the lab only";
    return std::nullopt;
}

// As far as the disks can be seen now: what would refuse the trials one by one refuses the run.
void require_writable_disks(const PciDevice& device, const std::vector<Trial>& trials, bool force) {
    if (force) return;
    std::set<std::uint64_t> written;
    bool any = false;
    for (const auto& trial : trials) {
        if (not_here(trial, device)) continue;
        if (trial.writes_to_disk()) written.insert(trial.parameters.at("port"));
        any |= trial.copies_by_disk();
    }
    const auto disks = disks_of(device.bdf);
    if (any && disks.empty())
        fail(
            "A trial writes to the end of a disk of {}, and what its disks hold cannot be seen: no driver shows any. "
            "Bind it to its driver first",
            device.bdf);
    for (const auto& disk : disks)
        if (any || (!written.empty() && (!disk.port || written.contains(*disk.port)))) require_writable(disk.name);
}

}  // namespace

void run_local(RunDirectory& run, const std::vector<Trial>& trials, const LocalSettings& settings,
               Progress& progress) {
    // Before anything is taken: an address that was mistyped costs no device its driver.
    const PciDevice device = pci_device(settings.device);
    require_drivable(device);
    if (device.is_disk_controller()) {
        if (!settings.peer.empty() &&
            std::none_of(trials.begin(), trials.end(), [](const Trial& trial) { return trial.probes(); }))
            fail("{} is a controller of disks, and needs no --peer but for a probe", settings.device);
        require_writable_disks(device, trials, settings.force);
    } else if (settings.peer.empty() && !std::all_of(trials.begin(), trials.end(), [](const Trial& trial) {
                   return trial.copies_memory();
               })) {
        fail("{} is a network card: --peer is needed, the address of the card at the other end of the cable",
             settings.device);
    }
    if (settings.device == settings.peer)
        fail("The device under test and its peer are both {}; two connected cards are needed",
             settings.device);
    DirectorySink sink{run, progress};
    Session session{{.run = run.name(),
                     .device = settings.device,
                     .peer = settings.peer,
                     .force = settings.force,
                     .virtual_clock = false,
                     .environment = run.manifest().at("environment")},
                    sink};
    for (const auto& trial : trials) {
        if (const auto reason = not_here(trial, device)) {
            sink.start(trial);
            sink.record(trial, without_result(trial, run.name(), "skipped", *reason));
            continue;
        }
        session.run(trial);
    }
}

void run_guest_job(const std::string& job_file, const std::string& records) {
    const auto job = nlohmann::json::parse(read_file(job_file), nullptr, false);
    if (!job.is_object()) fail("{} is not a job of dmatoll", job_file);
    LineSink sink{records};
    Session session{{.run = "",
                     .device = job.at("device"),
                     .peer = job.at("peer"),
                     // The lab's disks hold nothing but what earlier trials wrote.
                     .force = true,
                     .virtual_clock = job.at("virtual_clock"),
                     .profile = job.value("profile", false),
                     .environment = nlohmann::json::object()},
                    sink};
    for (const auto& trial : job.at("trials")) session.run(trial_from_json(trial));
}

}  // namespace dmatoll::harness
