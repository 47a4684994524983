// SPDX-License-Identifier: BSD-2-Clause
#include "lab/meter_file.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <stdexcept>

namespace {

using dmatoll::harness::lab::read_windows;

class MeterFile : public testing::Test {
  protected:
    std::filesystem::path with(const std::string& text) {
        std::ofstream(file_) << text;
        return file_;
    }
    ~MeterFile() override { std::filesystem::remove(file_); }

    std::filesystem::path file_ =
        std::filesystem::path(testing::TempDir()) /
        (std::string("windows-") + testing::UnitTest::GetInstance()->current_test_info()->name());
};

TEST_F(MeterFile, ReadsEveryVcpuOfEveryWindow) {
    const auto windows =
        read_windows(with("{\"window\":0,\"vcpus\":[{\"user\":1,\"kernel\":2},{\"user\":3,\"kernel\":4}]}\n"
                          "{\"window\":1,\"vcpus\":[{\"user\":5000000000,\"kernel\":6}]}\n"));
    ASSERT_EQ(windows.size(), 2u);
    ASSERT_EQ(windows[0].vcpus.size(), 2u);
    EXPECT_EQ(windows[0].vcpus[1].user, 3u);
    EXPECT_EQ(windows[0].total(), 10u);
    EXPECT_EQ(windows[1].number, 1u);
    EXPECT_EQ(windows[1].total(), 5000000006u);
}

TEST_F(MeterFile, LeavesOutALineThatIsStillBeingWritten) {
    EXPECT_EQ(read_windows(with("{\"window\":0,\"vcpus\":[]}\n{\"window\":1,\"vc")).size(), 1u);
}

TEST_F(MeterFile, SaysWhyAWindowHasNoCounts) {
    const auto windows = read_windows(with("{\"window\":0,\"unavailable\":\"threads\"}\n"));
    ASSERT_EQ(windows.size(), 1u);
    EXPECT_EQ(windows[0].unavailable, "threads");
    EXPECT_TRUE(windows[0].vcpus.empty());
}

TEST_F(MeterFile, RefusesWhatIsNotAWindow) {
    EXPECT_THROW(read_windows(with("{\"window\":0}\n")), std::runtime_error);
    EXPECT_THROW(read_windows(with("not json\n")), std::runtime_error);
}

TEST_F(MeterFile, RefusesAMissingFile) { EXPECT_THROW(read_windows(file_), std::runtime_error); }

}  // namespace
