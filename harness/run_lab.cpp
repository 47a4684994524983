// SPDX-License-Identifier: BSD-2-Clause
#include "run_lab.hpp"

#include <sched.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <thread>

#include "catalogue.hpp"
#include "crash.hpp"
#include "failure.hpp"
#include "meters/lab_instructions.hpp"
#include "paths.hpp"
#include "process.hpp"
#include "record.hpp"
#include "text.hpp"

namespace dmatoll::harness {
namespace {

// Seconds of this machine, generous: another load may share the CPU with a guest.
constexpr double boot_deadline_seconds = 120;
constexpr std::size_t console_lines = 25;
constexpr std::size_t oops_lines = 120;
// The user driver's arena. A network card's: with room for a second one. A controller's: 33 requests of 1 MiB for each of
// two disks, and 6 MiB for command tables.
constexpr unsigned huge_pages = 32;
constexpr unsigned disk_huge_pages = 40;

// What the workers share.
struct Shared {
    RunDirectory& run;
    Progress& progress;
    const LabSettings& settings;
    std::mutex mutex;                       // guards all of the following, and run and progress
    std::vector<std::vector<Trial>> boots;  // not begun yet, the last one is next
    std::exception_ptr failure;
};

class BootRunner {
  public:
    BootRunner(Shared& shared, std::vector<Trial> trials, unsigned host_cpu)
        : shared_{shared}, rest_{std::move(trials)}, boot_{rest_.front().boot}, host_cpu_{host_cpu} {}

    void run() {
        while (!rest_.empty()) {
            const std::size_t before = rest_.size();
            boot_once();
            check_interrupted();
            // A guest that does not even begin a trial twice will not do it the third time.
            fruitless_ = rest_.size() == before ? fruitless_ + 1 : 0;
            if (fruitless_ && hopeless_) fruitless_ = 2;
            if (fruitless_ < 2) continue;
            while (!rest_.empty())
                finish(without_result(rest_.front(), shared_.run.name(), "error", last_problem_));
        }
    }

  private:
    lab::GuestOptions options() const {
        lab::GuestOptions options = lab_guest_options();
        const auto folder = fmt::format("boot-{}{}", boot_, guests_ ? fmt::format("-again-{}", guests_) : "");
        options.output = shared_.run.path() / "raw" / folder;
        options.clock = shared_.settings.virtual_clock ? lab::Clock::virtual_clock : lab::Clock::wall_clock;
        options.seed = rest_.front().boot_seed;
        options.vcpus = rest_.front().guest.vcpus;
        options.memory_mib = rest_.front().guest.memory_mib;
        options.address_bits = rest_.front().guest.address_bits;
        if (const DeviceModel* model = find_device_model(rest_.front().device)) {
            options.device_model = model->emulated_as;
            options.disks = model->kind == DeviceKind::disk;
            if (options.disks) options.huge_pages = disk_huge_pages;
        }
        if (shared_.settings.virtual_clock) options.host_cpu = host_cpu_;
        // Nothing but the trials: the guest's instructions must not depend on the run's name or the commit.
        nlohmann::json job{{"device", lab::device_bdf},
                           {"peer", lab::peer_bdf},
                           {"virtual_clock", shared_.settings.virtual_clock},
                           {"trials", nlohmann::json::array()}};
        if (shared_.settings.profile) job["profile"] = options.profile = true;
        for (const auto& trial : rest_) job["trials"].push_back(to_json(trial));
        options.files["/dmatoll/job.json"] = job.dump();
        options.command = {"dmatoll", "guest-job", "/dmatoll/job.json"};
        return options;
    }

