// SPDX-License-Identifier: BSD-2-Clause
// Ways of a process to the memory of another one, and of the machine, tried: what a sandbox must have closed.
// Each returns 0, or the error number that it was refused with; eight bytes at a time.
#pragma once

#include <sys/types.h>

#include <cstdint>

namespace dmatoll::user {

// process_vm_readv(2), process_vm_writev(2).
int read_process(pid_t process, std::uint64_t address, std::uint64_t& word);
int write_process(pid_t process, std::uint64_t address, std::uint64_t word);

// A file of memory: /proc/PID/mem, or /dev/mem.
int read_memory_file(const char* path, std::uint64_t address, std::uint64_t& word);
int write_memory_file(const char* path, std::uint64_t address, std::uint64_t word);

// ptrace(2). The process goes on afterwards.
int trace_and_read(pid_t process, std::uint64_t address, std::uint64_t& word);
int trace_and_write(pid_t process, std::uint64_t address, std::uint64_t word);

}  // namespace dmatoll::user
