// SPDX-License-Identifier: BSD-2-Clause
// Disks: which a controller has, what must not be taken or written to, and what the programs for them print.
#include <gtest/gtest.h>

#include <sys/stat.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <set>

#include "catalogue.hpp"
#include "disk_window.hpp"
#include "fio.hpp"
#include "lab/emulator.hpp"
#include "metronome.hpp"
#include "plan.hpp"
#include "scattered_memory.hpp"
#include "sync_read.hpp"
#include "system_tree.hpp"
#include "target/disk.hpp"
#include "target/disk_users.hpp"
#include "target/ownership.hpp"
#include "target/user_driver.hpp"
#include "text.hpp"

namespace dmatoll::harness {
namespace {

constexpr const char* controller = "0000:00:09.0";

class DiskTest : public TargetTest {
  protected:
    DiskTest() {
        device(controller, "0x2922", "0x010601", 9);
        fs::create_directories(root_ / "sys/block");
    }
    // `below` the controller; returns its folder below the root.
    std::string disk(const std::string& name, const std::string& below, const std::string& number) {
        const std::string folder =
            std::string{"sys/bus/pci/devices/"} + controller + "/" + below + "/block/" + name;
        put(folder + "/dev", number + "\n");
        fs::create_directory_symlink(root_ / folder, root_ / "sys/block" / name);
        return folder;
    }
    void partition(const std::string& folder, const std::string& name, const std::string& number) {
        put(folder + "/" + name + "/partition", "1\n");
        put(folder + "/" + name + "/dev", number + "\n");
    }
    // One more device, made of what is in that folder; returns its own.
    std::string holder(const std::string& folder, const std::string& name) {
        fs::create_directories(root_ / "sys/block" / name);
        fs::create_directories(root_ / folder / "holders");
        fs::create_directory_symlink(root_ / "sys/block" / name, root_ / folder / "holders" / name);
        return "sys/block/" + name;
    }
    std::string refusal() {
        Ownership ownership;
        return complaint([&] { ownership.take(controller, false); });
    }
    static bool has(const std::string& text, const std::string& words) {
        return text.find(words) != std::string::npos;
    }
};

TEST_F(DiskTest, AnAhciControllerIsOneByItsClass) {
    device("0000:00:0a.0", "0xa352", "0x010601", 10);
    for (const auto* bdf : {controller, "0000:00:0a.0"})
        EXPECT_EQ(complaint([&] { require_drivable(pci_device(bdf)); }), "no complaint");
    device("0000:00:0b.0", "0x2922", "0x010400", 11);
    EXPECT_TRUE(has(complaint([] { require_drivable(pci_device("0000:00:0b.0")); }), "dmatoll drives"));
}

TEST_F(DiskTest, PortsAreLibatasOrTheModulesOrInOrder) {
    disk("sdc", "ata4/host3/target3:0:0/3:0:0:0", "8:32");
    put(std::string{"sys/bus/pci/devices/"} + controller + "/ata4/ata_port/ata4/port_no", "2\n");
    auto disks = disks_of(controller);
    ASSERT_EQ(disks.size(), 1U);
    EXPECT_EQ(disks[0].name, "sdc");
    EXPECT_EQ(disks[0].port, 1U) << "libata counts from 1";

    fs::remove(root_ / "sys/block/sdc");
    disk("dmatoll0", "", "252:0");
    disk("dmatoll1", "", "252:1");
    disks = disks_of(controller);
    ASSERT_EQ(disks.size(), 2U);
    EXPECT_EQ(disks[1].port, 1U);
    put(std::string{"sys/bus/pci/devices/"} + controller + "/dmatoll/disks", "3 dmatoll0\n0 dmatoll1\n");
    disks = disks_of(controller);
    EXPECT_EQ(disks[0].name, "dmatoll1");
    EXPECT_EQ(disks[1].port, 3U);

    fs::create_directories(root_ / "sys/devices/virtual/block/loop0");
    fs::create_directory_symlink(root_ / "sys/devices/virtual/block/loop0", root_ / "sys/block/loop0");
    EXPECT_EQ(disks_of(controller).size(), 2U) << "another's disk";
}

TEST_F(DiskTest, WhatHoldsADiskIsTold) {
    const std::string folder = disk("sdx", "ata1/host0", "8:128");
    partition(folder, "sdx1", "8:129");
    EXPECT_EQ(refusal(), "no complaint");

    put("proc/self/mountinfo", "22 1 8:129 / /home rw,relatime shared:1 - ext4 /dev/sdx1 rw\n");
    EXPECT_TRUE(has(refusal(), "sdx1 is mounted at /home")) << refusal();
    EXPECT_TRUE(has(refusal(), "--force"));
    // A file system with numbers of its own tells the file only.
    put("proc/self/mountinfo", "22 1 0:33 /sub /data rw - btrfs /dev/sdx rw\n");
    EXPECT_TRUE(has(refusal(), "sdx is mounted at /data"));
    put("proc/self/mountinfo", "22 1 8:1 / / rw - ext4 /dev/sda1 rw\ngarbage\n");
    EXPECT_EQ(refusal(), "no complaint");

    put("proc/swaps", "Filename\tType\tSize\tUsed\tPriority\n/dev/sdx1   partition\t1\t0\t-2\n");
    EXPECT_TRUE(has(refusal(), "sdx1 is swap space"));
    put("proc/swaps", "Filename\tType\tSize\tUsed\tPriority\n/dev/sdx11   partition\t1\t0\t-2\n");
    EXPECT_EQ(refusal(), "no complaint");

    holder(folder, "dm-0");
    EXPECT_TRUE(has(refusal(), "sdx is part of dm-0"));
    Ownership ownership;
    fs::remove(Ownership::state_file());
    EXPECT_EQ(complaint([&] { ownership.take(controller, true); }), "no complaint");
}

using Uses = std::vector<std::string>;

TEST_F(DiskTest, WhoUsesADiskThroughOthersIsTold) {
    const std::string folder = disk("sdx", "ata1/host0", "8:128");
    partition(folder, "sdx1", "8:129");
    partition(folder, "sdx2", "8:130");
    // Two volumes on a RAID of both partitions.
    const std::string raid = holder(folder + "/sdx1", "md0");
    holder(folder + "/sdx2", "md0");
    put(holder(raid, "dm-0") + "/dm/name", "vg-root\n");
    put(holder(raid, "dm-1") + "/dm/name", "vg-swap\n");
    put("sys/block/dm-0/dev", "254:0\n");
    put("proc/self/mountinfo",
        "22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/root rw\n23 1 0:33 / /data rw - btrfs /dev/mapper/vg-root rw\n"
        "24 1 254:1 / /boot rw - ext4 /dev/sda1 rw\n");
    put("proc/swaps", "Filename\tType\tSize\tUsed\tPriority\n/dev/dm-1   partition\t1\t0\t-2\n");
    EXPECT_EQ(uses_of("sdx"), (Uses{"sdx1 is part of md0", "md0 is part of dm-0 (vg-root)", "dm-0 (vg-root) is mounted at /",
                                    "dm-0 (vg-root) is mounted at /data", "md0 is part of dm-1 (vg-swap)",
                                    "dm-1 (vg-swap) is swap space", "sdx2 is part of md0"}));
    EXPECT_TRUE(has(refusal(), "dm-0 (vg-root) is mounted at /data"));
}

TEST_F(DiskTest, APartitionOfWhatIsMadeOfADiskIsFollowed) {
    const std::string raid = holder(disk("sdx", "ata1/host0", "8:128"), "md0");
    partition(raid, "md0p1", "259:1");
    put("sys/block/loop3/loop/backing_file", "/dev/md0p1\n");
    put("sys/block/loop3/dev", "7:3\n");
    put("sys/block/loop4/loop/backing_file", "/dev/md0\n");
    put("sys/block/loop5/loop/backing_file", "/srv/image (deleted)\n");
    put("proc/self/mountinfo", "22 1 7:3 / /srv rw - ext4 /dev/loop3 rw\n");
    EXPECT_EQ(uses_of("sdx"), (Uses{"sdx is part of md0", "md0 is what loop4 is made of", "md0p1 is what loop3 is made of",
                                    "loop3 is mounted at /srv"}));
}

TEST_F(DiskTest, WhoHasADiskExclusivelyIsTold) {
    const std::string folder = disk("sdx", "ata1/host0", "8:128");
    partition(folder, "sdx1", "8:129");
    EXPECT_EQ(uses_of("sdx", [](const std::string& file) { return file == "/dev/sdx" ? 0 : EBUSY; }), Uses{});
    for (const int cannot_tell : {EACCES, ENOENT, ENXIO}) {
        static int error = 0;
        error = cannot_tell;
        EXPECT_EQ(uses_of("sdx", [](const std::string&) { return error; }), Uses{}) << cannot_tell;
    }
    const auto busy = [](const std::string&) { return EBUSY; };
    EXPECT_EQ(uses_of("sdx", busy), (Uses{"sdx or a partition of it is opened exclusively, by the kernel or by somebody who "
                                          "cannot be seen from here"}));
    for (const auto& [process, file] : {std::pair{"12", "/dev/sdx1"}, std::pair{"345", "/dev/sdx11"},
                                        std::pair{"6", "/dev/sdx"}, std::pair{"self", "/dev/sdx"}}) {
        put(std::string{"proc/"} + process + "/comm", std::string{"reader-"} + process + "\n");
        fs::create_directories(root_ / "proc" / process / "fd");
        fs::create_symlink(file, root_ / "proc" / process / "fd/3");
    }
    EXPECT_EQ(uses_of("sdx", busy), (Uses{"sdx or a partition of it is opened exclusively, by reader-12 (process 12) or "
                                          "reader-6 (process 6)"}));
    // Who mounted it has it exclusively, and is named already.
    put("proc/self/mountinfo", "22 1 8:129 / /home rw - ext4 /dev/sdx1 rw\n");
    EXPECT_EQ(uses_of("sdx", busy), Uses{"sdx1 is mounted at /home"});
}

// The user driver's block devices are below no controller; a program in its place tells which are of this one.
class UblkTest : public DiskTest {
  protected:
    UblkTest() : path_{std::getenv("PATH")} {
        ::setenv("PATH", ((root_ / "bin").string() + ":" + path_).c_str(), 1);
        fs::create_directories(root_ / "bin");
    }
    ~UblkTest() override { ::setenv("PATH", path_.c_str(), 1); }

