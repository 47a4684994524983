// SPDX-License-Identifier: BSD-2-Clause
#include "run_directory.hpp"

#include <algorithm>

#include "failure.hpp"
#include "file.hpp"
#include "text.hpp"

namespace dmatoll::harness {

fs::path runs_directory() { return fs::path{"results"} / "runs"; }

fs::path find_run(const std::string& path_or_name) {
    if (fs::exists(fs::path{path_or_name} / "manifest.json"))
        return fs::path{path_or_name}.lexically_normal();
    const fs::path below = runs_directory() / path_or_name;
    if (fs::exists(below / "manifest.json")) return below;
    std::vector<std::string> names;
    std::error_code error;
    fs::file_time_type newest_time{};
    fs::path newest;
    for (const auto& entry : fs::directory_iterator(runs_directory(), error)) {
        if (!fs::exists(entry.path() / "manifest.json")) continue;
        names.push_back(entry.path().filename().string());
        const auto time = fs::last_write_time(entry.path() / "manifest.json");
        if (newest.empty() || time > newest_time) {
            newest = entry.path();
            newest_time = time;
        }
    }
    if (path_or_name == "latest" && !newest.empty()) return newest;
    std::sort(names.begin(), names.end());
    fail("There is no run '{}': neither {} nor {} has a manifest.json{}", path_or_name, path_or_name,
         below.string(), names.empty() ? "" : suggestion(path_or_name, names));
}

RunDirectory RunDirectory::create(const fs::path& where, const Plan& plan, const nlohmann::json& manifest) {
    RunDirectory run{where.empty() ? runs_directory() / (plan.suite + "-" + utc_now_compact()) : where};
    if (run.path_.filename().empty()) run.path_ = run.path_.parent_path();
    if (fs::exists(run.path_ / "manifest.json"))
        fail(
            "{} holds a run already; go on with it by `dmatoll run {} --resume {}`, or choose another "
            "--output",
            run.path_.string(), plan.suite, run.path_.string());
    std::error_code error;
    fs::create_directories(run.path_ / "raw", error);
    if (error) fail("Cannot create {}: {}", (run.path_ / "raw").string(), error.message());
    run.plan_ = plan;
    run.manifest_ = manifest;
    run.manifest_["schema"] = record_schema;
    run.manifest_["run"] = run.name();
    run.manifest_["started_utc"] = utc_now();
    run.manifest_["plan"] = to_json(plan);
    write_file(run.path_ / "manifest.json", run.manifest_.dump(2) + "\n");
    run.records_ = std::make_unique<RecordFile>(run.records_path());
    return run;
}

RunDirectory RunDirectory::open(const std::string& path_or_name) {
    RunDirectory run{find_run(path_or_name)};
    if (run.path_.filename().empty()) run.path_ = run.path_.parent_path();
    const fs::path manifest = run.path_ / "manifest.json";
    run.manifest_ = nlohmann::json::parse(read_file(manifest), nullptr, false);
    if (!run.manifest_.is_object() || run.manifest_.value("schema", 0) != record_schema)
        fail("{} is not the manifest of a run of schema {}", manifest.string(), record_schema);
    try {
        run.plan_ = plan_from_json(run.manifest_.at("plan"));
    } catch (const nlohmann::json::exception& error) {
        fail("{} holds no plan that can be gone on with: {}", manifest.string(), error.what());
    }
    run.records_ = std::make_unique<RecordFile>(run.records_path());
    return run;
}

std::vector<Trial> RunDirectory::unfinished() const {
    const auto finished = finished_trials(read_records(records_path()));
    std::vector<Trial> rest;
    for (const auto& trial : plan_.trials)
        if (!finished.contains(trial.id)) rest.push_back(trial);
    return rest;
}

void RunDirectory::append(const nlohmann::json& record) { records_->append(record); }

void RunDirectory::save_raw(const std::string& trial, const std::string& name,
                            std::string_view content) const {
    const fs::path folder = path_ / "raw" / trial;
    std::error_code error;
    fs::create_directories(folder, error);
    write_file(folder / name, content);
}

}  // namespace dmatoll::harness
