// SPDX-License-Identifier: BSD-2-Clause
// An 82540EM, 82545EM or 82574L made of software: registers as the datasheet has them, real descriptors,
// every access to memory through the software IOMMU, frames on its wire as bytes.
//
// [8254x] Intel, PCI/PCI-X Family of Gigabit Ethernet Controllers Software Developer's Manual, 317453.
// [82574] Intel, 82574 GbE Controller Family Datasheet, 317694.
//
// What differs from the part, on purpose: there is no FIFO, so a frame that finds no descriptor is missed at
// once; write-backs are not batched (TXDCTL and RXDCTL thresholds have no effect); VLANs, wake-up, flow
// control and the manageability path are not there.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "core/address.hpp"
#include "e1000_datasheet.hpp"
#include "software_iommu.hpp"

namespace dmatoll::model {

// Faults that a test injects, by name.
enum class Fault : std::uint8_t {
    // The next received frames, one fault for each:
    receive_length_zero,           // the descriptor says 0 bytes
    receive_length_beyond_buffer,  // one byte more than the buffer has
    receive_length_huge,           // 65535
    receive_length_short,          // one byte less than a link header
    receive_no_write_back,         // the buffer is written, the descriptor never
    receive_early_write_back,      // the descriptor first, the data 5 ms later, or with release_late_writes()
    receive_status_before_length,  // status says done while the length is still 0; the rest likewise later
    receive_without_eop,           // done, but not the end of a packet
    receive_bad_crc,               // the frame was damaged, and is stored all the same
    receive_rest_late,             // all but its first piece 5 ms later, or with release_late_writes()
    receive_wrong_size,            // the frame was too short or too long, and is stored all the same
    // The next transmit descriptors that ask for status:
    transmit_no_write_back,
    transmit_write_back_beyond_tail,  // the descriptor at the tail, which is software's, is marked as done,
                                      // too
    // From now on, until clear():
    reset_stuck,     // CTRL.RST stays set
    eeprom_stuck,    // EERD.DONE never comes
    eeprom_bad_sum,  // the words do not add up
    mdic_stuck,      // MDIC.R never comes
    link_loss,       // no partner on the wire
    gone,            // registers read as all ones, writes are lost, no DMA
    dma_after_stop,  // each step() reads and writes where it last had a descriptor and a buffer, enabled or
                     // not
};

const char* name_of(Fault fault);

enum class DevicePart : std::uint8_t { i82540em, i82545em, i82574l };

struct DeviceOptions {
    std::array<std::uint8_t, 6> mac{0x52, 0x54, 0x00, 0x12, 0x34, 0x56};
    bool reset_resets = true;      // false: QEMU's habit, CTRL.RST leaves every register as it is
    bool hashes_stations = false;  // true: QEMU's habit, the multicast table is for every address
    bool checks_received = true;   // false: QEMU's habit, receive descriptors always say "checksum ignored"
    bool acts_on_doorbell = true;  // false: nothing is transmitted before step()
    DevicePart part = DevicePart::i82540em;
};

// A frame as it was on the wire, without preamble and CRC.
struct WireFrame {
    std::vector<std::byte> bytes;
    bool crc_good = true;
};

enum class Arrival : std::uint8_t {
    stored,
    no_link,
    receiver_off,
    filtered,
    wrong_size,
    damaged,        // bad CRC, not stored
    no_descriptor,  // missed
    dma_refused,    // the descriptor could not be read: the receiver halts until it is reset
};

// All of it may be called from several threads.
class E1000Device {
  public:
    explicit E1000Device(SoftwareIommu& iommu, const DeviceOptions& options = {});
    E1000Device(const E1000Device&) = delete;
    E1000Device& operator=(const E1000Device&) = delete;

    // BAR 0.
    std::uint32_t read32(std::uint32_t offset);
    void write32(std::uint32_t offset, std::uint32_t value);
    // PCI command register. Off at power-up.
    void set_bus_master(bool on);
    // Absolute, never backwards.
    void set_time(std::uint64_t now_ns);

