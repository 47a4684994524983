// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// The driver core of a device that copies memory inside the kernel, behind C functions. They are defined here: one file
// of a module includes this, behind its CopyDevice, which says what copies there.
#pragma once

#include <cstddef>
#include <cstdint>
#include <new>
#include <span>

#include "by_strategy.hpp"
#include "core/counters.hpp"
#include "core/strategy.hpp"
#include "dma/dma_driver.hpp"
#include "dma_glue.h"
#include "strategy_at.hpp"
#include "to_errno.hpp"

namespace dmatoll::kernel {

// One for each buffer of the largest working set: none can be mapped twice at a time.
constexpr CopySlots slots_of_all_pairs{.to_device = dma::CopyPlan::most_pairs,
                                       .from_device = dma::CopyPlan::most_pairs};
static_assert(dma::CopyPlan::most_pairs <= CopySlots::most);
static_assert(dma::BenchPlan::most_pages_in_all <= dma::CopyPlan::most_pairs);
static_assert(dma::BenchPlan::most_threads == DMATOLL_MOST_THREADS);

template <class M>
struct Engine {
    template <class Model, class... MapperArguments>
    Engine(KernelPlatform& around, const Model& model, MapperArguments&&... arguments)
        : platform{around}, mapper{arguments...}, driver{around, mapper, model} {}

    // Any pages will do, whatever they are for.
    auto provide() {
        return [this](Direction, std::uint64_t pages = 1) -> Result<Memory> {
            const Result<PageMemory> memory = platform.allocate_pages(bytes_of(pages));
            if (!memory.ok()) return memory.error();
            return memory.value().memory;
        };
    }
    auto give_back() {
        return [this](Memory memory, Direction, std::uint64_t pages = 1) {
            platform.free_pages(PageMemory{platform.cpu_address(memory), memory, bytes_of(pages)});
        };
    }
    static std::uint32_t bytes_of(std::uint64_t pages) { return static_cast<std::uint32_t>(pages * page_bytes); }

    KernelPlatform& platform;
    M mapper;
    dma::DmaDriver<KernelPlatform, M, CopyDevice::Engine> driver;
};

}  // namespace dmatoll::kernel

using namespace dmatoll;
using namespace dmatoll::kernel;

struct dmatoll_engine {
    dmatoll_engine(const dmatoll_surroundings& around, const Strategy& strategy)
        : by_strategy{around, strategy} {}

    ByStrategy<Engine> by_strategy;
    dma::DmaAnswer answer;
};

namespace {

template <class E, class Use>
inline decltype(auto) with(E* engine, Use&& use) {
    return engine->by_strategy.with(use);
}

// Whether the answer's line is about something that this device does not count.
bool is_unknown(const dmatoll_engine* engine, const char* line) {
    for (const auto& each : dma_counter_names) {
        if (each.name == line && !engine->by_strategy.is_known(each.mapping)) return true;
    }
    return false;
}

}  // namespace

extern "C" {

// ---- life ----

std::size_t dmatoll_engine_bytes() {
    static_assert(alignof(dmatoll_engine) <= 64);
    return sizeof(dmatoll_engine);
}

int dmatoll_engine_create(void* memory, int strategy, std::uint16_t pci_vendor, std::uint16_t pci_device,
                          std::uint32_t register_bytes, const dmatoll_surroundings* surroundings) {
    const Strategy& chosen = *strategy_at(strategy);
    dmatoll_engine* const engine = new (memory) dmatoll_engine{*surroundings, chosen};
    const Status constructed = CopyDevice::with_model(pci_vendor, pci_device, register_bytes, [&](const auto& model) {
        return engine->by_strategy.construct(*surroundings, chosen, slots_of_all_pairs, model);
    });
    if (!constructed.ok()) return to_errno(constructed.error());
    const Status probed = with(engine, [](auto& one) { return one.driver.probe(); });
    if (!probed.ok()) dmatoll_engine_destroy(engine);
    return to_errno(probed.error());
}

void dmatoll_engine_destroy(dmatoll_engine* engine) { engine->by_strategy.destroy(); }

int dmatoll_engine_start(dmatoll_engine* engine) {
    return to_errno(with(engine, [](auto& one) { return one.driver.start(); }).error());
}

void dmatoll_engine_stop(dmatoll_engine* engine) {
    with(engine, [](auto& one) { one.driver.stop(one.give_back()); });
}

// ---- commands ----

int dmatoll_engine_command(dmatoll_engine* engine, const char* text, std::size_t length) {
    return to_errno(with(engine, [&](auto& one) {
                        return one.driver.execute(std::span{text, length}, engine->answer, one.provide(),
                                                  one.give_back());
                    }).error());
}

bool dmatoll_engine_ends_run(const char* text, std::size_t length) {
    dma::DmaCommand command{};
    return dma::parse_dma_command(std::span{text, length}, command).what == nullptr &&
           command.verb == dma::DmaVerb::end;
}

void dmatoll_engine_refresh(dmatoll_engine* engine) {
    with(engine, [engine](const auto& one) { one.driver.refresh(engine->answer); });
}

bool dmatoll_engine_answer(dmatoll_engine* engine, std::uint32_t n, const char** name, const char** word,
                           std::uint64_t* number) {
    const dma::DmaAnswer& answer = engine->answer;
    for (std::uint32_t i = 0; i < answer.count; ++i) {
        if (is_unknown(engine, answer.lines[i].name) || n-- != 0) continue;
        *name = answer.lines[i].name;
        *word = answer.lines[i].word;
        *number = answer.lines[i].number;
        return true;
    }
    return false;
}

// ---- the loop ----

bool dmatoll_engine_runs(const dmatoll_engine* engine) {
    return with(engine, [](const auto& one) { return one.driver.running(); });
}

std::uint32_t dmatoll_engine_threads(const dmatoll_engine* engine) {
    return with(engine, [](const auto& one) { return one.driver.threads(); });
}

// Flattened as the data path of nic.cpp.
[[gnu::flatten]]
void dmatoll_engine_step(dmatoll_engine* engine, std::uint32_t thread) {
    with(engine, [thread](auto& one) { one.driver.step(thread); });
}

void dmatoll_engine_on_alarm(dmatoll_engine* engine) { engine->by_strategy.on_alarm(); }

bool dmatoll_engine_statistic(const dmatoll_engine* engine, std::uint32_t n, const char** name,
                              std::uint64_t* value) {
    for (const auto& each : dma_counter_names) {
        if (!engine->by_strategy.is_known(each.mapping) || n-- != 0) continue;
        *name = each.name;
        *value = with(engine, [&each](const auto& one) {
            return counter(each, one.driver.counters(), one.mapper.counters());
        });
        return true;
    }
    return false;
}

void dmatoll_engine_cached_pages(const dmatoll_engine* engine, std::uint64_t* small, std::uint64_t* large) {
    const CachedPages pages = engine->by_strategy.cached_pages();
    *small = pages.small;
    *large = pages.large;
}

}  // extern "C"
