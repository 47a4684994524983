// SPDX-License-Identifier: BSD-2-Clause
#include "meter_file.hpp"

#include <fstream>
#include <nlohmann/json.hpp>
#include <stdexcept>

namespace dmatoll::harness::lab {

std::uint64_t Window::total() const {
    std::uint64_t sum = 0;
    for (const VcpuInstructions& vcpu : vcpus) sum += vcpu.total();
    return sum;
}

std::vector<Window> read_windows(const std::filesystem::path& file) {
    std::ifstream stream(file);
    if (!stream)
        throw std::runtime_error("cannot read the instruction meter's windows from " + file.string());

    std::vector<Window> windows;
    for (std::string line; std::getline(stream, line);) {
        if (stream.eof()) break;  // no newline yet
        try {
            const auto json = nlohmann::json::parse(line);
            Window window;
            window.number = json.at("window").get<std::uint64_t>();
            window.unavailable = json.value("unavailable", "");
            if (window.unavailable.empty()) {
                for (const auto& vcpu : json.at("vcpus")) {
                    window.vcpus.push_back(
                        {vcpu.at("user").get<std::uint64_t>(), vcpu.at("kernel").get<std::uint64_t>()});
                }
            }
            windows.push_back(std::move(window));
        } catch (const nlohmann::json::exception& error) {
            throw std::runtime_error(file.string() + ": expected a window of the instruction meter, found '" +
                                     line + "': " + error.what());
        }
    }
    return windows;
}

}  // namespace dmatoll::harness::lab
