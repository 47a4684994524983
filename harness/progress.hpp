// SPDX-License-Identifier: BSD-2-Clause
// What the user sees while trials run.
#pragma once

#include <nlohmann/json.hpp>

#include <cstddef>
#include <cstdint>
#include <string>

#include "plan.hpp"

namespace dmatoll::harness {

// What came of a trial that went well, in a few words.
std::string result_text(const nlohmann::json& metrics);

class Progress {
  public:
    // `estimated_seconds` is what the plan says; it is corrected by how fast it goes.
    Progress(const std::vector<Trial>& trials, double estimated_seconds, bool quiet);

    void started(const Trial& trial);
    // Of a long trial: how far it is.
    void step(const Trial& trial, std::uint64_t done, std::uint64_t total);
    void finished(const Trial& trial, const nlohmann::json& record);
    void message(const std::string& text);
    // Of no trial's record.
    void problem(const std::string& text);
    // Ends the line that is rewritten.
    void done();

    [[nodiscard]] std::size_t errors() const { return errors_; }
    [[nodiscard]] std::size_t skipped() const { return skipped_; }
    [[nodiscard]] std::size_t problems() const { return problems_; }
    [[nodiscard]] std::size_t total() const { return total_; }
    [[nodiscard]] std::size_t count() const { return done_; }

  private:
    void line(const std::string& text, bool keep);
    [[nodiscard]] double seconds_left() const;

    std::size_t total_;
    std::size_t done_ = 0;
    std::size_t errors_ = 0;
    std::size_t skipped_ = 0;
    std::size_t problems_ = 0;
    double weight_total_ = 0;
    double weight_done_ = 0;
    double estimated_;
    double begun_;
    bool quiet_;
    bool terminal_;
    bool open_line_ = false;
};

}  // namespace dmatoll::harness
