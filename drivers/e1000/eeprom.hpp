// SPDX-License-Identifier: BSD-2-Clause
// The EEPROM that holds the MAC address.
//
// [8254x] Intel 317453, chapter 5. [82574] Intel 317694, chapter 6: the same words behind another EERD.
#pragma once

#include <cstdint>

#include "../core/mac_address.hpp"
#include "../core/platform.hpp"
#include "../core/result.hpp"
#include "../core/wait.hpp"
#include "part.hpp"
#include "registers.hpp"

namespace dmatoll::e1000::eeprom {

// The words 00h to 3Fh, the last of them chosen so that they add up to this [8254x §5.6].
inline constexpr std::uint32_t words = 0x40;
inline constexpr std::uint16_t checksum = 0xbaba;
// A word takes tens of microseconds on the serial bus.
inline constexpr std::uint32_t timeout_us = 10'000;

// ReadRegister: EepromRead or NvmRead. Errors: timed_out, device_gone.
template <class ReadRegister, Platform P>
Result<std::uint16_t> read(P& platform, std::uint32_t word) {
    write_register(platform, ReadRegister{}.set(ReadRegister::start).set(ReadRegister::address, word));
    ReadRegister answer{};
    const Status waited = wait_until(platform, timeout_us, 10, [&] {
        answer = read_register<ReadRegister>(platform);
        return answer.raw == all_ones || answer.test(ReadRegister::done);
    });
    if (!waited.ok()) return waited.error();
    // All ones would be data FFFFh of a word far beyond 3Fh.
    if (answer.raw == all_ones) return Error::device_gone;
    return static_cast<std::uint16_t>(answer.get(ReadRegister::data));
}

// Reads all words, checks their sum, and takes the address from the first three [8254x §5.6]. Errors:
// timed_out, device_gone, device_misbehaves (wrong sum, or an address that no station can have).
template <Platform P>
Result<MacAddress> read_mac_address(P& platform, const Part& part) {
    MacAddress address{};
    std::uint16_t sum = 0;
    for (std::uint32_t word = 0; word < words; ++word) {
        const Result<std::uint16_t> value =
            part.pci_express ? read<NvmRead>(platform, word) : read<EepromRead>(platform, word);
        if (!value.ok()) return value.error();
        sum = static_cast<std::uint16_t>(sum + value.value());
        if (word < 3) {
            address[2 * word] = static_cast<std::uint8_t>(value.value());
            address[2 * word + 1] = static_cast<std::uint8_t>(value.value() >> 8);
        }
    }
    if (sum != checksum || !is_station(address)) return Error::device_misbehaves;
    return address;
}

}  // namespace dmatoll::e1000::eeprom
