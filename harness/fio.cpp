// SPDX-License-Identifier: BSD-2-Clause
#include "fio.hpp"

#include <algorithm>

#include "cpus.hpp"
#include "disk_window.hpp"
#include "failure.hpp"
#include "text.hpp"

namespace dmatoll::harness {
namespace {

// The job must outlast the window, which begins some polls after it does.
constexpr std::uint64_t margin_ms = 300;
// fio prepares itself, and writes its summary.
constexpr double patience_seconds = 20;
// What verification writes and reads a second of the slowest machine, by far: for an end to waiting only.
constexpr double least_bytes_per_second = 1e6;
constexpr std::uint64_t smallest_block = 512;
constexpr std::uint64_t buffer_slack = 64 * 1024;

// A load does not write to the end of a disk: there a probe has its marks (drivers/ahci/disk_copy.hpp).
constexpr std::uint64_t spared_bytes = 64 * 1024;

// What both ways have in common. The job is one thread, so that nothing outlives the process; its helpers stay on
// the CPU that is not measured.
std::vector<std::string> common_arguments(const Disk& disk, std::uint64_t io_depth) {
    return {"fio",
            "--name=dmatoll",
            "--thread",
            "--filename=" + disk.path(),
            "--ioengine=io_uring",
            "--direct=1",
            fmt::format("--iodepth={}", io_depth),
            fmt::format("--cpus_allowed={}", device_cpu),
            "--clocksource=clock_gettime",
            "--randrepeat=1",
            "--disk_util=0",
            "--eta=never",
            "--output-format=json",
            "--lat_percentiles=1",
            "--clat_percentiles=0",
            "--percentile_list=50:90:99:99.9"};
}

std::string words_of(const Ended& ended) { return trim(last_lines(ended.error + ended.output, 5)); }

// fio may print notes before its object.
nlohmann::json object_in(std::string_view output) {
    std::size_t begin = output.starts_with('{') ? 0 : output.find("\n{");
    if (begin == std::string_view::npos) fail("fio wrote no JSON object: '{}'", trim(output.substr(0, 200)));
    auto json = nlohmann::json::parse(output.substr(begin), nullptr, false);
    if (!json.is_object()) fail("fio wrote no JSON object: '{}'", trim(output.substr(0, 200)));
    return json;
}

}  // namespace

FioTotals parse_fio(std::string_view output, const std::string& section) {
    const auto json = object_in(output);
    FioTotals totals;
    try {
        const auto& jobs = json.at("jobs");
        if (jobs.size() != 1) fail("fio ran {} jobs, and one was expected", jobs.size());
        const auto& job = jobs.at(0);
        if (const int error = job.at("error"); error != 0)
            fail("fio's job ended with error {}: {}", error, system_error(error));
        const auto& part = job.at(section);
        totals.ios = part.at("total_ios").get<std::uint64_t>();
        totals.bytes = part.at("io_bytes").get<std::uint64_t>();
        if (const auto lost = part.at("short_ios").get<std::uint64_t>() + part.at("drop_ios").get<std::uint64_t>())
            fail("fio had {} I/Os that were short or dropped", lost);
        const auto& latency = part.at("lat_ns");
        if (const auto n = latency.at("N").get<std::uint64_t>(); n > 0) {
            totals.latency_ns = {{"n", n},
                                 {"min", latency.at("min").get<std::uint64_t>()},
                                 {"mean", latency.at("mean").get<double>()},
                                 {"max", latency.at("max").get<std::uint64_t>()}};
            const auto& percentiles = latency.at("percentile");
            for (const auto& [theirs, ours] : {std::pair{"50.000000", "p50"},
                                               {"90.000000", "p90"},
                                               {"99.000000", "p99"},
                                               {"99.900000", "p99_9"}})
                // The upper end of a bar of its histogram, which may lie beyond the longest.
                totals.latency_ns[ours] = std::min(percentiles.at(theirs).get<std::uint64_t>(),
                                                   totals.latency_ns.at("max").get<std::uint64_t>());
        }
    } catch (const nlohmann::json::exception& error) {
        fail("fio's output lacks what is expected: {}", error.what());
    }
    return totals;
}

Fio::Fio(const Trial& trial, const TrafficPlaces& places)
    : pattern_{trial.pattern.value()},
      block_bytes_{trial.parameters.at("block_bytes")},
      io_depth_{trial.parameters.at("io_depth")},
      warm_up_ms_{trial.parameters.at("warm_up_ms")},
      disk_{*places.disk},
      // fio aligns within what it asks for.
      buffers_{block_bytes_ * io_depth_ + buffer_slack} {
    const std::uint64_t run_ms = trial.parameters.at("window_ms") + margin_ms;
    duration_ = static_cast<double>(warm_up_ms_ + run_ms) * 1e-3;
    auto arguments = common_arguments(disk_, io_depth_);
    arguments.insert(arguments.end(),
                     {fmt::format("--rw={}", name_of(pattern_)), fmt::format("--bs={}", block_bytes_),
                      "--iomem=mmapshared:" + buffers_.path(), "--norandommap", "--time_based",
                      fmt::format("--ramp_time={}ms", warm_up_ms_), fmt::format("--runtime={}ms", run_ms)});
    if (writes(pattern_) && disk_.bytes() > spared_bytes + block_bytes_)
        arguments.push_back(fmt::format("--size={}", disk_.bytes() - spared_bytes));
    if (pattern_ == Pattern::randrw) arguments.emplace_back("--unified_rw_reporting=mixed");
    child_ = std::make_unique<Child>(Command{.arguments = arguments, .cpu = places.peer.cpu});
}

void Fio::warm_up(const std::function<void()>& require_driver) {
    wait_for_requests(disk_, [&] {
        require_running();
        require_driver();
    });
    sleep_seconds(static_cast<double>(warm_up_ms_) * 1e-3);
}

void Fio::require_running() {
    if (!child_->wait_for(0)) return;
    const Ended ended = child_->finish(0);
    output_ = ended.output;
    fail("fio ended too early with status {}: {}", ended.status,
         ended.error.empty() ? words_of(ended) : trim(last_lines(ended.error, 5)));
}

std::map<std::string, std::string> Fio::raw_outputs() { return {{"fio.json", output_}}; }

nlohmann::json Fio::finish(const MeasuredWindow& window) {
    const Ended ended = child_->finish(duration_ + patience_seconds);
    output_ = ended.output;
    if (ended.status != 0) fail("fio ended with status {}: {}", ended.status, words_of(ended));
    const std::string section = pattern_ == Pattern::randrw ? "mixed"
                                : writes(pattern_)          ? "write"
                                                            : "read";
    const FioTotals totals = parse_fio(ended.output, section);
    nlohmann::json record;
    auto& metrics = record["metrics"];
    metrics = disk_metrics(block_bytes_, io_depth_ * block_bytes_, window);
    metrics["latency_ns"] = totals.latency_ns;
    if (totals.latency_ns.is_null()) metrics.erase("latency_ns");
    record["meters"]["fio"] = {{"available", true},
                               {"source", "fio, from the end of the warm-up to its own end"},
                               {"buffers", "pages of 4 KiB, scattered in memory"},
                               {"ios", totals.ios},
                               {"bytes", totals.bytes}};
    return record;
}

nlohmann::json run_fio_verify(const Trial& trial, const TrafficPlaces& places,
                              const std::function<void()>& require_driver,
                              const std::function<void(const std::string&)>& keep) {
    const auto parameter = [&](const char* name) { return trial.parameters.at(name); };
    // Everything is written once a pass, so that no block is written over before it was verified.
    const std::uint64_t whole = places.disk->bytes() / smallest_block * smallest_block;
    const std::uint64_t pass = std::min(parameter("verify_bytes"), whole);
    const std::uint64_t passes = (parameter("verify_bytes") + pass - 1) / pass;
    // The same blocks in the same order in both runs: --randrepeat.
    auto job = common_arguments(*places.disk, parameter("io_depth"));
    job.insert(job.end(),
               {"--rw=randwrite", fmt::format("--bsrange={}-{}", smallest_block, parameter("most_block_bytes")),
                fmt::format("--size={}", pass), "--verify=crc32c", "--verify_fatal=1", "--verify_state_save=0"});
    std::string outputs;
    const auto run_job = [&](std::vector<std::string> arguments, std::uint64_t bytes) {
        Child child{Command{.arguments = std::move(arguments), .cpu = places.peer.cpu}};
        const double deadline = now_seconds() + patience_seconds + static_cast<double>(bytes) / least_bytes_per_second;
        while (!child.wait_for(0.2)) {
            check_interrupted();
            require_driver();
            if (now_seconds() > deadline) {
                const Ended ended = child.terminate(5);
                keep(outputs + ended.output);
                fail("fio had not verified {} bytes in time: {}", bytes, words_of(ended));
            }
        }
        const Ended ended = child.finish(0);
        outputs += ended.output;
        keep(outputs);
        if (ended.status != 0)
            fail("fio found that what it read is not what it wrote, or could not read or write: status {}: {}",
                 ended.status, ended.error.empty() ? words_of(ended) : trim(last_lines(ended.error, 5)));
        require_driver();
        return ended.output;
    };

    auto mixed = job;
    mixed.insert(mixed.end(), {fmt::format("--loops={}", passes), "--verify_backlog=256"});
    const std::string mixed_output = run_job(mixed, pass * passes);
    const FioTotals written = parse_fio(mixed_output, "write");
    const FioTotals verified = parse_fio(mixed_output, "read");
    if (verified.bytes < parameter("verify_bytes") || verified.bytes != written.bytes)
        fail("fio wrote {} bytes and verified {} of the {} that were asked for", written.bytes, verified.bytes,
             parameter("verify_bytes"));
    // A block that was right when it was read back may have been hit by a later write: all of it once more.
    auto again = job;
    again.emplace_back("--verify_only=1");
    const FioTotals kept = parse_fio(run_job(again, pass), "read");
    if (kept.bytes != pass)
        fail("fio verified {} bytes at the end, of the {} that the disk was to hold", kept.bytes, pass);
    return {{"metrics",
             {{"bytes_written", written.bytes},
              {"bytes_verified", verified.bytes},
              {"bytes_verified_at_end", kept.bytes},
              {"ios", written.ios + verified.ios + kept.ios}}},
            {"meters",
             {{"fio",
               {{"available", true},
                {"source", "fio --verify=crc32c, blocks of random multiples of 512 bytes, written at random places and "
                           "read back in between, and all of them at the end"}}}}}};
}

}  // namespace dmatoll::harness
