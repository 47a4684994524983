// SPDX-License-Identifier: BSD-2-Clause
// What the supervisor takes for a report: the process that writes it is not trusted.
#include <gtest/gtest.h>

#include <string>

#include "network_report.hpp"

namespace dmatoll::user {
namespace {

NetworkReport ready_with(const MacAddress& mac) {
    return {.ready = true, .mac = mac, .arena = "4KiB", .note = "a note", .failure = {}};
}

TEST(NetworkReport, SurvivesTheWay) {
    const auto got = parse_network_report(to_text(ready_with({0x52, 0x54, 0, 0x12, 0x34, 0x56})));
    ASSERT_TRUE(got.has_value());
    EXPECT_TRUE(got->ready);
    EXPECT_EQ(got->mac, (MacAddress{0x52, 0x54, 0, 0x12, 0x34, 0x56}));
    EXPECT_EQ(got->arena, "4KiB");
    EXPECT_EQ(got->note, "a note");
}

TEST(NetworkReport, OfAFailureNeedsNoAddress) {
    const auto got = parse_network_report(
        to_text(NetworkReport{.ready = false, .mac = {}, .arena = {}, .note = {}, .failure = "why"}));
    ASSERT_TRUE(got.has_value());
    EXPECT_EQ(got->failure, "why");
}

// The kernel would refuse it as the interface's.
TEST(NetworkReport, AnAddressThatNoStationCanHaveIsNone) {
    EXPECT_FALSE(parse_network_report(to_text(ready_with({}))).has_value());
    EXPECT_FALSE(parse_network_report(to_text(ready_with({0x53, 0x54, 0, 0x12, 0x34, 0x56}))).has_value());
}

TEST(NetworkReport, AnythingElseIsNone) {
    for (const char* const text : {"", "{}", "[]", "null", "{\"ready\":true}", "ready"}) {
        EXPECT_FALSE(parse_network_report(text).has_value()) << text;
    }
}

}  // namespace
}  // namespace dmatoll::user
