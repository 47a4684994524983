// SPDX-License-Identifier: BSD-2-Clause
// The driver process as the supervisor holds it.
#pragma once

#include <sys/resource.h>
#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "descriptor.hpp"
#include "pid_namespace.hpp"
#include "vfio_open.hpp"

namespace dmatoll::user {

// Where the driver process finds what it was given.
enum InheritedDescriptor : int {
    inherited_container = 3,
    inherited_device,
    inherited_counters,
    inherited_bell,
    inherited_report,
    inherited_own,  // what the kind of device has beside those: the TAP, or the socket that disks come by
    inherited_end,
};

// What a driver process begins with.
struct ProcessStart {
    std::string options;  // one line of JSON, its only argument
    VfioDescriptors vfio;
    int counters = -1;
    int bell = -1;
    int own = -1;               // -1: none
    rlim_t locked_bytes = 0;    // the limit of locked memory
    Descriptor own_descriptor;  // if `own` is to be closed here once the process has it
};

class DriverProcess {
  public:
    static constexpr int stop_patience_ms = 5000;

    // Starts the program again as its own driver. VFIO's descriptors are closed here when this returns: only
    // the process itself holds the device, so that its death, however it comes, stops it. Throws Failure.
    DriverProcess(const char* program, std::optional<unsigned> cpu, ProcessStart start);
    // As stop(). When this returns nothing that it started is left, nor holds the device.
    ~DriverProcess();
    DriverProcess(const DriverProcess&) = delete;
    DriverProcess& operator=(const DriverProcess&) = delete;

    [[nodiscard]] pid_t pid() const { return pid_; }
    // How it ended, as waitpid(2) says; nothing: it has not yet. Never waits.
    std::optional<int> take_end();
    // Has it end in order, which leaves a quiet device, within stop_patience_ms. False: it did not, and was killed.
    bool stop();
    // Readable when a report can be read; -1 when nothing more can come.
    [[nodiscard]] int report_fd() const { return report_.get(); }
    // The next line of what it reports, as soon as it is complete. Never waits.
    std::optional<std::string> take_report();
    // Nothing more is heard from it.
    void close_reports() { report_.reset(); }

  private:
    PidNamespace namespace_;
    pid_t pid_ = -1;
    std::optional<int> end_;
    Descriptor report_;
    std::string text_;
};

// The driver process's side: one line.
void send_report(const std::string& line);

}  // namespace dmatoll::user
