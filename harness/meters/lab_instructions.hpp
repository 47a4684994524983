// SPDX-License-Identifier: BSD-2-Clause
// What the lab's instruction meter saw, put into a record that came out of the guest.
#pragma once

#include <nlohmann/json.hpp>

#include <cstdint>
#include <vector>

#include "../lab/meter_file.hpp"

namespace dmatoll::harness {

// Fills in meters.lab_instructions.vcpus and the metrics that follow from it: instructions_per_packet and
// cpu_utilisation. If the record names a window that the meter did not write, the meter is marked as
// unavailable with the reason. A record without a window number stays as it is.
void add_lab_instructions(nlohmann::json& record, const std::vector<lab::Window>& windows);

}  // namespace dmatoll::harness
