"""AUROC and its companions per method and group, with one threshold for all groups of a method.

Of several classes the share of images that get the right one, accuracy, takes the place of the AUROC as the headline;
where each class has its probability, the AUROC of each against the rest and their mean stand beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from medtea.core.names import Role, Split
from medtea.core.seeds import numpy_generator
from medtea.metrics.classification import (
    prevalence,
    threshold_for_sensitivity,
    threshold_for_specificity,
    youden_threshold,
)
from medtea.metrics.delong import Placed, auroc_interval, placed, placed_mean
from medtea.metrics.estimates import Estimate, without_interval
from medtea.metrics.intervals import Drawn, Group
from medtea.metrics.per_class import against_the_rest, macro_auroc
from medtea.metrics.proportions import share
from medtea.metrics.weighted import average_precision_of

PROBABILITY = "probability_{}"
"""The columns of scores.csv that several classes have beside the others, by the number of the class."""


def compared(scores: pd.DataFrame) -> pd.DataFrame:
    """The rows that count: a plausible lung mask, so that all methods are compared on the same radiographs."""
    return scores[scores["plausible_mask"].astype(bool)]


def role_of(part: pd.DataFrame) -> str:
    """What is printed beside a group: "ood" where no training or selection step looked, else "iid"."""
    return "ood" if part["role"].iloc[0] == Role.EXTERNAL else "iid"


def headline(scores: pd.DataFrame) -> str:
    """The statistic that methods are compared by: "auroc", or "accuracy" of several classes."""
    return "accuracy" if scores["predicted"].notna().any() else "auroc"


def headline_placed(part: pd.DataFrame) -> Placed:
    """That number of some rows of one method, with each patient's part of its error."""
    labels, patients = part["label"].to_numpy(dtype=int), part["patient"].tolist()
    if headline(part) == "auroc":
        return placed(patients, labels, part["score"].to_numpy())
    return placed_mean(patients, (part["predicted"].to_numpy(dtype=int) == labels).astype(float))


def classes_placed(part: pd.DataFrame) -> list[Placed]:
    """The AUROC of each class against the rest, of some rows of one method; empty without their probabilities."""
    columns = [name for name in map(PROBABILITY.format, range(part.shape[1])) if name in part.columns]
    if not columns or part[columns].isna().to_numpy().any():
        return []
    return against_the_rest(part["patient"].tolist(), part["label"].to_numpy(dtype=int), part[columns].to_numpy())


@dataclass(frozen=True)
class OperatingPoint:
    """How the threshold is chosen on IID validation radiographs, to be carried over unchanged.

    Attributes:
        by: "youden", the largest sensitivity + specificity - 1; "sensitivity" or "specificity", at least the target.
        target: In (0, 1); of the last two.
    """

    by: Literal["youden", "sensitivity", "specificity"] = "youden"
    target: float = 0.9

    def threshold(self, labels: ArrayLike, scores: ArrayLike) -> float:
        """The threshold; NaN where there is none."""
        if self.by == "youden":
            return youden_threshold(labels, scores)
        find = threshold_for_sensitivity if self.by == "sensitivity" else threshold_for_specificity
        return find(labels, scores, self.target)

    @property
    def words(self) -> str:
        """As it is told beside the numbers."""
        found = "largest Youden index" if self.by == "youden" else f"{self.by} of at least {self.target:g}"
        return f"{found} on IID validation radiographs, carried over"


