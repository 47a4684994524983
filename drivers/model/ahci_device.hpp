// SPDX-License-Identifier: BSD-2-Clause
// An AHCI controller with its disks, made of software: registers as the specification has them, real command
// lists and tables, every access to memory through the software IOMMU.
//
// [AHCI 1.3.1] Intel, Serial ATA Advanced Host Controller Interface, revision 1.3.1.
// [ATA8-ACS]   T13, AT Attachment 8 - ATA/ATAPI Command Set.
//
// What is as nasty as it may be: until CR and FR are clear, a port that is being stopped makes one more
// access on behalf of a command that it had, and stores one more FIS; of what is queued the disk may choose
// any.
//
// What differs from a real one, on purpose: no port multipliers, no packet devices, no power management of
// the link, no command completion coalescing, no enclosure management. The link is always there when the disk
// is.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "ahci_datasheet.hpp"
#include "ahci_disk.hpp"
#include "core/address.hpp"
#include "software_iommu.hpp"

namespace dmatoll::model {

// Faults that a test injects, by name.
enum class AhciFault : std::uint8_t {
    // The next commands that are executed, one fault for each:
    command_never_completes,
    command_aborted,           // by the disk: a task file error
    interface_error,           // PxIS.IFS, the port halts
    interface_error_survived,  // PxIS.INFS, the command goes on
    host_bus_error,            // PxIS.HBFS, as if an access had been refused
    byte_count_lies,           // PRDBC says more than was transferred
    completes_without_data,    // a command from the disk that ends well and transfers nothing
    // The next times that the interrupt line would go up:
    lost_interrupt,
    // The next pages of the queued error log that are read:
    error_log_other_tag,     // a tag that is not outstanding
    error_log_not_queued,    // says that no queued command failed
    error_log_bad_checksum,  // and a tag that is wrong, too
    // From now on, until clear():
    active_never_issued,     // PxSACT and PxCI read with slots that nobody issued
    hba_reset_stuck,         // GHC.HR stays set
    port_stop_stuck,         // PxCMD.CR stays set
    fis_stop_stuck,          // PxCMD.FR stays set
    link_stuck,              // after a COMRESET no communication comes to be
    signature_missing,       // the disk stays busy after a reset
    firmware_keeps_the_hba,  // BOHC.BOS stays set
    gone,                    // registers read as all ones, writes are lost, no DMA
    dma_after_stop,          // each step() accesses the memory it last had, running or not, in a reset, too
};

const char* name_of(AhciFault fault);

struct AhciOptions {
    // The disks by port; ports without one are implemented if `ports` has their bit.
    std::map<std::uint32_t, DiskOptions> disks{{0, {}}};
    std::uint32_t ports = 0x1;  // those of the disks are implemented anyway
    std::uint32_t slots = 32;
    bool native_queueing = true;     // CAP.SNCQ
    bool wide_addresses = true;      // CAP.S64A
    bool overrides_busy = true;      // CAP.SCLO
    bool staggered_spin_up = false;  // CAP.SSS
    bool only_ahci = false;          // CAP.SAM: GHC.AE cannot be cleared
    bool firmware_owns = false;      // CAP2.BOH, and BOHC.BOS is set at power-up
    // How long the disk takes for a command; 0: it is done before the write that issues it returns.
    std::uint64_t command_ns = 20'000;
    std::uint64_t spin_up_ns = 20'000'000;  // from the link's being up to the signature
    // Which queued command is executed next: 0: in the order of issue, otherwise drawn with this seed.
    std::uint64_t order_seed = 0;
};

// All of it may be called from several threads, but for what disk() returns.
class AhciDevice {
  public:
    explicit AhciDevice(SoftwareIommu& iommu, const AhciOptions& options = {});
    AhciDevice(const AhciDevice&) = delete;
    AhciDevice& operator=(const AhciDevice&) = delete;

