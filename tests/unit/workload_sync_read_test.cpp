// SPDX-License-Identifier: BSD-2-Clause
// Synchronous reads of a region: of a file here, since it reads any.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "failure.hpp"
#include "program.hpp"
#include "sync_read_options.hpp"

namespace dmatoll::workloads {
namespace {

std::string complaint(std::vector<const char*> arguments) {
    arguments.insert(arguments.begin(), "dmatoll-sync-read");
    try {
        parse_sync_read_options(static_cast<int>(arguments.size()), arguments.data());
    } catch (const Failure& failure) {
        return failure.what();
    }
    return "no complaint";
}

TEST(SyncReadOptions, RefuseWhatMakesNoSense) {
    EXPECT_EQ(complaint({"--file", "/dev/sdb"}), "no complaint");
    EXPECT_EQ(complaint({"--file", "x", "--block-bytes", "1000", "--region-bytes", "5000", "--buffered"}),
              "no complaint");
    EXPECT_NE(complaint({}).find("--file"), std::string::npos);
    EXPECT_NE(complaint({"--file", "x", "--block-bytes", "1000", "--region-bytes", "5000"}).find("512"),
              std::string::npos);
    EXPECT_NE(complaint({"--file", "x", "--block-bytes", "1024", "--region-bytes", "1500"}).find("whole number"),
              std::string::npos);
    EXPECT_NE(complaint({"--file", "x", "--block-bytes", "0"}), "no complaint");
    EXPECT_NE(complaint({"--file", "x", "--load", "fast"}), "no complaint");
}

class SyncRead : public testing::Test {
  protected:
    SyncRead() {
        std::string pattern = (std::filesystem::temp_directory_path() / "dmatoll-sync-XXXXXX").string();
        place_ = ::mkdtemp(pattern.data());
        std::ofstream{file()} << std::string(1 << 16, 'x');
    }
    ~SyncRead() override { std::filesystem::remove_all(place_); }

    [[nodiscard]] std::string file() const { return (place_ / "file").string(); }
    Program start(std::vector<std::string> more) const {
        std::vector<std::string> arguments{DMATOLL_SYNC_READ, "--file", file(), "--buffered"};
        arguments.insert(arguments.end(), more.begin(), more.end());
        return Program{arguments};
    }

    std::filesystem::path place_;
};

TEST_F(SyncRead, ReadsTheRegionAgainAndAgainUntilItIsAskedToStop) {
    Program program = start({"--block-bytes", "1024", "--region-bytes", "4096"});
    ::usleep(100'000);
    program.ask_to_stop();
    const auto result = program.line();
    EXPECT_EQ(program.status(), 0);
    EXPECT_GT(result.at("reads"), 4) << "more than one pass";
    EXPECT_EQ(result.at("latency_ns").at("n"), result.at("reads"));
    EXPECT_LE(result.at("latency_ns").at("min"), result.at("latency_ns").at("p50"));
}

TEST_F(SyncRead, ReadsNoFasterThanTheLoad) {
    // A thousand blocks a second, for a fifth of one.
    Program program =
        start({"--block-bytes", "512", "--region-bytes", "65536", "--load", "4096000", "--duration", "200"});
    const auto result = program.line();
    EXPECT_EQ(program.status(), 0);
    EXPECT_GT(result.at("reads"), 0);
    EXPECT_LE(result.at("reads"), 201);
}

TEST_F(SyncRead, SaysWhatItCannotRead) {
    Program beyond = start({"--region-bytes", "131072"});
    EXPECT_EQ(beyond.status(), 1);
    Program missing{{DMATOLL_SYNC_READ, "--file", (place_ / "none").string()}};
    EXPECT_EQ(missing.status(), 1);
}

}  // namespace
}  // namespace dmatoll::workloads
