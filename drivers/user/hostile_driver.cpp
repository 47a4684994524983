// SPDX-License-Identifier: BSD-2-Clause
#include "hostile_driver.hpp"

#include <fcntl.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <nlohmann/json.hpp>

#include "arena.hpp"
#include "core/address.hpp"
#include "descriptor.hpp"
#include "e1000/interrupts.hpp"
#include "e1000/registers.hpp"
#include "failure.hpp"
#include "foreign_memory.hpp"

namespace dmatoll::user {
namespace {

using nlohmann::json;

// Where the driver of the device does not get to.
constexpr std::uint64_t held_iova = std::uint64_t{1} << 36;
// Beyond what VFIO lets a container have, unless somebody has raised that.
constexpr std::uint64_t most_mappings = std::uint64_t{1} << 17;
constexpr std::uint32_t readable = VFIO_DMA_MAP_FLAG_READ;
constexpr std::uint32_t writable = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE;
constexpr std::uint32_t bars = 6;

// Memory of this process, as long as the object lives.
class Mapping {
  public:
    Mapping(std::size_t bytes, int access, int flags, int file, std::uint64_t offset = 0)
        : bytes_{bytes},
          start_{::mmap(nullptr, bytes, access, flags, file, static_cast<off_t>(offset))},
          error_{start_ == MAP_FAILED ? errno : 0} {}
    ~Mapping() {
        if (error_ == 0) {
            ::munmap(start_, bytes_);
        }
    }
    Mapping(const Mapping&) = delete;
    Mapping& operator=(const Mapping&) = delete;

    [[nodiscard]] int error() const { return error_; }
    [[nodiscard]] void* start() const { return start_; }
    [[nodiscard]] std::uint64_t address() const { return reinterpret_cast<std::uintptr_t>(start_); }

