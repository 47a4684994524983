// SPDX-License-Identifier: BSD-2-Clause
// dmatoll-sync-read: synchronous reads of a contiguous region, the disk workload of 2005.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <exception>
#include <nlohmann/json.hpp>

#include "clock.hpp"
#include "descriptor.hpp"
#include "failure.hpp"
#include "histogram.hpp"
#include "scattered_pages.hpp"
#include "schedule.hpp"
#include "stop_request.hpp"
#include "sync_read_options.hpp"

namespace dmatoll::workloads {
namespace {

// The buffer: whole pages.
class Buffer {
  public:
    explicit Buffer(std::size_t bytes) : pages_{(bytes + page - 1) / page} {
        void* memory =
            ::mmap(nullptr, pages_ * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED) fail_with_errno("No memory for a block of " + std::to_string(bytes) + " bytes");
        memory_ = static_cast<unsigned char*>(memory);
        ::madvise(memory, pages_ * page, MADV_NOHUGEPAGE);
        touch_scattered({memory_, pages_ * page});
    }
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;
    ~Buffer() { ::munmap(memory_, pages_ * page); }

    void* data() { return memory_; }

  private:
    static constexpr std::size_t page = 4096;

    std::size_t pages_;
    unsigned char* memory_ = nullptr;
};

class Run {
  public:
    explicit Run(const SyncReadOptions& options) : options_{options}, buffer_{options.block_bytes} {
        file_ = Descriptor{
            ::open(options.file.c_str(), O_RDONLY | O_CLOEXEC | (options.direct ? O_DIRECT : 0))};
        if (!file_.valid()) fail_with_errno("Cannot open " + options.file);
        const off_t end = ::lseek(file_.get(), 0, SEEK_END);
        if (end < 0) fail_with_errno("Cannot tell how long " + options.file + " is");
        if (static_cast<std::uint64_t>(end) < options.region_bytes)
            throw Failure{options.file + " has " + std::to_string(end) + " bytes, fewer than the region of " +
                          std::to_string(options.region_bytes)};
        seek_to_begin();
    }

    nlohmann::json go() {
        const std::uint64_t begin = now_ns();
        const std::uint64_t counted_from = begin + options_.warm_up_ms * ns_per_ms;
        const std::uint64_t end =
            options_.duration_ms > 0 ? begin + options_.duration_ms * ns_per_ms : ~std::uint64_t{0};
        const bool paced = options_.load_bps > 0;
        const Schedule schedule{begin, options_.block_bytes * 8, std::max(options_.load_bps, std::uint64_t{1})};
        std::uint64_t now = begin;
        for (std::uint64_t block = 0; now < end && !stop_requested(); ++block) {
            const std::uint64_t intended = paced ? schedule.intended(block) : now;
            while (now < intended && !stop_requested()) {
                sleep_until(intended);
                now = now_ns();
            }
            if (stop_requested()) break;
            read_block();
            now = now_ns();
            if (intended >= counted_from) latencies_.add(now - intended);
        }
        return results(now > counted_from ? now - counted_from : 0);
    }

  private:
    void seek_to_begin() {
        position_ = 0;
        if (::lseek(file_.get(), 0, SEEK_SET) != 0) fail_with_errno("Cannot seek in " + options_.file);
        if (!options_.direct)
            ::posix_fadvise(file_.get(), 0, static_cast<off_t>(options_.region_bytes), POSIX_FADV_DONTNEED);
    }

    void read_block() {
        if (position_ == options_.region_bytes) seek_to_begin();
        ssize_t got = 0;
        do {
            got = ::read(file_.get(), buffer_.data(), options_.block_bytes);
        } while (got < 0 && errno == EINTR && !stop_requested());
        if (static_cast<std::uint64_t>(got) != options_.block_bytes) return complain(got);
        position_ += options_.block_bytes;
    }

    void complain(ssize_t got) const {
        const int error = errno;
        if (got < 0 && error == EINTR) return;
        const std::string where = std::to_string(options_.block_bytes) + " bytes at " +
                                  std::to_string(position_) + " of " + options_.file;
        if (got < 0) fail_with_errno("Cannot read " + where, error);
        throw Failure{"A read of " + where + " gave " + std::to_string(got) + " bytes"};
    }

    nlohmann::json results(std::uint64_t duration_ns) {
        nlohmann::json result{{"program", "dmatoll-sync-read"},
                              {"block_bytes", options_.block_bytes},
                              {"region_bytes", options_.region_bytes},
                              {"direct", options_.direct},
                              {"load_bps", options_.load_bps},
                              {"duration_ns", duration_ns},
                              {"reads", latencies_.count()}};
        if (latencies_.count() > 0)
            result["latency_ns"] = {{"n", latencies_.count()},
                                    {"min", latencies_.min()},
                                    {"mean", latencies_.mean()},
                                    {"p50", latencies_.percentile(0.5)},
                                    {"p90", latencies_.percentile(0.9)},
                                    {"p99", latencies_.percentile(0.99)},
                                    {"p99_9", latencies_.percentile(0.999)},
                                    {"max", latencies_.max()}};
        return result;
    }

    SyncReadOptions options_;
    Descriptor file_;
    Buffer buffer_;
    std::uint64_t position_ = 0;
    Histogram latencies_;
};

}  // namespace
}  // namespace dmatoll::workloads

int main(int argc, char** argv) {
    using namespace dmatoll::workloads;
    try {
        const auto options = parse_sync_read_options(argc, argv);
        if (!options) return 0;
        be_punctual();
        handle_stop_requests();
        Run run{*options};
        std::printf("%s\n", run.go().dump().c_str());
        return 0;
    } catch (const std::exception& error) {
        std::fprintf(stderr, "dmatoll-sync-read: %s\n", error.what());
        return 1;
    }
}