    void driver_says(const std::string& what) {
        const fs::path program = root_ / "bin/dmatoll-disk-user";
        // Written beside it, since a program that runs cannot be overwritten.
        std::ofstream{root_ / "bin/new"} << "#!/bin/sh\necho \"$*\" >>" << (root_ / "calls").string() << "\n" << what << "\n";
        ::chmod((root_ / "bin/new").c_str(), 0755);
        fs::rename(root_ / "bin/new", program);
    }

    std::string path_;
};

constexpr const char* left_behind = R"(echo '{"block":"/dev/ublkb0","port":1,"served":false}')";

TEST_F(UblkTest, ADiskWhoseDriverWasKilledIsInUseWhileItIsMounted) {
    driver_says("exit 7");
    EXPECT_EQ(refusal(), "no complaint") << "it was asked without any ublk device";
    put("sys/block/ublkb0/dev", "259:3\n");
    EXPECT_TRUE(has(refusal(), "ask for the ublk devices of 0000:00:09.0")) << refusal();
    driver_says(left_behind);
    EXPECT_EQ(refusal(), "no complaint") << "nobody would miss it";

    put("proc/self/mountinfo", "22 1 259:3 / /mnt rw - ext4 /dev/ublkb0 rw\n");
    fs::remove(Ownership::state_file());
    fs::remove(root_ / "calls");
    const std::string refused = refusal();
    EXPECT_TRUE(has(refused, "ublkb0 is mounted at /mnt")) << refused;
    EXPECT_TRUE(has(refused, "`dmatoll-disk-user --device 0000:00:09.0` takes it over")) << refused;
    EXPECT_EQ(read_file(root_ / "calls"), "--device 0000:00:09.0 --list\n");

    driver_says(R"(echo '{"block":"/dev/ublkb0","port":1,"served":true}')");
    EXPECT_TRUE(has(refusal(), "ublkb0 is mounted at /mnt"));
    EXPECT_FALSE(has(refusal(), "takes it over")) << "somebody serves it";
    driver_says("");
    EXPECT_EQ(refusal(), "no complaint") << "it is another controller's";
    for (const auto* garbage : {"echo nothing", "echo '[]'", R"(echo '{"block":"/dev/ublkb0"}')"}) {
        driver_says(garbage);
        EXPECT_TRUE(has(refusal(), "not understood")) << garbage;
    }
}

TEST_F(UblkTest, RestoreLeavesADiskThatIsMountedToItsNextDriver) {
    {
        Ownership ownership;
        ownership.take(controller, false);
    }
    put("sys/block/ublkb0/dev", "259:3\n");
    put("proc/self/mountinfo", "22 1 259:3 / /mnt rw - ext4 /dev/ublkb0 rw\n");
    driver_says(left_behind);
    Ownership ownership;
    const auto report = ownership.restore();
    ASSERT_FALSE(report.problems.empty());
    EXPECT_TRUE(has(report.problems[0], "ublkb0 is mounted at /mnt")) << report.problems[0];
    EXPECT_FALSE(has(read_file(root_ / "calls"), "--remove")) << read_file(root_ / "calls");
    ownership.take(controller, true);
    (void)ownership.restore();
    EXPECT_TRUE(has(read_file(root_ / "calls"), "--remove"));
}

TEST_F(DiskTest, WhatWasTakenBeforeIsAskedAboutAgain) {
    disk("dmatoll0", "", "252:0");
    {
        Ownership ownership;
        ASSERT_EQ(complaint([&] { ownership.take(controller, false); }), "no complaint");
    }
    ASSERT_TRUE(fs::exists(Ownership::state_file()));
    put("proc/self/mountinfo", "22 1 252:0 / /data rw,relatime - ext4 /dev/dmatoll0 rw\n");
    EXPECT_TRUE(has(refusal(), "dmatoll0 is mounted at /data")) << refusal();
    Ownership ownership;
    EXPECT_EQ(ownership.taken().size(), 1U) << "it can still be given back";
    EXPECT_EQ(complaint([&] { ownership.take(controller, true); }), "no complaint");
    EXPECT_EQ(ownership.taken().size(), 1U) << "how it was is written down once";
}

TEST_F(DiskTest, ADiskThatCameIntoUseIsNotTakenAwayAgain) {
    const fs::path driver = root_ / "sys/bus/pci/drivers/dmatoll-blk";
    const fs::path bound = device_path(controller) / "driver";
    fs::create_directories(driver);
    std::ofstream{driver / "unbind"};
    disk("dmatoll0", "", "252:0");
    {
        Ownership ownership;
        ownership.take(controller, false);
    }
    fs::create_directory_symlink(driver, bound);
    put("proc/self/mountinfo", "22 1 252:0 / /data rw,relatime - ext4 /dev/dmatoll0 rw\n");
    Ownership ownership;
    EXPECT_TRUE(has(complaint([&] { ownership.unbind(controller); }), "dmatoll0 is mounted at /data"));
    const auto report = ownership.restore();
    ASSERT_EQ(report.problems.size(), 1U);
    EXPECT_TRUE(has(report.problems[0], "dmatoll0 is mounted at /data")) << report.problems[0];
    EXPECT_EQ(ownership.taken().size(), 1U) << "to be given back when nobody uses it";
    EXPECT_TRUE(fs::exists(Ownership::state_file()));
    EXPECT_TRUE(read_file(driver / "unbind").empty()) << "it was unbound all the same";
    // By force it is tried.
    (void)ownership.restore(true);
    EXPECT_EQ(read_file(driver / "unbind"), controller);
}

TEST_F(DiskTest, QueueAndStatisticsAreTheKernels) {
    const std::string folder = disk("sdx", "ata1/host0", "8:128");
    put(folder + "/queue/scheduler", "none [mq-deadline]\n");
    put(folder + "/queue/max_sectors_kb", "1280\n");
    put(folder + "/stat", "   12 0 96 5   7 1 56 6 0 0 0 0\n");
    put(folder + "/size", "2097152\n");
    const Disk disk{"sdx"};
    EXPECT_EQ(disk.queue().at("scheduler"), "mq-deadline");
    disk.set_queue(1024);
    EXPECT_EQ(disk.queue().at("max_sectors_kb"), 1024);
    EXPECT_EQ(disk.bytes(), 1U << 30);
    const Counts counts = disk.statistics();
    EXPECT_EQ(counts.at("read_requests"), 12U);
    EXPECT_EQ(counts.at("bytes_read"), 96U * 512);
    EXPECT_EQ(counts.at("write_requests"), 7U);
    EXPECT_EQ(counts.at("bytes_written"), 56U * 512);
    put(folder + "/stat", "1 2\n");
    EXPECT_TRUE(has(complaint([&] { (void)disk.statistics(); }), "stat"));
}

TEST_F(DiskTest, AQueueThatIsNotAsInOtherPlacementsIsNoticed) {
    const std::string queue = disk("sdx", "ata1/host0", "8:128") + "/queue/";
    put(queue + "scheduler", "[none] mq-deadline\n");
    put(queue + "max_sectors_kb", "1024\n");
    put(queue + "nr_requests", "32\n");
    put(queue + "rq_affinity", "1\n");
    put(queue + "nomerges", "0\n");
    const Disk tested{"sdx"};
    EXPECT_TRUE(tested.queue_deviations(1024).empty()) << tested.queue_deviations(1024);
    EXPECT_EQ(tested.queue_deviations(256).at("max_sectors_kb").at("found"), 1024);
    put(queue + "scheduler", "none [mq-deadline]\n");
    put(queue + "nomerges", "2\n");
    fs::remove(root_ / (queue + "rq_affinity"));
    put(queue + "nr_requests", "1\n");
    const auto deviations = tested.queue_deviations(1024);
    EXPECT_EQ(deviations.size(), 4U) << deviations;
    EXPECT_EQ(deviations.at("scheduler").at("found"), "mq-deadline");
    EXPECT_EQ(deviations.at("nomerges").at("wanted"), 0);
    EXPECT_TRUE(deviations.at("rq_affinity").at("found").is_null());
    EXPECT_EQ(deviations.at("nr_requests").at("found"), 1);
}

TEST_F(DiskTest, TheUserDriversDisksAreCheckedBeforeUse) {
    const auto event = nlohmann::json::parse(
        R"({"event": "ready", "disks": [{"port": 1, "block": "/dev/ublkb4", "blocks": 8}]})");
    const auto disks = disks_of_event(event);
    ASSERT_EQ(disks.size(), 1U);
    EXPECT_EQ(disks[0].port, 1U);
    EXPECT_EQ(disks[0].name, "ublkb4");
    for (const auto* wrong :
         {R"({})", R"({"disks": 5})", R"({"disks": [{"port": 0}]})", R"({"disks": [{"port": "a", "block": "/dev/x"}]})",
          R"({"disks": [{"port": 0, "block": "/etc/passwd"}]})", R"({"disks": [{"port": 0, "block": "/dev/../x"}]})",
          R"({"disks": [{"port": 0, "block": "/dev/"}]})"})
        EXPECT_TRUE(has(complaint([&] { disks_of_event(nlohmann::json::parse(wrong)); }), "user driver")) << wrong;
}

constexpr const char* fio_output = R"(note: something that fio had to say
{"fio version": "fio-3.33", "jobs": [{"error": 0,
  "read": {"io_bytes": 409600, "total_ios": 100, "short_ios": 0, "drop_ios": 0,
    "lat_ns": {"min": 5, "max": 900, "mean": 40.5, "N": 100, "percentile":
      {"50.000000": 30, "90.000000": 60, "99.000000": 700, "99.900000": 900}}},
  "write": {"io_bytes": 0, "total_ios": 0, "short_ios": 0, "drop_ios": 0, "lat_ns": {"N": 0}}}]})";

std::string with(std::string text, const std::string& from, const std::string& to) {
    return text.replace(text.find(from), from.size(), to);
}

std::string fio_complaint(const std::string& output) {
    try {
        parse_fio(output, "read");
    } catch (const Failure& failure) {
        return failure.what();
    }
    return "no complaint";
}

TEST(FioOutput, IsReadByDirection) {
    const FioTotals read = parse_fio(fio_output, "read");
    EXPECT_EQ(read.ios, 100U);
    EXPECT_EQ(read.bytes, 409600U);
    EXPECT_EQ(read.latency_ns.at("p99_9"), 900);
    EXPECT_EQ(read.latency_ns.at("n"), 100);
    EXPECT_EQ(read.latency_ns.at("mean"), 40.5);
    EXPECT_TRUE(parse_fio(fio_output, "write").latency_ns.is_null());
}

TEST(FioOutput, IsNotTrusted) {
    for (const auto* garbage : {"", "fio: cannot open", "{", "[1]", "\n{]", "{}", R"({"jobs": 5})", R"({"jobs": []})"})
        EXPECT_NE(fio_complaint(garbage), "no complaint") << garbage;
    EXPECT_NE(fio_complaint(with(fio_output, "\"error\": 0", "\"error\": 5")).find("Input/output error"),
              std::string::npos);
    EXPECT_NE(fio_complaint(with(fio_output, "\"short_ios\": 0", "\"short_ios\": 3")).find("3 I/Os"), std::string::npos);
    EXPECT_NE(fio_complaint(with(fio_output, "\"99.900000\"", "\"99.950000\"")).find("lacks"), std::string::npos);
    EXPECT_NE(fio_complaint(with(fio_output, "409600", "\"many\"")).find("lacks"), std::string::npos);
}

class NoDriver final : public Driver {
  public:
    Counts counters() override { return {}; }
    [[nodiscard]] std::string counter_source() const override { return {}; }
    nlohmann::json effective() override { return {}; }
    void require_alive() override {}
    void stop() override {}
};

// With a program of that name in PATH that notes its arguments and says what fio would.
TEST(ScatteredMemory, IsAFileOfThatManyBytesThatHasItsPages) {
    constexpr std::size_t bytes = 5 * 4096 + 1;
    const ScatteredMemory memory{bytes};
    struct stat file {};
    ASSERT_EQ(::stat(memory.path().c_str(), &file), 0);
    EXPECT_EQ(file.st_size, 6 * 4096);
    EXPECT_EQ(file.st_blocks * 512, file.st_size) << "a page that is given out later lies anywhere";
    EXPECT_EQ(::access(memory.path().c_str(), R_OK | W_OK), 0);
}

class FioVerifyTest : public DiskTest {
  protected:
    FioVerifyTest() : path_{std::getenv("PATH")} {
        put(disk("sdx", "ata1/host0", "8:128") + "/size", "4096\n");
        ::setenv("PATH", ((root_ / "bin").string() + ":" + path_).c_str(), 1);
    }
    ~FioVerifyTest() override { ::setenv("PATH", path_.c_str(), 1); }

