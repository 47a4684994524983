// SPDX-License-Identifier: BSD-2-Clause
#include "ublk_parameters.hpp"

#include <algorithm>
#include <bit>

#include "ahci/request.hpp"
#include "ahci/settings.hpp"

namespace dmatoll::user {

ublk_params ublk_parameters(const DiskDescription& disk) {
    const auto shift = [](std::uint32_t bytes) { return static_cast<__u8>(std::countr_zero(bytes)); };
    const std::uint64_t sectors_per_block = disk.block_bytes / ublk::sector_bytes;
    ublk_params parameters{};
    parameters.len = sizeof(parameters);
    parameters.types = UBLK_PARAM_TYPE_BASIC;
    ublk_param_basic& basic = parameters.basic;
    // Without FLUSH CACHE there is nothing that the block layer could do about the cache.
    if (disk.write_cache && disk.flush) {
        basic.attrs |= UBLK_ATTR_VOLATILE_CACHE;
        basic.attrs |= disk.force_unit_access ? UBLK_ATTR_FUA : 0;
    }
    basic.attrs |= disk.rotational ? UBLK_ATTR_ROTATIONAL : 0;
    basic.logical_bs_shift = shift(disk.block_bytes);
    basic.physical_bs_shift = shift(disk.physical_block_bytes);
    basic.io_min_shift = basic.physical_bs_shift;
    basic.io_opt_shift = basic.physical_bs_shift;
    basic.max_sectors = ahci::most_transfer_bytes / ublk::sector_bytes;
    basic.dev_sectors = disk.blocks * sectors_per_block;
    if (disk.most_trim_ranges != 0) {
        parameters.types |= UBLK_PARAM_TYPE_DISCARD;
        parameters.discard.discard_granularity = disk.physical_block_bytes;
        // One range a request, which takes as many entries of the disk's list as it must.
        const std::uint64_t most = std::uint64_t{disk.most_trim_ranges} * ahci::most_trim_blocks;
        const std::uint64_t blocks = std::min<std::uint64_t>(most, UINT32_MAX / disk.block_bytes);
        parameters.discard.max_discard_sectors = static_cast<__u32>(blocks * sectors_per_block);
        parameters.discard.max_discard_segments = 1;
    }
    return parameters;
}

}  // namespace dmatoll::user
