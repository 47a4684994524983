// SPDX-License-Identifier: BSD-2-Clause
#include "metronome.hpp"

#include "failure.hpp"
#include "paths.hpp"
#include "text.hpp"

namespace dmatoll::harness {
namespace {

constexpr const char* program_name = "dmatoll-metronome";

Command command_on(int cpu) {
    const fs::path program = our_program(program_name);
    if (program.empty())
        throw Unavailable{
            fmt::format("The program {} is neither beside dmatoll nor in PATH; build it", program_name)};
    return {.arguments = {program.string(), std::to_string(Metronome::beat_us)}, .cpu = cpu};
}

}  // namespace

Metronome::Metronome(int cpu) : child_{command_on(cpu)} {}

void Metronome::require_beating() {
    if (!child_.wait_for(0)) return;
    const Ended ended = child_.finish(0);
    fail("{} ended with status {}, and without its beat the virtual clock jumps while a disk is waited for: {}",
         program_name, ended.status, trim(last_lines(ended.error + ended.output, 5)));
}

}  // namespace dmatoll::harness