    // `at_end`: what the last pass verifies, and its status.
    std::string verified(const std::string& at_end, int status) {
        const auto said = [](const std::string& read) {
            return R"({"jobs": [{"error": 0, "read": {"io_bytes": )" + read +
                   R"(, "total_ios": 9, "short_ios": 0, "drop_ios": 0, "lat_ns": {"N": 0}},
                      "write": {"io_bytes": 4194304, "total_ios": 9, "short_ios": 0, "drop_ios": 0, "lat_ns": {"N": 0}}}]})";
        };
        put("bin/fio", "#!/bin/sh\necho \"$@\" >>" + (root_ / "calls").string() +
                           "\ncase \"$*\" in\n*--verify_only*) echo '" + said(at_end) + "'; exit " +
                           std::to_string(status) + " ;;\n*) echo '" + said("4194304") + "' ;;\nesac\n");
        ::chmod((root_ / "bin/fio").c_str(), 0755);
        fs::remove(root_ / "calls");
        Trial trial;
        trial.parameters = {{"verify_bytes", 4 << 20}, {"most_block_bytes", 65536}, {"io_depth", 32}};
        const Disk tested{"sdx"};
        NoDriver driver;
        const TrafficPlaces places{.device = {}, .peer = {}, .disk = &tested, .driver = driver};
        return complaint([&] { result_ = run_fio_verify(trial, places, [] {}, [&](const auto& text) { kept_ = text; }); });
    }
    std::string path_;
    nlohmann::json result_;
    std::string kept_;
};

