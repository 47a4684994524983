// SPDX-License-Identifier: BSD-2-Clause
// A machine made of software with the disk driver in it: what the tests of the AHCI driver start from.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <functional>
#include <initializer_list>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "ahci/driver.hpp"
#include "mapping/passthrough.hpp"
#include "model/ahci_datasheet.hpp"
#include "model/ahci_device.hpp"
#include "model_machine.hpp"

namespace dmatoll::test {

namespace sheet = model::ahci_datasheet;
using ahci::Operation;
using ahci::Outcome;
using model::AhciFault;

using DiskMachine = ModelMachine<model::AhciDevice, model::AhciOptions>;
using DiskPlatform = model::ModelPlatform<ModelDomain, model::AhciDevice>;
using ForwardingPlatform = Forwarding<DiskPlatform>;
using DeferredDisk = DeferredOn<DiskPlatform>;
using CopyDisk = CopyOn<DiskPlatform>;
using PersistentDisk = PersistentOn<DiskPlatform>;
using EveryDiskMapper = testing::Types<StrictMapper, DeferredDisk, CopyDisk, PersistentDisk>;

using Content = std::vector<std::byte>;

// Bytes that differ from block to block and from seed to seed.
inline Content pattern(std::uint64_t seed, std::size_t bytes) {
    Content content(bytes);
    std::mt19937_64 random{seed};
    for (std::size_t at = 0; at < bytes; at += 8) {
        const std::uint64_t word = random();
        std::memcpy(content.data() + at, &word, std::min<std::size_t>(8, bytes - at));
    }
    return content;
}

struct Ended {
    std::uint32_t port;
    std::uint32_t tag;
    Outcome outcome;
    Content content;  // of a read that is done
};

// Machine, strategy, driver, and what the block layer would do around them.
template <class M, class P = DiskPlatform>
class DiskBench {
  public:
    using Driver = ahci::Driver<P, M>;

    explicit DiskBench(const model::AhciOptions& options = {}, const ahci::Settings& settings = {},
                       IovaRange range = all_iovas)
        : machine{options, range} {
        if constexpr (std::is_same_v<P, DiskPlatform>) {
            platform = &machine.platform;
        } else {
            own_platform = std::make_unique<P>(machine.platform);
            platform = own_platform.get();
        }
        mapper = make_mapper(machine, static_cast<M*>(nullptr));
        driver = std::make_unique<Driver>(*platform, *mapper, settings);
    }

    // As surroundings do it: quiet first, bus mastering and interrupts afterwards.
    Status start() {
        if (const Status probed = driver->probe(); !probed.ok()) return probed;
        machine.device.set_bus_master(true);
        if (const Status started = driver->start(); !started.ok()) return started;
        driver->enable_interrupts();
        return {};
    }

    struct Given {
        std::uint64_t first = 0;
        std::uint32_t blocks = 1;
        const Content* content = nullptr;  // to be written
        bool force_unit_access = false;
        std::uint32_t offset = 0;  // of the memory in its first page
        std::vector<ahci::BlockRange> ranges{};
        std::uint32_t port = 0;
    };

    // Memory in pages that lie apart, as the block layer's do.
    Status submit(std::uint32_t tag, Operation operation, const Given& given = {}) {
        Flight flight{.operation = operation};
        std::vector<Segment> segments;
        if (operation == Operation::read || operation == Operation::write) {
            std::size_t left = std::size_t{given.blocks} * driver->disk(given.port).block_bytes;
            std::size_t done = 0;
            for (std::uint32_t offset = given.offset; left != 0; offset = 0) {
                const Memory page = machine.memory.allocate_pages(1);
                const auto length =
                    static_cast<std::uint32_t>(std::min<std::size_t>(left, page_bytes - offset));
                if (operation == Operation::write)
                    std::memcpy(machine.memory.at(page + offset, length), given.content->data() + done,
                                length);
                else
                    std::memset(machine.memory.at(page + offset, length), 0xee, length);
                segments.push_back({page + offset, length});
                flight.segments.push_back(segments.back());
                done += length;
                left -= length;
            }
        }
        const Status status = driver->submit(given.port, tag,
                                             {.operation = operation,
                                              .force_unit_access = given.force_unit_access,
                                              .first_block = given.first,
                                              .blocks = given.blocks,
                                              .segments = segments,
                                              .ranges = given.ranges});
        if (status.ok()) {
            EXPECT_TRUE(flights.emplace(std::pair{given.port, tag}, flight).second);
        } else {
            free(flight);
        }
        return status;
    }

    // Eight pages to each of these ports, a tag each; what is written to which.
    std::map<std::uint32_t, Content> submit_writes(std::initializer_list<std::uint32_t> ports) {
        std::map<std::uint32_t, Content> contents;
        for (const std::uint32_t port : ports) {
            const Content& content = contents[port] = pattern(port, 8 * 4096);
            for (std::uint32_t tag = 0; tag < 8; ++tag) {
                const Content page(content.begin() + tag * 4096, content.begin() + (tag + 1) * 4096);
                const Status taken =
                    submit(tag, Operation::write, {.first = tag * 8, .blocks = 8, .content = &page, .port = port});
                EXPECT_TRUE(taken.ok()) << describe(taken.error());
            }
        }
        return contents;
    }

