// SPDX-License-Identifier: BSD-2-Clause
#include "foreign_memory.hpp"

#include <fcntl.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "descriptor.hpp"

namespace dmatoll::user {
namespace {

// A transfer that was cut short has an error number of its own.
int outcome(ssize_t moved) {
    if (moved < 0) {
        return errno;
    }
    return moved == sizeof(std::uint64_t) ? 0 : EIO;
}

void* pointer(std::uint64_t address) { return reinterpret_cast<void*>(address); }

// access() -> error number, while the process is stopped.
template <class Access>
int trace(pid_t process, Access&& access) {
    if (::ptrace(PTRACE_ATTACH, process, nullptr, nullptr) != 0) {
        return errno;
    }
    int status = 0;
    int error = ::waitpid(process, &status, __WALL) == process ? 0 : errno;
    if (error == 0) {
        error = access();
    }
    ::ptrace(PTRACE_DETACH, process, nullptr, nullptr);
    return error;
}

}  // namespace

int read_process(pid_t process, std::uint64_t address, std::uint64_t& word) {
    const iovec here{&word, sizeof(word)};
    const iovec there{pointer(address), sizeof(word)};
    return outcome(::process_vm_readv(process, &here, 1, &there, 1, 0));
}

int write_process(pid_t process, std::uint64_t address, std::uint64_t word) {
    const iovec here{&word, sizeof(word)};
    const iovec there{pointer(address), sizeof(word)};
    return outcome(::process_vm_writev(process, &here, 1, &there, 1, 0));
}

int read_memory_file(const char* path, std::uint64_t address, std::uint64_t& word) {
    const Descriptor file{::open(path, O_RDONLY | O_CLOEXEC)};
    return file.valid() ? outcome(::pread(file.get(), &word, sizeof(word), static_cast<off_t>(address)))
                        : errno;
}

int write_memory_file(const char* path, std::uint64_t address, std::uint64_t word) {
    const Descriptor file{::open(path, O_RDWR | O_CLOEXEC)};
    return file.valid() ? outcome(::pwrite(file.get(), &word, sizeof(word), static_cast<off_t>(address)))
                        : errno;
}

int trace_and_read(pid_t process, std::uint64_t address, std::uint64_t& word) {
    return trace(process, [&] {
        errno = 0;
        word = static_cast<std::uint64_t>(::ptrace(PTRACE_PEEKDATA, process, pointer(address), nullptr));
        return errno;
    });
}

int trace_and_write(pid_t process, std::uint64_t address, std::uint64_t word) {
    return trace(process, [&] {
        return ::ptrace(PTRACE_POKEDATA, process, pointer(address), pointer(word)) == 0 ? 0 : errno;
    });
}

}  // namespace dmatoll::user