TEST_F(FioVerifyTest, AllIsReadOnceMoreAtTheEnd) {
    // The disk has 2 MiB: written twice, and read at the end as the second time left it.
    EXPECT_EQ(verified("2097152", 0), "no complaint");
    EXPECT_EQ(result_.at("metrics").at("bytes_verified_at_end"), 2 << 20);
    EXPECT_EQ(result_.at("metrics").at("bytes_written"), 4 << 20);
    const auto calls = lines(read_file(root_ / "calls"));
    ASSERT_EQ(calls.size(), 2U);
    for (const auto& call : calls)
        for (const auto* same : {"--rw=randwrite", "--bsrange=512-65536", "--size=2097152", "--iodepth=32", "--verify=crc32c",
                                 "--randrepeat=1", "--filename=/dev/sdx"})
            EXPECT_TRUE(has(call, same)) << call;
    EXPECT_TRUE(has(calls[0], "--loops=2") && !has(calls[0], "--verify_only"));
    EXPECT_TRUE(has(calls[1], "--verify_only") && !has(calls[1], "--loops"));
    EXPECT_EQ(lines(kept_).size(), 4U) << "what both said";
}

TEST_F(FioVerifyTest, WhatIsWrongAtTheEndOnlyIsFound) {
    EXPECT_TRUE(has(verified("2097152", 1), "not what it wrote"));
    EXPECT_TRUE(has(verified("2096640", 0), "2096640 bytes at the end")) << "not all was read";
}

