// SPDX-License-Identifier: BSD-2-Clause
#include "sync_read_options.hpp"

#include <CLI/CLI.hpp>
#include <iostream>

#include "failure.hpp"

namespace dmatoll::workloads {
namespace {

constexpr std::uint64_t most_block_bytes = 16 << 20;
constexpr std::uint64_t most_region_bytes = std::uint64_t{1} << 40;
constexpr std::uint64_t most_load_bps = 1'000'000'000'000;
constexpr std::uint64_t most_ms = 3'600'000;
// Of a block device: what direct I/O is aligned to at least.
constexpr std::uint64_t sector_bytes = 512;

}  // namespace

std::optional<SyncReadOptions> parse_sync_read_options(int argc, const char* const* argv) {
    SyncReadOptions options;
    bool buffered = false;
    CLI::App app{"Reads a region of a file with read(), one block after the other, again and again.",
                 "dmatoll-sync-read"};
    app.footer(
        "Counts and latencies are printed at the end, as one JSON object, also after SIGTERM or Ctrl-C. With a "
        "load each\n"
        "block has a time at which it is to be read, fixed beforehand, and its latency begins there.\n"
        "\n"
        "Example, 64 MiB of a disk in blocks of 4 KiB, past the page cache, at 8 Mb/s:\n"
        "  dmatoll-sync-read --file /dev/sdb --block-bytes 4096 --load 8000000 --duration 2000");
    app.add_option("--file", options.file, "what to read: a block device, or a file")->required();
    app.add_option("--block-bytes", options.block_bytes, "bytes a read")
        ->check(CLI::Range(std::uint64_t{1}, most_block_bytes))
        ->capture_default_str();
    app.add_option("--region-bytes", options.region_bytes, "bytes from the beginning that are read, whole blocks")
        ->check(CLI::Range(std::uint64_t{1}, most_region_bytes))
        ->capture_default_str();
    app.add_flag("--buffered", buffered,
                 "through the page cache, which is told to forget the region before each pass");
    app.add_option("--load", options.load_bps, "bits a second that are to be read; 0: as fast as it goes")
        ->check(CLI::Range(std::uint64_t{0}, most_load_bps))
        ->capture_default_str();
    app.add_option("--warm-up", options.warm_up_ms, "milliseconds whose reads are not counted")
        ->check(CLI::Range(std::uint64_t{0}, most_ms))
        ->capture_default_str();
    app.add_option("--duration", options.duration_ms,
                   "milliseconds, with the warm-up; 0: until SIGTERM or Ctrl-C")
        ->check(CLI::Range(std::uint64_t{0}, most_ms))
        ->capture_default_str();
    try {
        app.parse(argc, argv);
        options.direct = !buffered;
        if (options.region_bytes % options.block_bytes != 0)
            throw CLI::ValidationError{"--region-bytes", std::to_string(options.region_bytes) +
                                                             " is no whole number of blocks of " +
                                                             std::to_string(options.block_bytes)};
        if (options.direct && options.block_bytes % sector_bytes != 0)
            throw CLI::ValidationError{"--block-bytes", std::to_string(options.block_bytes) +
                                                            " is no multiple of " +
                                                            std::to_string(sector_bytes) +
                                                            ", which direct I/O takes only; see --buffered"};
    } catch (const CLI::CallForHelp&) {
        std::cout << app.help();
        return std::nullopt;
    } catch (const CLI::ParseError& error) {
        throw Failure{std::string{error.what()} + "\n`dmatoll-sync-read --help` lists the arguments."};
    }
    return options;
}

}  // namespace dmatoll::workloads
