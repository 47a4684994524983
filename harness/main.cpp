// SPDX-License-Identifier: BSD-2-Clause
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "cli/commands.hpp"
#include "failure.hpp"
#include "process.hpp"
#include "provenance.hpp"
#include "text.hpp"

int main(int argc, char** argv) {
    using namespace dmatoll::harness;
    CLI::App program{
        "dmatoll measures what safe DMA costs: the same driver in the kernel and as an unprivileged process, "
        "under every way of\n"
        "mapping DMA memory through an IOMMU.\n",
        "dmatoll"};
    program.footer(
        "First steps:\n"
        "  dmatoll doctor                    what this machine can do, and what is missing\n"
        "  dmatoll list                      what there is to choose from\n"
        "  dmatoll plan quick                what would run, and how long it would take\n"
        "  dmatoll run quick                 run it in the emulated lab (no hardware is touched) and write a "
        "report\n"
        "  dmatoll run quick --filter placement=user,workload=iperf3-udp-*\n"
        "\n`dmatoll COMMAND --help` says more about each command.");
    program.set_version_flag("--version", fmt::format("dmatoll {}", program_version));
    program.require_subcommand(1);
    cli::Outcome outcome;
    cli::add_doctor(program, outcome);
    cli::add_list(program, outcome);
    cli::add_plan(program, outcome);
    cli::add_run(program, outcome);
    cli::add_probe(program, outcome);
    cli::add_bench(program, outcome);
    cli::add_report(program, outcome);
    cli::add_profile(program, outcome);
    cli::add_lab(program, outcome);
    cli::add_devices(program, outcome);
    cli::add_guest_job(program, outcome);
    install_interrupt_handler();
    if (const std::string word = argc > 1 ? argv[1] : ""; !word.empty() && word.front() != '-') {
        std::vector<std::string> known;
        std::vector<std::string> shown;  // without what is not for users
        for (const auto* command : std::as_const(program).get_subcommands({})) {
            known.push_back(command->get_name());
            if (!command->get_group().empty()) shown.push_back(command->get_name());
        }
        if (std::find(known.begin(), known.end(), word) == known.end()) {
            fmt::print(stderr, "dmatoll: unknown command '{}'{}\n", word, suggestion(word, shown));
            return cli::failed_status;
        }
    }
    try {
        program.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        return program.exit(error);
    } catch (const Interrupted&) {
        fmt::print(stderr, "\ndmatoll: interrupted\n");
        return cli::interrupted_status;
    } catch (const std::exception& error) {
        fmt::print(stderr, "dmatoll: {}\n", error.what());
        return cli::failed_status;
    }
    return outcome.status;
}
