// SPDX-License-Identifier: BSD-2-Clause
#include <fmt/format.h>
#include <unistd.h>

#include "../catalogue.hpp"
#include "../run_lab.hpp"
#include "commands.hpp"

namespace dmatoll::harness::cli {
namespace {

struct Options {
    std::string clock = "virtual";
    std::uint64_t seed = 1;
    unsigned limit_seconds = 600;
    bool iommu = true;
    bool disks = false;
    std::vector<std::uint64_t> bad_sectors;
    std::vector<std::string> emulator_arguments;
    std::vector<std::string> command;
};

lab::GuestOptions guest_options(const Options& options) {
    lab::GuestOptions guest = lab_guest_options();
    guest.clock = options.clock == "virtual" ? lab::Clock::virtual_clock : lab::Clock::wall_clock;
    guest.seed = options.seed;
    guest.iommu = options.iommu;
    if (options.disks) {
        guest.disks = true;
        guest.device_model = find_device_model("ICH9-AHCI")->emulated_as;
        guest.bad_sectors = options.bad_sectors;
    }
    guest.emulator_arguments = options.emulator_arguments;
    guest.output = std::filesystem::temp_directory_path() / fmt::format("dmatoll-lab-{}", ::getpid());
    if (options.clock == "virtual") guest.host_cpu = allowed_cpus().front();
    return guest;
}

void add_common(CLI::App& command, Options& options) {
    command
        .add_option("--clock", options.clock,
                    "virtual: guest instructions, repeatable; wall: real concurrency")
        ->check(CLI::IsMember({"virtual", "wall"}))
        ->capture_default_str();
    command.add_option("--seed", options.seed, "of the emulator")->capture_default_str();
    command.add_flag("!--no-iommu", options.iommu, "a machine without an IOMMU");
    auto* disks = command.add_flag(
        "--disks", options.disks,
        "an AHCI controller instead of the network: a disk that costs nothing, and one in a file");
    command
        .add_option("--bad-sector", options.bad_sectors,
                    "a sector of the second disk that cannot be read or written, may be repeated")
        ->needs(disks)
        ->take_all()
        ->expected(1);
    command
        .add_option("--qemu", options.emulator_arguments,
                    "one more argument for QEMU, may be repeated: --qemu=-device --qemu=edu")
        ->take_all()
        ->expected(1);
}

}  // namespace

void add_lab(CLI::App& program, Outcome& outcome) {
    auto* lab_command = program.add_subcommand(
        "lab", "The emulated machine: a guest with an IOMMU and the device under test");
    lab_command->require_subcommand(1);

    auto shell_options = std::make_shared<Options>();
    shell_options->clock = "wall";
    auto* shell = lab_command->add_subcommand(
        "shell", "Boots a guest and opens a shell in it; leave it with exit, or Ctrl-A X");
    add_common(*shell, *shell_options);
    shell->callback([shell_options, &outcome] {
        auto guest = guest_options(*shell_options);
        outcome.status = lab::lab_shell(guest);
        std::filesystem::remove_all(guest.output);
    });

    auto run_options = std::make_shared<Options>();
    auto* run = lab_command->add_subcommand(
        "run", "Boots a guest, runs a command in it, shows what it says; ends with its status");
    add_common(*run, *run_options);
    run->add_option("--limit", run_options->limit_seconds, "seconds until the guest is stopped")
        ->capture_default_str();
    run->add_option("CMD", run_options->command,
                    "the command with its arguments; put -- before it if it has options")
        ->required();
    run->footer("For example: dmatoll lab run -- lspci -k");
    run->callback([run_options, &outcome] {
        auto guest = guest_options(*run_options);
        outcome.status =
            lab::lab_run(guest, run_options->command, std::chrono::seconds{run_options->limit_seconds});
        std::filesystem::remove_all(guest.output);
    });
}

}  // namespace dmatoll::harness::cli
