"""Several seeds of one experiment as one table: means, deviations, intervals, differences, and what is missing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from medtea.core.names import ScoresArtefact, Split
from medtea.core.work import read_json
from medtea.evaluate.by_hospital import classes_placed, compared, headline, headline_placed, role_of
from medtea.metrics.delong import Placed, auroc_interval, difference, once, with_other_seeds
from medtea.metrics.per_class import macro_auroc
from medtea.metrics.proportions import mean_share

CONTROLS = ("erm", "feature_distil", "teacher")
"""Whom every method is compared with, where they are there."""
HOW = {
    "auroc": "DeLong, or Obuchowski where a patient has several radiographs; logit scale",
    "accuracy": "Wilson, of the independent radiographs by patient",
}
"""The interval of the mean over seeds: of one seed it is the one on that run's own page."""


def over_seeds(runs: Sequence[Path], *, methods: Sequence[str]) -> dict[str, Any]:
    """The table of runs that differ in their seed alone; a number without an answer is None.

    `value` is the mean over seeds, `sd` their standard deviation, `by_seed` each one's. The interval `patients` holds
    other patients of the same hospitals with the same trained networks; `seeds_and_patients` another seed as well.

    Args:
        runs: Run folders of which `evaluate` is finished.
        methods: Students that were asked for, in the order to be shown.
    """
    scores = {run.name: _read(run) for run in runs}
    cards: dict[str, dict[str, Any]] = {}
    for run in runs:
        cards |= read_json(ScoresArtefact(run / "evaluate").metrics)["methods"]
    everything = pd.concat(scores.values(), ignore_index=True)
    roles = {str(group): role_of(part) for group, part in everything.groupby("group", sort=True)}
    groups = sorted(roles, key=lambda group: (roles[group] == "ood", group))
    rows = {
        (str(group), str(method), run): part.sort_values("radiograph")
        for run, table in scores.items()
        for (method, group), part in table.groupby(["method", "group"], sort=False)
    }
    parts = {place: headline_placed(part) for place, part in rows.items()}
    asked = ["teacher", *methods]
    asked_for = headline(everything)
    cells, differences = [], []
    for group in groups:
        for method in asked:
            own = [parts.get((group, method, run)) for run in scores]
            cell = {"method": method, "group": group} | _cell(own, asked_for)
            cells.append(cell | _by_class([rows[group, method, run] for run in scores if (group, method, run) in rows]))
            for control in CONTROLS:
                other = [parts.get((group, control, run)) for run in scores]
                both = [(a, b) for a, b in zip(own, other, strict=True) if a is not None and b is not None]
                if both and control != method:
                    found = {"method": method, "control": control, "group": group}
                    differences.append(found | _difference([a for a, _ in both], [b for _, b in both]))
    for listed in (cells, differences):
        listed.sort(key=lambda row: asked.index(row["method"]))
    return {
        "headline": asked_for,
        "runs": list(scores),
        "groups": [{"group": group, "role": roles[group]} for group in groups],
        "methods": [{"method": name, **cards.get(name, {})} for name in asked],
        "cells": cells,
        "differences": differences,
        "interval": f"95 %, by patient with the seeds as they are ({HOW[asked_for]})",
    }


def _read(run: Path) -> pd.DataFrame:
    table = compared(pd.read_csv(ScoresArtefact(run / "evaluate").scores))
    return table[table["split"].eq(Split.TEST)]


def _answer(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _cell(seeds: Sequence[Placed | None], asked_for: str) -> dict[str, Any]:
    """What each seed says, their mean, and its intervals; no answer is None."""
    by_seed = [None if one is None else _answer(one.value) for one in seeds]
    known = [value for value in by_seed if value is not None]
    there = [one for one in seeds if one is not None]
    found: dict[str, Any] = {
        "by_seed": by_seed,
        "value": float(np.mean(known)) if known else None,
        "sd": float(np.std(known, ddof=1)) if len(known) > 1 else None,
    }
    if there:
        by_patient = auroc_interval(*there) if asked_for == "auroc" else mean_share(there)
        found |= {"patients": by_patient.to_json(), "seeds_and_patients": with_other_seeds(there).to_json()}
    return found


def _by_class(seeds: Sequence[pd.DataFrame]) -> dict[str, Any]:
    """Of several classes the mean AUROC over classes and seeds, and each class's over seeds, by patient."""
    found = [classes for classes in map(classes_placed, seeds) if classes]
    if not found:
        return {}
    of_each = {str(number): auroc_interval(*one).to_json() for number, one in enumerate(zip(*found, strict=True))}
    return {"macro_auroc": macro_auroc(*found).to_json(), "auroc_by_class": of_each}


def _difference(first: Sequence[Placed], less: Sequence[Placed]) -> dict[str, Any]:
    # Both sides are networks on the same radiographs, which count once.
    return {
        "patients": once(difference(first, less).estimate, [*first, *less]).to_json(),
        "seeds_and_patients": with_other_seeds(first, less).to_json(),
    }
