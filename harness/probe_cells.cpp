// SPDX-License-Identifier: BSD-2-Clause
#include "probe_cells.hpp"

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

ProbeCells::ProbeCells(const json& protection, std::uint64_t slack_ns, std::uint64_t in_all, const Step& step)
    : protection_{protection}, slack_ns_{slack_ns}, in_all_{in_all}, step_{step} {
    step_(0, in_all_);
}

void ProbeCells::add(const Pair& pair, const std::string& access, const Observation& seen, const json& more) {
    const Promise promise = promise_of(protection_.at(pair.name), access);
    const Verdict verdict = judge(promise, seen, slack_ns_);
    json cell = cell_of(pair, access, name_of(promise.kind), seen, verdict);
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

void ProbeCells::leave_out(const Pair& pair, const std::string& access, const std::string& reason) {
    const Promise promise = promise_of(protection_.at(pair.name), access);
    json cell = cell_of(pair, access, name_of(reason.empty() ? Promise::Kind::none : promise.kind), {},
                        Verdict::not_tried);
    if (!reason.empty()) cell["reason"] = reason;
    keep(std::move(cell));
}

json ProbeCells::result() const {
    return {{"probe", {{"cells", cells_}, {"slack_ns", slack_ns_}}},
            {"metrics", {{"accesses", accesses_}, {"cells", cells_.size()}, {"less_than_promised", less_}}}};
}

void ProbeCells::keep(json cell) {
    cells_.push_back(std::move(cell));
    step_(cells_.size(), in_all_);
}

}  // namespace dmatoll::harness
