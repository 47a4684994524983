// SPDX-License-Identifier: BSD-2-Clause
// The controller: host registers, reset, interrupts, and what a test does to it.
#include "ahci_device.hpp"

#include <algorithm>
#include <bit>
#include <stdexcept>

namespace dmatoll::model {

using namespace ahci_datasheet;

namespace {

// GHC.HR is cleared within a second [AHCI 1.3.1 §10.4.3]: real parts are much faster.
constexpr std::uint64_t hba_reset_ns = 100'000;
// The firmware gives the controller up [AHCI 1.3.1 §10.6].
constexpr std::uint64_t hand_over_ns = 5'000'000;

bool is_known_of_port(std::uint32_t offset) { return offset <= DEVSLP && offset % 4 == 0 && offset != 0x1c; }

}  // namespace

const char* name_of(AhciFault fault) {
    switch (fault) {
        case AhciFault::command_never_completes:
            return "command_never_completes";
        case AhciFault::command_aborted:
            return "command_aborted";
        case AhciFault::interface_error:
            return "interface_error";
        case AhciFault::interface_error_survived:
            return "interface_error_survived";
        case AhciFault::host_bus_error:
            return "host_bus_error";
        case AhciFault::byte_count_lies:
            return "byte_count_lies";
        case AhciFault::completes_without_data:
            return "completes_without_data";
        case AhciFault::lost_interrupt:
            return "lost_interrupt";
        case AhciFault::error_log_other_tag:
            return "error_log_other_tag";
        case AhciFault::error_log_not_queued:
            return "error_log_not_queued";
        case AhciFault::error_log_bad_checksum:
            return "error_log_bad_checksum";
        case AhciFault::active_never_issued:
            return "active_never_issued";
        case AhciFault::hba_reset_stuck:
            return "hba_reset_stuck";
        case AhciFault::port_stop_stuck:
            return "port_stop_stuck";
        case AhciFault::fis_stop_stuck:
            return "fis_stop_stuck";
        case AhciFault::link_stuck:
            return "link_stuck";
        case AhciFault::signature_missing:
            return "signature_missing";
        case AhciFault::firmware_keeps_the_hba:
            return "firmware_keeps_the_hba";
        case AhciFault::gone:
            return "gone";
        case AhciFault::dma_after_stop:
            return "dma_after_stop";
    }
    return "unknown";
}

AhciDevice::AhciDevice(SoftwareIommu& iommu, const AhciOptions& options)
    : iommu_{iommu}, options_{options}, order_{options.order_seed}, in_order_{options.order_seed == 0} {
    if (options.slots == 0 || options.slots > most_slots)
        throw std::invalid_argument{"AHCI has 1 to 32 slots"};
    implemented_ = options.ports;
    for (const auto& [number, disk] : options.disks) {
        ports_.at(number).disk = std::make_unique<AhciDisk>(disk);
        ports_[number].plugged = true;
        implemented_ |= 1u << number;
    }
    for (std::uint32_t number = 0; number < most_ports; ++number) {
        ports_[number].number = number;
        ports_[number].implemented = (implemented_ >> number & 1) != 0;
    }
    power_up();
}

void AhciDevice::power_up() {
    bohc_ = options_.firmware_owns ? bohc_bos : 0;
    bus_master_ = false;
    handed_over_ns_ = 0;
    for (Port& port : ports_) reset_port(port, true);
    finish_hba_reset();
}

void AhciDevice::finish_hba_reset() {
    resetting_ = false;
    ghc_ = options_.only_ahci ? ghc_ae : 0;
    is_ = 0;
    for (Port& port : ports_) {
        if (port.implemented) start_link(port);
    }
    update_interrupts();
}

bool AhciDevice::active(AhciFault fault, std::uint32_t port) const {
    return armed_.contains({fault, any_port}) || armed_.contains({fault, port});
}

bool AhciDevice::take(AhciFault fault, std::uint32_t port) {
    auto found = armed_.find({fault, port});
    if (found == armed_.end()) found = armed_.find({fault, any_port});
    if (found == armed_.end()) return false;
    ++happened_[fault];
    if (--found->second == 0) armed_.erase(found);
    return true;
}

bool AhciDevice::happen(AhciFault fault, std::uint32_t port) {
    if (!active(fault, port)) return false;
    ++happened_[fault];
    return true;
}

void AhciDevice::violation(std::string text) { violations_.push_back(std::move(text)); }

void AhciDevice::violation(const Port& port, std::string text) {
    violation("port " + std::to_string(port.number) + ": " + std::move(text));
}

std::uint32_t AhciDevice::capabilities() const {
    const auto top = static_cast<std::uint32_t>(std::popcount(implemented_));
    return (std::max(top, 1u) - 1) << cap_np_shift | (options_.slots - 1) << cap_ncs_shift | cap_iss_gen3 |
           (options_.only_ahci ? cap_sam : 0) | (options_.overrides_busy ? cap_sclo : 0) |
           (options_.staggered_spin_up ? cap_sss : 0) | (options_.native_queueing ? cap_sncq : 0) |
           (options_.wide_addresses ? cap_s64a : 0);
}

void AhciDevice::check_access(std::uint32_t offset, bool writing) {
    const std::string what =
        (writing ? "write to" : "read of") + std::string{" offset "} + std::to_string(offset);
    if (resetting_ && offset != GHC) violation(what + " while the HBA is in reset");
    // AHCI is switched on before anything else is touched [AHCI 1.3.1 §3.1.2].
    if ((ghc_ & ghc_ae) == 0 && !resetting_ &&
        (writing ? offset != GHC && offset != BOHC : offset >= ports_begin))
        violation(what + " while GHC.AE is clear");
    if ((bohc_ & bohc_bos) != 0 && writing && offset != BOHC && offset != GHC)
        violation(what + " while the firmware owns the HBA");
}

void AhciDevice::count_access() {
    if (!after_accesses_ || accesses_left_-- > 0) return;
    const std::function<void()> what = std::exchange(after_accesses_, nullptr);
    what();
}

std::uint32_t AhciDevice::read32(std::uint32_t offset) {
    const std::scoped_lock guard{mutex_};
    count_access();
    if (happen(AhciFault::gone)) return ~std::uint32_t{0};
    const bool of_port = offset >= ports_begin;
    const std::uint32_t number = (offset - ports_begin) / port_bytes;
    if (offset % 4 != 0 || (of_port ? number >= most_ports || !ports_[number].implemented ||
                                          !is_known_of_port((offset - ports_begin) % port_bytes)
                                    : offset >= host_end)) {
        violation("read of an unknown register, offset " + std::to_string(offset));
        return 0;
    }
    check_access(offset, false);
    return of_port ? read_port(ports_[number], (offset - ports_begin) % port_bytes) : read_host(offset);
}

void AhciDevice::write32(std::uint32_t offset, std::uint32_t value) {
    const std::scoped_lock guard{mutex_};
    count_access();
    if (happen(AhciFault::gone)) return;
    const bool of_port = offset >= ports_begin;
    const std::uint32_t number = (offset - ports_begin) / port_bytes;
    if (offset % 4 != 0 || (of_port ? number >= most_ports || !ports_[number].implemented ||
                                          !is_known_of_port((offset - ports_begin) % port_bytes)
                                    : offset >= host_end)) {
        violation("write to an unknown register, offset " + std::to_string(offset));
        return;
    }
    check_access(offset, true);
    if (resetting_) return;
    ++writes_[offset];
    if (of_port) {
        write_port(ports_[number], (offset - ports_begin) % port_bytes, value);
    } else {
        write_host(offset, value);
    }
    update_interrupts();
}

std::uint32_t AhciDevice::read_host(std::uint32_t offset) const {
    switch (offset) {
        case CAP:
            return capabilities();
        case GHC:
            return ghc_ | (resetting_ ? ghc_hr : 0);
        case IS:
            return is_;
        case PI:
            return implemented_;
        case VS:
            return version_1_3_1;
        case CAP2:
            return options_.firmware_owns ? cap2_boh : 0;
        case BOHC:
            return bohc_;
        default:
            return 0;
    }
}

void AhciDevice::write_host(std::uint32_t offset, std::uint32_t value) {
    switch (offset) {
        case GHC:
            if ((value & ghc_hr) != 0) {
                if (((ghc_ | value) & ghc_ae) == 0) violation("HBA reset while GHC.AE is clear");
                for (Port& port : ports_) {
                    if (port.stopped_ns == 0) prepare_straggler(port);
                }
                resetting_ = true;
                reset_done_ns_ = now_ns_ + hba_reset_ns;
                happen(AhciFault::hba_reset_stuck);
                ghc_ = value & ghc_ae;
                return;
            }
            ghc_ = (value & (ghc_ae | ghc_ie)) | (options_.only_ahci ? ghc_ae : 0);
            break;
        case IS:
            is_ &= ~value;
            // A cause that is still there makes an edge, too: it is a new message with MSI.
            if (is_ == 0) line_ = false;
            break;
        case BOHC:
            if (!options_.firmware_owns) {
                if (value != 0) violation("BOHC written on an HBA that has no hand-over");
                break;
            }
            // The firmware's bits are the firmware's; OOC is written to clear [AHCI 1.3.1 §3.1.11].
            if ((value & bohc_oos) != 0 && (bohc_ & bohc_oos) == 0) handed_over_ns_ = now_ns_ + hand_over_ns;
            bohc_ = (bohc_ & (bohc_bos | bohc_bb)) | (value & (bohc_oos | bohc_sooe)) |
                    (bohc_ & bohc_ooc & ~value);
            break;
        case CAP:
        case PI:
        case VS:
        case CAP2:
            violation("write to a read-only register, offset " + std::to_string(offset));
            break;
        default:
            violation("write to a register of a feature that is not offered, offset " +
                      std::to_string(offset));
    }
}

void AhciDevice::raise(Port& port, std::uint32_t causes) {
    port.is |= causes;
    if ((interrupt_status(port) & port.ie) != 0) {
        is_ |= 1u << port.number;
        swallowed_ = false;
    }
    update_interrupts();
}

// A port whose enabled causes are still there shows in IS again [AHCI 1.3.1 §10.7.2].
void AhciDevice::update_interrupts() {
    for (const Port& port : ports_) {
        if (port.implemented && (interrupt_status(port) & port.ie) != 0) is_ |= 1u << port.number;
    }
    if (resetting_ || (ghc_ & ghc_ie) == 0 || is_ == 0) {
        line_ = swallowed_ = false;
    } else if (!line_ && !swallowed_) {
        if (take(AhciFault::lost_interrupt)) {
            swallowed_ = true;
        } else {
            line_ = true;
            ++interrupts_raised_;
        }
    }
}

void AhciDevice::set_bus_master(bool on) {
    const std::scoped_lock guard{mutex_};
    bus_master_ = on;
}

void AhciDevice::set_time(std::uint64_t now_ns) {
    const std::scoped_lock guard{mutex_};
    now_ns_ = std::max(now_ns_, now_ns);
    if (active(AhciFault::gone)) return;
    if (resetting_ && now_ns_ >= reset_done_ns_ && !active(AhciFault::hba_reset_stuck)) {
        resetting_ = false;
        for (Port& port : ports_) {
            make_last_access(port);
            reset_port(port, false);
        }
        finish_hba_reset();
    }
    if (handed_over_ns_ != 0 && now_ns_ >= handed_over_ns_) {
        if (!happen(AhciFault::firmware_keeps_the_hba)) bohc_ &= ~bohc_bos;
        handed_over_ns_ = 0;
    }
    if (resetting_) return;
    for (Port& port : ports_) {
        if (!port.implemented) continue;
        advance(port);
        if (!deferred_) execute_due(port);
    }
}

void AhciDevice::defer(bool on) {
    const std::scoped_lock guard{mutex_};
    deferred_ = on;
}

void AhciDevice::set_order_seed(std::uint64_t seed) {
    const std::scoped_lock guard{mutex_};
    order_.seed(seed);
    in_order_ = seed == 0;
}

void AhciDevice::remove(std::uint32_t number) {
    const std::scoped_lock guard{mutex_};
    Port& port = ports_.at(number);
    if (!port.plugged) return;
    port.plugged = false;
    reset_disk(port);
    const bool was_up = port.link == Link::up;
    port.link = Link::none;
    if (was_up) port.serr |= serr_diag_n;
    raise(port, 0);
}

void AhciDevice::insert(std::uint32_t number) {
    const std::scoped_lock guard{mutex_};
    Port& port = ports_.at(number);
    if (port.plugged || port.disk == nullptr) return;
    port.plugged = true;
    if ((port.sctl & sctl_det) == 0) start_link(port);
}

void AhciDevice::power_loss(std::uint64_t seed) {
    const std::scoped_lock guard{mutex_};
    std::mt19937_64 random{seed};
    for (Port& port : ports_) {
        if (port.disk == nullptr) continue;
        for (std::uint32_t index = 0; index < most_slots; ++index) {
            const Slot& slot = port.slots[index];
            const bool writes = slot.sent && (slot.flags & header_w) != 0;
            if (seed != 0 && writes && running(port) && random() % 2 != 0) perform(port, index);
        }
        port.disk->power_loss(seed == 0 ? 0 : seed + port.number);
    }
    power_up();
}

void AhciDevice::after_accesses(std::uint64_t accesses, std::function<void()> what) {
    const std::scoped_lock guard{mutex_};
    accesses_left_ = accesses;
    after_accesses_ = std::move(what);
}

void AhciDevice::inject(AhciFault fault, std::uint32_t count, std::uint32_t port) {
    const std::scoped_lock guard{mutex_};
    armed_[{fault, port}] = count;
    if (fault == AhciFault::gone) line_ = swallowed_ = false;
}

void AhciDevice::clear(AhciFault fault) {
    const std::scoped_lock guard{mutex_};
    std::erase_if(armed_, [&](const auto& item) { return item.first.first == fault; });
}

std::uint32_t AhciDevice::happened(AhciFault fault) const {
    const std::scoped_lock guard{mutex_};
    const auto found = happened_.find(fault);
    return found == happened_.end() ? 0 : found->second;
}

bool AhciDevice::interrupt_line() const {
    const std::scoped_lock guard{mutex_};
    return line_;
}

std::uint64_t AhciDevice::interrupts_raised() const {
    const std::scoped_lock guard{mutex_};
    return interrupts_raised_;
}

std::vector<std::string> AhciDevice::violations() const {
    const std::scoped_lock guard{mutex_};
    return violations_;
}

void AhciDevice::forget_violations() {
    const std::scoped_lock guard{mutex_};
    violations_.clear();
}

std::uint64_t AhciDevice::writes_of(std::uint32_t offset) const {
    const std::scoped_lock guard{mutex_};
    const auto found = writes_.find(offset);
    return found == writes_.end() ? 0 : found->second;
}

std::uint64_t AhciDevice::accesses_while_quiet() const {
    const std::scoped_lock guard{mutex_};
    return accesses_while_quiet_;
}

std::uint64_t AhciDevice::aborted_accesses() const {
    const std::scoped_lock guard{mutex_};
    return aborted_accesses_;
}

std::uint64_t AhciDevice::commands(std::uint8_t code) const {
    const std::scoped_lock guard{mutex_};
    const auto found = commands_.find(code);
    return found == commands_.end() ? 0 : found->second;
}

std::uint64_t AhciDevice::forced_writes() const {
    const std::scoped_lock guard{mutex_};
    return forced_writes_;
}

std::uint32_t AhciDevice::outstanding(std::uint32_t number) const {
    const std::scoped_lock guard{mutex_};
    std::uint32_t slots = 0;
    for (std::uint32_t index = 0; index < most_slots; ++index) {
        if (ports_.at(number).slots[index].issued) slots |= 1u << index;
    }
    return slots;
}

Iova AhciDevice::last_data() const {
    const std::scoped_lock guard{mutex_};
    return last_data_;
}

std::uint32_t AhciDevice::peek(std::uint32_t offset) const {
    const std::scoped_lock guard{mutex_};
    if (offset < ports_begin) return read_host(offset);
    return read_port(ports_.at((offset - ports_begin) / port_bytes), (offset - ports_begin) % port_bytes);
}

}  // namespace dmatoll::model
