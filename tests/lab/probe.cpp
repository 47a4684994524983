// SPDX-License-Identifier: BSD-2-Clause
//
// Runs inside the lab's guest: opens windows of the instruction meter around work of several kinds, and tells
// the host by its own clock how long each took. A window has a line of records:
//   {"work":"...","elapsed_ns":N,"faults":N}
// With arguments `window COMMAND...` the window is around the command.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <x86intrin.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "lab/marker.hpp"

namespace {

using dmatoll::harness::lab::close_window;
using dmatoll::harness::lab::open_window;

constexpr std::size_t page = 4096;

std::FILE* records = nullptr;

[[noreturn]] void die(const char* what) {
    std::perror(what);
    std::exit(1);
}

long page_faults() {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_minflt + usage.ru_majflt;
}

/// The time stamp counter of the lab's virtual clock counts nanoseconds, one an instruction.
template <class Work>
void measure(const char* name, Work&& work) {
    const long faults_before = page_faults();
    open_window();
    const std::uint64_t begin = __rdtsc();
    work();
    const std::uint64_t end = __rdtsc();
    close_window();
    const long faults = page_faults() - faults_before;
    std::fprintf(records, "{\"work\":\"%s\",\"elapsed_ns\":%llu,\"faults\":%ld}\n", name,
                 static_cast<unsigned long long>(end - begin), faults);
}

/// The registers of the device under test, which no driver has claimed yet.
volatile std::uint32_t* device_registers(const std::string& directory) {
    std::FILE* enable = std::fopen((directory + "/enable").c_str(), "w");
    if (enable == nullptr || std::fputs("1", enable) < 0 || std::fclose(enable) != 0)
        die("enable the device");
    const int file = open((directory + "/resource0").c_str(), O_RDWR | O_SYNC);
    if (file < 0) die("resource0");
    void* registers = mmap(nullptr, 0x20000, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (registers == MAP_FAILED) die("map resource0");
    close(file);
    return static_cast<volatile std::uint32_t*>(registers);
}

/// Makes the device fetch a transmit descriptor from an address that nobody mapped.
void provoke_refused_access(const std::string& directory, volatile std::uint32_t* registers) {
    const int config = open((directory + "/config").c_str(), O_RDWR);
    std::uint16_t command = 0;
    if (config < 0 || pread(config, &command, sizeof(command), 4) != sizeof(command)) die("config");
    const std::uint16_t with_bus_mastering = command | 0x4;
    if (pwrite(config, &with_bus_mastering, sizeof(with_bus_mastering), 4) != sizeof(with_bus_mastering))
        die("config");
    registers[0x3800 / 4] = 0x00100000;  // TDBAL [8254x §13.4.35]
    registers[0x3804 / 4] = 0;           // TDBAH
    registers[0x3808 / 4] = 128;         // TDLEN: eight descriptors
    registers[0x3810 / 4] = 0;           // TDH
    registers[0x0400 / 4] = 0x2;         // TCTL.EN
    registers[0x3818 / 4] = 1;           // TDT
    registers[0x0400 / 4] = 0;
    if (pwrite(config, &command, sizeof(command), 4) != sizeof(command)) die("config");
    close(config);
}

}  // namespace

int main(int count, char** arguments) {
    records = std::fopen(std::getenv("DMATOLL_RECORDS"), "w");
    if (records == nullptr) die("records");

    if (count > 2 && std::strcmp(arguments[1], "window") == 0) {
        int status = 0;
        measure("command", [&] {
            const pid_t child = fork();
            if (child == 0) {
                execvp(arguments[2], arguments + 2);
                _exit(127);
            }
            waitpid(child, &status, 0);
        });
        std::fclose(records);
        return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
    }

    std::uint64_t random = 0;
    if (getrandom(&random, sizeof(random), 0) != sizeof(random)) die("getrandom");
    std::fprintf(records, "{\"random\":%llu}\n", static_cast<unsigned long long>(random));

    measure("user loop", [] {
        const std::uint64_t end = __rdtsc() + 50'000'000;
        while (__rdtsc() < end) {
        }
    });
    measure("system calls", [] {
        for (int i = 0; i < 20'000; ++i) getppid();
    });
    measure("page faults", [] {
        constexpr std::size_t pages = 2000;
        void* memory =
            mmap(nullptr, pages * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED) die("mmap");
        for (std::size_t i = 0; i < pages; ++i) static_cast<volatile char*>(memory)[i * page] = 1;
        munmap(memory, pages * page);
    });

    const std::string device = "/sys/bus/pci/devices/0000:00:04.0";
    volatile std::uint32_t* registers = device_registers(device);
    measure("device registers", [&] {
        for (int i = 0; i < 20'000; ++i) (void)registers[0x8 / 4];  // STATUS
    });
    provoke_refused_access(device, registers);
    std::fclose(records);
}
