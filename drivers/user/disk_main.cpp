// SPDX-License-Identifier: BSD-2-Clause
// dmatoll-disk-user: an AHCI controller driven by an unprivileged process. The process that the user starts
// is the supervisor; it starts this program once more as the driver.
#include "disk_driver.hpp"
#include "disk_options.hpp"
#include "disk_supervisor.hpp"
#include "program.hpp"

int main(int argc, char** argv) {
    return dmatoll::user::run_program("dmatoll-disk-user", argc, argv, dmatoll::user::drive_disks,
                                      dmatoll::user::parse_disk_options, dmatoll::user::supervise_disks);
}