TEST(SyncReadOutput, IsReadOrRefused) {
    const auto latency = parse_sync_read(
        R"({"reads": 9, "latency_ns": {"n": 9, "min": 1, "mean": 2.5, "p50": 2, "p90": 3, "p99": 4, "p99_9": 5, "max": 6}})");
    EXPECT_EQ(latency.at("max"), 6);
    EXPECT_TRUE(parse_sync_read(R"({"reads": 0})").is_null());
    for (const auto* garbage : {"", "[]", "{}", R"({"reads": 9})", R"({"reads": 9, "latency_ns": {"n": 9}})"})
        EXPECT_THROW(parse_sync_read(garbage), Failure) << garbage;
}

TEST(OfferedLoad, IsGivenOrFollowsTheModel) {
    Parameters parameters{
        {"load_bps", 5000}, {"model_request_us", 100}, {"model_bytes_per_second", 0}, {"block_bytes", 4096}};
    EXPECT_EQ(offered_load_bps(parameters), 5000U);
    parameters["model_bytes_per_second"] = 50'000'000;
    EXPECT_THROW(offered_load_bps(parameters), Failure) << "two loads";
    parameters["load_bps"] = 0;
    // 4096 bytes each 181.92 us.
    EXPECT_NEAR(static_cast<double>(offered_load_bps(parameters)), 4096 * 8 / 181.92e-6, 10);
}

