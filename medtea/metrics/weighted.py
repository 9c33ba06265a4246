"""Numbers of weighted rows, so that thousands of bootstrap replicates are a few array operations.

A patient who is drawn twice gives weight 2 to every row of theirs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medtea.core.errors import DataError
from medtea.metrics.classification import checked

Floats = NDArray[np.float64]
NAN = float("nan")
ENDS = (0.0, 1.0)


@dataclass(frozen=True)
class Statistic:
    """A number of n rows that is defined for weighted rows as well.

    compute takes weights (replicates, n) and returns (replicates,), NaN where the weighted rows have no answer. Where
    the value is one of `ends`, draws without a width show only that the sample holds no error: no interval then.
    """

    compute: Callable[[Floats], Floats]
    n: int
    n_positive: int | None = None
    ends: tuple[float, ...] = ()

    @property
    def value(self) -> float:
        """The number itself: every row counts once."""
        return float(self.compute(np.ones((1, self.n)))[0]) if self.n else NAN


def auroc_of(labels: ArrayLike, scores: ArrayLike) -> Statistic:
    """AUROC; ties count half."""
    label, score = checked(labels, scores)
    order, starts = _tied_runs(score)

    def compute(weights: Floats) -> Floats:
        positives, negatives = _per_run(weights, label, order, starts)
        below = np.cumsum(negatives, axis=1) - negatives / 2
        return _ratio((positives * below).sum(axis=1), positives.sum(axis=1) * negatives.sum(axis=1))

    return Statistic(compute, label.size, int(label.sum()), ENDS)


def average_precision_of(labels: ArrayLike, scores: ArrayLike) -> Statistic:
    """Average precision: sum over thresholds of recall gained times precision; no answer with one class only."""
    label, score = checked(labels, scores)
    order, starts = _tied_runs(-score)

    def compute(weights: Floats) -> Floats:
        positives, negatives = _per_run(weights, label, order, starts)
        called = np.cumsum(positives, axis=1)
        precision = called / np.maximum(called + np.cumsum(negatives, axis=1), 1)
        found = np.where(negatives.sum(axis=1) > 0, positives.sum(axis=1), 0)
        return _ratio((positives * precision).sum(axis=1), found)

    return Statistic(compute, label.size, int(label.sum()), ENDS)


def accuracy_of(labels: ArrayLike, scores: ArrayLike, threshold: float) -> Statistic:
    """Share of rows called rightly when score >= threshold means 1; no answer without a threshold (NaN)."""
    label, score = checked(labels, scores)
    return _share_of((score >= threshold) == label, np.ones_like(label), label, threshold)


def sensitivity_of(labels: ArrayLike, scores: ArrayLike, threshold: float) -> Statistic:
    """Share of positives with score >= threshold; no answer without a threshold (NaN)."""
    label, score = checked(labels, scores)
    return _share_of(score >= threshold, label == 1, label, threshold)


def specificity_of(labels: ArrayLike, scores: ArrayLike, threshold: float) -> Statistic:
    """Share of negatives with score < threshold; no answer without a threshold (NaN)."""
    label, score = checked(labels, scores)
    return _share_of(score < threshold, label == 0, label, threshold)


def mean_of(values: ArrayLike) -> Statistic:
    """Mean over rows. Every value must be finite: rows without an answer are left out before, and counted."""
    value = np.asarray(values, dtype=np.float64)
    if value.ndim != 1 or not np.isfinite(value).all():
        raise DataError("mean_of takes one finite value per row; leave rows without an answer out and count them.")
    return Statistic(lambda weights: _ratio(weights @ value, weights.sum(axis=1)), value.size)


def _share_of(part: NDArray[Any], whole: NDArray[Any], label: NDArray[np.int64], threshold: float) -> Statistic:
    weighed = np.asarray(whole, dtype=np.float64) * (0.0 if np.isnan(threshold) else 1.0)
    counted = weighed * np.asarray(part, dtype=np.float64)
    return Statistic(lambda weights: _ratio(weights @ counted, weights @ weighed), label.size, int(label.sum()), ENDS)


def _ratio(part: Floats, whole: Floats) -> Floats:
    return np.divide(part, whole, out=np.full_like(part, np.nan), where=whole > 0)


def _tied_runs(scores: Floats) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    # Rows in rising order, and where each run of equal scores starts.
    order = np.argsort(scores, kind="stable")
    rising = scores[order]
    new = np.ones(rising.size, dtype=bool)
    new[1:] = rising[1:] != rising[:-1]
    return order, np.flatnonzero(new)


def _per_run(
    weights: Floats, label: NDArray[np.int64], order: NDArray[np.int64], starts: NDArray[np.int64]
) -> tuple[Floats, Floats]:
    rising = weights[:, order]
    positive = rising * label[order]
    positives = np.add.reduceat(positive, starts, axis=1)
    return positives, np.add.reduceat(rising, starts, axis=1) - positives