    // BAR 5.
    std::uint32_t read32(std::uint32_t offset);
    void write32(std::uint32_t offset, std::uint32_t value);
    // PCI command register. Off at power-up.
    void set_bus_master(bool on);
    // Absolute, never backwards.
    void set_time(std::uint64_t now_ns);

    // True: commands are executed by step() and execute() only, however much time passes.
    void defer(bool on);
    // Executes up to `commands`, and lets a device that does not stop misbehave. How many were executed.
    std::uint32_t step(std::uint32_t commands = ~std::uint32_t{0});
    // Executes this one now, whatever came before it. False: the disk does not have it.
    bool execute(std::uint32_t port, std::uint32_t slot);
    void set_order_seed(std::uint64_t seed);

    // Throws std::out_of_range for a port that never had one.
    [[nodiscard]] AhciDisk& disk(std::uint32_t port) { return *ports_.at(port).disk; }
    // The disk's plug; removed with whatever it has in work.
    void remove(std::uint32_t port);
    void insert(std::uint32_t port);
    // Of everything; power is back at once. The disks' caches are lost by that seed; with one that is not 0 a
    // write under way may have got there first.
    void power_loss(std::uint64_t seed);

    // Any DMA that a broken device may think of. False: refused.
    bool stray_read(Iova iova, std::uint32_t bytes);
    bool stray_write(Iova iova, std::uint32_t bytes, std::byte pattern);

    // Calls that when software has accessed so many more registers, within the access, before its effect. One
    // at a time; none ends it.
    void after_accesses(std::uint64_t accesses, std::function<void()> what);
    // `count` is for the faults that hit single commands, interrupts or pages. Without a port: on any.
    static constexpr std::uint32_t any_port = ~std::uint32_t{0};
    void inject(AhciFault fault, std::uint32_t count = 1, std::uint32_t port = any_port);
    void clear(AhciFault fault);
    // How often an injected fault has really happened.
    [[nodiscard]] std::uint32_t happened(AhciFault fault) const;

    // The level of the interrupt line.
    [[nodiscard]] bool interrupt_line() const;
    // How often the line went up.
    [[nodiscard]] std::uint64_t interrupts_raised() const;
    // What a driver did against the specification, in words.
    [[nodiscard]] std::vector<std::string> violations() const;
    void forget_violations();
    // How often software wrote a register.
    [[nodiscard]] std::uint64_t writes_of(std::uint32_t offset) const;
    // Accesses to memory while no port ran, or bus mastering was off.
    [[nodiscard]] std::uint64_t accesses_while_quiet() const;
    // Accesses that the IOMMU refused, as the device saw them.
    [[nodiscard]] std::uint64_t aborted_accesses() const;
    // Commands that the disk was given, by their code, over all ports.
    [[nodiscard]] std::uint64_t commands(std::uint8_t code) const;
    // Of those, the ones with forced unit access.
    [[nodiscard]] std::uint64_t forced_writes() const;
    // Slots of the port that the disk has, or that wait for it.
    [[nodiscard]] std::uint32_t outstanding(std::uint32_t port) const;
    // Where the last data went to or came from.
    [[nodiscard]] Iova last_data() const;

    // Looks at a register without the side effects of reading it.
    [[nodiscard]] std::uint32_t peek(std::uint32_t offset) const;
    [[nodiscard]] static constexpr std::uint32_t at_port(std::uint32_t port, std::uint32_t offset) {
        return ahci_datasheet::ports_begin + port * ahci_datasheet::port_bytes + offset;
    }

