// SPDX-License-Identifier: BSD-2-Clause
//
// The emulated lab: a QEMU guest with an IOMMU and the device under test, which is a network card with a peer
// for it, or an AHCI controller with two disks.
//
// On the virtual clock one guest instruction is one nanosecond, the vCPUs take turns on one thread, and idle
// time is skipped. Two guests with the same image, options and seed then execute the same instructions; for
// that, the whole emulator is pinned to one host CPU, since its helper threads would otherwise shift events
// by host scheduling.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace dmatoll::harness::lab {

/// Where the device under test and its peer always are. A guest with disks has a card there that is connected to
/// nothing: it is for an IOMMU domain beside the controller's.
inline constexpr std::string_view device_bdf = "0000:00:04.0";
inline constexpr std::string_view peer_bdf = "0000:00:05.0";

/// Of each of the two disks.
inline constexpr std::uint64_t disk_bytes = 1ULL << 30;
/// The port of the disk that costs nothing (reads are zeroes, writes are lost), and of the one in a file.
inline constexpr unsigned costless_port = 0;
inline constexpr unsigned file_port = 1;

enum class Clock : std::uint8_t {
    virtual_clock,  ///< guest instructions: repeatable, and slow
    wall_clock,     ///< a host thread for each vCPU: real concurrency, nothing repeats
};

struct GuestOptions {
    /// What the build made: vmlinuz, kernel-release, initramfs.cpio, disk.cpio, libdmatoll_meter.so.
    std::filesystem::path artefacts;
    /// A directory, created if needed: console.log, records.jsonl, windows.jsonl, qemu.log. Old ones are
    /// replaced.
    std::filesystem::path output;
    /// argv of the job. It runs as root, with standard input empty and its output on the console; the guest
    /// powers off when it ends. Lines it writes to the file named by $DMATOLL_RECORDS arrive in
    /// records.jsonl.
    std::vector<std::string> command;
    /// Guest path -> contents: files beside those of the image. All are executable.
    std::map<std::string, std::string> files;

    Clock clock = Clock::virtual_clock;
    /// Decides every random choice of the emulator, and through it of the guest's kernel.
    std::uint64_t seed = 1;
    unsigned vcpus = 2;
    unsigned memory_mib = 1024;
    /// Huge pages of 2 MiB reserved at boot.
    unsigned huge_pages = 0;
    /// The part under test, under QEMU's name.
    std::string device_model = "e1000";
    /// The part is an AHCI controller: two disks are at its ports, and there is no peer. What programs for
    /// disks need is in the image then only.
    bool disks = false;
    /// Sectors of 512 bytes of the second disk that cannot be read or written.
    std::vector<std::uint64_t> bad_sectors;
    bool iommu = true;
    /// The IOMMU's address width: 39 or 48 bits.
    unsigned address_bits = 39;
    /// Added to the kernel's command line.
    std::string kernel_arguments;
    /// Added to the emulator's command line: more devices, for example.
    std::vector<std::string> emulator_arguments;
    /// Host CPU to run on. Without it a guest on the virtual clock is not exactly repeatable.
    std::optional<unsigned> host_cpu;
    /// Loads the instruction meter where it can count (see meter_unavailable()).
    bool meter = true;
    /// Also writes profile.jsonl: what vCPU 0 executed in each window, by block of instructions.
    bool profile = false;
};

enum class ExitState : std::uint8_t {
    running,
    finished,  ///< the command ended and the guest powered off: see command_status()
    panicked,  ///< the guest's kernel panicked: see console_tail()
    stopped,   ///< the guest went down without a panic and without the command's status (reset, full host
               ///< disk)
    killed,    ///< by kill(), or because it ran longer than it was allowed to
    emulator_failed,  ///< QEMU did not start or broke off: see emulator_log()
};

std::string_view name(ExitState state);

/// What the guest's kernel is started with.
std::string kernel_command_line(const GuestOptions& options);

/// Why there is no instruction count with these options, or nothing if there is one.
std::optional<std::string> meter_unavailable(const GuestOptions& options);

/// A running guest. The destructor stops it. If this process dies, or the thread that started the guest ends,
/// the emulator is killed by the host's kernel: keep that thread.
class Guest {
  public:
    /// Boots a guest. Throws std::runtime_error, with what to do, if QEMU or an artefact is missing or the
    /// output directory cannot be written.
    static Guest start(const GuestOptions& options);

    Guest(Guest&& other) noexcept;
    Guest& operator=(Guest&& other) noexcept;
    Guest(const Guest&) = delete;
    Guest& operator=(const Guest&) = delete;
    ~Guest();

    bool running();
    /// Waits for the guest to end. False if it still runs when `limit` has passed; it goes on then.
    bool wait(std::chrono::milliseconds limit);
    /// Ends the guest at once. Harmless when it has ended.
    void kill();

    ExitState state();
    /// The command's exit status, known once it has ended. 128 + n: ended by signal n.
    std::optional<int> command_status() const;
    /// One sentence about how the guest ended, for an error record: the state and QEMU's own words if it
    /// failed.
    std::string explanation();

    /// The complete lines of records.jsonl that no earlier call returned, without line ends. The last one of
    /// a guest that finished is {"event":"exit","status":N}.
    std::vector<std::string> new_records();
    /// The last lines of the console.
    std::vector<std::string> console_tail(std::size_t lines) const;
    /// What QEMU itself said.
    std::string emulator_log() const;
    /// Translations that the emulated IOMMU has refused since the boot. One access of the device may count as
    /// several, since the emulator looks up an unmapped address word by word.
    std::uint64_t refused_accesses() const;

    std::filesystem::path console_path() const { return output_ / "console.log"; }
    std::filesystem::path records_path() const { return output_ / "records.jsonl"; }
    std::filesystem::path windows_path() const { return output_ / "windows.jsonl"; }
    std::filesystem::path profile_path() const { return output_ / "profile.jsonl"; }
    pid_t emulator_pid() const { return pid_; }

  private:
    Guest() = default;
    void reap(bool block);

    std::filesystem::path output_;
    pid_t pid_ = -1;
    bool ended_ = false;
    bool killed_ = false;
    int wait_status_ = 0;
    std::uint64_t records_read_ = 0;
};

/// Boots a guest whose console is this terminal and runs a shell in it. Returns when the guest has powered
/// off (leave the shell, or Ctrl-A X). `command` and the meter's files are not used. Throws as Guest::start()
/// does.
int lab_shell(GuestOptions options);

/// Runs a command in a guest; its output appears on standard output as it is written. Returns its exit
/// status. If the guest does not end by itself within `limit`, panics or fails, throws std::runtime_error
/// with the console's last lines.
int lab_run(GuestOptions options, const std::vector<std::string>& arguments, std::chrono::seconds limit);

}  // namespace dmatoll::harness::lab
