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
from medtea.metrics.intervals import Group, Statistic, mean_over_groups

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
        (run, str(method), str(group)): part.sort_values("radiograph")
        for run, table in scores.items()
        for (method, group), part in table.groupby(["method", "group"], sort=False)
    }

    def estimated(name: str, made: list[Group]) -> dict[str, Any]:
        found = {}
        for interval, draw_groups in (("patients", False), ("seeds_and_patients", True)):
            draws = numpy_generator(seed, name)
            estimate = mean_over_groups(made, draw_groups=draw_groups, replicates=replicates, generator=draws)
            found[interval] = estimate.to_json()
        return found

    def compared_with(method: str, control: str, group: str) -> list[Group]:
        both = [(parts.get((run, method, group)), parts.get((run, control, group))) for run in scores]
        return [_difference(one, other) for one, other in both if one is not None and other is not None]

    cells, differences = [], []
    for method in track(["teacher", *methods], "intervals over seeds"):
        for group in groups:
            found_parts = [parts.get((run, method, group)) for run in scores]
            made = [_group(part) for part in found_parts if part is not None]
            by_seed = [None if part is None else _answer(headline_of(part).value) for part in found_parts]
            known = [value for value in by_seed if value is not None]
            cells.append(
                {
                    "method": method,
                    "group": group,
                    "by_seed": by_seed,
                    "value": float(np.mean(known)) if known else None,
                    "sd": float(np.std(known, ddof=1)) if len(known) > 1 else None,
                    **(estimated(f"cell/{group}", made) if made else {}),
                }
            )
            for control in CONTROLS:
                pairs = compared_with(method, control, group) if control != method else []
                if pairs:
                    found = {"method": method, "control": control, "group": group}
                    differences.append(found | estimated(f"difference/{group}", pairs))
    return {
        "headline": headline(everything),
        "runs": list(scores),
        "groups": [{"group": group, "role": roles[group]} for group in groups],
        "methods": [{"method": name, **cards.get(name, {})} for name in ["teacher", *methods]],
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


def _difference(part: pd.DataFrame, control: pd.DataFrame) -> Group:
    """One seed's difference on the same radiographs."""
    first, second = headline_of(part), headline_of(control)
    both = Statistic(lambda weights: first.compute(weights) - second.compute(weights), first.n, first.n_positive)
    return Group(part["patient"].tolist(), both)
