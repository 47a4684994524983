// SPDX-License-Identifier: BSD-2-Clause
// What driver and device exchange in ring memory. Little-endian, as is the only CPU that is supported.
//
// [8254x] Intel 317453, chapter 3.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

namespace dmatoll::e1000 {

static_assert(std::endian::native == std::endian::little);

// Legacy receive descriptor [8254x §3.2.3].
struct ReceiveDescriptor {
    std::uint64_t address;
    std::uint16_t length;    // bytes in this buffer
    std::uint16_t checksum;  // ones' complement sum from RXCSUM.PCSS on; not used
    std::uint8_t status;
    std::uint8_t errors;  // valid with end_of_packet
    std::uint16_t special;

    // [8254x §3.2.3.1]
    static constexpr std::uint8_t descriptor_done = 1 << 0;
    static constexpr std::uint8_t end_of_packet = 1 << 1;
    static constexpr std::uint8_t ignore_checksum = 1 << 2;
    static constexpr std::uint8_t vlan_packet = 1 << 3;
    static constexpr std::uint8_t tcp_checksum_calculated = 1 << 5;
    static constexpr std::uint8_t ip_checksum_calculated = 1 << 6;

    // [8254x §3.2.3.2]
    static constexpr std::uint8_t crc_error = 1 << 0;
    static constexpr std::uint8_t symbol_error = 1 << 1;
    static constexpr std::uint8_t sequence_error = 1 << 2;
    static constexpr std::uint8_t carrier_extension_error = 1 << 4;
    static constexpr std::uint8_t tcp_checksum_error = 1 << 5;
    static constexpr std::uint8_t ip_checksum_error = 1 << 6;
    static constexpr std::uint8_t receive_data_error = 1 << 7;

    // The frame itself is damaged, as opposed to a checksum inside it that does not match.
    static constexpr std::uint8_t frame_errors =
        crc_error | symbol_error | sequence_error | carrier_extension_error | receive_data_error;
};
static_assert(sizeof(ReceiveDescriptor) == 16);
static_assert(offsetof(ReceiveDescriptor, length) == 8 && offsetof(ReceiveDescriptor, checksum) == 10);
static_assert(offsetof(ReceiveDescriptor, status) == 12 && offsetof(ReceiveDescriptor, errors) == 13);
static_assert(offsetof(ReceiveDescriptor, special) == 14);

// Legacy [8254x §3.3.3] and data [8254x §3.3.7] transmit descriptor: they differ in what the bits of
// `command_and_length` and `options_and_status` mean.
struct TransmitDescriptor {
    std::uint64_t address;
    // legacy: length 15:0, checksum offset 23:16, command 31:24; data: length 19:0, type 23:20, command 31:24
    std::uint32_t command_and_length;
    // status 3:0 (7:0 in the data descriptor with its reserved part), options 15:8 (legacy: checksum start),
    // special 31:16
    std::uint32_t options_and_status;

    // [8254x §3.3.3.1], [8254x §3.3.7.1]
    static constexpr std::uint32_t end_of_packet = 1u << 24;
    static constexpr std::uint32_t insert_crc = 1u << 25;
    static constexpr std::uint32_t segmentation_enable =
        1u << 26;  // data descriptor; in a legacy one this bit inserts a checksum
    static constexpr std::uint32_t report_status = 1u << 27;
    static constexpr std::uint32_t extension = 1u << 29;
    static constexpr std::uint32_t vlan_enable = 1u << 30;
    static constexpr std::uint32_t interrupt_delay_enable = 1u << 31;
    static constexpr std::uint32_t type_data = 1u << 20;
    static constexpr std::uint32_t legacy_length_mask = 0xffff;
    static constexpr std::uint32_t data_length_mask = 0xf'ffff;

    // [8254x §3.3.7.3]; valid in the first data descriptor of a frame
    static constexpr std::uint32_t insert_ip_checksum = 1u << 8;
    static constexpr std::uint32_t insert_tcp_udp_checksum = 1u << 9;

    // [8254x §3.3.3.2]
    static constexpr std::uint32_t descriptor_done = 1u << 0;
};
static_assert(sizeof(TransmitDescriptor) == 16);
static_assert(offsetof(TransmitDescriptor, command_and_length) == 8);
static_assert(offsetof(TransmitDescriptor, options_and_status) == 12);

// TCP/IP context descriptor [8254x §3.3.6]: carries no data, loads the checksum and segmentation context.
struct ContextDescriptor {
    std::uint8_t ip_checksum_start;
    std::uint8_t ip_checksum_offset;
    std::uint16_t ip_checksum_end;  // the last byte that is summed
    std::uint8_t tcp_udp_checksum_start;
    std::uint8_t tcp_udp_checksum_offset;
    std::uint16_t tcp_udp_checksum_end;  // 0: to the end of the packet
    std::uint32_t command_and_payload;   // payload 19:0, type 23:20 (0), command 31:24
    std::uint8_t status;
    std::uint8_t header_length;
    std::uint16_t maximum_segment;

    // [8254x §3.3.6.1]
    static constexpr std::uint32_t tcp = 1u << 24;
    static constexpr std::uint32_t ipv4 = 1u << 25;
    static constexpr std::uint32_t segmentation_enable = 1u << 26;
    static constexpr std::uint32_t report_status = 1u << 27;
    static constexpr std::uint32_t extension = 1u << 29;
    static constexpr std::uint32_t payload_mask = 0xf'ffff;

    constexpr bool operator==(const ContextDescriptor&) const = default;
};
static_assert(sizeof(ContextDescriptor) == 16);
static_assert(offsetof(ContextDescriptor, tcp_udp_checksum_start) == 4);
static_assert(offsetof(ContextDescriptor, command_and_payload) == 8);
static_assert(offsetof(ContextDescriptor, header_length) == 13 &&
              offsetof(ContextDescriptor, maximum_segment) == 14);

// Reads what the device may write at any time: exactly once, here and now. A second read could give another
// value than the one that was checked.
template <class T>
T read_once(const T& field) {
    return __atomic_load_n(&field, __ATOMIC_RELAXED);
}

}  // namespace dmatoll::e1000
