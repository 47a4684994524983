// SPDX-License-Identifier: BSD-2-Clause
// Linux's interface for block devices that a process serves, as of 6.4: what the headers of older
// distributions lack. The structures are those of <linux/ublk_cmd.h>.
#pragma once

#include <linux/ioctl.h>
#include <linux/ublk_cmd.h>

#include <cstddef>
#include <cstdint>

namespace dmatoll::user::ublk {

// Commands are numbered as ioctls are; the plain numbers of older headers are optional in the kernel.
constexpr std::uint32_t get_info = _IOR('u', UBLK_CMD_GET_DEV_INFO, ublksrv_ctrl_cmd);
constexpr std::uint32_t add = _IOWR('u', UBLK_CMD_ADD_DEV, ublksrv_ctrl_cmd);
constexpr std::uint32_t remove = _IOWR('u', UBLK_CMD_DEL_DEV, ublksrv_ctrl_cmd);
constexpr std::uint32_t start = _IOWR('u', UBLK_CMD_START_DEV, ublksrv_ctrl_cmd);
constexpr std::uint32_t stop = _IOWR('u', UBLK_CMD_STOP_DEV, ublksrv_ctrl_cmd);
constexpr std::uint32_t set_parameters = _IOWR('u', UBLK_CMD_SET_PARAMS, ublksrv_ctrl_cmd);
constexpr std::uint32_t get_parameters = _IOR('u', UBLK_CMD_GET_PARAMS, ublksrv_ctrl_cmd);
constexpr std::uint32_t start_recovery = _IOWR('u', UBLK_CMD_START_USER_RECOVERY, ublksrv_ctrl_cmd);
constexpr std::uint32_t end_recovery = _IOWR('u', UBLK_CMD_END_USER_RECOVERY, ublksrv_ctrl_cmd);
constexpr std::uint32_t fetch = _IOWR('u', UBLK_IO_FETCH_REQ, ublksrv_io_cmd);
constexpr std::uint32_t commit_and_fetch = _IOWR('u', UBLK_IO_COMMIT_AND_FETCH_REQ, ublksrv_io_cmd);

static_assert(sizeof(ublksrv_ctrl_cmd) == 32 && sizeof(ublksrv_io_cmd) == 16 &&
              sizeof(ublksrv_io_desc) == 24);

// ublk counts in sectors of this size, whatever the block size is.
constexpr std::uint32_t sector_bytes = 512;

constexpr std::size_t queue_bytes(std::uint32_t depth, std::size_t page) {
    return (depth * sizeof(ublksrv_io_desc) + page - 1) / page * page;
}

}  // namespace dmatoll::user::ublk
