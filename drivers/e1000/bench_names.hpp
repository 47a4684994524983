// SPDX-License-Identifier: BSD-2-Clause
// The names under which a command's answer tells a distribution of ticks.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "../core/tick_histogram.hpp"
#include "part_bench.hpp"

namespace dmatoll::e1000 {

struct SummaryField {
    const char* name;
    std::uint64_t TickHistogram::Summary::* value;
};
inline constexpr std::array summary_fields{
    SummaryField{"n", &TickHistogram::Summary::n},     SummaryField{"total", &TickHistogram::Summary::total},
    SummaryField{"min", &TickHistogram::Summary::min}, SummaryField{"p50", &TickHistogram::Summary::p50},
    SummaryField{"p90", &TickHistogram::Summary::p90}, SummaryField{"p99", &TickHistogram::Summary::p99},
    SummaryField{"p99_9", &TickHistogram::Summary::p99_9}, SummaryField{"max", &TickHistogram::Summary::max},
};

// Of one distribution: what was timed, and a field of the summary. "map_p50".
class SummaryNames {
  public:
    constexpr SummaryNames() = default;
    constexpr explicit SummaryNames(const char* what) {
        for (std::size_t field = 0; field < summary_fields.size(); ++field) {
            std::size_t length = append(names_[field], 0, what);
            length = append(names_[field], length, "_");
            append(names_[field], length, summary_fields[field].name);
        }
    }
    [[nodiscard]] constexpr const char* of(std::size_t field) const { return names_[field].data(); }

  private:
    using Name = std::array<char, 32>;

    static constexpr std::size_t append(Name& name, std::size_t at, const char* text) {
        while (*text != '\0') name[at++] = *text++;
        return at;
    }

    std::array<Name, summary_fields.size()> names_{};
};

inline constexpr SummaryNames map_names{"map"};
inline constexpr SummaryNames unmap_names{"unmap"};
inline constexpr SummaryNames clock_names{"clock"};

// In the order of enum class Work.
inline constexpr std::array<const char*, works> part_names{
    "iova_allocation", "page_table_map", "page_table_unmap", "invalidation", "domain_invalidation",
    "iova_free",       "map_call",       "unmap_call",       "system_call",  "clock"};
inline constexpr auto work_names = [] {
    std::array<SummaryNames, works> names{};
    for (std::size_t i = 0; i < works; ++i) names[i] = SummaryNames{part_names[i]};
    return names;
}();

}  // namespace dmatoll::e1000
