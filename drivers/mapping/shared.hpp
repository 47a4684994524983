// SPDX-License-Identifier: BSD-2-Clause
// Strategy `shared`: a page that is mapped already is not mapped again; it has one more user, and the last
// one's unmap() ends the mapping as `strict` does. The method is that of Willmann et al. (USENIX ATC 2008).
// It is of use where several transfers have the same pages at the same time; elsewhere it is `strict` page by
// page, with a look into a table.
//
// Window zero by the page: when the last user's unmap() returns the page is out of reach. Until then the
// device reaches it, as it does under `strict`, and by the same IOVA.
#pragma once

#include <cstdint>

#include "../core/strategy.hpp"
#include "page_by_page.hpp"

namespace dmatoll {

template <class Domain, Platform P>
class Shared : public PageByPage<Shared<Domain, P>, Domain, P> {
    using Base = PageByPage<Shared<Domain, P>, Domain, P>;
    friend Base;

  public:
    static constexpr const Strategy& strategy = strategies::shared;
    // Pages in use at a time: what VFIO's type 1 can map, and 256 MiB.
    static constexpr std::uint32_t default_capacity = 65536;

    // Both outlive it.
    Shared(Domain& domain, P& platform) : Base{domain, platform} {}

    // Call once, before anything is mapped. Errors: invalid_argument, no_memory.
    Status set_up(std::uint32_t capacity = default_capacity) { return Base::set_up_pages(capacity); }

  private:
    bool make_room() { return false; }
    void on_unused(typename Base::Index index) { Base::doom(index); }
};

}  // namespace dmatoll
