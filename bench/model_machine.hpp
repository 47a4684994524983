// SPDX-License-Identifier: BSD-2-Clause
// Memory, IOMMU and IOVAs made of software, as the benchmarks start from them.
#pragma once

#include <cstdint>
#include <stdexcept>

#include "core/address.hpp"
#include "core/result.hpp"
#include "mapping/domain.hpp"
#include "mapping/iova/any.hpp"
#include "model/e1000_device.hpp"
#include "model/model_platform.hpp"
#include "model/physical_memory.hpp"
#include "model/software_iommu.hpp"

namespace dmatoll::bench {

using IovaAllocator = iova::Any<model::SoftwareIommu::Lock>;
using ModelDomain = Domain<model::SoftwareIommu, IovaAllocator>;
using ModelPlatform = model::ModelPlatform<ModelDomain, model::E1000Device>;

inline void require(const Status& status) {
    if (!status.ok()) throw std::runtime_error{describe(status.error())};
}

struct Machine {
    Machine() {
        const IovaRange range{0, (std::uint64_t{1} << 39) - 1};
        require(allocator.set_up(platform, {&range, 1}, {}, 39, 8192));
    }
    ~Machine() { allocator.tear_down(platform); }

    model::PhysicalMemory memory{std::uint64_t{128} << 20};
    model::SoftwareIommu iommu{memory};
    IovaAllocator allocator;
    ModelDomain domain{iommu, allocator};
    model::E1000Device device{iommu, {}};
    ModelPlatform platform{device, memory, domain};
};

}  // namespace dmatoll::bench
