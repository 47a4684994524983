// SPDX-License-Identifier: BSD-2-Clause
// The NIC as an engine that copies memory on command. In PHY loopback a frame that is read at one IOVA
// arrives at another: a read and a write of the device for every copy, without peer, cable and IP stack,
// which makes it the purest load on an IOMMU that the part can be.
//
// A copy is a transmit descriptor and the receive descriptor at the same place of the other ring: what is
// sent n-th arrives n-th. Addresses are the caller's: the engine maps nothing but its own pages, and takes
// any IOVA.
//
// [8254x] Intel 317453. [82574] Intel 317694.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../core/address.hpp"
#include "../core/barrier.hpp"
#include "../core/copy.hpp"
#include "../core/platform.hpp"
#include "../core/register.hpp"
#include "../core/result.hpp"
#include "../core/ring.hpp"
#include "../core/wait.hpp"
#include "descriptor_ring.hpp"
#include "descriptors.hpp"
#include "interrupts.hpp"
#include "link.hpp"
#include "part.hpp"
#include "pci_express.hpp"
#include "quiet.hpp"
#include "registers.hpp"
#include "units.hpp"

namespace dmatoll::e1000 {

// One caller at a time. Interrupts stay masked: what is done is found by looking. It is a dma::CopyEngine.
template <Platform P>
class DmaCopy {
  public:
    // Shorter frames would arrive longer: the device pads them. A longer one would need a second buffer.
    static constexpr std::uint32_t least_copy_bytes = 60;
    static constexpr std::uint32_t most_copy_bytes = static_cast<std::uint32_t>(page_bytes);
    static constexpr std::uint32_t usual_copy_bytes = 1514;
    static constexpr std::uint32_t copy_unit_bytes = 1;
    static constexpr std::uint32_t slots = page_bytes / sizeof(TransmitDescriptor);
    // Tail one behind head: equal they would mean an empty ring.
    static constexpr std::uint32_t most_in_flight = slots - 1;

    // Both outlive the engine. Touches nothing.
    DmaCopy(P& platform, const Part& part) : platform_{platform}, part_{part} {}
    DmaCopy(const DmaCopy&) = delete;
    DmaCopy& operator=(const DmaCopy&) = delete;

    // Brings the device into a state in which it does no DMA whatever it did before. To be called before bus
    // mastering is set. Errors: quiet()'s.
    Status probe() {
        if (read_register<DeviceStatus>(platform_).raw == all_ones) {
            platform_.log(LogLevel::error,
                          "status register reads all ones: the device is gone or its memory is off");
            return Error::device_gone;
        }
        return quiet(platform_, part_);
    }

    // Takes the engine's own pages and switches the device on; comes back when a first copy has arrived,
    // which takes seconds at worst. After an error stop() gives back what was taken. Errors: invalid_argument
    // (it has been started), the Platform's, the PHY's, and timed_out (no copy arrives).
    Status start() {
        if (is_on()) return Error::invalid_argument;
        const Result<RingMemory> memory = platform_.allocate_ring(own_pages * page_bytes);
        if (!memory.ok()) return memory.error();
        memory_ = memory.value();
        return switch_on();
    }

    // The device does no DMA after the return. What is in flight is given up. May follow any outcome of
    // start(), and be called twice.
    void stop() {
        if (!is_on()) return;
        // The next driver may not be one that looks at it.
        static_cast<void>(set_link_loopback(platform_, false));
        if (!quiet(platform_, part_).ok()) {
            platform_.log(LogLevel::error,
                          "the device did not become quiet: its bus mastering must stay off");
        }
        platform_.free_ring(memory_);
        memory_ = RingMemory{};
        next_ = announced_ = done_ = 0;
    }
    // From when start() has its pages until stop() gives them back.
    [[nodiscard]] bool is_on() const { return memory_.cpu != nullptr; }