MeasuredWindow disk_window() {
    MeasuredWindow window;
    window.closed_ns = 500'000'000;
    window.disk_ns = 500'000'000;
    window.counters_ns = 500'000'000;
    window.disk = {{"read_requests", 2000}, {"bytes_read", 400 << 20}, {"write_requests", 0}, {"bytes_written", 0}};
    window.device = {{"bytes_read", (400 << 20) + 4096}, {"bytes_written", 0}};
    window.device_source = "test";
    return window;
}

TEST(DiskMetrics, CountTheProgramsIosWhateverTheyWereCutInto) {
    const auto metrics = disk_metrics(1 << 20, 32 << 20, disk_window());
    EXPECT_EQ(metrics.at("ios"), 400);
    EXPECT_DOUBLE_EQ(metrics.at("iops"), 800);
    EXPECT_DOUBLE_EQ(metrics.at("throughput_bps"), 800.0 * (8 << 20));
    MeasuredWindow stock = disk_window();
    stock.device.clear();
    EXPECT_EQ(disk_metrics(1 << 20, 32 << 20, stock), metrics) << "a driver that counts nothing";
}

TEST(DiskMetrics, AreRefusedIfNothingMovedOrTheDriverCountedSomethingElse) {
    MeasuredWindow idle = disk_window();
    idle.disk["bytes_read"] = 512;
    EXPECT_THROW(disk_metrics(4096, 4096, idle), Failure);
    for (const std::uint64_t counted : {0, 800 << 20}) {
        MeasuredWindow other = disk_window();
        other.device["bytes_read"] = counted;
        EXPECT_THROW(disk_metrics(4096, 4096, other), Failure) << counted;
    }
}

