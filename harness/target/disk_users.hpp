// SPDX-License-Identifier: BSD-2-Clause
// Who uses a disk, and would lose what it has not written yet if the disk's driver were taken away.
#pragma once

#include <string>
#include <vector>

namespace dmatoll::harness {

// Opens a block device for oneself alone and closes it again; 0, or errno: EBUSY if somebody else has it so.
int open_alone(const std::string& file);

// What uses a disk or one of its partitions, in words: "sda1 is mounted at /home". Empty: nothing. That is mounts, swap
// space, devices that are made of it (device mapper, md, bcache, loop) and what uses those in turn, and whoever opened
// it exclusively. Not seen is a program that merely has it open.
std::vector<std::string> uses_of(const std::string& disk, int (*try_alone)(const std::string& file) = open_alone);

// ... of all disks of a controller, those included that its user driver serves or has left behind. Throws Failure if
// those cannot be told from other ublk devices.
std::vector<std::string> uses_of_controller(const std::string& bdf);

}  // namespace dmatoll::harness
