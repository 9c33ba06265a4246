"""Pooled, within-hospital and hospital-only AUROC: whether a pooled number is the recognition of hospitals."""

from __future__ import annotations

from typing import Any

import pandas as pd

from medtea.core.names import Role, Split
from medtea.core.seeds import numpy_generator
from medtea.evaluate.by_hospital import compared, headline
from medtea.metrics.intervals import bootstrap_by_patient, paired_difference
from medtea.metrics.site import site_only_auroc_of, within_site_auroc_of
from medtea.metrics.weighted import auroc_of

TRAINING = "prevalence among the training radiographs"
OWN = "prevalence among the test radiographs themselves: the most that the hospital's name could give"


def site_baseline(scores: pd.DataFrame, index: pd.DataFrame, *, replicates: int, seed: int) -> dict[str, Any] | None:
    """The key `sites` of metrics.json, over the IID hospitals and over all hospitals; None for several classes.

    `hospital_only` scores everyone by the prevalence of their hospital: that of its training radiographs where all
    hospitals have some, else that of the test radiographs. Groups of the same patients are no hospitals: None.

    Args:
        scores: Rows of scores.csv.
        index: One row per radiograph, with its hospital, label, role and split.
        replicates: Draws of patients.
        seed: Of the draws.
    """
    counted = compared(scores)
    tested = counted[counted["split"].eq(Split.TEST)]
    if headline(scores) != "auroc" or tested[["group", "patient"]].drop_duplicates()["patient"].duplicated().any():
        return None
    draws = {"replicates": replicates, "seed": seed}
    sets = {"iid": tested[tested["role"].ne(Role.EXTERNAL)], "all": tested}
    found = [
        _over(over, part, index, **draws)
        for over, part in sets.items()
        if part["group"].nunique() > 1 and not (over == "all" and len(part) == len(sets["iid"]))
    ]
    return {"sets": found}


def _over(over: str, part: pd.DataFrame, index: pd.DataFrame, *, replicates: int, seed: int) -> dict[str, Any]:
    learnt = index[index["split"].eq(Split.TRAIN) & index["label"].notna()]
    known = learnt.groupby("group")["label"].mean()
    groups = sorted(str(name) for name in part["group"].unique())
    by_training = set(groups) <= set(known.index)
    first = part[part["method"].eq(part["method"].iloc[0])]
    source = known if by_training else first.groupby("group")["label"].mean()
    prevalence = {str(name): float(source[name]) for name in groups}
    found: dict[str, Any] = {
        "over": over,
        "hospitals": [
            {"group": name, "n": int(first["group"].eq(name).sum()), "prevalence": prevalence[name]} for name in groups
        ],
        "prevalence_is": TRAINING if by_training else OWN,
    }
    draws: dict[str, Any] = {"replicates": replicates}

    def generator() -> Any:
        # The same draws for every number, so that they can be compared.
        return numpy_generator(seed, f"sites/{over}")

    patients, labels, sites = _columns(first)
    alone = site_only_auroc_of(labels, sites, prevalence)
    found["hospital_only"] = bootstrap_by_patient(patients, alone, **draws, generator=generator()).to_json()
    found["methods"] = []
    for method, rows in part.groupby("method", sort=False):
        patients, labels, sites = _columns(rows.sort_values("radiograph"))
        values = rows.sort_values("radiograph")["score"].to_numpy()
        pooled, within = auroc_of(labels, values), within_site_auroc_of(labels, values, sites)
        numbers = {
            "pooled": bootstrap_by_patient(patients, pooled, **draws, generator=generator()),
            "within": bootstrap_by_patient(patients, within, **draws, generator=generator()),
            "pooled_less_within": paired_difference(patients, pooled, within, **draws, generator=generator()),
        }
        found["methods"].append({"method": method} | {name: one.to_json() for name, one in numbers.items()})
    return found


def _columns(rows: pd.DataFrame) -> tuple[list[str], Any, list[str]]:
    return rows["patient"].tolist(), rows["label"].to_numpy(dtype=int), rows["group"].astype(str).tolist()
