"""How much AUROCs differ between hospitals, and what a new hospital may show."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit, logit

from medtea.core.names import Split
from medtea.evaluate.by_hospital import compared, headline, role_of
from medtea.metrics.delong import auroc_interval, placed, standard_error
from medtea.metrics.random_effects import random_effects

HOW = (
    "random effects on the logit of the AUROC (standard errors: DeLong, or Obuchowski where a patient has several "
    "radiographs); τ by Paule and Mandel, intervals by Hartung and Knapp, a new hospital by Higgins, Thompson and "
    "Spiegelhalter"
)


def heterogeneity(scores: pd.DataFrame) -> dict[str, Any] | None:
    """The key `heterogeneity` of metrics.json: per method over the OOD hospitals, and over all.

    `mean`, `low`, `high` and the interval for a new hospital are AUROCs; `tau` is on the logit scale. A hospital
    without an AUROC, or with too few patients for its error, is left out with its reason. Where one ranks every pair
    alike its logit is infinite, and the method's pooled numbers have no answer.

    Returns:
        None for several classes, and where groups share patients: they are no hospitals that are independent.
    """
    counted = compared(scores)
    tested = counted[counted["split"].eq(Split.TEST)]
    if headline(scores) != "auroc" or _share_patients(tested):
        return None
    entries = []
    for method, of_method in tested.groupby("method", sort=False):
        hospitals = [_hospital(str(group), part) for group, part in of_method.groupby("group", sort=True)]
        unseen = [one for one in hospitals if one["role"] == "ood"]
        for over, chosen in (("ood", unseen), ("all", hospitals)):
            if chosen and not (over == "all" and len(unseen) == len(hospitals)):
                entries.append({"method": method, "over": over, "hospitals": chosen} | _pooled(chosen))
    return {"entries": entries, "how": HOW}


def _share_patients(tested: pd.DataFrame) -> bool:
    one = tested[["group", "patient"]].drop_duplicates()
    return bool(one["patient"].duplicated().any())


def _hospital(group: str, part: pd.DataFrame) -> dict[str, Any]:
    """One hospital's AUROC on the logit scale with its standard error, or why it has none."""
    one = placed(part["patient"].tolist(), part["label"].to_numpy(dtype=int), part["score"].to_numpy())
    error, own = standard_error(one), auroc_interval(one)
    reason = ""
    if np.isnan(one.value):
        reason = "one class only"
    elif one.value in (0.0, 1.0):
        reason = "every pair is ranked alike: its logit is infinite"
    elif np.isnan(error) or error == 0:
        reason = "fewer than two patients of a class, or scores that are all the same"
    answered = not reason
    return {
        "group": group,
        "role": role_of(part),
        "n": len(part),
        "n_patients": part["patient"].nunique(),
        "n_positive": int(part["label"].sum()),
        "auroc": _answer(one.value),
        "low": _answer(own.low),
        "high": _answer(own.high),
        "logit": float(logit(one.value)) if answered else None,
        "standard_error": error / (one.value * (1 - one.value)) if answered else None,
        "reason": reason,
    }


def _pooled(hospitals: list[dict[str, Any]]) -> dict[str, Any]:
    used = [one for one in hospitals if not one["reason"]]
    infinite = any("infinite" in one["reason"] for one in hospitals)
    k = len(used)
    if infinite or k < 2:
        why = "a hospital ranks every pair alike" if infinite else "fewer than two hospitals with an AUROC"
        return {"k": k, "reason": why} | dict.fromkeys(_NUMBERS)
    found = random_effects([one["logit"] for one in used], [one["standard_error"] ** 2 for one in used])
    aurocs = {name: getattr(found, name) for name in ("mean", "low", "high", "new_low", "new_high")}
    numbers = {name: float(expit(value)) for name, value in aurocs.items()}
    numbers |= {name: getattr(found, name) for name in ("tau", "i_squared", "q", "p")}
    reason = "" if k > 2 else "two hospitals say nothing about a third"
    return {"k": k, "reason": reason} | {name: _answer(numbers[name]) for name in _NUMBERS}


_NUMBERS = ("mean", "low", "high", "tau", "i_squared", "q", "p", "new_low", "new_high")


def _answer(value: float) -> float | None:
    return value if np.isfinite(value) else None
