// SPDX-License-Identifier: BSD-2-Clause
#include "witness.hpp"

#include <fcntl.h>
#include <linux/vfio.h>
#include <sys/ioctl.h>

#include <cerrno>
#include <utility>

#include "../failure.hpp"
#include "../process.hpp"
#include "../text.hpp"
#include "pci.hpp"

namespace dmatoll::harness {
namespace {

constexpr const char* vfio_driver = "vfio-pci";
constexpr std::uint64_t page_bytes = 4096;

}  // namespace

Witness::Witness(std::string bdf) : bdf_{std::move(bdf)} {
    const PciDevice device = pci_device(bdf_);
    driver_ = device.driver;
    driver_override_ = device.driver_override;
    try {
        require_own_group(device, "a second device with a domain of its own");
        for (const char* module : {"vfio-pci", "vfio_iommu_type1"})
            run_or_fail({.arguments = {"modprobe", module}}, fmt::format("load the module {}", module));
        bind_driver(bdf_, vfio_driver);
        open_domain(std::to_string(*device.group));
    } catch (const Interrupted&) {
        give_back();
        throw;
    } catch (const Failure& failure) {
        give_back();
        throw Unavailable{
            fmt::format("{} is no second device with a domain of its own: {}", bdf_, failure.what())};
    }
}

Witness::~Witness() { give_back(); }

void Witness::open_domain(const std::string& group) {
    const auto open_file = [](const std::string& path) {
        Descriptor file{::open(path.c_str(), O_RDWR | O_CLOEXEC)};
        if (!file.valid()) fail("Cannot open {}: {}", path, system_error(errno));
        return file;
    };
    container_ = open_file("/dev/vfio/vfio");
    group_ = open_file("/dev/vfio/" + group);
    int container = container_.get();
    if (::ioctl(group_.get(), VFIO_GROUP_SET_CONTAINER, &container) != 0 ||
        ::ioctl(container_.get(), VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU) != 0)
        fail("VFIO gives IOMMU group {} no domain: {}", group, system_error(errno));
}

// Its domain goes first: a driver is not taken from a device while somebody holds that.
void Witness::give_back() {
    group_.reset();
    container_.reset();
    try {
        if (driver_.empty())
            harness::unbind(bdf_);
        else
            bind_driver(bdf_, driver_);
        set_driver_override(bdf_, driver_override_);
    } catch (const std::exception& error) {
        // The ownership file still tells how the device was.
        fmt::print(stderr, "dmatoll: {} did not get its driver back: {}\n", bdf_, error.what());
    }
}

void Witness::map(std::uint64_t iova) {
    vfio_iommu_type1_dma_map request{};
    request.argsz = sizeof request;
    request.flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE;
    request.vaddr = page_.address();
    request.iova = iova;
    request.size = page_bytes;
    if (::ioctl(container_.get(), VFIO_IOMMU_MAP_DMA, &request) != 0)
        fail("VFIO maps no page at {:#x} for {}: {}", iova, bdf_, system_error(errno));
}

void Witness::unmap(std::uint64_t iova) {
    vfio_iommu_type1_dma_unmap request{};
    request.argsz = sizeof request;
    request.iova = iova;
    request.size = page_bytes;
    if (::ioctl(container_.get(), VFIO_IOMMU_UNMAP_DMA, &request) != 0 || request.size != page_bytes)
        fail("VFIO had no page at {:#x} for {}: {}", iova, bdf_, system_error(errno));
}

}  // namespace dmatoll::harness
