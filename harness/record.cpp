// SPDX-License-Identifier: BSD-2-Clause
#include "record.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "catalogue.hpp"
#include "failure.hpp"
#include "text.hpp"

namespace dmatoll::harness {

RecordFile::RecordFile(std::filesystem::path path) : path_{std::move(path)} {
    file_ = Descriptor{::open(path_.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0644)};
    if (!file_.valid()) fail("Cannot open {} for the records: {}", path_.string(), system_error(errno));
    struct stat status {};
    if (::fstat(file_.get(), &status) != 0 || !S_ISREG(status.st_mode)) return;
    if (::flock(file_.get(), LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
        fail("Another dmatoll is writing {}; wait for it or stop it", path_.string());
    if (status.st_size == 0) return;
    const std::string content = read_file(path_);
    const std::size_t newline = content.rfind('\n');
    const std::size_t whole = newline == std::string::npos ? 0 : newline + 1;
    if (whole != content.size() && ::ftruncate(file_.get(), static_cast<off_t>(whole)) != 0)
        fail("Cannot cut the torn last line off {}: {}", path_.string(), system_error(errno));
}

void RecordFile::append(const nlohmann::json& record) {
    // Text from other programs' output may not be UTF-8; it must not cost the record.
    const std::string line = record.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
    const off_t before = ::lseek(file_.get(), 0, SEEK_END);
    try {
        write_all(file_.get(), line, path_.string());
        struct stat status {};
        // A character device knows no fsync; a file that does not reach the disk is an error.
        if (::fstat(file_.get(), &status) == 0 && S_ISREG(status.st_mode) && ::fsync(file_.get()) != 0)
            fail("Cannot store {}: {}", path_.string(), system_error(errno));
    } catch (const Failure& failure) {
        if (before >= 0 && ::ftruncate(file_.get(), before) == 0) ::fsync(file_.get());
        fail("{}. The trial {} is not recorded, all earlier ones are; make room and go on with --resume",
             failure.what(), record.value("trial", "?"));
    }
}

Records read_records(const std::filesystem::path& path) {
    const std::string content = read_file(path);
    Records result;
    result.torn = !content.empty() && content.back() != '\n';
    auto all = split(content, '\n');
    all.pop_back();  // what stands behind the last newline: nothing, or a torn line
    for (std::size_t i = 0; i < all.size(); ++i) {
        auto record = nlohmann::json::parse(all[i], nullptr, false);
        if (!record.is_object() || !record.contains("schema") ||
            !record.value("trial", nlohmann::json{}).is_string())
            fail("{}:{}: this line is not a record", path.string(), i + 1);
        if (record["schema"] != record_schema)
            fail("{}:{}: the record has schema {}; this program reads {}", path.string(), i + 1,
                 record["schema"].dump(), record_schema);
        result.records.push_back(std::move(record));
    }
    return result;
}

std::set<std::string> finished_trials(const Records& records) {
    std::set<std::string> finished;
    for (const auto& record : records.records) {
        const std::string status = record.value("status", "error");
        if (status == "ok" || status == "skipped") finished.insert(record.at("trial").get<std::string>());
    }
    return finished;
}

namespace {

// What was asked of a strategy that has parameters.
nlohmann::json strategy_parameters(const Trial& trial) {
    nlohmann::json result = nlohmann::json::object();
    for (const StrategyParameter* parameter : parameters::all)
        if (trial.strategy == parameter->strategy->name)
            result[parameter->name] = trial.settings.*parameter->value;
    if (trial.settings.page_size > 0)
        result["page_size"] = trial.settings.page_size;
    // The usual one is no parameter: what was run before there were others is the same.
    if (trial.settings.iova_allocator != DriverSettings{}.iova_allocator)
        result["iova_allocator"] = trial.settings.iova_allocator;
    return result;
}

}  // namespace

nlohmann::json requested(const Trial& trial, const std::string& run) {
    nlohmann::json record;
    record["schema"] = record_schema;
    record["run"] = run;
    record["trial"] = trial.id;
    record["repetition"] = {
        {"index", trial.index}, {"of", trial.of}, {"boot", trial.boot}, {"seed", trial.boot_seed}};
    record["started_utc"] = utc_now();
    record["device"] = {{"model", trial.device}};
    if (const DeviceModel* model = find_device_model(trial.device)) record["device"]["name"] = model->name;
    record["placement"] = trial.placement;
    record["completion"] = trial.settings.completion;
    record["code_generation"] = code_generation(trial);
    record["strategy"] = {{"name", trial.strategy}, {"parameters", strategy_parameters(trial)}};
    record["domain"] = nlohmann::json::object();
    Placement placement{};
    const Strategy* strategy = find_strategy(trial.strategy);
    if (strategy && find_placement(trial.placement, placement)) {
        const std::uint64_t page_size =
            loses_by_large_pages(*strategy, placement) ? trial.settings.page_size : 0;
        record["strategy"]["protection"] = protection_json(*strategy, placement, trial.settings, page_size);
        record["domain"]["requested"] = name_of(strategy->domain);
    }
    record["workload"] = {{"name", trial.workload}, {"parameters", parameters_json(trial.parameters)}};
    const DriverSettings& settings = trial.settings;
    if (trial.pattern) {
        record["workload"]["pattern"] = name_of(*trial.pattern);
        record["requested"] = {{"max_sectors_kb", settings.max_sectors_kb},
                               {"completion", settings.completion},
                               {"code_generation", code_generation(trial)}};
        return record;
    }
    if (trial.copies_memory()) {
        record["requested"] = {{"completion", settings.completion},
                               {"code_generation", code_generation(trial)}};
        return record;
    }
    record["requested"] = {{"receive_descriptors", settings.receive_descriptors},
                           {"transmit_descriptors", settings.transmit_descriptors},
                           {"interrupts_per_second", settings.interrupts_per_second},
                           {"mtu", settings.mtu},
                           {"offloads", settings.offloads},
                           {"completion", settings.completion},
                           {"code_generation", code_generation(trial)}};
    if (trial.placement == "stock") record["requested"]["copybreak"] = settings.copybreak;
    return record;
}

nlohmann::json without_result(const Trial& trial, const std::string& run, const std::string& status,
                              const std::string& reason) {
    auto record = requested(trial, run);
    record["status"] = status;
    record["reason"] = reason;
    return record;
}

}  // namespace dmatoll::harness