  private:
    std::size_t bytes_;
    void* start_;
    int error_;
};

// It never came to the attempt.
int without_memory(const Mapping& memory, json& answer) {
    answer["absent"] = std::string{"the process has no memory to map: "} + std::strerror(memory.error());
    return memory.error();
}

constexpr int private_memory = MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE;

// Error number of a transfer. One that was cut short has none of its own.
int outcome(ssize_t moved, std::size_t bytes) {
    if (moved < 0) {
        return errno;
    }
    return moved == static_cast<ssize_t>(bytes) ? 0 : EIO;
}

std::uint32_t dword_at(std::span<const std::byte> config, std::uint32_t at) {
    std::uint32_t value = 0;
    std::memcpy(&value, config.data() + at, sizeof(value));
    return value;
}

// It has what this process has, the device too, and ends by SIGKILL only.
int leave_child() {
    const pid_t child = ::fork();
    if (child == 0) {
        ::setsid();
        sigset_t all;
        ::sigfillset(&all);
        ::sigprocmask(SIG_BLOCK, &all, nullptr);
        while (true) {
            ::pause();
        }
    }
    return child > 0 ? 0 : errno;
}

// Error number, 0 if there is such a region.
int describe_region(int device, std::uint32_t index, vfio_region_info& info) {
    info = {};
    info.argsz = sizeof(info);
    info.index = index;
    return ::ioctl(device, VFIO_DEVICE_GET_REGION_INFO, &info) == 0 ? 0 : errno;
}

}  // namespace

std::string HostileDriver::follow(std::string_view line) {
    json answer = json::object();
    try {
        const HostileCommand command = parse_hostile_command(line);
        answer["act"] = command.act->name;
        if (command.act->asset != nullptr) {
            answer["asset"] = command.act->asset;
            answer["tried"] = command.act->tried;
        }
        const int error = perform(command, answer);
        const char* const name = error == 0 ? "done" : ::strerrorname_np(error);
        answer["errno"] = error;
        answer["answer"] = name != nullptr ? name : std::to_string(error);
    } catch (const Failure& failure) {
        answer = {{"error", failure.what()}};
    }
    return answer.dump(-1, ' ', true, json::error_handler_t::replace);
}

int HostileDriver::perform(const HostileCommand& command, json& answer) {
    const std::uint64_t iova = command.value(ActKey::iova);
    const std::uint64_t address = command.value(ActKey::address);
    const std::uint64_t word = command.value(ActKey::word);
    const auto process = static_cast<pid_t>(command.value(ActKey::process));
    const auto on_bus = static_cast<std::uint32_t>(address);
    const std::string process_file = "/proc/" + std::to_string(process) + "/mem";
    constexpr const char* machine_file = "/dev/mem";
    // What a read brought, whatever that is.
    const auto with_word = [&answer](auto&& read) {
        std::uint64_t got = 0;
        const int error = read(got);
        answer["word"] = got;
        return error;
    };
    switch (command.act->act) {
        case Act::map_own:
            return map_own(iova, answer);
        case Act::map_foreign:
        case Act::map_kernel:
            return map(iova, address, page_bytes, writable);
        case Act::map_read_only:
            return map_file(iova, writable, answer);
        case Act::map_readable:
            return map_file(iova, readable, answer);
        case Act::unmap:
            return unmap(iova, page_bytes);
        case Act::exhaust_memory:
            return exhaust_memory(answer);
        case Act::exhaust_mappings:
            return exhaust(reinterpret_cast<std::uintptr_t>(device_.registers()), page_bytes, answer);
        case Act::release:
            return release();
        case Act::write_bars:
            return write_bars(on_bus);
        case Act::write_rom:
            return write_rom(on_bus, answer);
        case Act::write_command: {
            const int error = save_config();
            return error != 0 ? error : write_config(PCI_COMMAND, 0xffff, sizeof(std::uint16_t));
        }
        case Act::write_messages:
            return write_messages(on_bus, answer);
        case Act::write_message_table:
            return write_message_table(address, static_cast<std::uint32_t>(word), answer);
        case Act::power_down:
            return power_down(answer);
        case Act::reach_beyond:
            return reach_beyond(answer);
        case Act::restore_config:
            return restore_config();
        case Act::flood:
            return flood(command.value(ActKey::rest_after));
        case Act::end_flood:
            return end_flood();
        case Act::process_read:
            return with_word([&](std::uint64_t& got) { return read_process(process, address, got); });
        case Act::process_write:
            return write_process(process, address, word);
        case Act::process_file_read:
            return with_word(
                [&](std::uint64_t& got) { return read_memory_file(process_file.c_str(), address, got); });
        case Act::process_file_write:
            return write_memory_file(process_file.c_str(), address, word);
        case Act::trace_read:
            return with_word([&](std::uint64_t& got) { return trace_and_read(process, address, got); });
        case Act::trace_write:
            return trace_and_write(process, address, word);
        case Act::machine_read:
            return with_word(
                [&](std::uint64_t& got) { return read_memory_file(machine_file, address, got); });
        case Act::machine_write:
            return write_memory_file(machine_file, address, word);
        case Act::outlive:
            return leave_child();
        case Act::signal:
            return ::kill(process, SIGKILL) == 0 ? 0 : errno;
    }
    return ENOSYS;
}

int HostileDriver::map(std::uint64_t iova, std::uint64_t address, std::uint64_t bytes,
                       std::uint32_t access) const {
    vfio_iommu_type1_dma_map request{};
    request.argsz = sizeof(request);
    request.flags = access;
    request.vaddr = address;
    request.iova = iova;
    request.size = bytes;
    return ::ioctl(container_, VFIO_IOMMU_MAP_DMA, &request) == 0 ? 0 : errno;
}

int HostileDriver::unmap(std::uint64_t iova, std::uint64_t bytes) const {
    vfio_iommu_type1_dma_unmap request{};
    request.argsz = sizeof(request);
    request.iova = iova;
    request.size = bytes;
    return ::ioctl(container_, VFIO_IOMMU_UNMAP_DMA, &request) == 0 ? 0 : errno;
}

// VFIO holds the page after it has gone from this process.
int HostileDriver::map_own(std::uint64_t iova, json& answer) {
    const Mapping page{page_bytes, PROT_READ | PROT_WRITE, private_memory, -1};
    if (page.error() != 0) {
        return page.error();
    }
    const std::uint64_t word = 0x0117'0000'0000'0000 + ++words_;
    std::memcpy(page.start(), &word, sizeof(word));
    answer["word"] = word;
    return map(iova, page.address(), page_bytes, writable);
}

int HostileDriver::map_file(std::uint64_t iova, std::uint32_t access, json& answer) const {
    const Descriptor file{::open(readable_.c_str(), O_RDONLY | O_CLOEXEC)};
    if (!file.valid()) {
        throw system_failure("cannot read " + readable_, errno);
    }
    const Mapping page{page_bytes, PROT_READ, MAP_SHARED | MAP_POPULATE, file.get()};
    return page.error() != 0 ? without_memory(page, answer) : map(iova, page.address(), page_bytes, access);
}

int HostileDriver::exhaust(std::uint64_t address, std::uint64_t bytes, json& answer) {
    std::uint64_t mappings = 0;
    int error = 0;
    while (error == 0 && mappings < most_mappings) {
        error = map(held_iova + held_bytes_, address, bytes, writable);
        if (error == 0) {
            held_bytes_ += bytes;
            ++mappings;
        }
    }
    answer["mappings"] = mappings;
    return error;
}

int HostileDriver::exhaust_memory(json& answer) {
    const Mapping memory{huge_page_bytes, PROT_READ | PROT_WRITE, private_memory, -1};
    return memory.error() != 0 ? without_memory(memory, answer) : exhaust(memory.address(), huge_page_bytes, answer);
}

int HostileDriver::release() {
    if (held_bytes_ == 0) {
        return 0;
    }
    const int error = unmap(held_iova, held_bytes_);
    held_bytes_ = 0;
    return error;
}

int HostileDriver::save_config() {
    if (config_saved_) {
        return 0;
    }
    vfio_region_info info;
    if (const int error = describe_region(device_fd_, VFIO_PCI_CONFIG_REGION_INDEX, info); error != 0) {
        return error;
    }
    const int error = outcome(
        ::pread(device_fd_, config_.data(), config_.size(), static_cast<off_t>(info.offset)), config_.size());
    config_saved_ = error == 0;
    return error;
}

int HostileDriver::write_config(std::uint32_t at, std::uint32_t value, std::size_t bytes) const {
    vfio_region_info info;
    if (const int error = describe_region(device_fd_, VFIO_PCI_CONFIG_REGION_INDEX, info); error != 0) {
        return error;
    }
    return outcome(::pwrite(device_fd_, &value, bytes, static_cast<off_t>(info.offset + at)), bytes);
}

int HostileDriver::write_bars(std::uint32_t address) {
    int error = save_config();
    for (std::uint32_t bar = 0; bar < bars && error == 0; ++bar) {
        error =
            write_config(PCI_BASE_ADDRESS_0 + bar * sizeof(std::uint32_t), address, sizeof(std::uint32_t));
    }
    return error;
}

int HostileDriver::write_rom(std::uint32_t address, json& answer) {
    if (const int error = save_config(); error != 0) {
        return error;
    }
    vfio_region_info info;
    if (const int error = describe_region(device_fd_, VFIO_PCI_ROM_REGION_INDEX, info); error != 0) {
        return error;
    }
    if (info.size == 0) {
        answer["absent"] = "the device has no expansion ROM to be moved";
        return 0;
    }
    return write_config(PCI_ROM_ADDRESS, address | PCI_ROM_ADDRESS_ENABLE, sizeof(std::uint32_t));
}

std::uint32_t HostileDriver::capability(std::uint8_t id) const {
    std::uint32_t at = std::to_integer<std::uint32_t>(config_[PCI_CAPABILITY_LIST]);
    // No more than fit: a list longer than that runs in a circle.
    for (std::size_t left = config_bytes / 4;
         at >= PCI_STD_HEADER_SIZEOF && at + 4 <= config_bytes && left != 0; --left) {
        if (std::to_integer<std::uint8_t>(config_[at]) == id) {
            return at;
        }
        at = std::to_integer<std::uint32_t>(config_[at + PCI_CAP_LIST_NEXT]);
    }
    return 0;
}

int HostileDriver::write_messages(std::uint32_t address, json& answer) {
    if (const int error = save_config(); error != 0) {
        return error;
    }
    const std::uint32_t at = capability(PCI_CAP_ID_MSI);
    if (at == 0) {
        answer["absent"] = "the device interrupts by its line only, and has no address to write messages to";
        return 0;
    }
    int error = write_config(at + PCI_MSI_ADDRESS_LO, address, sizeof(std::uint32_t));
    const std::uint32_t control = dword_at(config_, at) >> 16;
    if (error == 0) {
        error = write_config(at + (control & PCI_MSI_FLAGS_64BIT ? PCI_MSI_DATA_64 : PCI_MSI_DATA_32), 0xffff,
                             sizeof(std::uint16_t));
    }
    if (error == 0) {
        error = write_config(at + PCI_MSI_FLAGS, control | PCI_MSI_FLAGS_ENABLE, sizeof(std::uint16_t));
    }
    return error;
}

// The kernel has written the table when it enabled it. It is in a BAR: whoever may map that may write it [PCI 3.0 §6.8.2].
int HostileDriver::write_message_table(std::uint64_t address, std::uint32_t data, json& answer) {
    if (const int error = save_config(); error != 0) {
        return error;
    }
    const std::uint32_t at = capability(PCI_CAP_ID_MSIX);
    if (at == 0) {
        answer["absent"] = "the device has no table of messages (MSI-X)";
        return 0;
    }
    if (!messages_.valid()) {
        messages_ = Descriptor{::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)};
        if (const int error = device_.connect(VFIO_PCI_MSIX_IRQ_INDEX, VFIO_IRQ_SET_ACTION_TRIGGER, messages_.get());
            error != 0) {
            messages_.reset();
            answer["absent"] = std::string{"VFIO lets it have no message of its table: "} + std::strerror(error);
            return error;
        }
    }
    const std::uint32_t place = dword_at(config_, at + PCI_MSIX_TABLE);
    const std::uint32_t offset = place & PCI_MSIX_TABLE_OFFSET;
    vfio_region_info info;
    if (const int error = describe_region(device_fd_, VFIO_PCI_BAR0_REGION_INDEX + (place & PCI_MSIX_TABLE_BIR), info);
        error != 0) {
        return error;
    }
    const Mapping table{page_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, device_fd_,
                        info.offset + offset / page_bytes * page_bytes};
    if (table.error() != 0) {
        return table.error();
    }
    volatile std::uint32_t* const entry =
        static_cast<volatile std::uint32_t*>(table.start()) + offset % page_bytes / sizeof(std::uint32_t);
    entry[PCI_MSIX_ENTRY_LOWER_ADDR / sizeof(std::uint32_t)] = static_cast<std::uint32_t>(address);
    entry[PCI_MSIX_ENTRY_UPPER_ADDR / sizeof(std::uint32_t)] = static_cast<std::uint32_t>(address >> 32);
    entry[PCI_MSIX_ENTRY_DATA / sizeof(std::uint32_t)] = data;
    entry[PCI_MSIX_ENTRY_VECTOR_CTRL / sizeof(std::uint32_t)] = 0;
    send_message();
    return 0;
}

