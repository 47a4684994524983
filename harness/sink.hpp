// SPDX-License-Identifier: BSD-2-Clause
// Where the results of trials go: into a run directory, or out of the lab's guest.
#pragma once

#include <nlohmann/json.hpp>

#include <cstdint>
#include <string>
#include <string_view>

#include "plan.hpp"

namespace dmatoll::harness {

class Sink {
  public:
    virtual ~Sink() = default;
    virtual void start(const Trial& trial) = 0;
    // Of a trial in steps: `done` of them are behind it, of `total`.
    virtual void step(const Trial& trial, std::uint64_t done, std::uint64_t total) = 0;
    // What a program wrote, kept as it is.
    virtual void raw(const Trial& trial, const std::string& name, std::string_view content) = 0;
    virtual void record(const Trial& trial, const nlohmann::json& record) = 0;
    // What is seen when the records of whom it is about are out, as mappings that a driver leaves: it fails the run.
    virtual void problem(const std::string& text) = 0;
};

}  // namespace dmatoll::harness
