// SPDX-License-Identifier: BSD-2-Clause
#include "vfio_device.hpp"

#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "failure.hpp"

namespace dmatoll::user {
namespace {

vfio_region_info region_info(int device, std::uint32_t index, const std::string& name) {
    vfio_region_info info{};
    info.argsz = sizeof(info);
    info.index = index;
    if (::ioctl(device, VFIO_DEVICE_GET_REGION_INFO, &info) != 0) {
        throw system_failure("device " + name + ": VFIO does not describe region " + std::to_string(index),
                             errno);
    }
    return info;
}

}  // namespace

VfioDevice::VfioDevice(Descriptor device, std::string name, unsigned number, std::size_t fewest,
                       std::size_t most)
    : device_{std::move(device)}, name_{std::move(name)} {
    vfio_device_info info{};
    info.argsz = sizeof(info);
    if (::ioctl(device_.get(), VFIO_DEVICE_GET_INFO, &info) != 0) {
        throw system_failure("device " + name_ + ": VFIO does not describe it", errno);
    }
    // A part without function-level reset (the 82540EM is one) is reset by the driver, register by register.
    if (info.flags & VFIO_DEVICE_FLAGS_RESET) {
        ::ioctl(device_.get(), VFIO_DEVICE_RESET);
    }
    const vfio_region_info bar = region_info(device_.get(), VFIO_PCI_BAR0_REGION_INDEX + number, name_);
    if (bar.size < fewest || !(bar.flags & VFIO_REGION_INFO_FLAG_MMAP)) {
        throw Failure{
            "device " + name_ + ": BAR " + std::to_string(number) + " has " + std::to_string(bar.size) +
            " bytes" + (bar.flags & VFIO_REGION_INFO_FLAG_MMAP ? "" : " and cannot be mapped") +
            "; expected " + std::to_string(fewest) +
            " bytes of mappable registers. The firmware may not have assigned it: see `lspci -vv -s " +
            name_ + "`."};
    }
    const std::size_t register_bytes = std::min<std::size_t>(bar.size, most);
    void* mapped = ::mmap(nullptr, register_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, device_.get(),
                          static_cast<off_t>(bar.offset));
    if (mapped == MAP_FAILED) {
        throw system_failure("device " + name_ + ": cannot map BAR " + std::to_string(number), errno);
    }
    registers_ = static_cast<volatile std::uint32_t*>(mapped);
    mapped_bytes_ = register_bytes;
}

VfioDevice::~VfioDevice() {
    if (registers_ != nullptr) {
        ::munmap(const_cast<std::uint32_t*>(registers_), mapped_bytes_);
    }
}

void VfioDevice::set_bus_mastering(bool on) {
    const vfio_region_info config = region_info(device_.get(), VFIO_PCI_CONFIG_REGION_INDEX, name_);
    const auto at = static_cast<off_t>(config.offset + PCI_COMMAND);
    std::uint16_t command = 0;
    if (::pread(device_.get(), &command, sizeof(command), at) != sizeof(command)) {
        throw system_failure("device " + name_ + ": cannot read the PCI command register", errno);
    }
    const auto wanted = static_cast<std::uint16_t>(on ? (command | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER)
                                                      : (command & ~PCI_COMMAND_MASTER));
    if (::pwrite(device_.get(), &wanted, sizeof(wanted), at) != sizeof(wanted) ||
        ::pread(device_.get(), &command, sizeof(command), at) != sizeof(command)) {
        throw system_failure("device " + name_ + ": cannot write the PCI command register", errno);
    }
    if (((command & PCI_COMMAND_MASTER) != 0) != on) {
        throw Failure{"device " + name_ + ": bus mastering does not turn " + (on ? "on" : "off")};
    }
}

bool VfioDevice::has_interrupt(std::uint32_t index) const {
    vfio_irq_info info{};
    info.argsz = sizeof(info);
    info.index = index;
    return ::ioctl(device_.get(), VFIO_DEVICE_GET_IRQ_INFO, &info) == 0 && info.count >= 1;
}

int VfioDevice::connect(std::uint32_t index, std::uint32_t action, int fd) const {
    std::array<std::byte, sizeof(vfio_irq_set) + sizeof(std::int32_t)> bytes{};
    vfio_irq_set set{};
    set.argsz = sizeof(bytes);
    set.flags = VFIO_IRQ_SET_DATA_EVENTFD | action;
    set.index = index;
    set.start = 0;
    set.count = 1;
    const std::int32_t descriptor = fd;
    std::memcpy(bytes.data(), &set, sizeof(set));
    std::memcpy(bytes.data() + sizeof(set), &descriptor, sizeof(descriptor));
    return ::ioctl(device_.get(), VFIO_DEVICE_SET_IRQS, bytes.data()) == 0 ? 0 : errno;
}

void VfioDevice::enable_interrupt(bool messages_wanted) {
    interrupt_ = Descriptor{::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)};
    if (!interrupt_.valid()) {
        throw system_failure("cannot make an event counter for interrupts", errno);
    }
    // A machine may have no vector left; then the line does.
    sends_messages_ = messages_wanted && has_interrupt(VFIO_PCI_MSI_IRQ_INDEX) &&
                      connect(VFIO_PCI_MSI_IRQ_INDEX, VFIO_IRQ_SET_ACTION_TRIGGER, interrupt_.get()) == 0;
    if (sends_messages_) {
        return;
    }
    if (!has_interrupt(VFIO_PCI_INTX_IRQ_INDEX)) {
        throw Failure{"device " + name_ + " has no interrupt line (INTx)" +
                      (messages_wanted ? ", and its messages (MSI) cannot be had"
                                       : ", the only kind of interrupt that this part has")};
    }
    unmask_ = Descriptor{::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)};
    if (!unmask_.valid()) {
        throw system_failure("cannot make an event counter for interrupts", errno);
    }
    int error = connect(VFIO_PCI_INTX_IRQ_INDEX, VFIO_IRQ_SET_ACTION_TRIGGER, interrupt_.get());
    if (error == 0) {
        error = connect(VFIO_PCI_INTX_IRQ_INDEX, VFIO_IRQ_SET_ACTION_UNMASK, unmask_.get());
    }
    if (error != 0) {
        throw system_failure("device " + name_ + ": cannot connect its interrupt line (INTx)", error);
    }
}

void VfioDevice::disable_interrupt() {
    vfio_irq_set set{};
    set.argsz = sizeof(set);
    set.flags = VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER;
    set.index = sends_messages_ ? VFIO_PCI_MSI_IRQ_INDEX : VFIO_PCI_INTX_IRQ_INDEX;
    ::ioctl(device_.get(), VFIO_DEVICE_SET_IRQS, &set);  // closing the device does the same if this fails
}

}  // namespace dmatoll::user
