// SPDX-License-Identifier: BSD-2-Clause
// Raw frames through AF_PACKET.
#pragma once

#include <linux/if_packet.h>
#include <sys/socket.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "descriptor.hpp"
#include "frames_options.hpp"

namespace dmatoll::workloads {

// IEEE's first EtherType for local experiments: nobody else answers to it.
inline constexpr std::uint16_t experimental_ethertype = 0x88b5;

// The interface's own address. Throws Failure if there is no such interface.
EthernetAddress own_address(const std::string& interface);

// Sends one frame again and again. A frame is one buffer, as those of the IP stack are: a transmit ring would
// hand over header and rest as two, and double what is mapped.
class FrameSender {
  public:
    static constexpr std::size_t batch = 32;

    // Throws Failure.
    explicit FrameSender(const FramesOptions& options);

    // Hands at most `batch` frames to the device, and waits while too many are with it already. Returns how
    // many went; fewer after a signal, or a tenth of a second without progress.
    std::size_t send(std::size_t count);

    // Frames that the device had no room for. Each was tried again.
    [[nodiscard]] std::uint64_t refused() const { return refused_; }

  private:
    Descriptor socket_;
    std::vector<std::byte> frame_;
    iovec part_{};
    std::array<mmsghdr, batch> messages_{};
    std::uint64_t refused_ = 0;
};

// Counts frames in a ring that the kernel fills: a wake-up for a block of frames, and no copy of our own.
class FrameCounter {
  public:
    // Throws Failure.
    FrameCounter(const std::string& interface, std::uint32_t frame_bytes);
    ~FrameCounter();
    FrameCounter(const FrameCounter&) = delete;
    FrameCounter& operator=(const FrameCounter&) = delete;

    // Counts the blocks that are there.
    void take();
    // Sleeps until there is one, or a signal, or the time is up.
    void wait(int milliseconds) const;

    [[nodiscard]] std::uint64_t frames() const { return frames_; }
    [[nodiscard]] std::uint64_t bytes() const { return bytes_; }  // without CRC
    [[nodiscard]] std::uint64_t other_lengths() const { return other_lengths_; }
    // What found no room in the ring. Since the last call.
    [[nodiscard]] std::uint64_t dropped() const;

  private:
    Descriptor socket_;
    std::span<std::byte> ring_;
    std::size_t block_ = 0;
    std::uint32_t length_;
    std::uint64_t frames_ = 0;
    std::uint64_t bytes_ = 0;
    std::uint64_t other_lengths_ = 0;
};

}  // namespace dmatoll::workloads
