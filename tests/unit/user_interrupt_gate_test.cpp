// SPDX-License-Identifier: BSD-2-Clause
#include "interrupt_gate.hpp"

#include <gtest/gtest.h>

namespace dmatoll::user {
namespace {

struct Driver {
    void enable_interrupts(bool with_transmit) {
        masked = false;
        transmit = with_transmit;
    }
    void disable_interrupts() { masked = true; }
    bool masked = true;
    bool transmit = false;
};

struct Device {
    [[nodiscard]] bool sends_messages() const { return messages; }
    void unmask_interrupt() const { ++unmasked; }
    bool messages;
    mutable unsigned unmasked = 0;
};

TEST(InterruptGate, ALineIsLeftOpenAtTheDeviceAndOpenedByASystemCall) {
    Driver driver;
    const Device device{.messages = false};
    InterruptGate gate{driver, device};
    gate.start(false);
    EXPECT_FALSE(driver.masked) << "VFIO masks";
    EXPECT_EQ(gate.open(), 1u);
    EXPECT_EQ(device.unmasked, 1u);
    gate.close();
    EXPECT_FALSE(driver.masked);
    EXPECT_EQ(device.unmasked, 1u);
    gate.set_transmit(true);
    EXPECT_TRUE(driver.transmit);
    EXPECT_EQ(device.unmasked, 1u);
}

TEST(InterruptGate, NoMessageComesWhileTheDeviceIsPolled) {
    Driver driver;
    const Device device{.messages = true};
    InterruptGate gate{driver, device};
    gate.start(false);
    EXPECT_TRUE(driver.masked);
    EXPECT_EQ(gate.open(), 0u) << "no system call";
    EXPECT_FALSE(driver.masked);
    EXPECT_FALSE(driver.transmit);
    gate.close();
    EXPECT_TRUE(driver.masked);
    // Room is asked for while polling: that opens nothing, and is not forgotten.
    gate.set_transmit(true);
    EXPECT_TRUE(driver.masked);
    gate.open();
    EXPECT_FALSE(driver.masked);
    EXPECT_TRUE(driver.transmit);
    // And while asleep: at once.
    gate.set_transmit(false);
    EXPECT_FALSE(driver.masked);
    EXPECT_FALSE(driver.transmit);
    EXPECT_EQ(device.unmasked, 0u);
}

}  // namespace
}  // namespace dmatoll::user
