// SPDX-License-Identifier: BSD-2-Clause
// Network interfaces: the peer in a namespace of its own, addresses that need no protocol, counters.
#pragma once

#include <nlohmann/json.hpp>

#include <cstdint>
#include <map>
#include <string>

#include "../file.hpp"

namespace dmatoll::harness {

// Addresses of TEST-NET-1 [RFC 5737]: no machine's real network has them.
inline constexpr const char* device_address = "192.0.2.1";
inline constexpr const char* peer_address = "192.0.2.2";
inline constexpr const char* peer_namespace = "dmatoll-peer";

using Counts = std::map<std::string, std::uint64_t>;

// This thread is in the namespace as long as the object lives; an empty name changes nothing.
class InNamespace {
  public:
    explicit InNamespace(const std::string& name);
    ~InNamespace();
    InNamespace(const InNamespace&) = delete;
    InNamespace& operator=(const InNamespace&) = delete;

  private:
    Descriptor before_;
};

// Whether TCP forgets what it learnt of a path, for the network namespace of the caller.
fs::path tcp_metrics_setting();

// One interface, wherever it is: asks through a socket that was made in its namespace.
class Interface {
  public:
    Interface(std::string name, std::string network_namespace);

    [[nodiscard]] const std::string& name() const { return name_; }
    [[nodiscard]] const std::string& network_namespace() const { return namespace_; }
    [[nodiscard]] std::string mac() const;
    [[nodiscard]] bool running() const;  // up, with carrier
    // As `ethtool -S`; empty if the driver has none.
    [[nodiscard]] Counts ethtool_statistics() const;
    // As /proc/net/dev: rx_bytes, rx_packets, tx_bytes, tx_packets.
    [[nodiscard]] Counts interface_statistics() const;
    // Checksums, scatter, segmentation: what is switched on now.
    [[nodiscard]] nlohmann::json offloads() const;
    // {rx, tx}: descriptors, if the driver says.
    [[nodiscard]] nlohmann::json rings() const;
    [[nodiscard]] std::string driver() const;

    [[nodiscard]] std::uint32_t mtu() const;

    // Throws Failure if the driver does not take it.
    void set_mtu(std::uint32_t mtu) const;
    // Checksums, segmentation, and what the stack does in their place, all or none.
    void set_offloads(bool on) const;
    // IPv6 off (its announcements would disturb a quiet link), address, up. In a namespace of ours also: nothing of a
    // path is remembered, and fragments not for long.
    void configure(const std::string& address) const;
    // No ARP in the measured window.
    void set_neighbour(const std::string& address, const std::string& mac) const;
    void wait_until_running(double seconds) const;

  private:
    bool ethtool(void* request) const;

    std::string name_;
    std::string namespace_;
    Descriptor socket_;
};

// Makes the namespace and moves the interface there.
void move_to_namespace(const std::string& interface, const std::string& name);

// Removes it, and has the devices' interfaces in it back here. With the namespace they would come back by themselves, but not
// before the last connection of a program that was killed is given up: minutes.
void remove_namespace(const std::string& name);

// Connects to a port of the peer where nobody listens: its refusal shows that both directions work. Throws
// Failure when no answer came in time.
void wait_until_peer_answers(double seconds);

// Sends the device's interrupts to that CPU. Returns what its driver has switched on: "INTx", "MSI" or "MSI-X".
std::string pin_interrupts(const std::string& bdf, int cpu);

// How many the CPUs have taken on the device's line, or of its messages. A line may be others' as well.
std::uint64_t interrupts_taken(const std::string& bdf);

}  // namespace dmatoll::harness
