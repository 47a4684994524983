// SPDX-License-Identifier: BSD-2-Clause
#include "hostile_command.hpp"

#include <charconv>
#include <sstream>

#include "failure.hpp"

namespace dmatoll::user {
namespace {

constexpr std::string_view verb = "hostile";

constexpr const char* process = "process";
constexpr const char* kernel = "kernel";
constexpr const char* devices = "devices";
constexpr const char* machine = "machine";

constexpr std::array<const char*, act_keys> key_names{"iova", "address", "process", "word", "rest_after"};

constexpr std::array<bool, act_keys> takes(std::initializer_list<ActKey> keys) {
    std::array<bool, act_keys> taken{};
    for (const ActKey key : keys) {
        taken[static_cast<std::size_t>(key)] = true;
    }
    return taken;
}
constexpr auto nothing = takes({});
constexpr auto at_iova = takes({ActKey::iova});
constexpr auto at_both = takes({ActKey::iova, ActKey::address});
constexpr auto on_bus = takes({ActKey::address});
constexpr auto at_process = takes({ActKey::process});
constexpr auto from_process = takes({ActKey::process, ActKey::address});
constexpr auto to_process = takes({ActKey::process, ActKey::address, ActKey::word});
constexpr auto to_machine = takes({ActKey::address, ActKey::word});

constexpr std::array acts{
    HostileAct{Act::map_own, "map_own", nullptr, "maps a page of its own", at_iova},
    HostileAct{Act::map_foreign, "map_foreign", process, "maps the address of a page of another process",
               at_both},
    HostileAct{Act::map_kernel, "map_kernel", kernel, "maps an address of the kernel", at_both},
    HostileAct{Act::map_read_only, "map_read_only", process,
               "maps a file that it may read for the device to write", at_iova},
    HostileAct{Act::map_readable, "map_readable", process,
               "maps a file that it may read for the device to read, and has it write there", at_iova},
    HostileAct{Act::unmap, "unmap", nullptr, "unmaps a page", at_iova},
    HostileAct{Act::exhaust_memory, "exhaust_memory", machine,
               "maps 2 MiB again and again until that is refused", nothing},
    HostileAct{Act::exhaust_mappings, "exhaust_mappings", machine,
               "maps its registers, which cost no memory, again and again until that is refused", nothing},
    HostileAct{Act::release, "release", nullptr, "unmaps what the two before have mapped", nothing},
    HostileAct{Act::write_bars, "write_bars", devices, "moves its registers to where another device's are",
               on_bus},
    HostileAct{Act::write_rom, "write_rom", devices,
               "moves its expansion ROM to where another device's registers are", on_bus},
    HostileAct{Act::write_command, "write_command", devices, "sets all bits of the command register",
               nothing},
    HostileAct{Act::write_messages, "write_messages", devices,
               "has its interrupt messages written to an address of its choice", on_bus},
    HostileAct{Act::power_down, "power_down", devices, "puts the device to sleep (D3hot)", nothing},
    HostileAct{
        Act::reach_beyond, "reach_beyond", devices,
        "reads and writes behind the end of configuration space and registers, and regions that are none",
        nothing},
    HostileAct{Act::restore_config, "restore_config", nullptr, "writes back what it had found", nothing},
    HostileAct{Act::flood, "flood", machine, "interrupts as fast as it can, and serves none",
               takes({ActKey::rest_after})},
    HostileAct{Act::end_flood, "end_flood", nullptr, "ends that", nothing},
    HostileAct{Act::process_read, "process_read", process, "process_vm_readv(2)", from_process},
    HostileAct{Act::process_write, "process_write", process, "process_vm_writev(2)", to_process},
    HostileAct{Act::process_file_read, "process_file_read", process, "reads /proc/PID/mem", from_process},
    HostileAct{Act::process_file_write, "process_file_write", process, "writes /proc/PID/mem", to_process},
    HostileAct{Act::trace_read, "trace_read", process, "ptrace(2): attaches and reads", from_process},
    HostileAct{Act::trace_write, "trace_write", process, "ptrace(2): attaches and writes", to_process},
    HostileAct{Act::machine_read, "machine_read", process, "reads /dev/mem", on_bus},
    HostileAct{Act::machine_write, "machine_write", process, "writes /dev/mem", to_machine},
    HostileAct{Act::outlive, "outlive", machine, "forks a child that holds the device and takes no signal", nothing},
    HostileAct{Act::signal, "signal", process, "sends SIGKILL to a process of the same user's", at_process},
    HostileAct{Act::write_message_table, "write_message_table", devices,
               "writes its table of messages (MSI-X), and has the device send one", to_machine},
};
static_assert([] {
    for (std::size_t i = 0; i < acts.size(); ++i) {
        if (static_cast<std::size_t>(acts[i].act) != i) {
            return false;
        }
    }
    return true;
}());

const HostileAct& find_act(const std::string& name) {
    std::string known;
    for (const HostileAct& act : acts) {
        if (name == act.name) {
            return act;
        }
        known += std::string{known.empty() ? "" : ", "} + act.name;
    }
    throw Failure{"there is no hostile act `" + name + "`; there are " + known};
}

std::size_t key_of(const HostileAct& act, std::string_view name) {
    for (std::size_t key = 0; key < act_keys; ++key) {
        if (act.takes[key] && name == key_names[key]) {
            return key;
        }
    }
    throw Failure{std::string{"hostile "} + act.name + " has no parameter `" + std::string{name} + "`"};
}

std::uint64_t number_of(std::string_view text, const std::string& word) {
    const bool hexadecimal = text.starts_with("0x");
    const std::string_view digits = text.substr(hexadecimal ? 2 : 0);
    std::uint64_t number = 0;
    const auto [end, error] =
        std::from_chars(digits.data(), digits.data() + digits.size(), number, hexadecimal ? 16 : 10);
    if (digits.empty() || error != std::errc{} || end != digits.data() + digits.size()) {
        throw Failure{"`" + word + "`: a whole number was expected"};
    }
    return number;
}

}  // namespace

std::span<const HostileAct> hostile_acts() { return acts; }

bool is_hostile(std::string_view line) {
    return line.starts_with(verb) && (line.size() == verb.size() || line[verb.size()] == ' ');
}

HostileCommand parse_hostile_command(std::string_view line) {
    std::istringstream words{std::string{line}};
    std::string word;
    words >> word;
    if (word != verb) {
        throw Failure{"`" + word + "` was to be `hostile`"};
    }
    word.clear();
    words >> word;
    HostileCommand command;
    command.act = &find_act(word);
    std::array<bool, act_keys> given{};
    while (words >> word) {
        const std::size_t equals = word.find('=');
        if (equals == std::string::npos) {
            throw Failure{"`" + word + "`: name=value was expected"};
        }
        const std::size_t key = key_of(*command.act, std::string_view{word}.substr(0, equals));
        if (given[key]) {
            throw Failure{"`" + word + "` is there twice"};
        }
        given[key] = true;
        command.values[key] = number_of(std::string_view{word}.substr(equals + 1), word);
    }
    for (std::size_t key = 0; key < act_keys; ++key) {
        if (command.act->takes[key] && !given[key]) {
            throw Failure{std::string{"hostile "} + command.act->name + " needs a value for " +
                          key_names[key]};
        }
    }
    return command;
}

}  // namespace dmatoll::user
