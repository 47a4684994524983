// SPDX-License-Identifier: BSD-2-Clause
// The language in which a device is told to copy.
#include <gtest/gtest.h>

#include <span>
#include <string>
#include <string_view>

#include "dma/dma_command.hpp"

namespace dmatoll::dma {
namespace {

DmaComplaint parse(std::string_view text, DmaCommand& command) {
    return parse_dma_command(std::span{text.data(), text.size()}, command);
}

DmaCommand taken(std::string_view text) {
    DmaCommand command{};
    const DmaComplaint complaint = parse(text, command);
    EXPECT_EQ(complaint.what, nullptr) << text << ": " << complaint.what;
    return command;
}

// Why it is refused, and for which word.
std::string refusal(std::string_view text) {
    DmaCommand command{};
    const DmaComplaint complaint = parse(text, command);
    if (complaint.what == nullptr) return "taken";
    EXPECT_EQ(command.verb, DmaVerb::result) << "filled in all the same";
    return std::string{complaint.what} + " [" + std::string{complaint.word.begin(), complaint.word.end()} +
           "]";
}

TEST(DmaCommand, WhatIsNotSaidHasItsUsualValue) {
    const CopyPlan plan = taken("begin").plan();
    EXPECT_EQ(plan.bytes, CopyPlan{}.bytes);
    EXPECT_EQ(plan.working_set, CopyPlan{}.working_set);
    EXPECT_EQ(plan.batch, CopyPlan{}.batch);
    EXPECT_EQ(plan.lifetime, 1u);
    EXPECT_EQ(plan.rest, 0u);
    EXPECT_EQ(taken("run\n").value(DmaKey::copies), 0u);
}

TEST(DmaCommand, TakesNumbersInBothSpellingsAndWordsInAnyOrder) {
    const CopyPlan plan =
        taken("  begin lifetime=0 \t bytes=0x40 working_set=4096  batch=255 rest=7\n").plan();
    EXPECT_EQ(plan.bytes, 64u);
    EXPECT_EQ(plan.working_set, 4096u);
    EXPECT_EQ(plan.batch, 255u);
    EXPECT_EQ(plan.lifetime, 0u);
    EXPECT_EQ(plan.rest, 7u);
    EXPECT_EQ(taken("run copies=18446744073709551615").value(DmaKey::copies), ~std::uint64_t{0});
    EXPECT_EQ(taken("stray_read iova=0xfffffffffffff000").value(DmaKey::iova), 0xffff'ffff'ffff'f000u);
    EXPECT_EQ(taken("look pair=4095").verb, DmaVerb::look);
}

TEST(DmaCommand, SaysWhatIsWrongWithWhichWord) {
    EXPECT_NE(refusal("").find("there are begin"), std::string::npos);
    EXPECT_NE(refusal("copy").find("[copy]"), std::string::npos);
    EXPECT_NE(refusal("begins").find("[begins]"), std::string::npos);
    EXPECT_NE(refusal("begin bytes").find("name=value was expected"), std::string::npos);
    EXPECT_NE(refusal("begin colour=1").find("no such parameter: [colour=1]"), std::string::npos);
    EXPECT_NE(refusal("run bytes=64").find("no such parameter: [bytes=64]"), std::string::npos);
    EXPECT_NE(refusal("begin bytes=64 bytes=64").find("twice"), std::string::npos);
    EXPECT_NE(refusal("stray_read").find("needs a value for [iova]"), std::string::npos);
    for (const char* number : {"", "x", "0x", "-1", "1.5", "0xg", "1z", "18446744073709551616"})
        EXPECT_NE(refusal(std::string{"run copies="} + number).find("a whole number was expected"),
                  std::string::npos)
            << number;
}

TEST(DmaCommand, HoldsEachValueToItsRange) {
    for (const char* text : {"begin bytes=59", "begin bytes=4097", "begin working_set=0",
                             "begin working_set=4097", "begin batch=0", "begin batch=256", "look pair=4096"})
        EXPECT_NE(refusal(text).find("out of range"), std::string::npos) << text;
    EXPECT_NE(refusal("begin working_set=8 batch=9").find("no more than the working set"), std::string::npos);
    EXPECT_EQ(taken("begin working_set=8 batch=8").plan().batch, 8u);
}

// An emulated part leaves a buffer at 0 out: nothing would have been tried.
TEST(DmaCommand, RefusesTheAddressZero) {
    EXPECT_NE(refusal("stray_write iova=0").find("out of range"), std::string::npos);
    EXPECT_NE(refusal("stray_read iova=0x0").find("out of range"), std::string::npos);
    EXPECT_EQ(taken("stray_write iova=0x1fc4").value(DmaKey::iova), 0x1fc4u);
    EXPECT_EQ(taken("stray_write iova=0x1fc4").value(DmaKey::word), 0u);
    EXPECT_EQ(taken("stray_write iova=0x1fc4 word=0xf7").value(DmaKey::word), 0xf7u);
    EXPECT_NE(refusal("stray_read iova=0x1fc4 word=1").find("no such parameter"), std::string::npos);
}

}  // namespace
}  // namespace dmatoll::dma