// The first of the table, at whatever cause [82574L §10.2.4].
void HostileDriver::send_message() const {
    volatile std::uint32_t* const registers = device_.registers();
    constexpr std::uint32_t vector_allocation = 0x000e4;  // IVAR: each of five causes has a vector and a bit that it is valid
    constexpr std::uint32_t all_to_the_first = 0x0008'8888;
    constexpr std::uint32_t every_cause = 0x01f0'0000;  // of its queues, and others
    registers[vector_allocation / sizeof(std::uint32_t)] = all_to_the_first;
    registers[e1000::InterruptMaskSet::offset / sizeof(std::uint32_t)] = every_cause;
    registers[e1000::InterruptCauseSet::offset / sizeof(std::uint32_t)] = every_cause;
    // The device has seen it when it answers.
    [[maybe_unused]] const std::uint32_t causes =
        registers[e1000::InterruptCauseRead::offset / sizeof(std::uint32_t)];
    registers[e1000::InterruptMaskClear::offset / sizeof(std::uint32_t)] = all_ones;
}

int HostileDriver::power_down(json& answer) {
    if (const int error = save_config(); error != 0) {
        return error;
    }
    const std::uint32_t at = capability(PCI_CAP_ID_PM);
    if (at == 0) {
        answer["absent"] = "the device has no power states to be put into";
        return 0;
    }
    constexpr std::uint32_t hot = 3;  // D3hot
    return write_config(at + PCI_PM_CTRL,
                        (dword_at(config_, at + PCI_PM_CTRL) & ~std::uint32_t{PCI_PM_CTRL_STATE_MASK}) | hot,
                        sizeof(std::uint16_t));
}

