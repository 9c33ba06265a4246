"""AUROC and prevalence of parts of a hospital's patients: by sex, age, view, maker, portable, year.

What is found goes with the part and is not said to come from it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from medtea.core.names import IndexArtefact, Split
from medtea.core.progress import track
from medtea.core.seeds import numpy_generator
from medtea.data.acquisition import read_acquisition
from medtea.data.index import read_index
from medtea.data.views import UNKNOWN
from medtea.evaluate.by_hospital import compared, headline, role_of
from medtea.metrics.delong import Placed, auroc_interval, difference, placed
from medtea.metrics.intervals import Group, bootstrap_by_patient, difference_between_groups
from medtea.metrics.weighted import mean_of

ATTRIBUTES = ("sex", "age", "view", "manufacturer", "portable", "year")
SMALLEST = 20
"""Radiographs that a part needs to be shown."""
FEWEST = 5
"""Radiographs of either label that it needs."""
AGES = (0, 18, 40, 60, 80, 200)
AGE_BANDS = ("under 18", "18 to 39", "40 to 59", "60 to 79", "80 and above")


def read_parts(index: IndexArtefact) -> pd.DataFrame:
    """parts_of a run's index; where no acquisition was written down (scenes, planted marks) the view alone is known."""
    table = read_index(index.index)
    return parts_of(table, read_acquisition(index.acquisition) if index.acquisition.exists() else None)


def parts_of(index: pd.DataFrame, acquisition: pd.DataFrame | None) -> pd.DataFrame:
    """Which part each radiograph belongs to: a column per attribute, radiographs as rows; missing where unknown.

    Args:
        index: Columns radiograph and view.
        acquisition: Row i for row i of the index.
    """
    if acquisition is None:
        columns = ("sex", "manufacturer", "portable", "age_years", "year")
        acquisition = pd.DataFrame(dict.fromkeys(columns), index=range(len(index)))
    aged = pd.cut(acquisition["age_years"].astype("Float64"), bins=list(AGES), labels=list(AGE_BANDS), right=False)
    found = pd.DataFrame(
        {
            "sex": acquisition["sex"],
            "age": aged.astype("object"),
            "view": index["view"].to_numpy(),
            "manufacturer": acquisition["manufacturer"],
            "portable": acquisition["portable"],
            "year": acquisition["year"].astype("string"),
        }
    ).astype("object")
    found = found.where(found.notna() & ~found.isin([UNKNOWN]), None)
    return found.set_axis(index["radiograph"].to_numpy(), axis=0)


def subgroups(scores: pd.DataFrame, parts: pd.DataFrame, *, replicates: int, seed: int) -> dict[str, Any] | None:
    """The key `subgroups` of metrics.json; None for several classes.

    Per test group, attribute and part: prevalence, and how far it lies from that of the hospital's others of whom the
    attribute is known; per method the AUROC, and how far it lies from theirs. A part of fewer than 20 radiographs, or
    fewer than 5 of either label, is hidden and counted; so is an attribute of which all are alike, which has no parts.

    Args:
        scores: Rows of scores.csv.
        parts: From parts_of.
        replicates: Draws of patients.
        seed: Of the draws.
    """
    if headline(scores) != "auroc":
        return None
    counted = compared(scores)
    tested = counted[counted["split"].eq(Split.TEST)]
    joined = tested.join(parts.reindex(columns=list(ATTRIBUTES)), on="radiograph")
    shown: list[dict[str, Any]] = []
    hidden: list[dict[str, Any]] = []
    missing: list[dict[str, Any]] = []
    for group, of_group in track(list(joined.groupby("group", sort=True)), "subgroups"):
        for attribute in ATTRIBUTES:
            known = of_group[of_group[attribute].notna()]
            first = _of_first_method(of_group)
            place = {"group": group, "role": role_of(of_group), "attribute": attribute}
            missing.append(place | {"n": len(first), "unknown": int(first[attribute].isna().sum())})
            values = sorted(known[attribute].unique()) if known[attribute].nunique() > 1 else []
            small = [value for value in values if not _is_shown(_of_first_method(known[known[attribute].eq(value)]))]
            hidden += [place | {"parts": len(small)}] if small else []
            for value in values:
                if value not in small:
                    chosen = known[attribute].eq(value)
                    counts = {"replicates": replicates, "seed": seed}
                    shown.append(place | {"part": value} | _part(known[chosen], known[~chosen], **counts))
    return {
        "smallest": SMALLEST,
        "fewest_of_a_label": FEWEST,
        "parts": shown,
        "hidden": hidden,
        "unknown": missing,
        "worst": [*_worst(shown)],
    }


def _of_first_method(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[rows["method"].eq(rows["method"].iloc[0])] if len(rows) else rows


def _is_shown(part: pd.DataFrame) -> bool:
    positive = int(part["label"].sum())
    return len(part) >= SMALLEST and min(positive, len(part) - positive) >= FEWEST


def _part(part: pd.DataFrame, others: pd.DataFrame, *, replicates: int, seed: int) -> dict[str, Any]:
    """Prevalence of the part, and each method's AUROC there, beside those of the others of the hospital."""
    draws: dict[str, Any] = {"replicates": replicates}
    group = part["group"].iloc[0]

    def generator() -> np.random.Generator:
        return numpy_generator(seed, f"subgroups/{group}")

    first, rest = _of_first_method(part), _of_first_method(others)
    shares = [Group(rows["patient"].tolist(), mean_of(rows["label"].to_numpy(dtype=float))) for rows in (first, rest)]
    prevalence = bootstrap_by_patient(shares[0].patients, shares[0].statistic, **draws, generator=generator())
    shift = difference_between_groups(shares[:1], shares[1:], **draws, generator=generator())
    found: dict[str, Any] = {
        "n": len(first),
        "n_patients": first["patient"].nunique(),
        "n_positive": int(first["label"].sum()),
        "n_others": len(rest),
        "prevalence": prevalence.to_json(),
        "prevalence_less_others": shift.to_json(),
        "methods": [],
    }
    for method, rows in part.groupby("method", sort=False):
        own, other = _placed(rows), _placed(others[others["method"].eq(method)])
        auroc, less = auroc_interval(own), difference([own], [other]).estimate
        found["methods"].append({"method": method, "auroc": auroc.to_json(), "auroc_less_others": less.to_json()})
    return found


def _placed(rows: pd.DataFrame) -> Placed:
    return placed(rows["patient"].tolist(), rows["label"].to_numpy(dtype=int), rows["score"].to_numpy())


def _worst(shown: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Per method the part with the lowest AUROC, among how many; nothing where no part has one."""
    rows = [(part, one) for part in shown for one in part["methods"] if one["auroc"]["value"] is not None]
    for method in dict.fromkeys(one["method"] for _, one in rows):
        own = [(one["auroc"]["value"], part, one) for part, one in rows if one["method"] == method]
        _, part, one = min(own, key=lambda found: found[0])
        place = {name: part[name] for name in ("group", "role", "attribute", "part")}
        yield {"method": method} | place | {"auroc": one["auroc"], "among": len(own)}
