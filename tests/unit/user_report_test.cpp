// SPDX-License-Identifier: BSD-2-Clause
// What the supervisor takes for a report: the process that writes it is not trusted.
#include <gtest/gtest.h>

#include <string>

#include "driver_process.hpp"

namespace dmatoll::user {
namespace {

Report ready_with(const MacAddress& mac) {
    return {.ready = true, .mac = mac, .arena = "4KiB", .note = "a note", .failure = {}};
}

TEST(Report, SurvivesTheWay) {
    const auto got = parse_report(to_text(ready_with({0x52, 0x54, 0, 0x12, 0x34, 0x56})));
    ASSERT_TRUE(got.has_value());
    EXPECT_TRUE(got->ready);
    EXPECT_EQ(got->mac, (MacAddress{0x52, 0x54, 0, 0x12, 0x34, 0x56}));
    EXPECT_EQ(got->arena, "4KiB");
    EXPECT_EQ(got->note, "a note");
}

TEST(Report, OfAFailureNeedsNoAddress) {
    const auto got =
        parse_report(to_text({.ready = false, .mac = {}, .arena = {}, .note = {}, .failure = "why"}));
    ASSERT_TRUE(got.has_value());
    EXPECT_EQ(got->failure, "why");
}

// The kernel would refuse it as the interface's.
TEST(Report, AnAddressThatNoStationCanHaveIsNone) {
    EXPECT_FALSE(parse_report(to_text(ready_with({}))).has_value());
    EXPECT_FALSE(parse_report(to_text(ready_with({0x53, 0x54, 0, 0x12, 0x34, 0x56}))).has_value());
}

TEST(Report, AnythingElseIsNone) {
    for (const char* const text : {"", "{}", "[]", "null", "{\"ready\":true}", "ready"}) {
        EXPECT_FALSE(parse_report(text).has_value()) << text;
    }
}

}  // namespace
}  // namespace dmatoll::user