    // Of a device that does not end what it has begun: from the beginning. What was in flight is given up.
    // Errors: those of probe(), after which the device may still be at it, and of start().
    Status restart() {
        next_ = announced_ = done_ = 0;
        if (const Status quieted = quiet(platform_, part_); !quieted.ok()) return quieted;
        return switch_on();
    }

    [[nodiscard]] std::uint32_t in_flight() const { return ahead(next_, done_); }

    // Not with most_in_flight in flight. The device is told by ring_doorbell(). `bytes`: least_copy_bytes to
    // most_copy_bytes, within one page at the destination.
    [[gnu::always_inline]] void submit(Iova source, Iova destination, std::uint32_t bytes) {
        const std::uint32_t position = size_.slot(next_++);
        // All of both: a status left over from the last round would be taken for this one's.
        receive_ring()[position] = ReceiveDescriptor{
            .address = destination.value, .length = 0, .checksum = 0, .status = 0, .errors = 0, .special = 0};
        transmit_ring()[position] =
            TransmitDescriptor{source.value,
                               bytes | TransmitDescriptor::end_of_packet | TransmitDescriptor::insert_crc |
                                   TransmitDescriptor::report_status,
                               0};
    }

    void ring_doorbell() {
        if (announced_ == next_) return;
        announced_ = next_;
        // The descriptors must be complete before the tails lead the device to them.
        dma_write_barrier();
        const std::uint32_t tail = size_.slot(next_);
        // Where it goes before where it comes from: a frame that finds no descriptor is lost.
        platform_.write32(ReceiveTail::offset, tail);
        platform_.write32(TransmitTail::offset, tail);
    }

    // Takes back what the device says to be done with, the oldest first: done(bytes), as many as it says to
    // have stored. That is no proof of anything: an emulated part reports what the IOMMU refused as done,
    // too. Returns how many.
    template <class Done>
    [[gnu::always_inline]] std::uint32_t collect(Done&& done) {
        const std::uint32_t begin = done_;
        while (done_ != announced_ && is_done(size_.slot(done_))) {
            const std::uint32_t position = size_.slot(done_);
            // The length is valid, and the source may be given away, only once both statuses say so.
            dma_read_barrier();
            const std::uint32_t bytes = read_once(receive_ring()[position].length);
            ++done_;
            done(bytes);
        }
        return ahead(done_, begin);
    }

    // One copy with nothing else in flight. timed_out: it did not end; restart() is due.
    Status copy_and_wait(Iova source, Iova destination, std::uint32_t bytes) {
        submit(source, destination, bytes);
        began_ns_ = platform_.now_ns();
        ring_doorbell();
        return wait_until(platform_, copy_patience_us, 100,
                          [this] { return collect([](std::uint32_t) {}) != 0; });
    }

    [[nodiscard]] std::uint64_t began_ns() const { return began_ns_; }

    // Two pages of the engine's own, which stay mapped for both directions, to copy from and to.
    [[nodiscard]] std::byte* origin() const { return own_page(origin_page); }
    [[nodiscard]] std::byte* landing() const { return own_page(landing_page); }
    [[nodiscard]] Iova origin_iova() const { return memory_.iova + origin_page * page_bytes; }
    [[nodiscard]] Iova landing_iova() const { return memory_.iova + landing_page * page_bytes; }
    // Of the pages that the device works by.
    [[nodiscard]] bool is_own(Iova iova) const {
        return iova.value - page_floor(memory_.iova.value) < own_pages * page_bytes;
    }

  private:
    // The rings fill a page each.
    static constexpr std::uint32_t transmit_page = 0;
    static constexpr std::uint32_t receive_page = 1;
    static constexpr std::uint32_t origin_page = 2;
    static constexpr std::uint32_t landing_page = 3;
    static constexpr std::uint32_t own_pages = 4;
    static_assert(sizeof(ReceiveDescriptor) == sizeof(TransmitDescriptor) && slots == 256);