    // Does what is pending: transmits up to `descriptors`, lets a device that does not stop misbehave.
    void step(std::uint32_t descriptors = ~std::uint32_t{0});
    // A frame comes in over the wire, without CRC; shorter ones are padded, as their sender would have.
    // `damaged`: its CRC is wrong.
    Arrival receive_frame(std::span<const std::byte> frame, bool damaged = false);
    // Not padded: a runt. At least a destination address.
    Arrival receive_as_it_is(std::span<const std::byte> frame, bool damaged = false);
    // The late half of early write-backs, all of it now. Left alone it comes in its time, whatever is
    // switched off meanwhile.
    void release_late_writes();
    // Any DMA that a broken device may think of. False: refused.
    bool stray_read(Iova iova, std::uint32_t bytes);
    bool stray_write(Iova iova, std::uint32_t bytes, std::byte pattern);

    // `count` is for the faults that hit single frames or descriptors.
    void inject(Fault fault, std::uint32_t count = 1);
    void clear(Fault fault);
    // How often an injected fault has really happened.
    [[nodiscard]] std::uint32_t happened(Fault fault) const;

    // Frames that left since the last call.
    std::vector<WireFrame> take_wire();
    // The PHY sends back what the MAC gives it.
    [[nodiscard]] bool in_loopback() const;
    // The level of the interrupt line, ITR taken into account.
    [[nodiscard]] bool interrupt_line();
    // How often the line went up.
    [[nodiscard]] std::uint64_t interrupts_raised() const;
    // What a driver did against the datasheet, in words.
    [[nodiscard]] std::vector<std::string> violations() const;
    void forget_violations();
    // How often software wrote a register.
    [[nodiscard]] std::uint64_t writes_of(std::uint32_t offset) const;
    // Accesses to memory while receiver and transmitter were off, or bus mastering was.
    [[nodiscard]] std::uint64_t accesses_while_quiet() const;
    // Accesses that the IOMMU refused, as the device saw them.
    [[nodiscard]] std::uint64_t aborted_accesses() const;
    // Where the device last had a buffer to receive into, or to transmit from.
    [[nodiscard]] Iova last_receive_buffer() const;
    [[nodiscard]] Iova last_transmit_buffer() const;
    [[nodiscard]] std::uint16_t phy_register(std::uint32_t number) const;
    [[nodiscard]] std::uint16_t eeprom_word(std::uint32_t word) const;
    void set_eeprom_word(std::uint32_t word, std::uint16_t value);

    // Looks at a register without the side effects of reading it.
    [[nodiscard]] std::uint32_t peek(std::uint32_t offset) const;
    // Sets what a previous owner, or the firmware, left behind.
    void poke(std::uint32_t offset, std::uint32_t value);

  private:
    struct Context {  // what a context descriptor loaded [8254x §3.3.6]
        bool loaded = false;
        std::uint8_t ip_start = 0;
        std::uint8_t ip_offset = 0;
        std::uint16_t ip_end = 0;
        std::uint8_t tcp_start = 0;
        std::uint8_t tcp_offset = 0;
        std::uint16_t tcp_end = 0;
        std::uint32_t payload = 0;
        std::uint8_t flags = 0;
        std::uint8_t header = 0;
        std::uint16_t segment = 0;
    };
    struct Assembly {  // the frame that is being gathered
        std::vector<std::byte> bytes;
        bool open = false;
        bool extended = false;
        bool segmenting = false;
        std::uint8_t options = 0;
    };
    struct Descriptor;
    struct LateWrite {
        Iova iova;
        std::vector<std::byte> bytes;
        std::uint64_t due_ns;
    };

