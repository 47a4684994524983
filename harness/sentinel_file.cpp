// SPDX-License-Identifier: BSD-2-Clause
#include "sentinel_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "failure.hpp"
#include "target/system.hpp"

namespace dmatoll::harness {
namespace {

constexpr off_t page_bytes = 4096;
constexpr mode_t readable_by_all = 0644;

}  // namespace

fs::path SentinelFile::path() { return system_paths().run / "readable"; }

SentinelFile::SentinelFile() {
    std::error_code error;
    fs::create_directories(system_paths().run, error);
    ::unlink(path().c_str());
    file_ = Descriptor{::open(path().c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, readable_by_all)};
    // Whatever the mask of modes is.
    if (!file_.valid() || ::fchmod(file_.get(), readable_by_all) != 0 ||
        ::ftruncate(file_.get(), page_bytes) != 0)
        fail("Cannot make {}, which all may read: {}", path().string(), system_error(errno));
}

SentinelFile::~SentinelFile() { ::unlink(path().c_str()); }

std::uint64_t SentinelFile::word() const {
    std::uint64_t word = 0;
    if (::pread(file_.get(), &word, sizeof word, 0) != sizeof word)
        fail("Cannot read {}: {}", path().string(), system_error(errno));
    return word;
}

void SentinelFile::set_word(std::uint64_t word) const {
    if (::pwrite(file_.get(), &word, sizeof word, 0) != sizeof word)
        fail("Cannot write {}: {}", path().string(), system_error(errno));
}

}  // namespace dmatoll::harness
