"""Calibration and decision curves per method and hospital, before and after recalibration on IID validation alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from medtea.core.names import Split
from medtea.core.progress import track
from medtea.core.seeds import numpy_generator
from medtea.evaluate.by_hospital import compared, headline, role_of
from medtea.metrics.calibration import (
    Curve,
    Recalibration,
    brier,
    curves,
    intercept,
    logits_of,
    overlap,
    recalibration,
    scaled_brier,
    slope,
    smooth_ece_by_chance,
    smooth_ece_estimate,
)
from medtea.metrics.cells import Floats, Sampled, sampled
from medtea.metrics.estimates import Estimate
from medtea.metrics.net_benefit import gain, net_benefit, treat_all

AS_GIVEN = Recalibration(0.0, 1.0, 0, 0)
POINTS = 37  # of a decision curve: every 0.025 from 0.05 to 0.95


@dataclass(frozen=True)
class _Judged:
    """One method at one test group, with what recalibrates the method."""

    method: str
    group: str
    role: str
    rows: Sampled
    move: Recalibration
    patients: list[str]
    logits: Floats
    seed: int

    @property
    def place(self) -> dict[str, Any]:
        return {"method": self.method, "group": self.group, "role": self.role} | _counts(self.rows)


def probabilities(
    scores: pd.DataFrame, *, thresholds: tuple[float, float], replicates: int, seed: int
) -> dict[str, Any]:
    """The keys `calibration` and `decision_curves` of metrics.json; both null for several classes.

    Recalibration is Platt's, on validation radiographs of the training hospitals: no test radiograph has a say in it,
    and its own uncertainty is in no interval.

    Args:
        scores: Rows of scores.csv.
        thresholds: The lowest and the highest threshold of the decision curves.
        replicates: Draws of patients; methods at one group share them.
        seed: Of the draws.
    """
    if headline(scores) != "auroc":
        return {"calibration": None, "decision_curves": None}
    counted = compared(scores)
    refused = _no_probabilities(counted)
    usable = counted[~counted["method"].isin(refused)]
    moves = _moves(usable)
    at = np.linspace(*thresholds, POINTS)
    entries, decisions, everyone = [], [], {}
    for judged in _judged(usable, moves, replicates=replicates, seed=seed):
        entries.append(judged.place | _calibrated(judged))
        decisions.append(judged.place | _decided(judged, at))
        everyone[judged.group] = {"group": judged.group, "role": judged.role} | _counts(judged.rows) | _all(judged, at)
    return {
        "calibration": {
            "recalibration": [{"method": name} | _move(move) for name, move in moves.items()],
            "entries": entries,
            "not_probabilities": refused,
            "how": "Platt's scaling on IID validation radiographs; curves: restricted cubic spline of the logit",
        },
        "decision_curves": {
            "thresholds": at.tolist(),
            "entries": decisions,
            "treat_all": list(everyone.values()),
            "scores": "recalibrated on IID validation radiographs",
        },
    }


def _no_probabilities(counted: pd.DataFrame) -> list[str]:
    wrong = counted[~counted["score"].between(0, 1)]
    return [str(name) for name in wrong["method"].drop_duplicates()]


def _moves(counted: pd.DataFrame) -> dict[str, Recalibration]:
    selection = counted[counted["split"].eq(Split.VALIDATION)]
    return {
        str(method): recalibration(part["label"].to_numpy(dtype=int), logits_of(part["score"]))
        for method in counted["method"].drop_duplicates()
        for part in [selection[selection["method"].eq(method)]]
    }


def _judged(counted: pd.DataFrame, moves: dict[str, Recalibration], *, replicates: int, seed: int) -> Iterator[_Judged]:
    """Each group's methods on the same draws, in the order of methods; a method with other rows draws for itself."""
    tested = counted[counted["split"].eq(Split.TEST)]
    for group, part in track(list(tested.groupby("group", sort=True)), "calibration"):
        by_rows: dict[tuple[str, ...], list[tuple[str, pd.DataFrame]]] = {}
        for method, rows in part.groupby("method", sort=False):
            one = rows.sort_values("radiograph")
            by_rows.setdefault(tuple(one["radiograph"]), []).append((str(method), one))
        for alike in by_rows.values():
            first = alike[0][1]
            drawn = sampled(
                first["patient"].tolist(),
                first["label"].to_numpy(dtype=int),
                [logits_of(one["score"]) for _, one in alike],
                replicates=replicates,
                generator=numpy_generator(seed, f"bootstrap/{group}"),
            )
            for (method, one), found in zip(alike, drawn, strict=True):
                patients, logits = one["patient"].tolist(), logits_of(one["score"])
                yield _Judged(method, str(group), role_of(one), found, moves[method], patients, logits, seed)