def scores_by_group(
    scores: pd.DataFrame, *, replicates: int, seed: int, point: OperatingPoint = OperatingPoint()
) -> list[dict[str, Any]]:
    """One entry per method and test group, all estimates with a 95 % interval by patient.

    Several classes have accuracy and AUROCs against the rest, without a threshold. Of two classes accuracy,
    sensitivity, specificity, the predictive values and balanced accuracy are those at the operating point.
    docs/statistics.md says which interval a number has; the average precision is drawn `replicates` times, the same
    draws for all methods of a group.
    """
    counted = compared(scores)
    thresholds = {method: _threshold(rows, point) for method, rows in counted.groupby("method", sort=False)}
    precisions = _average_precisions(counted, replicates=replicates, seed=seed)
    found = []
    for method, of_method in counted.groupby("method", sort=False):
        for group, part in of_method[of_method["split"].eq(Split.TEST)].groupby("group", sort=True):
            entry: dict[str, Any] = {"method": method, "group": group, "role": role_of(part)}
            if headline(of_method) != "auroc":
                right = part["predicted"].to_numpy(dtype=int) == part["label"].to_numpy(dtype=int)
                found.append(entry | {"accuracy": share(part["patient"].tolist(), right).to_json()} | _by_class(part))
                continue
            estimates = {"auroc": auroc_interval(headline_placed(part)), "average_precision": precisions[method, group]}
            estimates |= _at_threshold(part, thresholds[method])
            entry |= {name: estimate.to_json() for name, estimate in estimates.items()}
            positive = prevalence(part["label"].to_numpy(dtype=int))
            found.append(entry | {"prevalence": _number(positive), "threshold": _number(thresholds[method])})
    return found


def _by_class(part: pd.DataFrame) -> dict[str, Any]:
    classes = classes_placed(part)
    if not classes:
        return {}
    of_each = {str(number): auroc_interval(one).to_json() for number, one in enumerate(classes)}
    return {"macro_auroc": macro_auroc(classes).to_json(), "auroc_by_class": of_each}


def _threshold(of_method: pd.DataFrame, point: OperatingPoint) -> float:
    if headline(of_method) != "auroc":
        return float("nan")
    selection = of_method[of_method["split"].eq(Split.VALIDATION)]
    return point.threshold(selection["label"].to_numpy(dtype=int), selection["score"].to_numpy())


def _average_precisions(counted: pd.DataFrame, *, replicates: int, seed: int) -> dict[tuple[Any, Any], Estimate]:
    binary = counted[counted["split"].eq(Split.TEST) & counted["predicted"].isna()]
    found: dict[tuple[Any, Any], Estimate] = {}
    for group, rows in binary.groupby("group", sort=True):
        parts = dict(list(rows.groupby("method", sort=False)))
        groups = [
            Group(part["patient"].tolist(), average_precision_of(part["label"].to_numpy(int), part["score"].to_numpy()))
            for part in parts.values()
        ]
        drawn = Drawn.of(groups, replicates=replicates, generator=numpy_generator(seed, f"bootstrap/{group}"))
        found |= {(method, group): drawn.estimate(place) for place, method in enumerate(parts)}
    return found


def _at_threshold(part: pd.DataFrame, threshold: float) -> dict[str, Estimate]:
    """Of each rate: among whom, and what counts as right; none has an answer without a threshold."""
    patients, positive = part["patient"].to_numpy(dtype=str), part["label"].to_numpy(dtype=int) == 1
    called = part["score"].to_numpy() >= threshold
    everyone = np.ones_like(positive)
    among = {
        "accuracy": (everyone, called == positive),
        "sensitivity": (positive, called),
        "specificity": (~positive, ~called),
        "ppv": (called, positive),
        "npv": (~called, ~positive),
    }
    if np.isnan(threshold):
        counts = {"n": positive.size, "n_patients": np.unique(patients).size, "n_positive": int(positive.sum())}
        return dict.fromkeys([*among, "balanced_accuracy"], without_interval(float("nan"), **counts))
    found = {
        name: share(patients[rows].tolist(), right[rows], n_positive=int(positive[rows].sum()))
        for name, (rows, right) in among.items()
    }
    # (sensitivity + specificity) / 2 is the AUROC of calls.
    return found | {"balanced_accuracy": auroc_interval(placed(patients.tolist(), positive, called))}


def left_out(scores: pd.DataFrame) -> list[dict[str, Any]]:
    """How many test radiographs of each group are not counted because their lung mask is implausible."""
    one = scores[scores["split"].eq(Split.TEST) & scores["method"].eq(scores["method"].iloc[0])]
    dropped = one[~one["plausible_mask"].astype(bool)]
    return [
        {"group": group, "n": len(part), "reason": "implausible lung mask"}
        for group, part in dropped.groupby("group", sort=True)
    ]


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def no_answers(entries: Sequence[dict[str, Any]]) -> int:
    """How many AUROCs have no answer, since their group has one class only."""
    return sum("auroc" in entry and entry["auroc"]["value"] is None for entry in entries)
