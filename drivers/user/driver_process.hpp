// SPDX-License-Identifier: BSD-2-Clause
// The driver process as the supervisor holds it.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>

#include "core/mac_address.hpp"
#include "descriptor.hpp"
#include "options.hpp"
#include "vfio_open.hpp"

namespace dmatoll::user {

// Where the driver process finds what it was given.
enum InheritedDescriptor : int {
    inherited_container = 3,
    inherited_device,
    inherited_tap,
    inherited_counters,
    inherited_bell,
    inherited_report,
    inherited_end,
};

// What the driver process says, once: that it runs, or why it does not.
struct Report {
    bool ready = false;
    MacAddress mac{};
    std::string arena;    // "hugepages" or "4KiB"
    std::string note;     // something the user may want to know
    std::string failure;  // when not ready
};

std::string to_text(const Report& report);
// Nothing if it is not such a report: the process that wrote it is not trusted.
std::optional<Report> parse_report(const std::string& text);

class DriverProcess {
  public:
    // Starts the process. VFIO's descriptors are closed here when this returns: only the process itself holds
    // the device, so that its death, however it comes, stops it. Throws Failure.
    DriverProcess(const ChildOptions& options, std::optional<unsigned> cpu, VfioDescriptors vfio, int tap,
                  int counters, int bell);

    [[nodiscard]] pid_t pid() const { return pid_; }
    // Readable when a report can be read; closed from the other side when the process is gone.
    [[nodiscard]] int report_fd() const { return report_.get(); }
    // The report as soon as it is complete. Never waits.
    std::optional<Report> take_report();

  private:
    pid_t pid_ = -1;
    Descriptor report_;
    std::string text_;
};

}  // namespace dmatoll::user
