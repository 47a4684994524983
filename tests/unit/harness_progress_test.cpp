// SPDX-License-Identifier: BSD-2-Clause
// What a run is told beside the records of its trials.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "plan.hpp"
#include "progress.hpp"

namespace dmatoll::harness {
namespace {

TEST(Progress, WhatNoRecordTellsIsCountedAndSaidHoweverQuietTheRunIs) {
    for (const bool quiet : {false, true}) {
        Progress progress{std::vector<Trial>{}, 0, quiet};
        testing::internal::CaptureStdout();
        testing::internal::CaptureStderr();
        progress.problem("after one: mappings were left");
        progress.done();
        const std::string said = testing::internal::GetCapturedStdout();
        const std::string complained = testing::internal::GetCapturedStderr();
        EXPECT_NE((quiet ? complained : said).find("problem: after one: mappings were left"), std::string::npos);
        EXPECT_EQ(progress.problems(), 1u);
        EXPECT_EQ(progress.errors(), 0u);
    }
}

}  // namespace
}  // namespace dmatoll::harness
