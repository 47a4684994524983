// SPDX-License-Identifier: BSD-2-Clause
// What a probe has come to: a cell for each access by an attacker to an asset.
#pragma once

#include <nlohmann/json.hpp>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "probe.hpp"

namespace dmatoll::harness {

// The attackers are those of the catalogue's pairs: a device that does what nobody told it, and a driver that
// tells it to. The engine obeys in both cases; who is to be protected from it differs.
struct Pair {
    const char* name;  // in a record's protection
    const char* attacker;
    const char* asset;
};
inline constexpr Pair kernel_from_device{"kernel_from_device", "device", "kernel"};
inline constexpr Pair kernel_from_driver{"kernel_from_driver", "driver", "kernel"};
inline constexpr Pair driver_from_device{"driver_from_device", "device", "driver"};

class ProbeCells {
  public:
    using Step = std::function<void(std::uint64_t, std::uint64_t)>;

    // All outlive it. step(cells done, of `in_all`). Each cell is in `record` as soon as there is one, under
    // probe {cells, slack_ns} and metrics {accesses, cells, less_than_promised}: what fails later takes none away.
    ProbeCells(const nlohmann::json& protection, std::uint64_t slack_ns, std::uint64_t in_all, nlohmann::json& record,
               const Step& step);

    // Judged by what the protection says of it, or by a promise that is another one here. `more`: what the cell has
    // beside that.
    void add(const Pair& pair, const std::string& access, const Observation& seen, const nlohmann::json& more = {},
             const std::optional<Promise>& here = {});
    // It was not tried: nothing is promised about it, or, if there is a `reason`, there was nothing to try it
    // with. `here`: as for add().
    void leave_out(const Pair& pair, const std::string& access, const std::string& reason = {},
                   const std::optional<Promise>& here = {});

  private:
    void keep(nlohmann::json cell);

    const nlohmann::json& protection_;
    const std::uint64_t slack_ns_;
    const std::uint64_t in_all_;
    nlohmann::json& record_;
    const Step& step_;
    std::uint64_t accesses_ = 0;
    std::uint64_t less_ = 0;
};

// What a record's cells come to, for people: a line each.
struct ToldCells {
    bool any = false;  // the record has cells at all, whatever its status
    std::vector<std::string> broken;
    std::vector<std::string> untried;  // although something is promised about them, and why
};
ToldCells tell_cells(const nlohmann::json& record);

}  // namespace dmatoll::harness
