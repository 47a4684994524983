// SPDX-License-Identifier: BSD-2-Clause
// What is read out of a driver's failure: outages, the kernel's complaints, an oops.
#include <gtest/gtest.h>

#include "crash.hpp"
#include "echo_probe.hpp"
#include "kernel_log.hpp"

namespace dmatoll::harness {
namespace {

TEST(Outages, AreTheLongestGapBehindEachFault) {
    const std::vector<std::uint64_t> replies{10, 20, 30, 130, 140, 150, 400, 410, 430};
    EXPECT_EQ(outages(replies, {35, 155}), (std::vector<std::uint64_t>{100, 250}));
    // One reply was still under way when the driver was killed.
    EXPECT_EQ(outages(replies, {25, 155}), (std::vector<std::uint64_t>{100, 250}));
    EXPECT_EQ(outages(replies, {500}), (std::vector<std::uint64_t>{0})) << "nothing came back any more";
    EXPECT_EQ(outages({}, {5}), (std::vector<std::uint64_t>{0}));
}

TEST(KernelLog, WarningsAndWorseAreComplaints) {
    EXPECT_EQ(complaint_of("4,100,5000,-;e1000: something is odd\n SUBSYSTEM=pci\n"),
              "e1000: something is odd");
    EXPECT_EQ(complaint_of("3,101,5000,-;an error\n"), "an error");
    EXPECT_EQ(complaint_of("6,102,5000,-;link is up\n"), "");
    // Facility 3 (daemon), level 2.
    EXPECT_EQ(complaint_of("26,103,5000,-;critical\n"), "critical");
    EXPECT_EQ(complaint_of("30,103,5000,-;information\n"), "");
    EXPECT_EQ(complaint_of("no record"), "");
}

TEST(Oops, BeginsWithItsFirstLine) {
    EXPECT_EQ(oops_of({"a trial", "[    3.1] BUG: kernel NULL pointer dereference, address: 0",
                       "[    3.1] Oops: 0002", "[    3.2] Kernel panic"}),
              "[    3.1] BUG: kernel NULL pointer dereference, address: 0\n[    3.1] Oops: 0002\n[    3.2] "
              "Kernel panic");
    EXPECT_EQ(oops_of({"all is well"}), "");
}

}  // namespace
}  // namespace dmatoll::harness
