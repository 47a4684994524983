// SPDX-License-Identifier: BSD-2-Clause
// The driver process as an attacker: with what it was given (a container, a device) and without privileges it
// tries to get at what is not its own. What it reached is judged by whoever's it is; here stands only what
// the kernel answered.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include "descriptor.hpp"
#include "hostile_command.hpp"
#include "vfio_device.hpp"

namespace dmatoll::user {

class HostileDriver {
  public:
    // All outlive it. `readable`: path of a file that this process may read and not write.
    HostileDriver(VfioDevice& device, int container, int device_fd, std::string readable)
        : device_{device}, container_{container}, device_fd_{device_fd}, readable_{std::move(readable)} {}
    // Ends a flood. What is still mapped goes with the container.
    ~HostileDriver() { end_flood(); }
    HostileDriver(const HostileDriver&) = delete;
    HostileDriver& operator=(const HostileDriver&) = delete;

    // Follows a line of hostile_command.hpp. The answer is a JSON object on one line: act, asset and what is
    // tried if it is an attack, errno (0: done), answer (its name), and what the act has beside; `absent`,
    // why there is nothing to try it with; or error, what is wrong with the line.
    std::string follow(std::string_view line);

  private:
    static constexpr std::size_t config_bytes = 256;

    // 0, or an error number.
    int perform(const HostileCommand& command, nlohmann::json& answer);
    [[nodiscard]] int map(std::uint64_t iova, std::uint64_t address, std::uint64_t bytes,
                          std::uint32_t access) const;
    int unmap(std::uint64_t iova, std::uint64_t bytes) const;
    int map_own(std::uint64_t iova, nlohmann::json& answer);
    [[nodiscard]] int map_file(std::uint64_t iova, std::uint32_t access, nlohmann::json& answer) const;
    int exhaust(std::uint64_t address, std::uint64_t bytes, nlohmann::json& answer);
    int exhaust_memory(nlohmann::json& answer);
    int release();

    int save_config();
    [[nodiscard]] int write_config(std::uint32_t at, std::uint32_t value, std::size_t bytes) const;
    int write_bars(std::uint32_t address);
    int write_rom(std::uint32_t address, nlohmann::json& answer);
    int write_messages(std::uint32_t address, nlohmann::json& answer);
    int write_message_table(std::uint64_t address, std::uint32_t data, nlohmann::json& answer);
    void send_message() const;
    int power_down(nlohmann::json& answer);
    int restore_config();
    // Where the capability is in what was saved; 0: the device has none.
    [[nodiscard]] std::uint32_t capability(std::uint8_t id) const;
    int reach_beyond(nlohmann::json& answer) const;

    int flood(std::uint64_t rest_after);
    void interrupt_until_told(std::uint64_t rest_after);
    int end_flood();

    VfioDevice& device_;
    const int container_;
    const int device_fd_;
    const std::string readable_;
    std::uint64_t words_ = 0;
    std::uint64_t held_bytes_ = 0;  // of IOVAs, by exhaust()
    std::array<std::byte, config_bytes> config_{};
    bool config_saved_ = false;
    Descriptor messages_;  // event counter of a message; none: it sends none from a table
    std::thread flood_;
    std::atomic<bool> flooding_{false};
};

}  // namespace dmatoll::user