  private:
    struct Command {  // a register FIS to the device
        std::uint8_t code = 0;
        std::uint16_t features = 0;
        std::uint64_t address = 0;  // all 48 bits
        std::uint16_t count = 0;
        std::uint8_t device = 0;
        std::uint8_t control = 0;
        bool is_command = false;  // otherwise it is control that counts
    };
    struct Prd {
        Iova iova;
        std::uint32_t bytes = 0;
        bool interrupts = false;
    };
    struct Slot {
        bool issued = false;
        bool queued = false;
        bool sent = false;  // the disk has it
        bool hung = false;
        std::uint64_t order = 0;
        std::uint64_t due_ns = 0;
        std::uint32_t flags = 0;  // the first word of its header
        Iova table{};
        Command command;
        std::vector<std::byte> seen;  // header without its byte count, FIS and PRD table as they were issued
    };
    struct Straggler {  // the access that a port makes before it has stopped
        Iova iova{};
        std::vector<std::byte> data;
        bool writes = false;
    };
    enum class Link : std::uint8_t { none, held_in_reset, coming, up, offline };
    struct Port {
        std::uint32_t number = 0;
        bool implemented = false;
        std::unique_ptr<AhciDisk> disk;
        bool plugged = false;

        // Registers; PxIS without what PxSERR shows in it.
        std::uint64_t list = 0;
        std::uint64_t received = 0;
        bool list_set = false;
        bool received_set = false;
        std::uint32_t is = 0;
        std::uint32_t ie = 0;
        std::uint32_t cmd = 0;
        std::uint8_t status = ahci_datasheet::status_no_device;
        std::uint8_t error = 0;
        std::uint32_t signature = ahci_datasheet::signature_none;
        std::uint32_t sctl = 0;
        std::uint32_t serr = 0;
        std::uint32_t sact = 0;
        std::uint32_t ci = 0;

        std::array<Slot, ahci_datasheet::most_slots> slots;
        bool halted = false;               // by an error, until ST is cleared
        std::uint64_t stopped_ns = 0;      // when CR is cleared; 0: it is not being stopped
        std::uint64_t fis_stopped_ns = 0;  // the same for FR
        Straggler straggler;
        std::uint32_t last_slot = ahci_datasheet::most_slots - 1;  // the last one given to the disk
        Link link = Link::none;
        std::uint64_t link_since_ns = 0;
        bool signature_due = false;
        bool in_soft_reset = false;

        // The disk's side.
        std::uint32_t held = 0;           // tags of queued commands that it has not ended
        std::uint32_t tags_at_error = 0;  // what was outstanding then
        bool queued_error = false;        // aborts everything until the log is read [ATA8-ACS §4.15]
        std::array<std::byte, ahci_datasheet::log_page_bytes> error_log{};
    };
    // What a command came to.
    struct Outcome {
        enum class Kind : std::uint8_t { done, failed, stuck, halted } kind = Kind::done;
        std::uint8_t error = 0;
        std::uint64_t address = 0;  // of the block that failed
        std::uint32_t bytes = 0;    // transferred
        bool pio = false;
    };

    [[nodiscard]] bool active(AhciFault fault, std::uint32_t port = any_port) const;
    bool take(AhciFault fault, std::uint32_t port = any_port);
    bool happen(AhciFault fault, std::uint32_t port = any_port);
    void violation(std::string text);
    void violation(const Port& port, std::string text);

    // ahci_device.cpp: host registers, reset, interrupts.
    void power_up();
    void finish_hba_reset();
    void check_access(std::uint32_t offset, bool writing);
    void count_access();
    std::uint32_t read_host(std::uint32_t offset) const;
    void write_host(std::uint32_t offset, std::uint32_t value);
    void raise(Port& port, std::uint32_t causes);
    void update_interrupts();
    [[nodiscard]] std::uint32_t capabilities() const;

    // ahci_port.cpp: registers of a port, its engines, its link.
    void reset_port(Port& port, bool power);
    std::uint32_t read_port(const Port& port, std::uint32_t offset) const;
    void write_port(Port& port, std::uint32_t offset, std::uint32_t value);
    void write_command(Port& port, std::uint32_t value);
    void write_control(Port& port, std::uint32_t value);
    void write_base(Port& port, std::uint32_t offset, std::uint32_t value);
    [[nodiscard]] std::uint32_t status_of_link(const Port& port) const;
    [[nodiscard]] std::uint32_t interrupt_status(const Port& port) const;
    void start(Port& port);
    void stop(Port& port);
    void finish_stop(Port& port);
    void start_link(Port& port);
    void reset_disk(Port& port);
    void advance(Port& port);
    [[nodiscard]] bool running(const Port& port) const;

