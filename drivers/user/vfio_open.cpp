// SPDX-License-Identifier: BSD-2-Clause
#include "vfio_open.hpp"

#include <fcntl.h>
#include <linux/vfio.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>

#include "failure.hpp"

namespace dmatoll::user {
namespace {

constexpr int retry_ms = 20;

Descriptor open_container() {
    Descriptor container{::open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC)};
    if (!container.valid()) {
        const int error = errno;
        if (error == ENOENT || error == ENODEV) {
            throw Failure{
                "/dev/vfio/vfio is not there: VFIO is not loaded. `modprobe -a vfio-pci vfio_iommu_type1` "
                "loads it."};
        }
        throw system_failure("cannot open /dev/vfio/vfio", error);
    }
    if (::ioctl(container.get(), VFIO_GET_API_VERSION) != VFIO_API_VERSION) {
        throw Failure{
            "/dev/vfio/vfio speaks another version of the VFIO interface than this program was built for"};
    }
    if (::ioctl(container.get(), VFIO_CHECK_EXTENSION, VFIO_TYPE1v2_IOMMU) != 1) {
        throw Failure{"VFIO has no type 1 IOMMU driver. `modprobe vfio_iommu_type1` loads it."};
    }
    return container;
}

Descriptor open_group(const PciDevice& device, int patience_ms) {
    const std::string path = "/dev/vfio/" + device.group;
    for (int waited_ms = 0;; waited_ms += retry_ms) {
        Descriptor group{::open(path.c_str(), O_RDWR | O_CLOEXEC)};
        if (group.valid()) {
            return group;
        }
        const int error = errno;
        if (error == EBUSY && waited_ms < patience_ms) {
            ::usleep(retry_ms * 1000);
            continue;
        }
        if (error == EBUSY) {
            throw Failure{"IOMMU group " + device.group + " of device " + device.bdf +
                          " is in use by another process (" + path + " opens once). `fuser -v " + path +
                          "` names it."};
        }
        if (error == ENOENT) {
            throw Failure{
                path + " is not there although " + device.bdf +
                " is bound to vfio-pci. Without interrupt remapping, or with VFIO's device nodes managed "
                "elsewhere, it does not appear; `dmesg | grep -i -e vfio -e remapping` tells."};
        }
        throw system_failure("cannot open " + path, error);
    }
}

}  // namespace

VfioDescriptors open_vfio(const PciDevice& device, int patience_ms) {
    VfioDescriptors opened;
    opened.container = open_container();
    const Descriptor group = open_group(device, patience_ms);

    vfio_group_status status{};
    status.argsz = sizeof(status);
    if (::ioctl(group.get(), VFIO_GROUP_GET_STATUS, &status) != 0) {
        throw system_failure("cannot read the state of IOMMU group " + device.group, errno);
    }
    if (!(status.flags & VFIO_GROUP_FLAGS_VIABLE)) {
        throw Failure{"IOMMU group " + device.group + " of device " + device.bdf +
                      " is not viable: another device in it is bound to a driver of the kernel. `ls -l "
                      "/sys/kernel/iommu_groups/" +
                      device.group + "/devices/*/driver` shows which."};
    }
    int container = opened.container.get();
    if (::ioctl(group.get(), VFIO_GROUP_SET_CONTAINER, &container) != 0) {
        throw system_failure("cannot put IOMMU group " + device.group + " into a VFIO container", errno);
    }
    if (::ioctl(opened.container.get(), VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU) != 0) {
        const int error = errno;
        throw Failure{"the IOMMU refuses a domain for group " + device.group + ": " + std::strerror(error) +
                      (error == EPERM
                           ? ". VFIO wants interrupt remapping: switch it on in the firmware (in QEMU: "
                             "intel-iommu,intremap=on), or see the allow_unsafe_interrupts parameter of "
                             "vfio_iommu_type1."
                           : ". `dmesg | tail` may say why.")};
    }
    opened.device = Descriptor{::ioctl(group.get(), VFIO_GROUP_GET_DEVICE_FD, device.bdf.c_str())};
    if (!opened.device.valid()) {
        throw system_failure("VFIO does not hand out device " + device.bdf, errno);
    }
    // VFIO_GROUP_GET_DEVICE_FD sets close-on-exec by itself; the supervisor depends on it.
    ::fcntl(opened.device.get(), F_SETFD, FD_CLOEXEC);
    return opened;
}

}  // namespace dmatoll::user
