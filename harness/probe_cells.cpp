// SPDX-License-Identifier: BSD-2-Clause
#include "probe_cells.hpp"

#include <fmt/format.h>

#include <utility>

namespace dmatoll::harness {
namespace {

using nlohmann::json;

const char* name_of(Promise::Kind kind) {
    switch (kind) {
        case Promise::Kind::none:
            return "nothing";
        case Promise::Kind::never:
            return "refused";
        case Promise::Kind::bounded:
            return "refused after";
    }
    return "unknown";
}

json cell_of(const Pair& pair, const std::string& access, const char* promised, const Observation& seen,
             Verdict verdict) {
    return {{"attacker", pair.attacker},  {"asset", pair.asset},       {"access", access},
            {"promised", promised},       {"accesses", seen.accesses}, {"reached", seen.reached},
            {"verdict", name_of(verdict)}};
}

}  // namespace

ProbeCells::ProbeCells(const json& protection, std::uint64_t slack_ns, std::uint64_t in_all, json& record,
                       const Step& step)
    : protection_{protection}, slack_ns_{slack_ns}, in_all_{in_all}, record_{record}, step_{step} {
    step_(0, in_all_);
}

void ProbeCells::add(const Pair& pair, const std::string& access, const Observation& seen, const json& more,
                     const std::optional<Promise>& here) {
    const Promise promise = here ? *here : promise_of(protection_.at(pair.name), access);
    const Verdict verdict = judge(promise, seen, slack_ns_);
    json cell = cell_of(pair, access, name_of(promise.kind), seen, verdict);
    cell["device_restarts"] = seen.restarts;
    if (promise.kind == Promise::Kind::bounded) cell["promised_ns"] = promise.bound_ns;
    if (access == "stale_write" || access == "stale_read") {
        cell["longest_ns"] = seen.longest_ns;
        cell["refused_ns"] = seen.refused_ns;
        cell["open"] = seen.open;
    }
    if (!more.empty()) cell.update(more);
    accesses_ += seen.accesses;
    if (verdict == Verdict::less_than_promised) ++less_;
    keep(std::move(cell));
}

void ProbeCells::leave_out(const Pair& pair, const std::string& access, const std::string& reason,
                           const std::optional<Promise>& here) {
    const Promise promise = here ? *here : promise_of(protection_.at(pair.name), access);
    json cell = cell_of(pair, access, name_of(reason.empty() ? Promise::Kind::none : promise.kind), {},
                        Verdict::not_tried);
    if (!reason.empty()) cell["reason"] = reason;
    keep(std::move(cell));
}

ToldCells tell_cells(const json& record) {
    ToldCells told;
    const auto probe = record.find("probe");
    if (probe == record.end() || !probe->contains("cells")) return told;
    for (const auto& cell : probe->at("cells")) {
        told.any = true;
        const std::string verdict = cell.at("verdict");
        const std::string promised = cell.at("promised");
        const std::string what = fmt::format(
            "{}: {} by the {} against the {}", record.at("trial").get<std::string>(),
            cell.at("access").get<std::string>(), cell.at("attacker").get<std::string>(), cell.at("asset").get<std::string>());
        if (verdict == name_of(Verdict::less_than_promised))
            told.broken.push_back(fmt::format("{} reached it {} times of {}, promised: {}", what,
                                              cell.at("reached").get<std::uint64_t>(),
                                              cell.at("accesses").get<std::uint64_t>(), promised));
        else if (verdict == name_of(Verdict::not_tried) && promised != name_of(Promise::Kind::none))
            told.untried.push_back(fmt::format("{} shows nothing: {}", what, cell.value("reason", "")));
    }
    return told;
}

void ProbeCells::keep(json cell) {
    json& probe = record_["probe"];
    json& cells = probe["cells"];
    cells.push_back(std::move(cell));
    probe["slack_ns"] = slack_ns_;
    record_["metrics"].update({{"accesses", accesses_}, {"cells", cells.size()}, {"less_than_promised", less_}});
    step_(cells.size(), in_all_);
}

}  // namespace dmatoll::harness
