// SPDX-License-Identifier: BSD-2-Clause
// results/runs/<suite>-<time>/: manifest.json, trials.jsonl, raw/<trial>/..., boots/<n>/...
#pragma once

#include <nlohmann/json.hpp>

#include <atomic>
#include <filesystem>
#include <memory>
#include <mutex>
#include <set>
#include <string>

#include "record.hpp"
#include "sink.hpp"

namespace dmatoll::harness {

class RunDirectory {
  public:
    // Makes a new one and writes its manifest. `where` empty: results/runs/<suite>-<time> below the current
    // directory.
    static RunDirectory create(const std::filesystem::path& where, const Plan& plan,
                               const nlohmann::json& manifest);
    // One that exists, by path or by its name below results/runs. Throws Failure if it is none.
    static RunDirectory open(const std::string& path_or_name);

    [[nodiscard]] const std::filesystem::path& path() const { return path_; }
    [[nodiscard]] std::string name() const { return path_.filename().string(); }
    [[nodiscard]] const nlohmann::json& manifest() const { return manifest_; }
    [[nodiscard]] const Plan& plan() const { return plan_; }
    [[nodiscard]] std::filesystem::path records_path() const { return path_ / "trials.jsonl"; }

    // The plan's trials that have no whole record yet, in order; those that ended in an error among them.
    [[nodiscard]] std::vector<Trial> unfinished() const;

    void append(const nlohmann::json& record);
    void save_raw(const std::string& trial, const std::string& name, std::string_view content) const;

  private:
    explicit RunDirectory(std::filesystem::path path) : path_{std::move(path)} {}

    std::filesystem::path path_;
    nlohmann::json manifest_;
    Plan plan_;
    std::unique_ptr<RecordFile> records_;
};

std::filesystem::path runs_directory();
// A path, or a name below results/runs; "latest" is the newest. Throws Failure.
std::filesystem::path find_run(const std::string& path_or_name);

}  // namespace dmatoll::harness
