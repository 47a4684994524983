// SPDX-License-Identifier: BSD-2-Clause
// dmatoll-dma-user: a device that copies memory, an e1000 or a disk controller, driven by an unprivileged process. The process that the user
// starts is the supervisor; it starts this program once more as the driver.
#include "dma_driver.hpp"
#include "dma_options.hpp"
#include "dma_supervisor.hpp"
#include "program.hpp"

int main(int argc, char** argv) {
    return dmatoll::user::run_program("dmatoll-dma-user", argc, argv, dmatoll::user::drive_dma,
                                      dmatoll::user::parse_dma_options, dmatoll::user::supervise_dma);
}