    // What the surroundings' sinks do.
    void end(std::uint32_t port, std::uint32_t tag, Outcome outcome) {
        const auto found = flights.find({port, tag});
        ASSERT_NE(found, flights.end()) << "a tag that was not taken, or given back twice: " << tag;
        Ended result{port, tag, outcome, {}};
        if (found->second.operation == Operation::read && outcome == Outcome::done) {
            for (const Segment& segment : found->second.segments) {
                const std::byte* const data = machine.memory.at(segment.memory, segment.length);
                result.content.insert(result.content.end(), data, data + segment.length);
            }
        }
        free(found->second);
        flights.erase(found);
        ended.push_back(std::move(result));
    }
    auto sink(std::uint32_t port = 0) {
        return [this, port](std::uint32_t tag, Outcome outcome) { end(port, tag, outcome); };
    }

    // The interrupt and what follows it; true if the line was up.
    bool serve() {
        if (!machine.device.interrupt_line()) return false;
        const std::uint32_t ports = driver->take_interrupt();
        for (std::uint32_t port = 0; port < ahci::most_ports; ++port) {
            if ((ports >> port & 1) == 0) continue;
            driver->complete(port, sink(port));
            if (driver->needs_recovery(port)) driver->recover(port, sink(port));
        }
        return true;
    }
    // Until nothing is in flight, or for that long.
    void settle(std::uint32_t milliseconds = 5000) {
        std::uint32_t since_watch = 0;
        for (std::uint32_t passed = 0; passed < milliseconds && !flights.empty(); ++passed) {
            machine.platform.advance_ns(1'000'000);
            for (std::uint32_t round = 0; round < 100 && serve(); ++round) {
            }
            if (++since_watch == ahci::watch_period_ms) {
                since_watch = 0;
                watch();
            }
        }
    }
    void watch() {
        for (std::uint32_t port = 0; port < ahci::most_ports; ++port) {
            if ((driver->ports() >> port & 1) != 0 && driver->watch(port, sink(port)))
                driver->recover(port, sink(port));
        }
    }

    // One request from begin to end. Nothing else may be in flight.
    Outcome run(Operation operation, const Given& given = {}) {
        EXPECT_TRUE(flights.empty());
        const Status taken = submit(0, operation, given);
        EXPECT_TRUE(taken.ok()) << describe(taken.error());
        settle(200'000);
        EXPECT_TRUE(flights.empty()) << "never ended";
        return flights.empty() ? ended.back().outcome : Outcome::timed_out;
    }
    Outcome write(std::uint64_t first, const Content& content, bool force_unit_access = false) {
        return run(Operation::write,
                   {.first = first,
                    .blocks = static_cast<std::uint32_t>(content.size() / driver->disk(0).block_bytes),
                    .content = &content,
                    .force_unit_access = force_unit_access});
    }
    Content read(std::uint64_t first, std::uint32_t blocks, std::uint32_t offset = 0) {
        EXPECT_EQ(run(Operation::read, {.first = first, .blocks = blocks, .offset = offset}), Outcome::done);
        return ended.back().content;
    }
    Content on_disk(std::uint64_t first, std::uint32_t blocks, std::uint32_t port = 0) {
        Content all;
        for (std::uint32_t i = 0; i < blocks; ++i) {
            const auto block = machine.device.disk(port).read(first + i);
            all.insert(all.end(), block.begin(), block.end());
        }
        return all;
    }

    std::uint32_t port_register(std::uint32_t offset, std::uint32_t port = 0) {
        return model::AhciDevice::at_port(port, offset);
    }
    std::uint64_t commands(ahci::Command command) {
        return machine.device.commands(static_cast<std::uint8_t>(command));
    }
    // Commands that the disk of a port has, or that wait for it.
    int outstanding(std::uint32_t port = 0) const { return std::popcount(machine.device.outstanding(port)); }
    std::map<std::uint32_t, Outcome> outcomes() const {
        std::map<std::uint32_t, Outcome> by_tag;
        for (const Ended& one : ended) by_tag[one.tag] = one.outcome;
        return by_tag;
    }
    // Of all that ended so far.
    void expect_all_ended(std::size_t count, Outcome outcome) const {
        EXPECT_EQ(ended.size(), count);
        for (const Ended& one : ended)
            EXPECT_EQ(one.outcome, outcome) << "port " << one.port << ", tag " << one.tag;
    }
    bool logged(const std::string& what) const {
        return std::ranges::any_of(machine.platform.log_lines(), [&](const model::LogLine& line) {
            return line.text.find(what) != std::string::npos;
        });
    }

    void stop() {
        driver->stop([this](std::uint32_t port, std::uint32_t tag, Outcome outcome) {
            EXPECT_EQ(outcome, Outcome::gone);
            end(port, tag, outcome);
        });
    }
    // What must hold after every orderly end, whatever happened before.
    void expect_nothing_left() {
        mapper->release_all();
        machine.expect_nothing_left();
        EXPECT_TRUE(flights.empty());
    }
    void expect_clean_device() { machine.expect_clean_device(); }
    void stop_and_expect_nothing_left() {
        stop();
        expect_nothing_left();
        expect_clean_device();
    }

    struct Flight {
        Operation operation;
        std::vector<Segment> segments{};
    };
    void free(const Flight& flight) {
        for (const Segment& segment : flight.segments)
            machine.memory.free_pages(Memory{page_floor(segment.memory.address)}, 1);
    }

    DiskMachine machine;
    std::unique_ptr<P> own_platform;
    P* platform = nullptr;
    std::unique_ptr<M> mapper;
    std::unique_ptr<Driver> driver;
    std::map<std::pair<std::uint32_t, std::uint32_t>, Flight> flights;
    std::vector<Ended> ended;
};

}  // namespace dmatoll::test
