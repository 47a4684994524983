// SPDX-License-Identifier: BSD-2-Clause
#include "emulator.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdlib>
#include <sstream>
#include <stdexcept>

namespace dmatoll::harness::lab {

namespace {

constexpr std::string_view device_mac = "52:54:00:64:6d:01";
constexpr std::string_view peer_mac = "52:54:00:64:6d:02";

/// QEMU takes a comma within a value as two commas.
std::string escaped(const std::filesystem::path& path) {
    std::string result;
    for (const char character : path.string()) result.append(character == ',' ? 2 : 1, character);
    return result;
}

// The device under test and its peer on one cable. By default virtio-net completes what it transmits on host
// time; with a timer, and its doorbell handled on the vCPU's own thread, it does so on guest time.
std::vector<std::string> network_arguments(const GuestOptions& options) {
    return {"-netdev",
            "hubport,id=device,hubid=0",
            "-netdev",
            "hubport,id=peer,hubid=0",
            "-device",
            fmt::format("{},netdev=device,addr=4,mac={},romfile=", options.device_model, device_mac),
            "-device",
            fmt::format("virtio-net-pci,netdev=peer,addr=5,mac={},romfile=,tx=timer,ioeventfd=off",
                        peer_mac)};
}

// A controller of our own, since the board's shares its IOMMU group.
std::vector<std::string> disk_arguments(const GuestOptions& options, const std::filesystem::path& disk) {
    std::string kept = "driver=raw,node-name=kept,discard=unmap,";
    if (options.bad_sectors.empty()) {
        kept += "file.driver=file,file.filename=" + escaped(disk);
    } else {
        kept += "file.driver=blkdebug,file.image.driver=file,file.image.filename=" + escaped(disk);
        for (std::size_t i = 0; i < options.bad_sectors.size(); ++i)
            kept += fmt::format(",file.inject-error.{0}.event=none,file.inject-error.{0}.sector={1}", i,
                                options.bad_sectors[i]);
    }
    return {"-blockdev",
            fmt::format("driver=null-co,node-name=costless,size={},read-zeroes=on", disk_bytes),
            "-blockdev",
            kept,
            "-device",
            fmt::format("{},id=disks,addr=4", options.device_model),
            "-device",
            fmt::format("ide-hd,bus=disks.{},drive=costless,serial=costless", costless_port),
            "-device",
            // A host whose disk is full is an error of the write: by default the guest would stop and wait.
            fmt::format("ide-hd,bus=disks.{},drive=kept,serial=kept,werror=report", file_port),
            "-netdev",
            "hubport,id=beside,hubid=0",
            "-device",
            fmt::format("virtio-net-pci,netdev=beside,addr=5,mac={},romfile=", peer_mac)};
}

}  // namespace

std::string kernel_command_line(const GuestOptions& options) {
    // A kernel that oopses, hangs or loses a task is over, and the emulator with it (-no-reboot): the harness
    // learns of it at once instead of by its time limit.
    std::string line =
        "console=ttyS0 loglevel=5 panic=-1 oops=panic softlockup_panic=1 sysctl.kernel.hung_task_panic=1";
    // Delays of the guest's kernel spin on PAUSE, which leaves the emulator's fast path each time: a second
    // of udelay() costs twenty of the host, and the stock e1000 spends half a second in it at each probe. No
    // device here needs them, so they are a tenth as long as on hardware. Below a hundredth, waits for other
    // CPUs time out.
    if (options.clock == Clock::virtual_clock) line += " lpj=400000";
    // On the wall clock a host that is busy with other things delays the timer beyond what the kernel waits
    // for to see whether it works, and it panics.
    if (options.clock == Clock::wall_clock) line += " no_timer_check";
    if (options.iommu) line += " intel_iommu=on";
    if (options.huge_pages > 0) line += fmt::format(" hugepagesz=2M hugepages={}", options.huge_pages);
    // Whether the pages of a program's buffer lie side by side decides what a request costs, and would be chance.
    if (options.disks) line += " transparent_hugepage=never";
    if (!options.kernel_arguments.empty()) line += ' ' + options.kernel_arguments;
    return line;
}

std::filesystem::path find_emulator() {
    const char* search_path = std::getenv("PATH");
    std::istringstream directories(search_path != nullptr ? search_path : "/usr/bin:/bin");
    for (std::string directory; std::getline(directories, directory, ':');) {
        const auto candidate = std::filesystem::path(directory) / "qemu-system-x86_64";
        if (access(candidate.c_str(), X_OK) == 0) return candidate;
    }
    throw std::runtime_error(
        "the lab needs qemu-system-x86_64, which is not in PATH: install the package qemu-system-x86");
}

void check_artefacts(const GuestOptions& options) {
    std::vector<std::string> needed = {"vmlinuz", "kernel-release", "initramfs.cpio"};
    if (options.disks) needed.emplace_back("disk.cpio");
    if (options.meter) needed.emplace_back("libdmatoll_meter.so");
    for (const std::string& file : needed) {
        if (std::filesystem::exists(options.artefacts / file)) continue;
        throw std::runtime_error(
            fmt::format("the lab's {} is not there: build it with 'cmake --build --preset release' (the "
                        "targets lab-image and dmatoll-meter; the lab is on with DMATOLL_LAB=ON)",
                        (options.artefacts / file).string()));
    }
}

std::vector<std::string> emulator_arguments(const GuestOptions& options,
                                            const std::filesystem::path& emulator,
                                            const std::filesystem::path& initramfs,
                                            const std::filesystem::path& disk, Console console) {
    std::vector<std::string> arguments = {emulator.string()};
    const auto add = [&](std::initializer_list<std::string> more) {
        arguments.insert(arguments.end(), more);
    };

    add({"-machine", "q35", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"});
    if (options.clock == Clock::virtual_clock) {
        add({"-accel", "tcg,thread=single", "-icount", "shift=0,sleep=off"});
    } else {
        add({"-accel", "tcg,thread=multi"});
    }
    // Without fast string instructions the kernel copies eight bytes an instruction: with them, each byte
    // would count as one instruction of the meter and one nanosecond of the virtual clock.
    // Without cmpxchg16b: two guests of four died of garbage in EFLAGS, one with its last instructions right
    // behind it. QEMU's helper for it seems to take the flags from a stale condition code (inferred, not
    // traced); without it no guest has died so.
    add({"-cpu", "max,-erms,-fsrm,-cx16"});
    add({"-smp", std::to_string(options.vcpus), "-m", fmt::format("{}M", options.memory_mib)});
    add({"-seed", std::to_string(options.seed)});
    // The date is fixed, too: it is an input of the guest like any other.
    add({"-rtc", options.clock == Clock::virtual_clock ? "base=2026-01-01,clock=vm" : "base=utc,clock=host"});
    add({"-kernel", (options.artefacts / "vmlinuz").string(), "-initrd", initramfs.string()});
    add({"-append", kernel_command_line(options)});

    // Interrupt remapping, since VFIO refuses a group without it. Caching mode would make Linux flush
    // strictly.
    if (options.iommu) {
        add({"-device",
             fmt::format("intel-iommu,intremap=on,caching-mode=off,aw-bits={}", options.address_bits)});
        add({"-trace", "vtd_dmar_fault"});
    }
    const auto devices = options.disks ? disk_arguments(options, disk) : network_arguments(options);
    arguments.insert(arguments.end(), devices.begin(), devices.end());
    arguments.insert(arguments.end(), options.emulator_arguments.begin(), options.emulator_arguments.end());

    // Serial ports are synchronous, so what the guest writes costs it the same in every boot.
    if (console == Console::terminal) {
        add({"-serial", "mon:stdio", "-serial", "null"});
    } else {
        add({"-chardev", fmt::format("file,id=console,path={}", escaped(options.output / "console.log"))});
        add({"-chardev", fmt::format("file,id=records,path={}", escaped(options.output / "records.jsonl"))});
        add({"-serial", "chardev:console", "-serial", "chardev:records"});
        if (options.meter && !meter_unavailable(options)) {
            std::string meter = fmt::format("{},out={}", escaped(options.artefacts / "libdmatoll_meter.so"),
                                            escaped(options.output / "windows.jsonl"));
            if (options.profile) meter += ",profile=" + escaped(options.output / "profile.jsonl");
            add({"-plugin", meter});
        }
    }
    return arguments;
}

}  // namespace dmatoll::harness::lab