    // A copy takes microseconds.
    static constexpr std::uint32_t copy_patience_us = 20'000;
    // QEMU's receiver sleeps for a second after it was switched on, and its link may be down for half of one.
    static constexpr std::uint32_t start_patience_us = 4'000'000;

    [[nodiscard]] std::byte* own_page(std::uint32_t number) const {
        return static_cast<std::byte*>(memory_.cpu) + number * page_bytes;
    }
    [[nodiscard]] TransmitDescriptor* transmit_ring() const {
        return reinterpret_cast<TransmitDescriptor*>(own_page(transmit_page));
    }
    [[nodiscard]] ReceiveDescriptor* receive_ring() const {
        return reinterpret_cast<ReceiveDescriptor*>(own_page(receive_page));
    }

    [[nodiscard]] bool is_done(std::uint32_t position) const {
        return (read_once(receive_ring()[position].status) & ReceiveDescriptor::descriptor_done) != 0 &&
               (read_once(transmit_ring()[position].options_and_status) &
                TransmitDescriptor::descriptor_done) != 0;
    }

    // The device is quiet.
    Status switch_on() {
        next_ = announced_ = done_ = 0;
        clear_bytes(memory_.cpu, own_pages * page_bytes);
        if (part_.pci_express) prepare_pci_express(platform_);
        program_ring<TransmitBaseLow, TransmitBaseHigh, TransmitLength>(
            platform_, memory_.iova + transmit_page * page_bytes, page_bytes);
        program_ring<ReceiveBaseLow, ReceiveBaseHigh, ReceiveLength>(
            platform_, memory_.iova + receive_page * page_bytes, page_bytes);
        prepare_transmitter(platform_, part_);
        prepare_receiver(platform_);
        if (const Status looped = set_link_loopback(platform_, true); !looped.ok()) {
            platform_.log(LogLevel::error, "the PHY does not take the loopback");
            return looped;
        }
        // Whatever the first bytes of a source are, they are a destination address of somebody.
        write_register(platform_, receiver_on(most_copy_bytes)
                                      .set(ReceiveControl::unicast_promiscuous)
                                      .set(ReceiveControl::multicast_promiscuous)
                                      .set(ReceiveControl::broadcast_accept)
                                      .set(ReceiveControl::long_packets));
        return await_first_copy();
    }

    // What is sent while the receiver is not ready is lost, and the rings would not be at one place any more:
    // the first copy is sent again and again from the first descriptor until it arrives.
    Status await_first_copy() {
        submit(origin_iova(), landing_iova(), least_copy_bytes);
        // Never in flight for others, also if it does not arrive.
        announced_ = done_ = next_;
        const TransmitDescriptor first = transmit_ring()[0];
        write_register(platform_, ReceiveTail{{.raw = 1}});
        bool arrived = false;
        for (std::uint32_t waited_us = 0; waited_us < start_patience_us && !arrived;
             waited_us += copy_patience_us) {
            // Off: its head is moved.
            write_register(platform_, TransmitControl{});
            write_register(platform_, TransmitHead{});
            write_register(platform_, TransmitTail{});
            transmit_ring()[0] = first;
            enable_transmitter(platform_, part_);
            dma_write_barrier();
            write_register(platform_, TransmitTail{{.raw = 1}});
            arrived = wait_until(platform_, copy_patience_us, 500, [this] { return is_done(0); }).ok();
        }
        if (read_register<ReceiveControl>(platform_).raw == all_ones) return Error::device_gone;
        if (!arrived) {
            platform_.log(LogLevel::error, "no frame comes back from the PHY's loopback");
            return Error::timed_out;
        }
        return {};
    }

    P& platform_;
    const Part& part_;
    RingMemory memory_{};
    RingSize size_{slots};
    // [done_, announced_) is with the device, up to next_ it is not told yet.
    std::uint32_t next_ = 0;
    std::uint32_t announced_ = 0;
    std::uint32_t done_ = 0;
    std::uint64_t began_ns_ = 0;
};

}  // namespace dmatoll::e1000