// 4 KiB at queue depth 1: 4 MiB in the window.
MeasuredWindow small_window() {
    MeasuredWindow window = disk_window();
    window.disk = {{"read_requests", 1024}, {"bytes_read", 4 << 20}, {"write_requests", 0}, {"bytes_written", 0}};
    window.device = {{"bytes_read", 4 << 20}, {"bytes_written", 0}};
    return window;
}

TEST(DiskMetrics, TheDriverMayDifferByWhatIsInFlightOnly) {
    const auto differs_by = [](std::int64_t blocks, std::uint64_t depth) {
        MeasuredWindow window = small_window();
        window.device["bytes_read"] += static_cast<std::uint64_t>(blocks * 4096);
        return [window, depth] { (void)disk_metrics(4096, depth * 4096, window); };
    };
    for (const std::int64_t sign : {1, -1}) {
        EXPECT_NO_THROW(differs_by(sign * 2, 1)());
        // A driver that lost or repeated one block of 40.
        EXPECT_THROW(differs_by(sign * 26, 1)(), Failure);
        EXPECT_NO_THROW(differs_by(sign * 33, 32)()) << "a full queue";
        EXPECT_THROW(differs_by(sign * 60, 32)(), Failure);
    }
}

TEST(DiskMetrics, TheLongerIntervalMayContainMore) {
    MeasuredWindow window = small_window();
    window.device["bytes_read"] += 26 * 4096;
    window.counters_ns += window.disk_ns / 40;
    EXPECT_NO_THROW((void)disk_metrics(4096, 4096, window));
    window.device["bytes_read"] += 52 * 4096;
    EXPECT_THROW((void)disk_metrics(4096, 4096, window), Failure);
}

TEST(LabDisks, AMetronomeThatEndedIsAnError) {
    Metronome beats{Command{.arguments = {"sleep", "60"}}};
    EXPECT_NO_THROW(beats.require_beating());
    Metronome dies{Command{.arguments = {"sh", "-c", "echo out of breath >&2; exit 7"}}};
    std::string said;
    for (int i = 0; i < 1000 && said.empty(); ++i) {
        try {
            dies.require_beating();
            sleep_seconds(0.01);
        } catch (const Failure& failure) {
            said = failure.what();
        }
    }
    EXPECT_NE(said.find("status 7"), std::string::npos) << said;
    EXPECT_NE(said.find("out of breath"), std::string::npos) << said;
    EXPECT_THROW(dies.require_beating(), Failure) << "it stays ended";
}