    void boot_once() {
        const lab::GuestOptions settings = options();
        lab::Guest guest = lab::Guest::start(settings);
        ++guests_;
        current_.reset();
        refused_ = 0;
        double deadline = now_seconds() + boot_deadline_seconds;
        bool late = false;
        for (bool running = true; running && !rest_.empty();) {
            running = !guest.wait(std::chrono::milliseconds{50});
            for (const auto& line : guest.new_records())
                if (take(line, guest)) deadline = now_seconds() + allowance();
            check_interrupted();
            if (const std::lock_guard lock{shared_.mutex}; shared_.failure)
                throw Interrupted{};  // the other guest's run failed
            if (running && now_seconds() > deadline) {
                guest.kill();
                late = true;
                break;
            }
        }
        if (rest_.empty()) {
            // It powers off by itself, when the last driver has stopped.
            guest.wait(std::chrono::milliseconds{10'000});
            for (const auto& line : guest.new_records()) take(line, guest);
            guest.kill();
            return;
        }
        // The job gave up by itself, before any trial: it will again.
        hopeless_ = guest.command_status().has_value();
        last_problem_ = problem(guest, late, settings.output / "console.log");
        if (!current_) return;
        const std::string oops = oops_of(guest.console_tail(oops_lines));
        if (current_->ends_its_guest() && steps_begun_ && guest.state() == lab::ExitState::panicked &&
            oops.find("NULL pointer dereference") != std::string::npos)
            finish(oops_record(*current_, oops));
        else
            finish(without_result(*current_, shared_.run.name(), "error", last_problem_));
    }

    // The guest's kernel is gone, as the trial wanted: what is left of it is the result.
    nlohmann::json oops_record(const Trial& trial, const std::string& oops) const {
        auto record = requested(trial, shared_.run.name());
        record["started_utc"] = started_utc_;
        record["metrics"] = {{"kills", 1}, {"recoveries", 0}};
        record["crash"] = {{"how", "null"}, {"oops", oops}};
        record["status"] = "ok";
        return record;
    }

    std::string problem(lab::Guest& guest, bool late, const std::filesystem::path& console) {
        const auto tail = guest.console_tail(console_lines);
        std::string what = late ? fmt::format("The guest hung: no progress within {:.0f} s",
                                              current_ ? allowance() : boot_deadline_seconds)
                                : "The guest ended: " + guest.explanation();
        return fmt::format("{}. Its console ({}) ends with:\n{}", what, console.string(), join(tail, "\n"));
    }

    // Some trials are long and silent, others speak at each step.
    double allowance() const {
        const double expected = current_ ? estimate_trial(*current_, ClockKind::virtual_clock) : 0;
        return shared_.settings.deadline_seconds + 3 * expected;
    }

    // One line from the guest; true if it means progress.
    bool take(const std::string& line, lab::Guest& guest) {
        // Another program's output: what is not an event of the expected form is none.
        const auto text = [](const nlohmann::json& object, const char* key) {
            return object.is_object() && object.contains(key) && object[key].is_string()
                       ? object[key].get<std::string>()
                       : std::string{};
        };
        auto event = nlohmann::json::parse(line, nullptr, false);
        const std::string kind = text(event, "event");
        if (kind == "problem") {
            const std::lock_guard lock{shared_.mutex};
            shared_.progress.problem(text(event, "text"));
            return true;
        }
        const std::string id = text(event, "trial");
        const auto trial = std::find_if(rest_.begin(), rest_.end(),
                                        [&](const Trial& candidate) { return candidate.id == id; });
        if (trial == rest_.end()) return false;
        if (kind == "start") {
            current_ = *trial;
            steps_begun_ = false;
            started_utc_ = utc_now();
            const std::lock_guard lock{shared_.mutex};
            shared_.progress.started(*trial);
        } else if (kind == "step") {
            steps_begun_ = true;
            const auto number = [&](const char* key) {
                return event.contains(key) && event[key].is_number_unsigned()
                           ? event[key].get<std::uint64_t>()
                           : 0;
            };
            const std::lock_guard lock{shared_.mutex};
            shared_.progress.step(*trial, number("done"), number("total"));
        } else if (kind == "raw") {
            const auto name = std::filesystem::path{text(event, "name")}.filename();
            if (name.empty()) return false;
            shared_.run.save_raw(id, name.string(), text(event, "content"));
        } else if (kind == "record" && event.contains("record") && event["record"].is_object()) {
            auto& record = event["record"];
            if (shared_.settings.virtual_clock && std::filesystem::exists(guest.windows_path()))
                add_lab_instructions(record, lab::read_windows(guest.windows_path()));
            const std::uint64_t refused = guest.refused_accesses();
            record["meters"]["lab_faults"] = {
                {"available", true},
                {"source", "accesses that the emulated IOMMU refused since the record before"},
                {"refused", refused - refused_}};
            if (record.contains("metrics")) record["metrics"]["iommu"]["faults"] = refused - refused_;
            refused_ = refused;
            record["repetition"]["guest"] = guests_;
            record["started_utc"] = started_utc_;  // the guest's own date is made up
            record["run"] = shared_.run.name();
            record["trial"] = id;
            auto environment = shared_.run.manifest().at("environment");
            if (record.contains("environment") && record["environment"].is_object())
                environment.update(record["environment"]);
            environment["guest"] = to_json(trial->guest);
            guest_environment_ = environment;
            record["environment"] = environment;
            finish(record);
        }
        return true;
    }

    // Of a guest that died: what it said itself in an earlier record, or what it was started with.
    nlohmann::json environment_of(const Trial& trial) const {
        if (!guest_environment_.is_null()) return guest_environment_;
        auto environment = shared_.run.manifest().at("environment");
        environment["guest"] = to_json(trial.guest);
        const lab::GuestOptions started = options();
        environment["cmdline"] = lab::kernel_command_line(started);
        if (const auto release = read_attribute(started.artefacts / "kernel-release"))
            environment["kernel"] = *release;
        return environment;
    }

    // Stores the record of a trial and takes the trial off the list.
    void finish(const nlohmann::json& record) {
        const std::string id = record.at("trial");
        const auto trial = std::find_if(rest_.begin(), rest_.end(),
                                        [&](const Trial& candidate) { return candidate.id == id; });
        const Trial finished = *trial;
        rest_.erase(trial);
        current_.reset();
        auto complete = record;
        if (!complete.contains("environment")) complete["environment"] = environment_of(finished);
        const std::lock_guard lock{shared_.mutex};
        shared_.run.append(complete);
        shared_.progress.finished(finished, complete);
    }

    Shared& shared_;
    std::vector<Trial> rest_;
    std::uint32_t boot_;
    unsigned host_cpu_;
    unsigned guests_ = 0;  // started for this boot
    unsigned fruitless_ = 0;
    bool hopeless_ = false;
    std::uint64_t refused_ = 0;
    std::optional<Trial> current_;
    bool steps_begun_ = false;  // of the current one: faults are being made
    std::string started_utc_;
    nlohmann::json guest_environment_;
    std::string last_problem_;
};

void work(Shared& shared, unsigned host_cpu) {
    for (;;) {
        std::vector<Trial> trials;
        {
            const std::lock_guard lock{shared.mutex};
            if (shared.failure || interrupted() || shared.boots.empty()) return;
            trials = std::move(shared.boots.back());
            shared.boots.pop_back();
        }
        try {
            BootRunner{shared, std::move(trials), host_cpu}.run();
        } catch (...) {
            const std::lock_guard lock{shared.mutex};
            if (!shared.failure) shared.failure = std::current_exception();
            return;
        }
    }
}

}  // namespace

lab::GuestOptions lab_guest_options() {
    lab::GuestOptions options;
    options.artefacts = lab_artefacts();
    options.huge_pages = huge_pages;
    return options;
}

std::vector<unsigned> allowed_cpus() {
    std::vector<unsigned> cpus;
    cpu_set_t set;
    CPU_ZERO(&set);
    if (::sched_getaffinity(0, sizeof set, &set) == 0)
        for (unsigned cpu = 0; cpu < CPU_SETSIZE; ++cpu)
            if (CPU_ISSET(cpu, &set)) cpus.push_back(cpu);
    if (cpus.empty()) cpus.push_back(0);
    return cpus;
}

void run_lab(RunDirectory& run, const std::vector<Trial>& trials, const LabSettings& settings,
             Progress& progress) {
    Shared shared{run, progress, settings, {}, {}, {}};
    std::map<std::uint32_t, std::vector<Trial>> boots;
    for (const auto& trial : trials) boots[trial.boot].push_back(trial);
    for (auto boot = boots.rbegin(); boot != boots.rend(); ++boot)
        shared.boots.push_back(std::move(boot->second));

    const auto cpus = allowed_cpus();
    const std::size_t workers =
        std::min({static_cast<std::size_t>(std::max(settings.jobs, 1U)), cpus.size(), boots.size()});
    std::vector<std::thread> threads;
    for (std::size_t i = 0; i < workers; ++i) threads.emplace_back(work, std::ref(shared), cpus[i]);
    for (auto& thread : threads) thread.join();
    if (shared.failure) std::rethrow_exception(shared.failure);
    check_interrupted();
}

}  // namespace dmatoll::harness
