// SPDX-License-Identifier: BSD-2-Clause
#include "doctor.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

#include "catalogue.hpp"
#include "file.hpp"
#include "paths.hpp"
#include "process.hpp"
#include "provenance.hpp"
#include "run_lab.hpp"
#include "target/pci.hpp"
#include "target/system.hpp"
#include "text.hpp"

namespace dmatoll::harness {
namespace {

Check program(const std::string& name, const std::string& package) {
    if (const auto path = find_program(name)) return {name, true, *path, ""};
    return {name, false, "not installed", "apt-get install " + package};
}

Check file(const std::string& name, const fs::path& path, const std::string& remedy) {
    std::error_code error;
    if (!path.empty() && fs::exists(path, error)) return {name, true, path.string(), ""};
    return {name, false, path.empty() ? "nowhere" : path.string() + " is not there", remedy};
}

// The meter is written for version 1 of the plugin interface, which QEMU 9 gave up.
Check meter(const fs::path& path, const std::string& build) {
    Check check = file("instruction meter", path, build);
    const std::string version = emulator_version();
    unsigned major = 0;
    if (!check.there || std::sscanf(version.c_str(), "QEMU emulator version %u", &major) != 1 || major < 9)
        return check;
    return {
        check.name, false, version + " does not load it: it has another plugin interface",
        "a QEMU from 4.2 to 8.x (Debian 12, Ubuntu 24.04), or --clock wall, which does without the meter"};
}

Check python_packages() {
    if (!find_program("/usr/bin/python3"))
        return {"analysis", false, "no /usr/bin/python3", "apt-get install python3"};
    const Ended ended =
        run({.arguments = {"/usr/bin/python3", "-c", "import numpy, pandas, scipy, matplotlib, jinja2"}}, 60);
    if (ended.status == 0) return {"analysis", true, "Python packages are there", ""};
    const auto said = lines(ended.error);
    return {"analysis", false, said.empty() ? "its Python packages cannot be loaded" : said.back(),
            "apt-get install python3-numpy python3-pandas python3-scipy python3-matplotlib python3-jinja2"};
}

Check two_cpus() {
    const auto count = allowed_cpus().size();
    if (count >= 2) return {"CPUs", true, fmt::format("{} usable", count), ""};
    return {"CPUs", false, "one usable",
            "one for the device under test and one for the rest; guests run one at a time on one"};
}

Check iommu() {
    std::error_code error;
    std::vector<std::string> units;
    for (const auto& entry : fs::directory_iterator(system_paths().sys / "class/iommu", error))
        units.push_back(entry.path().filename().string());
    std::sort(units.begin(), units.end());
    if (!units.empty()) return {"IOMMU", true, join(units, ", "), ""};
    return {"IOMMU", false, "none is active",
            "switch on VT-d or AMD-Vi in the firmware, boot with intel_iommu=on (Intel)"};
}

Check module_or_driver(const std::string& name, const std::string& module, const fs::path& shows,
                       const std::string& remedy) {
    std::error_code error;
    if (fs::exists(shows, error)) return {name, true, shows.string(), ""};
    if (find_program("modprobe") &&
        run({.arguments = {"modprobe", "--dry-run", "--quiet", module}}).status == 0)
        return {name, true, "module " + module + ", not loaded yet", ""};
    return {name, false, "neither loaded nor a module of this kernel", remedy};
}

Check hugepages() {
    const std::string pool =
        read_attribute(system_paths().sys / "kernel/mm/hugepages/hugepages-2048kB/free_hugepages")
            .value_or("");
    const int count = std::atoi(pool.c_str());
    if (count > 0) return {"huge pages", true, fmt::format("{} of 2 MiB are free", count), ""};
    return {"huge pages", false,
            pool.empty() ? "the kernel has none of 2 MiB"
                         : "none of 2 MiB is free; the user driver takes 4 KiB pages",
            "echo 32 > /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"};
}

Check kvm() {
    // Permission is not enough: some machines have the file and no hardware behind it.
    if (Descriptor{::open("/dev/kvm", O_RDWR | O_CLOEXEC)}.valid()) return {"KVM", true, "/dev/kvm", ""};
    return {"KVM", false, "/dev/kvm: " + system_error(errno),
            "not needed: the lab emulates, and its virtual clock cannot use KVM"};
}

Check kernel() {
    utsname system{};
    ::uname(&system);
    const std::string release = system.release;
    if (kernel_at_least(release, 6, 11)) return {"kernel", true, release, ""};
    return {"kernel", false, release + " is older than 6.11 (iommu_paging_domain_alloc)",
            "install a newer kernel, on Debian 12: linux-image-6.12-amd64; the lab brings its own"};
}

Check devices(DeviceKind kind, const std::string& name) {
    std::vector<std::string> found, drivable;
    for (const auto& device : device_models())
        if (device.kind == kind) drivable.emplace_back(device.model);
    for (const auto& device : pci_devices())
        if (const DeviceModel* model = find_device_model(device.vendor, device.device, device.class_code);
            model && model->kind == kind)
            found.push_back(fmt::format("{} ({})", device.bdf, model->model));
    if (!found.empty()) return {name, true, join(found, ", "), ""};
    return {name, false, "none that dmatoll drives (" + join(drivable, ", ") + ")",
            "use the lab"};
}

Check privilege() {
    if (::geteuid() == 0) return {"privilege", true, "root", ""};
    return {"privilege", false, "not root",
            "binding devices needs root: sudo dmatoll ... (the lab does not need it)"};
}

bool all_there(const std::vector<Check>& checks) {
    return std::all_of(checks.begin(), checks.end(), [](const Check& check) { return check.there; });
}

}  // namespace

bool kernel_at_least(const std::string& release, unsigned major, unsigned minor) {
    unsigned have_major = 0, have_minor = 0;
    if (std::sscanf(release.c_str(), "%u.%u", &have_major, &have_minor) != 2) return false;
    return have_major > major || (have_major == major && have_minor >= minor);
}

bool Diagnosis::lab_ready() const { return all_there(lab); }
bool Diagnosis::hardware_ready() const { return all_there(hardware); }

Diagnosis diagnose() {
    Diagnosis diagnosis;
    const fs::path artefacts = lab_artefacts();
    const std::string build = "cmake --preset release && cmake --build --preset release";
    diagnosis.lab = {
        program("qemu-system-x86_64", "qemu-system-x86"),
        file("lab kernel", artefacts / "vmlinuz", build),
        file("lab image", artefacts / "initramfs.cpio", build),
        file("lab image, disks", artefacts / "disk.cpio", build),
        meter(artefacts / "libdmatoll_meter.so", build),
        python_packages(),
    };
    diagnosis.hardware = {
        privilege(),
        kernel(),
        iommu(),
        devices(DeviceKind::network, "network cards"),
        two_cpus(),
        module_or_driver("VFIO", "vfio-pci", system_paths().sys / "bus/pci/drivers/vfio-pci",
                         "a kernel with CONFIG_VFIO_PCI"),
        module_or_driver("TUN/TAP", "tun", "/dev/net/tun", "a kernel with CONFIG_TUN"),
        file("kernel module", our_module("dmatoll_net"),
             "build it for this kernel: apt-get install linux-headers-$(uname -r), then make -C "
             "drivers/kernel MO=$PWD/build/release/drivers/kernel/$(uname -r)"),
        file("user driver", our_program("dmatoll-net-user"), build),
        program("ip", "iproute2"),
        program("ethtool", "ethtool"),
        program("iperf3", "iperf3"),
        program("modprobe", "kmod"),
    };
    diagnosis.optional = {
        devices(DeviceKind::disk, "disk controllers"),
        file("kernel module, disks", our_module("dmatoll_blk"), "as the other kernel module"),
        file("user driver, disks", our_program("dmatoll-disk-user"), build),
        file("kernel module, copies", our_module("dmatoll_dma"), "as the other kernel module"),
        file("kernel module, copies by disk", our_module("dmatoll_dma_disk"), "as the other kernel module"),
        file("user driver, copies", our_program("dmatoll-dma-user"), build),
        module_or_driver("ublk", "ublk_drv", "/dev/ublk-control", "a kernel with CONFIG_BLK_DEV_UBLK"),
        program("fio", "fio"),
        program("wipefs", "util-linux"),
        file("user driver, kernel-like", our_program("dmatoll-net-user-kernel-like"), build),
        file("user driver, disks, kernel-like", our_program("dmatoll-disk-user-kernel-like"), build),
        file("user driver, copies, kernel-like", our_program("dmatoll-dma-user-kernel-like"), build),
        hugepages(),
        kvm(),
        {"two guests at a time", allowed_cpus().size() >= 2,
         fmt::format("{} CPUs usable", allowed_cpus().size()),
         allowed_cpus().size() >= 2 ? "" : "a second CPU would halve a suite's time"},
    };
    return diagnosis;
}

}  // namespace dmatoll::harness
