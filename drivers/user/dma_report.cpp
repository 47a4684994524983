// SPDX-License-Identifier: BSD-2-Clause
#include "dma_report.hpp"

#include <nlohmann/json.hpp>
#include <span>

namespace dmatoll::user {

std::string to_text(const DmaReport& report) {
    return nlohmann::json{{"arena", report.arena}, {"note", report.note}, {"failure", report.failure}}.dump(
        -1, ' ', true, nlohmann::json::error_handler_t::replace);
}

std::optional<DmaReport> parse_dma_report(const std::string& text) {
    try {
        const auto json = nlohmann::json::parse(text);
        return DmaReport{.arena = json.at("arena").get<std::string>(),
                         .note = json.at("note").get<std::string>(),
                         .failure = json.at("failure").get<std::string>()};
    } catch (const nlohmann::json::exception&) {
        return std::nullopt;
    }
}

std::string to_text(const dma::DmaAnswer& answer) {
    nlohmann::json json = nlohmann::json::object();
    for (const auto& line : std::span{answer.lines}.first(answer.count)) {
        if (line.word != nullptr) {
            json[line.name] = line.word;
        } else {
            json[line.name] = line.number;
        }
    }
    return json.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
}

}  // namespace dmatoll::user
