"""Several seeds of one experiment as one table: means, deviations, intervals, differences, and what is missing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from medtea.core.names import ScoresArtefact, Split
from medtea.core.progress import track
from medtea.core.seeds import numpy_generator
from medtea.core.work import read_json
from medtea.evaluate.by_hospital import compared, headline, headline_of, role_of
from medtea.metrics.intervals import Drawn, Group

CONTROLS = ("erm", "feature_distil", "teacher")
"""Whom every method is compared with, where they are there."""


def over_seeds(runs: Sequence[Path], *, methods: Sequence[str], replicates: int, seed: int) -> dict[str, Any]:
    """The table of runs that differ in their seed alone; a number without an answer is None.

    `value` is the mean over seeds, `sd` their standard deviation, `by_seed` each one's. The interval `patients` holds
    other patients of the same hospitals with the same trained networks; `seeds_and_patients` another seed as well.

    Args:
        runs: Run folders of which `evaluate` is finished.
        methods: Students that were asked for, in the order to be shown.
        replicates: Draws of each interval.
        seed: Of the draws.
    """
    scores = {run.name: _read(run) for run in runs}
    cards: dict[str, dict[str, Any]] = {}
    for run in runs:
        cards |= read_json(ScoresArtefact(run / "evaluate").metrics)["methods"]
    everything = pd.concat(scores.values(), ignore_index=True)
    roles = {str(group): role_of(part) for group, part in everything.groupby("group", sort=True)}
    groups = sorted(roles, key=lambda group: (roles[group] == "ood", group))
    parts = {
        (str(group), str(method), run): part.sort_values("radiograph")
        for run, table in scores.items()
        for (method, group), part in table.groupby(["method", "group"], sort=False)
    }
    asked = ["teacher", *methods]
    cells, differences = [], []
    for group in track(groups, "intervals over seeds"):
        there = [(method, run) for method in asked for run in scores if (group, method, run) in parts]
        drawn = Drawn.of(
            [_group(parts[group, *one]) for one in there],
            replicates=replicates,
            generator=numpy_generator(seed, group),
        )
        place = {one: number for number, one in enumerate(there)}
        for method in asked:
            own = [place.get((method, run)) for run in scores]
            cells.append({"method": method, "group": group} | _cell(drawn, own))
            for control in CONTROLS:
                other = [place.get((control, run)) for run in scores]
                both = [(a, b) for a, b in zip(own, other, strict=True) if a is not None and b is not None]
                if both and control != method:
                    found = {"method": method, "control": control, "group": group}
                    differences.append(found | _estimated(drawn, [a for a, _ in both], [b for _, b in both]))
    for rows in (cells, differences):
        rows.sort(key=lambda row: asked.index(row["method"]))
    return {
        "headline": headline(everything),
        "runs": list(scores),
        "groups": [{"group": group, "role": roles[group]} for group in groups],
        "methods": [{"method": name, **cards.get(name, {})} for name in asked],
        "cells": cells,
        "differences": differences,
        "interval": f"95 %, percentile bootstrap of patients with the seeds as they are, {replicates} draws",
    }


def _read(run: Path) -> pd.DataFrame:
    table = compared(pd.read_csv(ScoresArtefact(run / "evaluate").scores))
    return table[table["split"].eq(Split.TEST)]


def _answer(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _group(part: pd.DataFrame) -> Group:
    return Group(part["patient"].tolist(), headline_of(part))


def _cell(drawn: Drawn, places: Sequence[int | None]) -> dict[str, Any]:
    """What each seed says, their mean, and its intervals; no answer is None."""
    by_seed = [None if place is None else _answer(drawn.groups[place].statistic.value) for place in places]
    known = [value for value in by_seed if value is not None]
    there = [place for place in places if place is not None]
    return {
        "by_seed": by_seed,
        "value": float(np.mean(known)) if known else None,
        "sd": float(np.std(known, ddof=1)) if len(known) > 1 else None,
        **(_estimated(drawn, there) if there else {}),
    }


def _estimated(drawn: Drawn, first: Sequence[int], less: Sequence[int] = ()) -> dict[str, Any]:
    return {
        "patients": drawn.mean(first, less).to_json(),
        "seeds_and_patients": drawn.mean(first, less, draw_groups=True).to_json(),
    }
