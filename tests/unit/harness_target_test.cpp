// SPDX-License-Identifier: BSD-2-Clause
// What must not be taken, on a sysfs made of files; and the parsers of what other programs write.
#include <gtest/gtest.h>

#include <fstream>

#include "doctor.hpp"
#include "failure.hpp"
#include "iperf3.hpp"
#include "meters/proc_stat.hpp"
#include "process.hpp"
#include "provenance.hpp"
#include "target/ownership.hpp"
#include "target/pci.hpp"
#include "target/system.hpp"
#include "system_tree.hpp"
#include "text.hpp"

namespace dmatoll::harness {
namespace {

TEST_F(TargetTest, ReadsADevice) {
    const PciDevice device = pci_device(nic);
    EXPECT_EQ(device.device, 0x100e);
    EXPECT_TRUE(device.is_network());
    EXPECT_EQ(device.group, 1);
    EXPECT_EQ(device.group_type, "DMA-FQ");
    EXPECT_TRUE(device.driver.empty());
    EXPECT_TRUE(device.driver_override.empty());
    EXPECT_EQ(pci_devices().size(), 1U);
}

TEST_F(TargetTest, UnknownDevice) {
    EXPECT_NE(complaint([] { pci_device("0000:00:07.0"); }).find("There is no PCI device 0000:00:07.0"),
              std::string::npos);
    EXPECT_NE(complaint([] { pci_device("eth0"); }).find("is not a PCI address"), std::string::npos);
}

TEST_F(TargetTest, TheDefaultRouteIsNotTakenWithoutForce) {
    default_route_over(nic, "eth9");
    EXPECT_TRUE(pci_device(nic).default_route);
    Ownership ownership;
    EXPECT_NE(complaint([&] { ownership.take(nic, false); }).find("default route"), std::string::npos);
    EXPECT_TRUE(ownership.taken().empty());
    EXPECT_FALSE(fs::exists(Ownership::state_file()));
    EXPECT_EQ(complaint([&] { ownership.take(nic, true); }), "no complaint");
}

TEST_F(TargetTest, WhatIsNeitherNetworkCardNorAhciIsNeverTaken) {
    device("0000:00:08.0", "0x5845", "0x010802", 8);
    Ownership ownership;
    EXPECT_NE(complaint([&] { ownership.take("0000:00:08.0", true); }).find("no network card and no AHCI"),
              std::string::npos);
    EXPECT_TRUE(ownership.taken().empty());
    EXPECT_FALSE(fs::exists(Ownership::state_file()));
    EXPECT_NE(complaint([] { require_drivable(pci_device("0000:00:08.0")); }).find("dmatoll drives"),
              std::string::npos);
    EXPECT_EQ(complaint([] { require_drivable(pci_device(nic)); }), "no complaint");
}

TEST_F(TargetTest, AnIPv6DefaultRouteCounts) {
    fs::create_directories(device_path(nic) / "net/eth9");
    const std::string zeros(32, '0');
    put("proc/net/ipv6_route",
        zeros + " 00 " + zeros +
            " 00 fe800000000000000000000000000001 00000400 00000001 00000000 00000003     eth9\n");
    EXPECT_TRUE(pci_device(nic).default_route);
}

TEST_F(TargetTest, ADefaultRouteOverABridgeOrABondCounts) {
    default_route_over("0000:00:07.0", "br0");
    fs::create_directories(device_path(nic) / "net/eth9");
    fs::create_directories(root_ / "sys/class/net/br0/lower_bond0");
    fs::create_directories(root_ / "sys/class/net/bond0/lower_eth9");
    EXPECT_TRUE(pci_device(nic).default_route);
    fs::remove_all(root_ / "sys/class/net/bond0");
    EXPECT_FALSE(pci_device(nic).default_route);
}

TEST_F(TargetTest, AGroupThatHasItsTypeNeedsNothing) {
    device("0000:00:05.0", "0x100e", "0x020000", 2);
    device("0000:00:06.0", "0x100e", "0x020000", 2);
    EXPECT_EQ(complaint([] { set_group_type("0000:00:05.0", "DMA-FQ"); }), "no complaint");
    EXPECT_NE(complaint([] { set_group_type("0000:00:05.0", "DMA"); }).find("shares the IOMMU group"),
              std::string::npos);
}

TEST_F(TargetTest, NoGroupAndASharedGroup) {
    device("0000:00:06.0", "0x100e", "0x020000", -1);
    EXPECT_NE(
        complaint([] { require_own_group(pci_device("0000:00:06.0"), "VFIO"); }).find("has no IOMMU group"),
        std::string::npos);

    EXPECT_EQ(complaint([] { require_own_group(pci_device(nic), "VFIO"); }), "no complaint");
    device("0000:00:01.0", "0x1234", "0x060400", 2);
    device("0000:00:05.0", "0x100e", "0x020000", 2);
    EXPECT_EQ(complaint([] { require_own_group(pci_device("0000:00:05.0"), "VFIO"); }), "no complaint")
        << "a bridge does no DMA of its own";
    device("0000:00:05.1", "0x2922", "0x010601", 2);
    const std::string text = complaint([] { require_own_group(pci_device("0000:00:05.0"), "VFIO"); });
    EXPECT_NE(text.find("shares the IOMMU group 2 with 0000:00:05.1"), std::string::npos) << text;
}

TEST_F(TargetTest, WhatIsTakenIsWrittenDownBeforeAnythingChangesAndOutlivesUs) {
    {
        Ownership ownership;
        ownership.take(nic, false);
        EXPECT_TRUE(fs::exists(Ownership::state_file()));
    }
    // A harness that was killed leaves its file; the next one knows.
    Ownership next;
    ASSERT_EQ(next.taken().size(), 1U);
    EXPECT_EQ(next.taken()[0].bdf, nic);
    EXPECT_EQ(next.taken()[0].group_type, "DMA-FQ");
    const auto report = next.restore();
    EXPECT_TRUE(report.problems.empty()) << report.problems.front();
    EXPECT_FALSE(fs::exists(Ownership::state_file()));
}

TEST_F(TargetTest, OneHarnessAtATime) {
    Ownership first;
    EXPECT_NE(complaint([] { Ownership second; }).find("Another dmatoll is at work"), std::string::npos);
}

TEST_F(TargetTest, WithoutTheRightToWriteIsAClearError) {
    system_paths().run = "/run/dmatoll-test-not-ours";
    const bool root = ::geteuid() == 0;
    constexpr uid_t nobody = 65534;
    if (root) {
        ASSERT_EQ(::seteuid(nobody), 0);
    }
    const std::string text = complaint([] { Ownership ownership; });
    if (root) {
        ASSERT_EQ(::seteuid(0), 0);
    }
    EXPECT_NE(text.find("needs root"), std::string::npos) << text;
}

TEST_F(TargetTest, BindingToADriverThatIsNotThere) {
    EXPECT_NE(complaint([] { bind_driver(nic, "vfio-pci"); }).find("there is no such PCI driver"),
              std::string::npos);
}

TEST_F(TargetTest, DoctorNamesWhatIsMissing) {
    const Diagnosis diagnosis = diagnose();
    EXPECT_FALSE(diagnosis.hardware_ready());
    const auto iommu = std::find_if(diagnosis.hardware.begin(), diagnosis.hardware.end(),
                                    [](const Check& check) { return check.name == "IOMMU"; });
    ASSERT_NE(iommu, diagnosis.hardware.end());
    EXPECT_FALSE(iommu->there);
    EXPECT_FALSE(iommu->remedy.empty());
    const auto pages = std::find_if(diagnosis.optional.begin(), diagnosis.optional.end(),
                                    [](const Check& check) { return check.name == "huge pages"; });
    ASSERT_NE(pages, diagnosis.optional.end());
    EXPECT_FALSE(pages->there);
    for (const auto* program : {"user driver, disks", "user driver, kernel-like", "user driver, disks, kernel-like"})
        EXPECT_TRUE(std::any_of(diagnosis.optional.begin(), diagnosis.optional.end(),
                                [&](const Check& check) { return check.name == program; }))
            << program;
}

TEST(Doctor, ComparesKernels) {
    EXPECT_TRUE(kernel_at_least("6.12.117+deb12-amd64", 6, 11));
    EXPECT_TRUE(kernel_at_least("6.11.0", 6, 11));
    EXPECT_TRUE(kernel_at_least("7.0", 6, 11));
    EXPECT_FALSE(kernel_at_least("6.8.0-31-generic", 6, 11));
    EXPECT_FALSE(kernel_at_least("what", 6, 11));
}

TEST(Provenance, AddressWidthFromTheCapabilityRegister) {
    EXPECT_EQ(vtd_address_width(0xd2008c22260206), 39U);
}

TEST(ProcStat, ReadsOneCpu) {
    const char* text =
        "cpu  10 0 10 100 0 0 0 0 0 0\ncpu0 1 2 3 40 5 6 7 8 0 0\ncpu1 9 0 0 60 0 0 0 0 0 0\nintr 5\n";
    const CpuTicks ticks = parse_cpu_ticks(text, 0);
    EXPECT_EQ(ticks.busy, 1U + 2 + 3 + 6 + 7 + 8);
    EXPECT_EQ(ticks.idle, 45U);
    EXPECT_THROW(parse_cpu_ticks(text, 2), Failure);
    EXPECT_THROW(parse_cpu_ticks("cpu0 1 2\n", 0), Failure);
}

TEST(Iperf3, ReadsTcp) {
    const Iperf3Totals totals = parse_iperf3(
        R"({"start":{},"end":{"sum_sent":{"bytes":1000,"seconds":1.5,"retransmits":3},"sum_received":{"bytes":900,"seconds":1.4}}})",
        Transport::tcp);
    EXPECT_EQ(totals.bytes_sent, 1000U);
    EXPECT_EQ(totals.bytes_received, 900U);
    EXPECT_EQ(totals.retransmits, 3U);
}

TEST(Iperf3, ReadsUdpWhoseReceiverReportsNoBytes) {
    const Iperf3Totals totals = parse_iperf3(
        R"({"start":{"test_start":{"blksize":1472}},"end":{"sum":{"bytes":0,"packets":100,"lost_packets":10,"seconds":1}}})",
        Transport::udp);
    EXPECT_EQ(totals.datagrams, 100U);
    EXPECT_EQ(totals.bytes_received, 90U * 1472);
}

TEST(Iperf3, TellsWhatWentWrong) {
    EXPECT_THROW(parse_iperf3("", Transport::tcp), Failure);
    EXPECT_THROW(parse_iperf3(R"({"end":{}})", Transport::tcp), Failure);
    EXPECT_THROW(parse_iperf3(R"({"error":7})", Transport::tcp), Failure);
    try {
        parse_iperf3(R"({"error":"unable to connect to server: Connection timed out"})", Transport::udp);
        FAIL() << "iperf3's own error was overlooked";
    } catch (const Failure& failure) {
        EXPECT_NE(std::string{failure.what()}.find("Connection timed out"), std::string::npos);
    }
}

TEST(Process, CapturesBoundsAndReports) {
    const Ended ended = run({.arguments = {"sh", "-c", "echo out; echo err >&2; exit 3"}});
    EXPECT_EQ(ended.status, 3);
    EXPECT_EQ(ended.output, "out\n");
    EXPECT_EQ(ended.error, "err\n");
    EXPECT_EQ(run({.arguments = {"sleep", "60"}}, 0.1).status, -1);
    EXPECT_THROW(run({.arguments = {"no-such-program-of-ours"}}), Failure);
    EXPECT_THROW(run_or_fail({.arguments = {"false"}}, "succeed"), Failure);
}

TEST(Process, ReadsLinesAsTheyCome) {
    Child child{{.arguments = {"sh", "-c", "echo one; echo two; sleep 60"}}};
    EXPECT_EQ(child.read_line(10), "one");
    EXPECT_EQ(child.read_line(10), "two");
    EXPECT_EQ(child.read_line(0.05), std::nullopt);
    EXPECT_NE(child.terminate(10).status, 0);
}

TEST(Text, NearestAndGlob) {
    EXPECT_EQ(nearest("persistant", {"strict", "persistent"}), "persistent");
    EXPECT_EQ(nearest("xyz", {"strict", "persistent"}), "");
    EXPECT_TRUE(glob_match("iperf3-*-rx", "iperf3-udp-rx"));
    EXPECT_FALSE(glob_match("iperf3-*-rx", "iperf3-udp-tx"));
    EXPECT_TRUE(glob_match("*", ""));
    EXPECT_EQ(duration_text(365), "6 min 05 s");
}

}  // namespace
}  // namespace dmatoll::harness
