// SPDX-License-Identifier: BSD-2-Clause
#include "provenance.hpp"

#include <sys/utsname.h>

#include <cstdlib>

#include "file.hpp"
#include "paths.hpp"
#include "process.hpp"
#include "target/system.hpp"
#include "text.hpp"

namespace dmatoll::harness {

nlohmann::json program_provenance() {
    nlohmann::json result{{"git", "unknown"},
                          {"compiler", DMATOLL_COMPILER},
                          {"build_type", DMATOLL_BUILD_TYPE},
                          {"version", program_version}};
    const fs::path sources = source_tree();
    if (sources.empty() || !find_program("git")) return result;
    const Ended commit = run({.arguments = {"git", "-C", sources.string(), "rev-parse", "HEAD"}});
    if (commit.status == 0) result["git"] = trim(commit.output);
    const Ended changes = run({.arguments = {"git", "-C", sources.string(), "status", "--porcelain"}});
    if (changes.status == 0) result["dirty"] = !trim(changes.output).empty();
    return result;
}

unsigned vtd_address_width(std::uint64_t capability) {
    return static_cast<unsigned>(capability >> 16 & 0x3f) + 1;
}

nlohmann::json machine_provenance() {
    utsname system{};
    ::uname(&system);
    nlohmann::json result{{"kernel", system.release}, {"kernel_build", system.version}};
    const fs::path proc = system_paths().proc;
    result["cmdline"] = read_attribute(proc / "cmdline").value_or("");
    for (const auto& line : lines(read_attribute(proc / "cpuinfo").value_or("")))
        if (line.starts_with("model name")) {
            result["cpu_model"] = trim(line.substr(line.find(':') + 1));
            break;
        }
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(system_paths().sys / "class/iommu", error)) {
        const std::string name = entry.path().filename().string();
        nlohmann::json iommu{{"name", name}};
        if (const auto capability = read_attribute(entry.path() / "intel-iommu/cap")) {
            iommu["driver"] = "intel";
            iommu["cap"] = *capability;
            iommu["ecap"] = read_attribute(entry.path() / "intel-iommu/ecap").value_or("");
            iommu["address_width"] = vtd_address_width(std::strtoull(capability->c_str(), nullptr, 16));
        } else if (const auto features = read_attribute(entry.path() / "amd-iommu/cap")) {
            iommu["driver"] = "amd";
            iommu["cap"] = *features;
        } else {
            iommu["driver"] = "unknown";
        }
        if (!result.contains("iommu")) result["iommu"] = iommu;
    }
    for (const auto& entry :
         fs::directory_iterator(system_paths().sys / "devices/system/cpu/vulnerabilities", error))
        if (const auto text = read_attribute(entry.path()))
            result["vulnerabilities"][entry.path().filename().string()] = *text;
    return result;
}

std::string emulator_version() {
    if (!find_program("qemu-system-x86_64")) return {};
    const auto said = lines(run({.arguments = {"qemu-system-x86_64", "--version"}}).output);
    return said.empty() ? "" : said.front();
}

}  // namespace dmatoll::harness