TEST(LabDisks, AFullHostIsAnErrorOfTheWrite) {
    lab::GuestOptions options;
    options.disks = true;
    options.device_model = "ich9-ahci";
    const auto arguments = lab::emulator_arguments(options, "qemu", "initramfs", "disk", lab::Console::terminal);
    const auto kept = std::find_if(arguments.begin(), arguments.end(), [](const std::string& argument) {
        return argument.find("drive=kept") != std::string::npos;
    });
    ASSERT_NE(kept, arguments.end());
    EXPECT_NE(kept->find(",werror=report"), std::string::npos) << "the guest would stop and wait: " << *kept;
}

const char* const two_kinds = R"([suite]
name = "small"
summary = "for a test"
[axes]
device = ["82540EM", "ICH9-AHCI"]
placement = ["stock", "kernel"]
strategy = ["linux-lazy"]
[driver]
mtu = [1500, 9000]
max_sectors_kb = [256, 1024]
[[workload]]
name = "fio-randwrite"
io_depth = [1, 32]
[[workload]]
name = "iperf3-tcp-tx"
)";

TEST(DiskPlan, WorkloadsGoToTheDevicesThatTheyAreFor) {
    const Plan plan = make_plan(parse_suite(two_kinds, "small.toml"), 1, "");
    std::size_t disks = 0;
    for (const auto& trial : plan.trials) {
        const bool disk = trial.device == "ICH9-AHCI";
        disks += disk ? 1 : 0;
        EXPECT_EQ(trial.workload, disk ? "fio-randwrite" : "iperf3-tcp-tx") << trial.id;
        EXPECT_EQ(trial.writes_to_disk(), disk);
        EXPECT_TRUE(!disk || trial.settings.mtu == 1500) << "an MTU of a disk: " << trial.id;
        EXPECT_TRUE(disk || trial.settings.max_sectors_kb == 256) << trial.id;
        EXPECT_FALSE(disk && trial.placement == "stock" && trial.settings.max_sectors_kb > 256) << trial.id;
    }
    // The distribution's driver has one length of requests, ours two; each two depths.
    EXPECT_EQ(disks, 2U + 4U);
    EXPECT_EQ(plan.trials.size(), disks + 4);
    bool told = false;
    for (const auto& excluded : plan.excluded) told = told || excluded.reason.find("256 KiB") != std::string::npos;
    EXPECT_TRUE(told);
    const Plan read = plan_from_json(to_json(plan));
    EXPECT_EQ(to_json(read), to_json(plan));
    EXPECT_TRUE(std::any_of(read.trials.begin(), read.trials.end(),
                            [](const Trial& trial) { return trial.pattern == Pattern::randwrite; }));
}

TEST(DiskPlan, TheStorageBenchTakesLessThanFortyMinutes) {
    EXPECT_LT(estimate(make_plan(load_suite("storage"), 1, ""), true, ClockKind::virtual_clock, 2).total_seconds, 2400);
    const Plan verified = make_plan(load_suite("storage-verify"), 1, "");
    std::uint64_t bytes = 0;
    std::set<std::string> strategies;
    std::set<std::uint64_t> depths;
    for (const auto& trial : verified.trials) {
        bytes += trial.parameters.at("verify_bytes");
        strategies.insert(trial.strategy);
        depths.insert(trial.parameters.at("io_depth"));
    }
    EXPECT_GE(bytes, 19'000'000'000U);
    EXPECT_EQ(depths, (std::set<std::uint64_t>{1, 17, 32}));
    for (const auto& strategy : strategy_names())
        EXPECT_TRUE(strategies.contains(strategy)) << strategy << " is not verified";
}

TEST(DiskWorkload, HasAPatternAndNoFlow) {
    const std::string text =
        "name = \"x\"\nsummary = \"y\"\nprogram = \"fio\"\npattern = \"randread\"\n[parameters]\nblock_bytes = 4096\n"
        "io_depth = 1\nport = 0\nwarm_up_ms = 1\nwindow_ms = 1\n";
    EXPECT_EQ(parse_workload(text, "x.toml").pattern, Pattern::randread);
    const auto complains = [&](const std::string& from, const std::string& to, const std::string& words) {
        try {
            parse_workload(with(text, from, to), "x.toml");
        } catch (const Failure& failure) {
            return std::string{failure.what()}.find(words) != std::string::npos;
        }
        return false;
    };
    EXPECT_TRUE(complains("randread", "randred", "did you mean 'randread'"));
    EXPECT_TRUE(complains("pattern = \"randread\"", "pattern = \"read\"\nflow = \"both\"", "flow"));
    EXPECT_TRUE(complains("block_bytes = 4096", "block_bytes = 5", "out of range"));
}

}  // namespace
}  // namespace dmatoll::harness
