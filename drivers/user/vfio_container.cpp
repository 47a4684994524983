// SPDX-License-Identifier: BSD-2-Clause
#include "vfio_container.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "failure.hpp"

namespace dmatoll::user {

std::vector<IovaRange> VfioContainer::ranges() const {
    // The first call tells how many bytes the answer has; with room for them, the second one fills them.
    vfio_iommu_type1_info head{};
    head.argsz = sizeof(head);
    if (::ioctl(container_.get(), VFIO_IOMMU_GET_INFO, &head) != 0) {
        throw system_failure("VFIO does not describe its IOMMU", errno);
    }
    std::vector<std::byte> info(std::max<std::size_t>(head.argsz, sizeof(head)));
    head.argsz = static_cast<std::uint32_t>(info.size());
    std::memcpy(info.data(), &head, sizeof(head));
    if (::ioctl(container_.get(), VFIO_IOMMU_GET_INFO, info.data()) != 0) {
        throw system_failure("VFIO does not describe its IOMMU", errno);
    }
    auto reported = parse_iova_ranges(info);
    if (!reported) {
        throw Failure{
            "VFIO does not say which I/O virtual addresses may be used: the kernel is older than 5.4"};
    }
    return std::move(*reported);
}

std::string VfioContainer::pin_error_text(int error) {
    return system_failure("What pinning takes is not timed, since process_vm_readv() fails", error).what();
}

Error VfioContainer::map_error() {
    // ENOMEM: the limit of locked memory. ENOSPC: the limit of mappings of a container.
    return errno == ENOMEM || errno == ENOSPC ? Error::no_memory : Error::mapping_failed;
}

}  // namespace dmatoll::user
