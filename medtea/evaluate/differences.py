"""Methods compared on the same patients, and hospitals with each other: differences, intervals, p-values.

Each function returns one table, and the family of Holm's adjustment (p_holm) is that table. A comparison without an
answer has no p and is not in the family.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from medtea.core.errors import DataError
from medtea.core.names import Split
from medtea.evaluate.by_hospital import compared, headline_placed, role_of
from medtea.metrics.delong import Comparison, Placed, difference
from medtea.metrics.holm import holm

CONTROL = "erm"
"""The method that others are compared with."""

Named = tuple[dict[str, Any], Comparison]


def gaps(scores: pd.DataFrame) -> list[dict[str, Any]]:
    """Headline on the IID groups less that on each OOD group, per method: 0 for a method that generalises."""
    found: list[Named] = []
    for method, groups in _by_method(scores).items():
        iid = [name for name, (role, _) in groups.items() if role == "iid"]
        for name, (_, one) in groups.items():
            if iid and name not in iid:
                gap = difference([groups[other][1] for other in iid], [one])
                found.append(({"method": method, "iid": iid, "ood": [name]}, gap))
    return _written(found)


def between_hospitals(scores: pd.DataFrame) -> list[dict[str, Any]]:
    """Headline at one group less that at another, per method and pair of groups.

    Hospitals share no patient, so it is the unpaired comparison; groups of the same patients are paired.
    """
    found: list[Named] = []
    for method, groups in _by_method(scores).items():
        for (first, (_, one)), (second, (_, other)) in combinations(groups.items(), 2):
            found.append(({"method": method, "groups": [first, second]}, difference([one], [other])))
    return _written(found)


def differences_to(control: str, scores: pd.DataFrame) -> list[dict[str, Any]]:
    """Headline of each method less that of `control`, on the same patients of each group; empty without the control.

    Raises:
        DataError: a method and the control were not scored on the same radiographs.
    """
    found: list[Named] = []
    tested = _tested(scores)
    for group, part in tested.groupby("group", sort=True):
        by_method = {str(name): rows for name, rows in part.groupby("method", sort=False)}
        if control not in by_method:
            continue
        reference = by_method[control]
        same, one = set(reference["radiograph"]), headline_placed(reference)
        for method, rows in by_method.items():
            if method == control:
                continue
            if set(rows["radiograph"]) != same:
                raise DataError(
                    f"'{method}' and '{control}' have scores of different radiographs at one hospital; a paired "
                    "difference needs the same ones. Score both on all of them."
                )
            pair = difference([headline_placed(rows)], [one])
            # The radiographs of a pair are the same: they count once.
            estimate = replace(pair.estimate, n=one.n, n_positive=one.n_positive)
            found.append(({"method": method, "group": group}, replace(pair, estimate=estimate)))
    return _written(found)


def _tested(scores: pd.DataFrame) -> pd.DataFrame:
    counted = compared(scores)
    return counted[counted["split"].eq(Split.TEST)]


def _by_method(scores: pd.DataFrame) -> dict[str, dict[str, tuple[str, Placed]]]:
    # Role and headline of each method and group.
    return {
        str(method): {
            str(name): (role_of(part), headline_placed(part)) for name, part in rows.groupby("group", sort=True)
        }
        for method, rows in _tested(scores).groupby("method", sort=False)
    }


def _written(found: Sequence[Named]) -> list[dict[str, Any]]:
    adjusted = holm([one.p for _, one in found])
    return [
        names | {"difference": one.estimate.to_json(), "p": _answer(one.p), "p_holm": _answer(p_holm)}
        for (names, one), p_holm in zip(found, adjusted, strict=True)
    ]


def _answer(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
