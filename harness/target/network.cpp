// SPDX-License-Identifier: BSD-2-Clause
#include "network.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <iterator>
#include <sstream>
#include <vector>

#include "../failure.hpp"
#include "../process.hpp"
#include "../text.hpp"
#include "pci.hpp"
#include "system.hpp"

namespace dmatoll::harness {

InNamespace::InNamespace(const std::string& name) {
    if (name.empty()) return;
    before_ = Descriptor{::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC)};
    const std::string path = "/run/netns/" + name;
    const Descriptor target{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
    if (!target.valid() || ::setns(target.get(), CLONE_NEWNET) != 0)
        fail("Cannot enter the network namespace {}: {}", name, system_error(errno));
}

InNamespace::~InNamespace() {
    if (before_.valid() && ::setns(before_.get(), CLONE_NEWNET) != 0)
        std::abort();  // nothing would be where it is thought to be
}

Interface::Interface(std::string name, std::string network_namespace)
    : name_{std::move(name)}, namespace_{std::move(network_namespace)} {
    const InNamespace inside{namespace_};
    socket_ = Descriptor{::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
    if (!socket_.valid()) fail("Cannot make a socket to ask about {}: {}", name_, system_error(errno));
}

namespace {

ifreq request_for(const std::string& name) {
    ifreq request{};
    std::snprintf(request.ifr_name, sizeof request.ifr_name, "%s", name.c_str());
    return request;
}

}  // namespace

bool Interface::ethtool(void* data) const {
    ifreq request = request_for(name_);
    request.ifr_data = static_cast<char*>(data);
    return ::ioctl(socket_.get(), SIOCETHTOOL, &request) == 0;
}

std::string Interface::mac() const {
    ifreq request = request_for(name_);
    if (::ioctl(socket_.get(), SIOCGIFHWADDR, &request) != 0)
        fail("Cannot read the address of {}: {}", name_, system_error(errno));
    std::string text;
    for (int i = 0; i < 6; ++i)
        text +=
            fmt::format("{}{:02x}", i ? ":" : "", static_cast<unsigned char>(request.ifr_hwaddr.sa_data[i]));
    return text;
}

bool Interface::running() const {
    ifreq request = request_for(name_);
    return ::ioctl(socket_.get(), SIOCGIFFLAGS, &request) == 0 && (request.ifr_flags & IFF_UP) &&
           (request.ifr_flags & IFF_RUNNING);
}

std::uint32_t Interface::mtu() const {
    ifreq request = request_for(name_);
    if (::ioctl(socket_.get(), SIOCGIFMTU, &request) != 0)
        fail("Cannot read the MTU of {}: {}", name_, system_error(errno));
    return static_cast<std::uint32_t>(request.ifr_mtu);
}

void Interface::set_mtu(std::uint32_t mtu) const {
    if (this->mtu() == mtu) return;
    run_or_fail({.arguments = {"ip", "link", "set", name_, "mtu", std::to_string(mtu)},
                 .network_namespace = namespace_},
                fmt::format("set the MTU of {} to {}", name_, mtu));
}

void Interface::set_offloads(bool on) const {
    std::vector<std::string> arguments{"ethtool", "-K", name_};
    for (const char* name : {"rx", "tx", "sg", "tso", "gso", "gro"}) {
        arguments.emplace_back(name);
        arguments.emplace_back(on ? "on" : "off");
    }
    run_or_fail({.arguments = arguments, .network_namespace = namespace_},
                fmt::format("switch the offloads of {} {}", name_, on ? "on" : "off"));
}

std::string Interface::driver() const {
    ethtool_drvinfo information{};
    information.cmd = ETHTOOL_GDRVINFO;
    return ethtool(&information) ? information.driver : "";
}

Counts Interface::ethtool_statistics() const {
    Counts counts;
    ethtool_drvinfo information{};
    information.cmd = ETHTOOL_GDRVINFO;
    if (!ethtool(&information) || information.n_stats == 0) return counts;
    const std::uint32_t count = information.n_stats;

    std::vector<char> name_block(sizeof(ethtool_gstrings) +
                                 static_cast<std::size_t>(count) * ETH_GSTRING_LEN);
    auto* names = reinterpret_cast<ethtool_gstrings*>(name_block.data());
    names->cmd = ETHTOOL_GSTRINGS;
    names->string_set = ETH_SS_STATS;
    names->len = count;
    std::vector<std::uint64_t> value_block(sizeof(ethtool_stats) / sizeof(std::uint64_t) + count);
    auto* values = reinterpret_cast<ethtool_stats*>(value_block.data());
    values->cmd = ETHTOOL_GSTATS;
    values->n_stats = count;
    if (!ethtool(names) || !ethtool(values)) return counts;
    for (std::uint32_t i = 0; i < count; ++i) {
        const char* text =
            reinterpret_cast<const char*>(names->data) + static_cast<std::size_t>(i) * ETH_GSTRING_LEN;
        counts[std::string(text, strnlen(text, ETH_GSTRING_LEN))] = values->data[i];
    }
    return counts;
}

Counts Interface::interface_statistics() const {
    const InNamespace inside{namespace_};
    // name: bytes packets errs drop fifo frame compressed multicast | bytes packets ...
    for (const auto& line : lines(read_file("/proc/thread-self/net/dev"))) {
        const std::size_t colon = line.find(':');
        if (colon == std::string::npos || trim(line.substr(0, colon)) != name_) continue;
        unsigned long long v[10]{};
        if (std::sscanf(line.c_str() + colon + 1, "%llu %llu %llu %llu %llu %llu %llu %llu %llu %llu", &v[0],
                        &v[1], &v[2], &v[3], &v[4], &v[5], &v[6], &v[7], &v[8], &v[9]) == 10)
            return {{"rx_bytes", v[0]}, {"rx_packets", v[1]}, {"tx_bytes", v[8]}, {"tx_packets", v[9]}};
    }
    fail("The interface {} is gone", name_);
}

nlohmann::json Interface::offloads() const {
    static constexpr struct {
        const char* name;
        std::uint32_t command;
    } switches[] = {{"receive_checksum", ETHTOOL_GRXCSUM},  {"transmit_checksum", ETHTOOL_GTXCSUM},
                    {"scatter_gather", ETHTOOL_GSG},        {"segmentation", ETHTOOL_GTSO},
                    {"generic_segmentation", ETHTOOL_GGSO}, {"generic_receive", ETHTOOL_GGRO}};
    nlohmann::json result = nlohmann::json::object();
    for (const auto& entry : switches) {
        ethtool_value value{entry.command, 0};
        if (ethtool(&value)) result[entry.name] = value.data != 0;
    }
    return result;
}

nlohmann::json Interface::rings() const {
    ethtool_ringparam rings{};
    rings.cmd = ETHTOOL_GRINGPARAM;
    if (!ethtool(&rings)) return nlohmann::json::object();
    return {{"receive_descriptors", rings.rx_pending}, {"transmit_descriptors", rings.tx_pending}};
}

fs::path tcp_metrics_setting() { return system_paths().proc / "sys/net/ipv4/tcp_no_metrics_save"; }

void Interface::configure(const std::string& address) const {
    {
        const InNamespace inside{namespace_};
        const fs::path ipv6 = system_paths().proc / "sys/net/ipv6/conf" / name_ / "disable_ipv6";
        if (fs::exists(ipv6)) write_attribute(ipv6, "1");
        if (!namespace_.empty() && fs::exists(tcp_metrics_setting())) write_attribute(tcp_metrics_setting(), "1");
        // QEMU 7.2's 82574L makes IP fragments of a segmentable frame. Where one is lost the others wait for it,
        // by default half a minute, and some hundred such datagrams fill what memory there is for fragments:
        // then every frame is lost, whichever driver sends.
        const fs::path fragment_seconds = system_paths().proc / "sys/net/ipv4/ipfrag_time";
        if (!namespace_.empty() && fs::exists(fragment_seconds)) write_attribute(fragment_seconds, "1");
    }
    run_or_fail({.arguments = {"ip", "address", "replace", address + "/24", "dev", name_},
                 .network_namespace = namespace_},
                "give " + name_ + " an address");
    run_or_fail({.arguments = {"ip", "link", "set", name_, "up"}, .network_namespace = namespace_},
                "bring up " + name_);
}

void Interface::set_neighbour(const std::string& address, const std::string& mac) const {
    run_or_fail({.arguments = {"ip", "neighbour", "replace", address, "lladdr", mac, "dev", name_, "nud",
                               "permanent"},
                 .network_namespace = namespace_},
                "tell " + name_ + " its neighbour");
}

void Interface::wait_until_running(double seconds) const {
    const double deadline = now_seconds() + seconds;
    while (!running()) {
        if (now_seconds() >= deadline)
            fail(
                "{} has no link after {} s; expected: up, with carrier. Is the cable in, is the other end "
                "up?",
                name_, seconds);
        sleep_seconds(0.02);
    }
}

void move_to_namespace(const std::string& interface, const std::string& name) {
    if (!fs::exists("/run/netns/" + name))
        run_or_fail({.arguments = {"ip", "netns", "add", name}}, "make the network namespace " + name);
    run_or_fail({.arguments = {"ip", "link", "set", interface, "netns", name}},
                fmt::format("move {} to the network namespace {}", interface, name));
}

void remove_namespace(const std::string& name) {
    const Ended listed = run({.arguments = {"ip", "-json", "-details", "-netns", name, "link", "show"}});
    const auto links = nlohmann::json::parse(listed.output, nullptr, false);
    if (links.is_array())
        for (const auto& link : links)
            // Where another has its name by now it comes with the end of the namespace, and the kernel gives it a new one.
            if (link.is_object() && link.contains("parentdev") && link.value("ifname", "") != "")
                run({.arguments = {"ip", "-netns", name, "link", "set", "dev", link["ifname"], "netns",
                                   std::to_string(::getpid())}});
    run_or_fail({.arguments = {"ip", "netns", "delete", name}}, "remove the network namespace " + name);
}

void wait_until_peer_answers(double seconds) {
    const double deadline = now_seconds() + seconds;
    for (int attempts = 1;; ++attempts) {
        const Descriptor socket{::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_port = htons(9);  // discard: nobody listens
        ::inet_pton(AF_INET, peer_address, &address.sin_addr);
        int result = ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0
                         ? 0
                         : errno;
        if (result == EINPROGRESS) {
            pollfd wait{socket.get(), POLLOUT, 0};
            socklen_t length = sizeof result;
            if (::poll(&wait, 1, 100) == 1)
                ::getsockopt(socket.get(), SOL_SOCKET, SO_ERROR, &result, &length);
        }
        if (result == 0 || result == ECONNREFUSED) return;
        check_interrupted();
        if (now_seconds() >= deadline)
            fail(
                "The peer {} does not answer: {} attempts to connect in {} s, the last one: {}. Are both "
                "interfaces on one cable "
                "or switch?",
                peer_address, attempts, seconds, system_error(result));
        if (result != EINPROGRESS) sleep_seconds(0.05);
    }
}

namespace {

struct DeviceInterrupts {
    std::string kind = "INTx";
    std::vector<std::string> numbers;
};

DeviceInterrupts interrupts_of(const std::string& bdf) {
    DeviceInterrupts found;
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(device_path(bdf) / "msi_irqs", error)) {
        found.kind = read_attribute(entry.path()).value_or("") == "msix" ? "MSI-X" : "MSI";
        found.numbers.push_back(entry.path().filename().string());
    }
    if (found.numbers.empty()) found.numbers.push_back(read_attribute(device_path(bdf) / "irq").value_or("0"));
    return found;
}

}  // namespace

std::string pin_interrupts(const std::string& bdf, int cpu) {
    const DeviceInterrupts interrupts = interrupts_of(bdf);
    for (const auto& number : interrupts.numbers) {
        try {
            write_attribute(system_paths().proc / "irq" / number / "smp_affinity_list", std::to_string(cpu));
        } catch (const Failure&) {
            // An interrupt that nobody has requested, or one that the kernel manages itself: read back by the
            // caller.
        }
    }
    return interrupts.kind;
}

// "           CPU0       CPU1", then lines "  16:        102          0   IO-APIC   16-fasteoi   vfio-intx".
std::uint64_t interrupts_taken(const std::string& bdf) {
    const auto numbers = interrupts_of(bdf).numbers;
    const auto table = lines(read_file(system_paths().proc / "interrupts"));
    std::uint64_t taken = 0;
    if (table.empty()) return taken;
    std::istringstream header{table.front()};
    const auto cpus = std::distance(std::istream_iterator<std::string>{header}, {});
    for (const auto& line : table) {
        std::istringstream words{line};
        std::string name;
        words >> name;
        if (std::none_of(numbers.begin(), numbers.end(), [&](const auto& number) { return name == number + ":"; })) continue;
        std::uint64_t count = 0;
        for (auto cpu = cpus; cpu > 0 && words >> count; --cpu) taken += count;
    }
    return taken;
}

}  // namespace dmatoll::harness