    std::uint32_t& reg(std::uint32_t offset) { return registers_[offset / 4]; }
    [[nodiscard]] std::uint32_t reg(std::uint32_t offset) const { return registers_[offset / 4]; }
    [[nodiscard]] bool active(Fault fault) const { return armed_.contains(fault); }
    bool take(Fault fault);
    void violation(std::string text);

    void power_up();
    void reset();
    void finish_reset();
    void load_address();
    void raise(std::uint32_t causes);
    void update_line();
    void update_link();
    [[nodiscard]] bool link_up() const;
    void count(std::uint32_t offset, std::uint64_t amount = 1);
    void count_octets(std::uint32_t low, std::uint64_t octets);
    void count_size(std::uint32_t first, std::size_t bytes_with_crc);
    std::uint32_t read_statistic(std::uint32_t offset);
    void start_eeprom_read(std::uint32_t value);
    void start_mdi(std::uint32_t value);
    std::uint16_t read_phy(std::uint32_t number);
    void write_phy(std::uint32_t number, std::uint16_t value);
    void check_ring(const char* name, std::uint32_t base_low);
    [[nodiscard]] bool is_82574() const { return options_.part == DevicePart::i82574l; }
    void check_bits_of_82574();
    void check_configured();

    bool dma_read(Iova iova, std::span<std::byte> destination);
    bool dma_write(Iova iova, std::span<const std::byte> source);
    bool may_access();

    void transmit(std::uint32_t descriptors);
    bool transmit_one();
    void load_context(const Descriptor& descriptor);
    bool gather(const Descriptor& descriptor);
    void finish_frame(const Descriptor& last);
    void send_segments(const Descriptor& last);
    void send(std::vector<std::byte> frame, bool insert_crc);
    void write_back(const Descriptor& descriptor, std::uint32_t index);

    Arrival receive_locked(std::span<const std::byte> frame, bool damaged);
    [[nodiscard]] bool accepts(std::span<const std::byte> frame) const;
    [[nodiscard]] std::uint32_t receive_buffer_bytes() const;
    Arrival store(std::vector<std::byte> frame, bool damaged);
    void deliver_looped();
    void land_late_writes(std::uint64_t due_ns);

    SoftwareIommu& iommu_;
    const DeviceOptions options_;

    mutable std::recursive_mutex mutex_;
    std::vector<std::uint32_t> registers_ = std::vector<std::uint32_t>(datasheet::bar_bytes / 4);
    std::map<std::uint32_t, std::uint64_t> writes_;
    std::array<std::uint16_t, datasheet::eeprom_words> eeprom_{};
    std::array<std::uint16_t, 32> phy_{};
    std::map<Fault, std::uint32_t> armed_;
    std::map<Fault, std::uint32_t> happened_;

    std::uint64_t now_ns_ = 0;
    std::uint64_t reset_done_ns_ = 0;
    std::uint64_t eeprom_done_ns_ = 0;
    std::uint64_t mdi_done_ns_ = 0;
    std::uint64_t next_interrupt_ns_ = 0;
    std::uint64_t receive_interrupt_ns_ = 0;   // when a delayed RXT0 is due; 0: none
    std::uint64_t transmit_interrupt_ns_ = 0;  // when a delayed TXDW is due; 0: none
    bool resetting_ = false;
    bool bus_master_ = false;
    bool link_was_up_ = false;
    bool line_ = false;
    bool transmitter_halted_ = false;
    bool receiver_halted_ = false;
    bool transmitting_ = false;

    Context checksum_context_;
    Context segmentation_context_;
    Assembly assembly_;
    std::vector<std::vector<std::byte>> looped_;
    std::vector<WireFrame> wire_;
    std::vector<LateWrite> late_;
    std::vector<std::string> violations_;
    std::uint64_t interrupts_raised_ = 0;
    std::uint64_t accesses_while_quiet_ = 0;
    std::uint64_t aborted_accesses_ = 0;
    Iova last_receive_buffer_{};
    Iova last_transmit_buffer_{};
    Iova last_descriptor_{};
};

}  // namespace dmatoll::model
