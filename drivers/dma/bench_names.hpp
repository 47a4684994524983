// SPDX-License-Identifier: BSD-2-Clause
// The names under which a command's answer tells a distribution of ticks.
#pragma once

#include <array>
#include <cstddef>

#include "../core/map_work.hpp"
#include "../core/tick_histogram.hpp"

namespace dmatoll::dma {

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
inline constexpr SummaryNames put_off_names{"put_off"};

inline constexpr auto part_summary_names = [] {
    std::array<SummaryNames, works> names{};
    for (std::size_t i = 0; i < works; ++i) names[i] = SummaryNames{work_names[i]};
    return names;
}();

}  // namespace dmatoll::dma
