# SPDX-License-Identifier: BSD-2-Clause
"""The point of the product of the axes that a record belongs to: only records of one point are averaged."""

import json

# Of the workload's parameters: what tells one repetition from another, not one workload from another.
REPLICATION_PARAMETERS = ("seed", "repetition")

# What is compared with what, in the order of Cell.configuration; the workload stands beside it.
CONFIGURATION = ("device", "placement", "code_generation", "completion", "strategy", "strategy_parameters", "settings")


def point(record):
    """The keys of a record's cell, flat; parameters and settings as canonical text, so that they can be compared."""
    strategy = mapping(record.get("strategy"))
    workload = mapping(record.get("workload"))
    device = mapping(record.get("device"))
    requested = mapping(record.get("requested"))
    return {
        "environment": mapping(record.get("environment")).get("kind"),
        "device": " ".join(str(device[key]) for key in ("name", "model") if device.get(key)),
        "placement": record.get("placement"),
        "code_generation": record.get("code_generation", requested.get("code_generation")),
        "completion": record.get("completion", requested.get("completion")),
        "strategy": strategy.get("name"),
        "strategy_parameters": canonical(strategy_parameters(strategy)),
        "settings": canonical(settings(record)),
        "workload": workload.get("name"),
        "workload_parameters": canonical(without(workload.get("parameters") or {}, REPLICATION_PARAMETERS)),
    }


def strategy_parameters(strategy):
    """What was asked of the strategy, and the page size that it really maps with: it may follow from the machine."""
    found = {"page_size": strategy["page_size"]} if strategy.get("page_size") is not None else {}
    return {**found, **mapping(strategy.get("parameters"))}


def settings(record):
    """Rings, moderation, MTU, offloads and whatever else was asked for, the interrupt's kind, and the shape of the machine."""
    environment = mapping(record.get("environment"))
    found = without(mapping(record.get("requested")), ("code_generation", "completion"))
    others = {
        "interrupt": mapping(record.get("device")).get("interrupt"),
        # Of a guest what was asked for: what it saw follows from that, and would count as a second difference.
        **(mapping(environment.get("guest")) or {
            "address_width": mapping(environment.get("iommu")).get("address_width"),
            "vcpus": environment.get("vcpus"),
            "memory_mib": environment.get("memory_mib"),
        }),
    }
    return {**{key: value for key, value in others.items() if value is not None}, **found}


def without(values, keys):
    return {key: value for key, value in values.items() if key not in keys} if isinstance(values, dict) else values


def mapping(value):
    return value if isinstance(value, dict) else {}


def canonical(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