    // ahci_command.cpp: command lists, tables, received FIS as the HBA handles them.
    void issue(Port& port, std::uint32_t slots);
    void dispatch(Port& port);
    bool send(Port& port, std::uint32_t index);
    bool fetch(Port& port, std::uint32_t index, std::vector<std::byte>& seen);
    void check_header(const Port& port, std::uint32_t index, std::span<const std::byte> header);
    void check_table(const Port& port, std::uint32_t index, const Slot& slot,
                     std::span<const std::byte> table);
    void execute_due(Port& port);
    [[nodiscard]] int next_slot(const Port& port, bool due_only);
    void run(Port& port, std::uint32_t index);
    void end(Port& port, std::uint32_t index, const Outcome& outcome);
    void halt(Port& port, std::uint32_t causes);
    void prepare_straggler(Port& port);
    void make_last_access(Port& port);
    bool receive_fis(Port& port, std::uint32_t offset, std::span<const std::byte> fis);
    bool send_register_fis(Port& port, std::uint8_t status, std::uint8_t error, std::uint64_t address,
                           std::uint16_t count);
    // False: it did not fit, or was refused; the port has been told.
    bool to_memory(Port& port, Slot& slot, std::span<const std::byte> data, Outcome& outcome);
    bool from_memory(Port& port, Slot& slot, std::span<std::byte> data, Outcome& outcome);
    bool transfer(Port& port, Slot& slot, std::size_t bytes, Outcome& outcome, auto&& access);
    bool dma_read(Iova iova, std::span<std::byte> destination);
    bool dma_write(Iova iova, std::span<const std::byte> source);
    bool may_access();

    // ahci_ata.cpp: commands as the disk executes them.
    Outcome perform(Port& port, std::uint32_t index);
    Outcome read_blocks(Port& port, Slot& slot, std::uint64_t first, std::uint32_t count);
    Outcome write_blocks(Port& port, Slot& slot, std::uint64_t first, std::uint32_t count, bool through);
    Outcome trim(Port& port, Slot& slot);
    Outcome configure(Port& port, const Command& command);
    Outcome read_log(Port& port, Slot& slot);
    Outcome send_page(Port& port, Slot& slot, std::span<const std::byte> page);
    void remember_error(Port& port, std::uint32_t tag, bool queued, const Command& command,
                        const Outcome& outcome);

    SoftwareIommu& iommu_;
    const AhciOptions options_;

    mutable std::recursive_mutex mutex_;
    std::array<Port, ahci_datasheet::most_ports> ports_;
    std::uint32_t implemented_ = 0;
    std::uint32_t ghc_ = 0;
    std::uint32_t is_ = 0;
    std::uint32_t bohc_ = 0;
    std::map<std::uint32_t, std::uint64_t> writes_;
    std::map<std::pair<AhciFault, std::uint32_t>, std::uint32_t> armed_;
    std::map<AhciFault, std::uint32_t> happened_;
    std::map<std::uint8_t, std::uint64_t> commands_;
    std::uint64_t forced_writes_ = 0;
    std::uint64_t accesses_left_ = 0;
    std::function<void()> after_accesses_;
    std::mt19937_64 order_;
    bool in_order_ = true;

    std::uint64_t now_ns_ = 0;
    std::uint64_t reset_done_ns_ = 0;
    std::uint64_t handed_over_ns_ = 0;
    std::uint64_t next_order_ = 0;
    bool resetting_ = false;
    bool bus_master_ = false;
    bool deferred_ = false;
    bool line_ = false;
    bool swallowed_ = false;

    std::vector<std::string> violations_;
    std::uint64_t interrupts_raised_ = 0;
    std::uint64_t accesses_while_quiet_ = 0;
    std::uint64_t aborted_accesses_ = 0;
    Iova last_data_{};
    Iova last_received_{};
    bool last_data_was_written_ = false;
};

}  // namespace dmatoll::model
