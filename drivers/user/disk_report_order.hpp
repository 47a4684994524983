// SPDX-License-Identifier: BSD-2-Clause
// In which order one driver process may report: the disks that it found, once; then, once, that it serves
// them; at any time, and last, why it does not run. It is not trusted to keep it.
#pragma once

#include <cstdint>

#include "disk_report.hpp"

namespace dmatoll::user {

class DiskReportOrder {
  public:
    // False: that is not for it to say now, nor is anything from now on.
    bool admit(DiskReport::Kind kind) {
        const bool admitted = (kind == DiskReport::Kind::failed && next_ != Next::nothing) ||
                              (kind == DiskReport::Kind::found && next_ == Next::found) ||
                              (kind == DiskReport::Kind::serving && next_ == Next::serving);
        next_ = admitted && kind == DiskReport::Kind::found ? Next::serving : Next::nothing;
        return admitted;
    }

  private:
    enum class Next : std::uint8_t { found, serving, nothing };

    Next next_ = Next::found;
};

}  // namespace dmatoll::user