// Awake first: a device that sleeps may lose what is written.
int HostileDriver::restore_config() {
    if (!config_saved_) {
        return 0;
    }
    int first = 0;
    const auto restore = [&](std::uint32_t at, std::size_t bytes) {
        const int error = write_config(at, dword_at(config_, at), bytes);
        first = first != 0 ? first : error;
    };
    if (const std::uint32_t at = capability(PCI_CAP_ID_PM); at != 0) {
        restore(at + PCI_PM_CTRL, sizeof(std::uint16_t));
    }
    if (const std::uint32_t at = capability(PCI_CAP_ID_MSI); at != 0) {
        restore(at + PCI_MSI_FLAGS, sizeof(std::uint16_t));
        restore(at + PCI_MSI_ADDRESS_LO, sizeof(std::uint32_t));
    }
    for (std::uint32_t bar = 0; bar < bars; ++bar) {
        restore(PCI_BASE_ADDRESS_0 + bar * sizeof(std::uint32_t), sizeof(std::uint32_t));
    }
    restore(PCI_ROM_ADDRESS, sizeof(std::uint32_t));
    restore(PCI_COMMAND, sizeof(std::uint16_t));
    return first;
}

// `moved`: accesses that were made although there is nothing of the device's.
int HostileDriver::reach_beyond(json& answer) const {
    std::uint64_t moved = 0;
    std::uint64_t tried = 0;
    int first = 0;
    const auto access = [&](std::uint64_t offset) {
        std::uint32_t word = 0;
        for (const bool write : {false, true}) {
            errno = 0;
            const ssize_t got = write ? ::pwrite(device_fd_, &word, sizeof(word), static_cast<off_t>(offset))
                                      : ::pread(device_fd_, &word, sizeof(word), static_cast<off_t>(offset));
            ++tried;
            if (got > 0) {
                ++moved;
            } else if (first == 0) {
                first = errno;
            }
        }
    };
    for (const std::uint32_t index :
         {std::uint32_t{VFIO_PCI_CONFIG_REGION_INDEX}, std::uint32_t{VFIO_PCI_BAR0_REGION_INDEX}}) {
        vfio_region_info info;
        if (const int error = describe_region(device_fd_, index, info); error != 0) {
            answer["absent"] = std::string{"VFIO does not say where its regions end: "} + std::strerror(error);
            first = error;
            break;
        }
        // Behind its end, and as far as what VFIO keeps apart for a region.
        for (const std::uint64_t beyond : std::array<std::uint64_t, 3>{
                 info.size, info.size + page_bytes, (std::uint64_t{1} << 40) - page_bytes}) {
            access(info.offset + beyond);
        }
    }
    // No PCI function has so many regions.
    vfio_region_info last;
    constexpr std::uint32_t no_region = 200;
    if (describe_region(device_fd_, VFIO_PCI_CONFIG_REGION_INDEX, last) == 0) {
        access(last.offset / VFIO_PCI_CONFIG_REGION_INDEX * no_region);
    }
    answer["moved"] = moved;
    answer["tries"] = tried;
    return first;
}

