"""The numbers of metrics.json as tracked metrics, each under a name that tells its hospital (docs/tracking.md)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medtea.core.tracking import metric_name

BOUNDS = ("low", "high")


def metrics_of(method: str, written: Mapping[str, Any]) -> dict[str, float | None]:
    """Every estimate of one method with its bounds, by name; None is no answer.

    Args:
        method: Whose.
        written: What evaluate writes as metrics.json.
    """
    roles = {entry["group"]: entry["role"] for entry in written["scores"]}
    found: dict[str, float | None] = {}
    for entry in written["scores"]:
        if entry["method"] == method:
            for name, value in entry.items():
                if _is_estimate(value):
                    found |= _with_bounds(name, entry["role"], entry["group"], value)
    for gap in written["gaps"]:
        if gap["method"] == method:
            for group in gap["ood"]:
                found |= _with_bounds(f"{written['headline']}_gap", "ood", group, gap["difference"])
    for one in written["differences_to_erm"]:
        if one["method"] == method:
            name = f"{written['headline']}_less_erm"
            found |= _with_bounds(name, roles[one["group"]], one["group"], one["difference"])
    return found


def _is_estimate(value: Any) -> bool:
    return isinstance(value, Mapping) and {"value", *BOUNDS} <= value.keys()


def _with_bounds(name: str, role: str, group: str, estimate: Mapping[str, Any]) -> dict[str, float | None]:
    """The value, and its bounds where there is one: of what has no answer, one name says so and not three."""
    found = {metric_name(name, group, role=role): estimate["value"]}
    bounds = BOUNDS if estimate["value"] is not None else ()
    return found | {metric_name(name, group, role=role, bound=bound): estimate[bound] for bound in bounds}
