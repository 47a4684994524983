// SPDX-License-Identifier: BSD-2-Clause
// A machine made of software whose NIC copies memory.
#pragma once

#include <cstddef>
#include <memory>

#include "copy_bench.hpp"
#include "e1000/dma_copy.hpp"
#include "machine.hpp"

namespace dmatoll::test {

template <class M>
class CopyBench : public CopyBenchOf<M, Machine, ModelPlatform, e1000::DmaCopy<ModelPlatform>> {
  public:
    explicit CopyBench(const model::DeviceOptions& options = {})
        : CopyBenchOf<M, Machine, ModelPlatform, e1000::DmaCopy<ModelPlatform>>{options} {
        this->mapper = make_mapper(this->machine, static_cast<M*>(nullptr));
        this->driver = std::make_unique<typename CopyBench::Driver>(
            this->machine.platform, *this->mapper,
            *e1000::parts::all.at(static_cast<std::size_t>(options.part)));
    }
};

}  // namespace dmatoll::test
