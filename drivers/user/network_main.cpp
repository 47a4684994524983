// SPDX-License-Identifier: BSD-2-Clause
// dmatoll-net-user: an e1000 driven by an unprivileged process. The process that the user starts is the
// supervisor; it starts this program once more as the driver.
#include "network_driver.hpp"
#include "network_options.hpp"
#include "network_supervisor.hpp"
#include "program.hpp"

int main(int argc, char** argv) {
    return dmatoll::user::run_program("dmatoll-net-user", argc, argv, dmatoll::user::drive_network,
                                      dmatoll::user::parse_network_options, dmatoll::user::supervise_network);
}
