"""AUROC and its companions per method and group, the gap from IID to OOD, and paired differences to ERM.

Of several classes the share of images that get the right one, accuracy, takes the place of the AUROC.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from medtea.core.names import Role, Split
from medtea.core.seeds import numpy_generator
from medtea.metrics.classification import prevalence, youden_threshold
from medtea.metrics.intervals import Group, bootstrap_by_patient, difference_between_groups, paired_difference
from medtea.metrics.weighted import (
    Statistic,
    accuracy_of,
    auroc_of,
    average_precision_of,
    mean_of,
    sensitivity_of,
    specificity_of,
)

CONTROL = "erm"
"""The method that others are compared with."""


def compared(scores: pd.DataFrame) -> pd.DataFrame:
    """The rows that count: a plausible lung mask, so that all methods are compared on the same radiographs."""
    return scores[scores["plausible_mask"].astype(bool)]


def role_of(part: pd.DataFrame) -> str:
    """What is printed beside a group: "ood" where no training or selection step looked, else "iid"."""
    return "ood" if part["role"].iloc[0] == Role.EXTERNAL else "iid"


def headline(scores: pd.DataFrame) -> str:
    """The statistic that methods are compared by: "auroc", or "accuracy" of several classes."""
    return "accuracy" if scores["predicted"].notna().any() else "auroc"


def headline_of(part: pd.DataFrame) -> Statistic:
    """That statistic of some rows of one method."""
    labels = part["label"].to_numpy(dtype=int)
    if headline(part) == "auroc":
        return auroc_of(labels, part["score"].to_numpy())
    return mean_of((part["predicted"].to_numpy(dtype=int) == labels).astype(float))


def scores_by_group(scores: pd.DataFrame, *, replicates: int, seed: int) -> list[dict[str, Any]]:
    """One entry per method and test group, all estimates with a 95 % interval by patient.

    Several classes have their accuracy alone, without a threshold. Of two classes the operating point of accuracy,
    sensitivity and specificity is the one with the largest Youden index on IID validation radiographs, carried over
    unchanged to every group.
    """
    counted = compared(scores)
    found = []
    for method, of_method in counted.groupby("method", sort=False):
        is_binary = headline(of_method) == "auroc"
        threshold = _threshold(of_method) if is_binary else np.nan
        for group, part in of_method[of_method["split"].eq(Split.TEST)].groupby("group", sort=True):
            statistics = _binary(part, threshold) if is_binary else {"accuracy": headline_of(part)}
            entry: dict[str, Any] = {"method": method, "group": group, "role": role_of(part)}
            for name, statistic in statistics.items():
                draws = numpy_generator(seed, f"bootstrap/{group}")
                patients = part["patient"].tolist()
                estimate = bootstrap_by_patient(patients, statistic, replicates=replicates, generator=draws)
                entry[name] = estimate.to_json()
            if is_binary:
                share = prevalence(part["label"].to_numpy(dtype=int))
                entry |= {"prevalence": _number(share), "threshold": _number(threshold)}
            found.append(entry)
    return found


def _threshold(of_method: pd.DataFrame) -> float:
    selection = of_method[of_method["split"].eq(Split.VALIDATION)]
    return youden_threshold(selection["label"].to_numpy(dtype=int), selection["score"].to_numpy())


def _binary(part: pd.DataFrame, threshold: float) -> dict[str, Statistic]:
    labels, values = part["label"].to_numpy(dtype=int), part["score"].to_numpy()
    return {
        "auroc": headline_of(part),
        "average_precision": average_precision_of(labels, values),
        "accuracy": accuracy_of(labels, values, threshold),
        "sensitivity": sensitivity_of(labels, values, threshold),
        "specificity": specificity_of(labels, values, threshold),
    }


def gaps(scores: pd.DataFrame, *, replicates: int, seed: int) -> list[dict[str, Any]]:
    """Headline on the IID groups less that on each OOD group, per method: 0 for a method that generalises."""
    counted = compared(scores)
    tested = counted[counted["split"].eq(Split.TEST)]
    found = []
    for method, of_method in tested.groupby("method", sort=False):
        groups = {str(name): part for name, part in of_method.groupby("group", sort=True)}
        iid = [name for name, part in groups.items() if role_of(part) == "iid"]
        for name in groups:
            if name in iid or not iid:
                continue
            difference = difference_between_groups(
                [_group(groups[one]) for one in iid],
                [_group(groups[name])],
                replicates=replicates,
                generator=numpy_generator(seed, f"gap/{name}"),
            )
            found.append({"method": method, "iid": iid, "ood": [name], "difference": difference.to_json()})
    return found


def differences_to(control: str, scores: pd.DataFrame, *, replicates: int, seed: int) -> list[dict[str, Any]]:
    """Headline of each method less that of `control`, on the same patients of each group; empty without the control."""
    counted = compared(scores)
    tested = counted[counted["split"].eq(Split.TEST)]
    found: list[dict[str, Any]] = []
    for group, part in tested.groupby("group", sort=True):
        by_method = {name: rows.sort_values("radiograph") for name, rows in part.groupby("method", sort=False)}
        if control not in by_method:
            continue
        reference = by_method[control]
        for method, rows in by_method.items():
            if method == control:
                continue
            difference = paired_difference(
                rows["patient"].tolist(),
                headline_of(rows),
                headline_of(reference),
                replicates=replicates,
                generator=numpy_generator(seed, f"difference/{group}"),
            )
            found.append({"method": method, "group": group, "difference": difference.to_json()})
    return found


def left_out(scores: pd.DataFrame) -> list[dict[str, Any]]:
    """How many test radiographs of each group are not counted because their lung mask is implausible."""
    one = scores[scores["split"].eq(Split.TEST) & scores["method"].eq(scores["method"].iloc[0])]
    dropped = one[~one["plausible_mask"].astype(bool)]
    return [
        {"group": group, "n": len(part), "reason": "implausible lung mask"}
        for group, part in dropped.groupby("group", sort=True)
    ]


def _group(part: pd.DataFrame) -> Group:
    return Group(part["patient"].tolist(), headline_of(part))


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def no_answers(entries: Sequence[dict[str, Any]]) -> int:
    """How many AUROCs have no answer, since their group has one class only."""
    return sum("auroc" in entry and entry["auroc"]["value"] is None for entry in entries)
