// SPDX-License-Identifier: BSD-2-Clause
// trials.jsonl: one JSON object a trial, one line, durable when append() returns.
#pragma once

#include <nlohmann/json.hpp>

#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include "file.hpp"
#include "plan.hpp"

namespace dmatoll::harness {

inline constexpr int record_schema = 1;

// Appends whole lines. If a line cannot be stored completely (a full disk) the file is cut back to the whole
// lines before it and append() throws Failure: nothing that was stored is lost.
class RecordFile {
  public:
    // Opens or creates. A torn last line, which a killed harness or a power cut left, is cut off. Throws
    // Failure if another process is writing the file.
    explicit RecordFile(std::filesystem::path path);
    void append(const nlohmann::json& record);

  private:
    std::filesystem::path path_;
    Descriptor file_;
};

struct Records {
    std::vector<nlohmann::json> records;
    bool torn = false;  // there was an incomplete last line; it is not among them
};

// Throws Failure, with the line's number, for a line other than the last that is no record of ours.
Records read_records(const std::filesystem::path& path);

// Ids of the trials that need not run again: what ended with `ok` or was `skipped`.
std::set<std::string> finished_trials(const Records& records);

// What every record of that trial begins with: what was asked for.
nlohmann::json requested(const Trial& trial, const std::string& run);
// A record of a trial that has no result; `status` is "error" or "skipped".
nlohmann::json without_result(const Trial& trial, const std::string& run, const std::string& status,
                              const std::string& reason);

}  // namespace dmatoll::harness
