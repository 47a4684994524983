// SPDX-License-Identifier: BSD-2-Clause
#include "network_report.hpp"

#include <nlohmann/json.hpp>

namespace dmatoll::user {

std::string to_text(const NetworkReport& report) {
    return nlohmann::json{{"ready", report.ready},
                          {"mac", report.mac},
                          {"arena", report.arena},
                          {"note", report.note},
                          {"failure", report.failure}}
        .dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
}

std::optional<NetworkReport> parse_network_report(const std::string& text) {
    try {
        const auto json = nlohmann::json::parse(text);
        NetworkReport report;
        json.at("ready").get_to(report.ready);
        json.at("mac").get_to(report.mac);
        json.at("arena").get_to(report.arena);
        json.at("note").get_to(report.note);
        json.at("failure").get_to(report.failure);
        if (report.ready && !is_station(report.mac)) {
            return std::nullopt;
        }
        return report;
    } catch (const nlohmann::json::exception&) {
        return std::nullopt;
    }
}

}  // namespace dmatoll::user
