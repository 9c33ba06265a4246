"""The record of a sweep, made by code, in the form in which over_seeds writes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

ROLES = {"iid": "iid", "ood": "ood", "shift": "ood"}
SPREAD = (0.0, 0.004, -0.008)  # what each seed has more than the first
HALF_WIDTH = 0.01  # of every interval

Values = Mapping[str, Sequence[float | None]]
VALUES: Values = {
    "teacher": (0.985, 0.98, 0.98),
    "erm": (0.99, 0.05, 0.4),
    "tea": (0.98, 0.97, 0.96),
    "irm": (0.9, 0.6, None),
}
"""The first seed's, per method and group."""


def interval(value: float | None, half_width: float = HALF_WIDTH) -> dict[str, Any]:
    """An estimate as JSON; without a value it has no interval either."""
    known = value is not None
    ends = (value - half_width, value + half_width) if known else (None, None)
    return {"value": value, "low": ends[0], "high": ends[1], "n": 400, "n_patients": 400, "n_positive": None}


def made_record(
    values: Values = VALUES, roles: Mapping[str, str] = ROLES, *, headline: str = "accuracy", seeds: int = 3
) -> dict[str, Any]:
    """Methods x groups x seeds; differences to erm and to the teacher where both have an answer."""
    means, cells = {}, []
    for method, firsts in values.items():
        for group, first in zip(roles, firsts, strict=True):
            by_seed = [None if first is None else min(first + SPREAD[seed % 3], 1) for seed in range(seeds)]
            mean = None if first is None else sum(by_seed) / seeds
            means[method, group] = mean
            cells.append(
                {
                    "method": method,
                    "group": group,
                    "by_seed": by_seed,
                    "value": mean,
                    "sd": 0.006 if mean is not None and seeds > 1 else None,
                }
                | ({} if mean is None else {"patients": interval(mean), "seeds_and_patients": interval(mean, 0.03)})
            )
    differences = [
        {"method": method, "control": control, "group": group, "patients": interval(mean - means[control, group])}
        for control in ("erm", "teacher")
        if control in values
        for (method, group), mean in means.items()
        if method != control and mean is not None and means[control, group] is not None
    ]
    return {
        "headline": headline,
        "runs": [f"seed_{seed}" for seed in range(seeds)],
        "groups": [{"group": group, "role": role} for group, role in roles.items()],
        "methods": [{"method": name, "sees": ["radiograph", "label"], **_card(name)} for name in values],
        "cells": cells,
        "differences": differences,
        "interval": "95 %, by patient with the seeds as they are (DeLong)",
        "failed": [],
        "made_with": {"date": "2025-01-01", "seeds": "0, 1, 2"},
    }


def cell_of(record: Mapping[str, Any], method: str, group: str) -> dict[str, Any]:
    """One of its cells, to be changed by a test."""
    found: dict[str, Any] = next(c for c in record["cells"] if (c["method"], c["group"]) == (method, group))
    return found


def _card(name: str) -> dict[str, Any]:
    needs = ["radiograph", "twin"] if name == "teacher" else ["radiograph"]
    return {"sees_at_inference": needs, "network": "tiny_cnn", "options": {}, "selection": "lowest validation loss"}