int HostileDriver::flood(std::uint64_t rest_after) {
    if (flooding_) {
        return EBUSY;
    }
    device_.enable_interrupt(true);
    flooding_ = true;
    flood_ = std::thread{[this, rest_after] { interrupt_until_told(rest_after); }};
    return 0;
}

// Each round is an interrupt of the device's and, by a line, one more that the kernel makes up when it finds
// the line still asserted. The event counter behind them is never read.
void HostileDriver::interrupt_until_told(std::uint64_t rest_after) {
    volatile std::uint32_t* const registers = device_.registers();
    const auto write = [registers](std::uint32_t offset, std::uint32_t value) {
        registers[offset / sizeof(value)] = value;
    };
    const auto acknowledge = [registers] {
        [[maybe_unused]] const std::uint32_t causes =
            registers[e1000::InterruptCauseRead::offset / sizeof(std::uint32_t)];
    };
    write(e1000::InterruptThrottling::offset, 0);
    write(e1000::InterruptMaskSet::offset, e1000::all_causes);
    for (std::uint64_t made = 1; flooding_.load(std::memory_order_relaxed); ++made) {
        write(e1000::InterruptCauseSet::offset, e1000::all_causes);
        if (!device_.sends_messages()) {
            device_.unmask_interrupt();
        }
        // Otherwise the next one would be none to the device.
        acknowledge();
        if (!device_.sends_messages()) {
            device_.unmask_interrupt();
        }
        if (rest_after != 0 && made % rest_after == 0) {
            ::usleep(1);
        }
    }
    write(e1000::InterruptMaskClear::offset, all_ones);
    acknowledge();
}

int HostileDriver::end_flood() {
    if (!flood_.joinable()) {
        return 0;
    }
    flooding_ = false;
    flood_.join();
    device_.disable_interrupt();
    return 0;
}

}  // namespace dmatoll::user
