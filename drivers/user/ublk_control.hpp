// SPDX-License-Identifier: BSD-2-Clause
// The privileged side of ublk: devices are made, started, taken over and deleted through /dev/ublk-control.
#pragma once

#include <liburing.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "descriptor.hpp"
#include "ublk_interface.hpp"

namespace dmatoll::user {

// What a UblkDevice needs of it. All answer 0, or a negative errno.
class UblkCommands {
  public:
    virtual ~UblkCommands() = default;
    // A new device; fills in its number.
    virtual int add(ublksrv_ctrl_dev_info& info) = 0;
    virtual int get_info(std::uint32_t number, ublksrv_ctrl_dev_info& info) = 0;
    virtual int set_parameters(std::uint32_t number, ublk_params& parameters) = 0;
    virtual int get_parameters(std::uint32_t number, ublk_params& parameters) = 0;
    // Both wait until every command that fetches a request has been given; that is the case when the server
    // said so.
    virtual int start(std::uint32_t number, pid_t server) = 0;
    virtual int end_recovery(std::uint32_t number, pid_t server) = 0;
    // -EBUSY: the server that died is not quite gone yet.
    virtual int start_recovery(std::uint32_t number) = 0;
    virtual int stop(std::uint32_t number) = 0;
    virtual int remove(std::uint32_t number) = 0;
    // The device's channel to its server: a descriptor, which must be the only one.
    virtual int open_channel(std::uint32_t number) = 0;
    // Lets a while pass before the next attempt.
    virtual void pause() = 0;
};

class UblkControl : public UblkCommands {
  public:
    // Throws Failure.
    UblkControl();
    ~UblkControl() override;
    UblkControl(const UblkControl&) = delete;
    UblkControl& operator=(const UblkControl&) = delete;

    int add(ublksrv_ctrl_dev_info& info) override;
    int get_info(std::uint32_t number, ublksrv_ctrl_dev_info& info) override;
    int set_parameters(std::uint32_t number, ublk_params& parameters) override;
    int get_parameters(std::uint32_t number, ublk_params& parameters) override;
    int start(std::uint32_t number, pid_t server) override;
    int end_recovery(std::uint32_t number, pid_t server) override;
    int start_recovery(std::uint32_t number) override;
    int stop(std::uint32_t number) override;
    int remove(std::uint32_t number) override;
    int open_channel(std::uint32_t number) override;
    void pause() override;

    // Numbers of all devices there are.
    [[nodiscard]] static std::vector<std::uint32_t> devices();

  private:
    // -ETIMEDOUT if the kernel did not get it done in time; it may still do it.
    // `data`: what the command takes and what it brings back.
    int command(std::uint32_t operation, ublksrv_ctrl_cmd command, std::span<std::byte> data = {});

    Descriptor control_;
    io_uring ring_{};
    std::uint64_t last_command_ = 0;
    // By command: what the kernel reads from and writes to, which it may do late.
    std::map<std::uint64_t, std::vector<std::byte>> unanswered_;
};

}  // namespace dmatoll::user