def _calibrated(judged: _Judged) -> dict[str, Any]:
    rows, move = judged.rows, judged.move
    steepness = rows.estimate(slope)
    before, after = curves(rows, [AS_GIVEN, move])
    numbers = _numbers(rows, steepness, _by_chance(judged, AS_GIVEN))
    found = {"reason": _reason(rows), "before": numbers | {"curve": _curve(before)}, "after": None}
    if move.answered and move.slope != 0:
        moved = rows.moved(move.intercept, move.slope)
        numbers = _numbers(moved, _scaled(steepness, 1 / move.slope), _by_chance(judged, move))
        found["after"] = numbers | {"curve": _curve(after)}
    return found


def _by_chance(judged: _Judged, move: Recalibration) -> float:
    draws = numpy_generator(judged.seed, f"smooth_ece/{judged.group}")
    return smooth_ece_by_chance(judged.patients, move.intercept + move.slope * judged.logits, generator=draws)


def _numbers(rows: Sampled, steepness: Estimate, by_chance: float) -> dict[str, Any]:
    found = {
        "intercept": rows.estimate(intercept),
        "slope": steepness,
        "brier": rows.estimate(brier),
        "scaled_brier": rows.estimate(scaled_brier),
        "smooth_ece": smooth_ece_estimate(rows, by_chance),
    }
    return {name: estimate.to_json() for name, estimate in found.items()} | {"smooth_ece_by_chance": by_chance}


def _scaled(estimate: Estimate, factor: float) -> Estimate:
    """The slope of logits that were multiplied by 1 / factor: exactly the slope times the factor."""
    low, high = sorted((estimate.low * factor, estimate.high * factor))
    return replace(estimate, value=estimate.value * factor, low=low, high=high)


def _reason(rows: Sampled) -> str:
    """Why there is no slope and no curve, if there is none."""
    if not rows.whole.have_both[0]:
        return "one class only"
    return "" if overlap(rows.whole)[0] else "positives and negatives do not overlap, so that no slope is the likeliest"


def _curve(curve: Curve | None) -> dict[str, Any] | None:
    if curve is None:
        return None
    lines = {"score": curve.score, "observed": curve.observed, "low": curve.low, "high": curve.high}
    return {name: _line(line) for name, line in lines.items()} | {"knots": curve.knots}


def _decided(judged: _Judged, at: Floats) -> dict[str, Any]:
    move = judged.move
    if not move.answered or move.slope == 0:
        return {"net_benefit": None, "low": None, "high": None, "better_at": [], "reason": move.reason}
    moved = judged.rows.moved(move.intercept, move.slope)
    low, high = _band(moved, net_benefit(moved.drawn, at))
    surely, _ = _band(moved, gain(moved.drawn, at))
    return {
        "net_benefit": _line(net_benefit(moved.whole, at)[0]),
        "low": _line(low),
        "high": _line(high),
        "better_at": [round(float(one), 6) for one in at[surely > 0]],
        "reason": "",
    }


def _all(judged: _Judged, at: Floats) -> dict[str, Any]:
    low, high = _band(judged.rows, treat_all(judged.rows.drawn, at))
    return {"net_benefit": _line(treat_all(judged.rows.whole, at)[0]), "low": _line(low), "high": _line(high)}


def _band(rows: Sampled, numbers: Floats) -> tuple[Floats, Floats]:
    if rows.n_patients < 2:
        return np.full(numbers.shape[1], np.nan), np.full(numbers.shape[1], np.nan)
    low, high = np.quantile(numbers, (0.025, 0.975), axis=0)
    return low, high


def _counts(rows: Sampled) -> dict[str, int]:
    return {"n": rows.n, "n_patients": rows.n_patients, "n_positive": rows.n_positive}


def _move(move: Recalibration) -> dict[str, Any]:
    known = {"intercept": move.intercept, "slope": move.slope} if move.answered else {"intercept": None, "slope": None}
    return known | {"n": move.n, "n_positive": move.n_positive, "reason": move.reason}


def _line(values: Sequence[float] | Floats) -> list[float | None]:
    # Six digits: a curve is looked at, and its file stays small.
    return [round(float(value), 6) if np.isfinite(value) else None for value in values]
