// SPDX-License-Identifier: BSD-2-Clause
#include "ownership.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "../failure.hpp"
#include "../paths.hpp"
#include "../process.hpp"
#include "../text.hpp"
#include "network.hpp"
#include "pci.hpp"
#include "system.hpp"

namespace dmatoll::harness {

namespace {

bool any_ublk_device() {
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(system_paths().sys / "block", error))
        if (entry.path().filename().string().starts_with("ublkb")) return true;
    return false;
}

}  // namespace

fs::path Ownership::state_file() { return system_paths().run / "taken.json"; }

Ownership::Ownership() {
    std::error_code error;
    fs::create_directories(system_paths().run, error);
    const fs::path lock = system_paths().run / "lock";
    lock_ = Descriptor{::open(lock.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)};
    if (!lock_.valid())
        fail("Cannot open {}: {}. Binding devices to drivers needs root; run dmatoll with sudo",
             lock.string(), system_error(errno));
    if (::flock(lock_.get(), LOCK_EX | LOCK_NB) != 0)
        fail("Another dmatoll is at work with this machine's devices ({} is locked); wait for it or stop it",
             lock.string());
    load();
}

void Ownership::load() {
    const auto text = read_attribute(state_file());
    if (!text || text->empty()) return;
    const auto json = nlohmann::json::parse(*text, nullptr, false);
    try {
        for (const auto& entry : json.at("devices"))
            taken_.push_back(
                {entry.at("bdf"), entry.at("driver"), entry.at("driver_override"), entry.at("group_type")});
        namespaces_ = json.at("namespaces").get<std::vector<std::string>>();
        modules_ = json.at("modules").get<std::vector<std::string>>();
        settings_ = json.at("settings").get<std::map<std::string, std::string>>();
    } catch (const nlohmann::json::exception&) {
        fail(
            "{} is not what dmatoll wrote. Look at the bindings with `dmatoll devices`, then remove the file",
            state_file().string());
    }
}

void Ownership::store() const {
    if (taken_.empty() && namespaces_.empty() && modules_.empty() && settings_.empty()) {
        ::unlink(state_file().c_str());
        return;
    }
    nlohmann::json json{{"devices", nlohmann::json::array()},
                        {"namespaces", namespaces_},
                        {"modules", modules_},
                        {"settings", settings_}};
    for (const auto& device : taken_)
        json["devices"].push_back({{"bdf", device.bdf},
                                   {"driver", device.driver},
                                   {"driver_override", device.driver_override},
                                   {"group_type", device.group_type}});
    write_file(state_file(), json.dump(2) + "\n");
}

void Ownership::take(const std::string& bdf, bool force) {
    // What was taken before may have got users since: somebody bound it by hand and mounted its disk.
    const PciDevice device = pci_device(bdf);
    require_free(device, force);
    if (force) forced_.insert(bdf);
    const auto same = [&](const Taken& taken) { return taken.bdf == bdf; };
    if (std::any_of(taken_.begin(), taken_.end(), same)) return;
    taken_.push_back({bdf, device.driver, device.driver_override, device.group_type});
    store();
}

void Ownership::unbind(const std::string& bdf) const {
    if (!forced_.contains(bdf)) require_disks_unused(pci_device(bdf));
    harness::unbind(bdf);
}

void Ownership::note_namespace(const std::string& name) {
    if (std::find(namespaces_.begin(), namespaces_.end(), name) != namespaces_.end()) return;
    namespaces_.push_back(name);
    store();
}

void Ownership::note_module(const std::string& name) {
    if (std::find(modules_.begin(), modules_.end(), name) != modules_.end()) return;
    modules_.push_back(name);
    store();
}

void Ownership::change_setting(const fs::path& file, const std::string& value) {
    const auto before = read_attribute(file);
    if (!before) return;
    if (settings_.emplace(file.string(), *before).second) store();
    write_attribute(file, value);
}

Ownership::Report Ownership::restore(bool force) {
    if (force)
        for (const auto& device : taken_) forced_.insert(device.bdf);
    Report report;
    const auto attempt = [&](const std::string& what, const auto& action) {
        try {
            action();
            report.done.push_back(what);
            return true;
        } catch (const std::exception& error) {
            // An interruption, too: what is left of the list still goes back.
            report.problems.push_back(what + ": " + error.what());
            return false;
        }
    };
    std::erase_if(namespaces_, [&](const std::string& name) {
        if (!fs::exists("/run/netns/" + name)) return true;
        return attempt("removed the network namespace " + name, [&] { remove_namespace(name); });
    });
    // A user driver that was killed leaves block devices that wait for its successor, and hold their module.
    const fs::path driver = our_program("dmatoll-disk-user");
    if (any_ublk_device() && !driver.empty())
        for (const auto& before : taken_)
            attempt("removed what a killed driver of " + before.bdf + " left", [&] {
                run_or_fail({.arguments = {driver.string(), "--device", before.bdf, "--remove"}},
                            "remove the block devices of " + before.bdf);
            });
    std::erase_if(taken_, [&](const Taken& before) {
        return attempt(fmt::format("{} is with {} again", before.bdf,
                                   before.driver.empty() ? "no driver" : before.driver),
                       [&] {
                           const PciDevice now = pci_device(before.bdf);
                           if (now.driver != before.driver || now.group_type != before.group_type)
                               this->unbind(before.bdf);
                           if (!before.group_type.empty()) set_group_type(before.bdf, before.group_type);
                           if (!before.driver.empty()) bind_driver(before.bdf, before.driver);
                           set_driver_override(before.bdf, before.driver_override);
                       });
    });
    std::erase_if(modules_, [&](const std::string& name) {
        if (!fs::exists(system_paths().sys / "module" / name)) return true;
        return attempt("removed the module " + name, [&] {
            run_or_fail({.arguments = {"rmmod", name}}, "remove the module " + name);
        });
    });
    std::erase_if(settings_, [&](const auto& setting) {
        return attempt(fmt::format("{} is {} again", setting.first, setting.second),
                       [&] { write_attribute(setting.first, setting.second); });
    });
    store();
    return report;
}

}  // namespace dmatoll::harness
