// SPDX-License-Identifier: BSD-2-Clause
// Records: whole lines or none, whatever happens to the disk or the program.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>

#include "failure.hpp"
#include "meters/lab_instructions.hpp"
#include "record.hpp"
#include "run_directory.hpp"

namespace dmatoll::harness {
namespace {

class RecordTest : public testing::Test {
  protected:
    RecordTest() {
        std::string pattern = (fs::temp_directory_path() / "dmatoll-record-XXXXXX").string();
        directory_ = ::mkdtemp(pattern.data());
        path_ = directory_ / "trials.jsonl";
    }
    ~RecordTest() override { fs::remove_all(directory_); }

    static nlohmann::json record(const std::string& trial, const std::string& status = "ok") {
        return {{"schema", record_schema},
                {"trial", trial},
                {"status", status},
                {"padding", std::string(200, 'x')}};
    }

    fs::path directory_;
    fs::path path_;
};

TEST(RequestedRecord, StatesTheWindowThatWasAskedFor) {
    Trial trial;
    trial.strategy = "deferred";
    trial.settings.deferred_milliseconds = 3;
    for (const char* placement : {"kernel", "user"}) {
        trial.placement = placement;
        const auto protection = requested(trial, "run").at("strategy").at("protection");
        EXPECT_EQ(protection.at("window_ns"), 3'000'000) << placement;
        EXPECT_EQ(protection.at("driver_from_device").at("window_ns"), 3'000'000) << placement;
    }
    trial.placement = "stock";
    trial.strategy = "linux-lazy";
    EXPECT_EQ(requested(trial, "run").at("strategy").at("protection").at("window_ns"), 10'000'000);
}

TEST(RequestedRecord, StatesTheGranularityThatTheSizeOfPagesLeaves) {
    Trial trial;
    trial.strategy = "persistent";
    const auto protection = [&trial](const char* placement, std::uint32_t page_size) {
        trial.placement = placement;
        trial.settings.page_size = page_size;
        return requested(trial, "run").at("strategy").at("protection");
    };
    for (const std::uint32_t small : {0U, 4096U}) EXPECT_EQ(protection("kernel", small).at("granularity"), "page");
    const auto large = protection("kernel", 2'097'152);
    EXPECT_EQ(large.at("granularity"), "2MiB-page");
    EXPECT_EQ(large.at("kernel_from_device").at("granularity"), "2MiB-page");
    EXPECT_EQ(large.at("kernel_from_driver").at("granularity"), "none");
    // A process's pool is reachable as a whole, by whichever pages.
    EXPECT_EQ(protection("user", 2'097'152).at("granularity"), "pool");
    trial.strategy = "strict";
    EXPECT_EQ(protection("kernel", 2'097'152).at("granularity"), "page");
}

TEST(RequestedRecord, StatesAnAllocatorThatWasAskedFor) {
    Trial trial;
    trial.placement = "kernel";
    trial.strategy = "strict";
    EXPECT_TRUE(requested(trial, "run").at("strategy").at("parameters").empty());
    trial.settings.iova_allocator = "magazines";
    EXPECT_EQ(requested(trial, "run").at("strategy").at("parameters").at("iova_allocator"), "magazines");
}

TEST_F(RecordTest, AppendsAndReads) {
    {
        RecordFile file{path_};
        file.append(record("a"));
        file.append(record("b", "error"));
    }
    RecordFile{path_}.append(record("c", "skipped"));
    const Records records = read_records(path_);
    EXPECT_FALSE(records.torn);
    ASSERT_EQ(records.records.size(), 3U);
    EXPECT_EQ(finished_trials(records), (std::set<std::string>{"a", "c"})) << "an error is run again";
}

TEST_F(RecordTest, ATornLastLineIsLeftOutAndCutOff) {
    RecordFile{path_}.append(record("a"));
    std::ofstream{path_, std::ios::app} << "{\"schema\":1,\"tri";
    EXPECT_TRUE(read_records(path_).torn);
    EXPECT_EQ(read_records(path_).records.size(), 1U);
    RecordFile{path_}.append(record("b"));
    const Records records = read_records(path_);
    EXPECT_FALSE(records.torn);
    EXPECT_EQ(records.records.size(), 2U);
}

TEST_F(RecordTest, ALineInTheMiddleThatIsNoRecordIsAnError) {
    std::ofstream{path_} << "{\"schema\":1,\"tri\n{\"schema\":1}\n";
    EXPECT_THROW(read_records(path_), Failure);
    std::ofstream{path_} << "{\"schema\":99}\n";
    EXPECT_THROW(read_records(path_), Failure);
}

TEST_F(RecordTest, AFullDeviceIsAnErrorThatSaysWhatToDo) {
    if (::access("/dev/full", W_OK) != 0) GTEST_SKIP() << "no /dev/full";
    RecordFile file{"/dev/full"};
    try {
        file.append(record("a"));
        FAIL() << "/dev/full took a line";
    } catch (const Failure& failure) {
        const std::string text = failure.what();
        EXPECT_NE(text.find("No space left"), std::string::npos) << text;
        EXPECT_NE(text.find("--resume"), std::string::npos) << text;
    }
}

// A limit on the file's size ends a write half-way, as a full disk does.
TEST_F(RecordTest, AHalfWrittenLineIsTakenBack) {
    RecordFile{path_}.append(record("a"));
    const auto whole = fs::file_size(path_);
    const pid_t child = ::fork();
    if (child == 0) {
        ::signal(SIGXFSZ, SIG_IGN);
        const rlimit limit{whole + 50, whole + 50};
        ::setrlimit(RLIMIT_FSIZE, &limit);
        try {
            RecordFile{path_}.append(record("b"));
        } catch (const Failure&) {
            ::_exit(7);
        }
        ::_exit(0);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFEXITED(status));
    EXPECT_EQ(WEXITSTATUS(status), 7) << "the append was to fail";
    EXPECT_EQ(fs::file_size(path_), whole);
    EXPECT_FALSE(read_records(path_).torn);
}

// Killed at any moment, a writer leaves whole records and at most one torn line.
TEST_F(RecordTest, AKilledWriterLeavesWholeRecords) {
    int ready[2];
    ASSERT_EQ(::pipe(ready), 0);
    const pid_t child = ::fork();
    if (child == 0) {
        RecordFile file{path_};
        for (int i = 0;; ++i) {
            file.append(record(std::to_string(i)));
            if (i == 20 && ::write(ready[1], "x", 1) != 1) ::_exit(1);
        }
    }
    char byte = 0;
    ASSERT_EQ(::read(ready[0], &byte, 1), 1);
    ::kill(child, SIGKILL);
    int status = 0;
    ::waitpid(child, &status, 0);
    const Records records = read_records(path_);
    ASSERT_GE(records.records.size(), 21U);
    for (std::size_t i = 0; i < records.records.size(); ++i)
        EXPECT_EQ(records.records[i]["trial"], std::to_string(i));
    ::close(ready[0]);
    ::close(ready[1]);
}

TEST_F(RecordTest, ARunGoesOnWhereItEnded) {
    const Plan plan = make_plan(load_suite("quick"), 1, "boot=0,placement=user,strategy=persistent");
    const fs::path where = directory_ / "run";
    {
        RunDirectory run = RunDirectory::create(where, plan, {{"target", "lab"}});
        run.append(without_result(plan.trials[0], run.name(), "skipped", "for the test"));
        run.append(without_result(plan.trials[1], run.name(), "error", "for the test"));
    }
    const RunDirectory run = RunDirectory::open(where.string());
    const auto rest = run.unfinished();
    ASSERT_EQ(rest.size(), plan.trials.size() - 1);
    EXPECT_EQ(rest[0].id, plan.trials[1].id);
    EXPECT_THROW(RunDirectory::create(where, plan, {}), Failure) << "a run is never overwritten";
    EXPECT_THROW(RunDirectory::open((directory_ / "other").string()), Failure);
}

TEST(LabInstructions, BecomeMetrics) {
    nlohmann::json record{{"window_ns", 1000},
                          {"metrics", {{"packets", 4}}},
                          {"meters", {{"lab_instructions", {{"window", 3}}}}}};
    auto second = record;
    add_lab_instructions(record, {{.number = 3,
                                   .vcpus = {{.user = 100, .kernel = 300}, {.user = 5, .kernel = 6}},
                                   .unavailable = ""}});
    EXPECT_DOUBLE_EQ(record["metrics"]["instructions_per_packet"].get<double>(), 100.0);
    EXPECT_DOUBLE_EQ(record["metrics"]["cpu_utilisation"].get<double>(), 0.4);
    EXPECT_EQ(record["meters"]["lab_instructions"]["vcpus"][1]["kernel"], 6);

    // As many instructions a window for as many packets in half as long again: a packet costs that much more.
    auto longer = second;
    longer["packets_interval_ns"] = 1500;
    add_lab_instructions(longer, {{.number = 3, .vcpus = {{.user = 400}, {.user = 1}}, .unavailable = ""}});
    EXPECT_DOUBLE_EQ(longer["metrics"]["instructions_per_packet"].get<double>(), 150.0);

    add_lab_instructions(second, {{.number = 2, .vcpus = {{.user = 1, .kernel = 1}}, .unavailable = ""}});
    EXPECT_FALSE(second["meters"]["lab_instructions"]["available"].get<bool>());
    EXPECT_FALSE(second["metrics"].contains("instructions_per_packet"))
        << "not measured is absent, never zero";
}

TEST(LabInstructions, OfDisksAreForEachIo) {
    nlohmann::json record{{"window_ns", 1000},
                          {"ios_interval_ns", 1500},
                          {"metrics", {{"ios", 4}}},
                          {"meters", {{"lab_instructions", {{"window", 3}}}}}};
    add_lab_instructions(record, {{.number = 3, .vcpus = {{.user = 400}, {.user = 1}}, .unavailable = ""}});
    EXPECT_DOUBLE_EQ(record["metrics"]["instructions_per_io"].get<double>(), 150.0);
    EXPECT_DOUBLE_EQ(record["metrics"]["cpu_utilisation"].get<double>(), 0.4);
    EXPECT_FALSE(record["metrics"].contains("instructions_per_packet"));
}

TEST(LabInstructions, OfOneVcpuAreNotTheDevicesAlone) {
    nlohmann::json record{{"window_ns", 1000},
                          {"metrics", {{"packets", 4}}},
                          {"meters", {{"lab_instructions", {{"window", 0}}}}}};
    add_lab_instructions(record, {{.number = 0, .vcpus = {{.user = 100, .kernel = 300}}, .unavailable = ""}});
    EXPECT_EQ(record["meters"]["lab_instructions"]["vcpus"].size(), 1U);
    EXPECT_FALSE(record["metrics"].contains("instructions_per_packet"));
    EXPECT_FALSE(record["metrics"].contains("cpu_utilisation"));
}

}  // namespace
}  // namespace dmatoll::harness
