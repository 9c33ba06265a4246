"""Numbers of weighted rows, so that thousands of bootstrap replicates are a few array operations.

A patient who is drawn twice gives weight 2 to every row of theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array

from medtea.core.errors import DataError
from medtea.metrics.classification import checked

Floats = NDArray[np.float64]
Weights = NDArray[Any]
NAN = float("nan")
ENDS = (0.0, 1.0)
# Steps summed at a time: with some hundred replicates half a megabyte, which stays in the cache.
CHUNK = 128
SLICE = 4096
# With fewer rows the sums of a draw's counts are exact in float32, whoever is drawn how often.
EXACT = 2**23


@dataclass(frozen=True)
class Statistic:
    """A number of n rows that is defined for weighted rows as well.

    compute takes weights (replicates, n) and returns (replicates,), NaN where the weighted rows have no answer. Where
    the value is one of `ends`, draws without a width show only that the sample holds no error: no interval then. With
    takes_counts the weights of draws are uint8, a row's replicates side by side in memory; without, float64.
    """

    compute: Callable[[Weights], Floats]
    n: int
    n_positive: int | None = None
    ends: tuple[float, ...] = ()
    takes_counts: bool = False

    @property
    def value(self) -> float:
        """The number itself: every row counts once."""
        return float(self.compute(np.ones((1, self.n)))[0]) if self.n else NAN


def auroc_of(labels: ArrayLike, scores: ArrayLike) -> Statistic:
    """AUROC; ties count half."""
    label, score = checked(labels, scores)
    ranked = _Ranked.of(label, score)

    def compute(weights: Weights) -> Floats:
        positives, negatives = ranked.totals(weights)
        right = np.zeros_like(positives)
        for here, below, tied in ranked.steps(weights):
            right += np.einsum("sr,sr->r", here, below + tied / 2)
        return _ratio(right, positives * negatives)

    return Statistic(compute, label.size, int(label.sum()), ENDS, takes_counts=True)


def average_precision_of(labels: ArrayLike, scores: ArrayLike) -> Statistic:
    """Average precision: sum over thresholds of recall gained times precision; no answer with one class only."""
    label, score = checked(labels, scores)
    ranked = _Ranked.of(label, score)

    def compute(weights: Weights) -> Floats:
        positives, negatives = ranked.totals(weights)
        gained, passed = np.zeros_like(positives), np.zeros_like(positives)
        for here, below, _ in ranked.steps(weights):
            # All that score at least as high: everybody less the positives passed before and the negatives below.
            risen = _accumulated(here.copy(), passed)
            called = positives - risen + here
            precision = called / np.maximum(called + negatives - below, 1)
            gained += np.einsum("sr,sr->r", here, precision)
            passed = risen[-1]
        return _ratio(gained, np.where(negatives > 0, positives, 0))

    return Statistic(compute, label.size, int(label.sum()), ENDS, takes_counts=True)


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
    both = np.stack([counted, weighed], axis=1)

    def compute(weights: Weights) -> Floats:
        sums = _product(weights, both)
        return _ratio(sums[:, 0], sums[:, 1])

    return Statistic(compute, label.size, int(label.sum()), ENDS, takes_counts=True)


def _ratio(part: Floats, whole: Floats) -> Floats:
    return np.divide(part, whole, out=np.full_like(part, np.nan), where=whole > 0)


@dataclass(frozen=True)
class _Ranked:
    """Rows by score, cut into steps: one for each distinct score that a positive has, rising.

    What lies between two positives' scores is needed as a sum alone, so that a draw costs one addition per row. The
    sums are sparse matrices of ones, (steps, rows), cut into chunks that stay in the processor's cache.

    Attributes:
        positive: 1 for a positive, by row.
        most: Rows of the largest sum.
        chunks: Of each: which rows are positives at a step, which negatives lie from the step before up to it, and
            which are tied with it (None where none of the chunk is).
    """

    positive: Floats
    most: int
    chunks: tuple[tuple[csr_array, csr_array, csr_array | None], ...]

    @classmethod
    def of(cls, label: NDArray[np.int64], score: NDArray[np.float64]) -> _Ranked:
        """Sort once."""
        positive = label == 1
        levels = np.unique(score[positive])
        at = np.searchsorted(levels, score)  # of a negative: the first step at or above it
        tied = ~positive & (at < levels.size)
        tied[tied] = levels[at[tied]] == score[tied]
        # A tied negative is below the next step; one above all positives is below none.
        below = ~positive & (at + tied < levels.size)
        shape = (levels.size, label.size)
        sums = [_ones(at + tied if rows is below else at, rows, shape) for rows in (positive, below, tied)]
        most = max((int(np.diff(one.indptr).max(initial=0)) for one in sums), default=0)
        cut = [slice(start, start + CHUNK) for start in range(0, levels.size, CHUNK)]
        here, between, ties = sums
        chunks = tuple((here[c], between[c], ties[c] if ties[c].nnz else None) for c in cut)
        return cls(positive.astype(np.float64), most, chunks)

    def totals(self, weights: Weights) -> tuple[Floats, Floats]:
        """Positives and negatives in each replicate."""
        sums = _product(weights, np.stack([self.positive, 1 - self.positive], axis=1))
        return sums[:, 0], sums[:, 1]

    def steps(self, weights: Weights) -> Iterator[tuple[Floats, Floats, Floats | float]]:
        """Per chunk, (steps, replicates): positives at each step, negatives below it, negatives tied with it."""
        columns = weights.T
        if columns.dtype.kind == "u":  # the smallest whole numbers that hold every sum add up fastest
            columns = columns.astype(np.min_scalar_type(self.most * int(columns.max(initial=0))))

        def summed(rows: csr_array) -> Floats:
            return np.asarray(rows.astype(columns.dtype) @ columns, dtype=np.float64)

        carried = np.zeros(weights.shape[0])
        for here, between, ties in self.chunks:
            below = _accumulated(summed(between), carried)
            carried = below[-1]
            yield summed(here), below, 0.0 if ties is None else summed(ties)


def _ones(steps: NDArray[np.intp], chosen: NDArray[np.bool_], shape: tuple[int, int]) -> csr_array:
    rows = np.flatnonzero(chosen)
    return csr_array((np.ones(rows.size, dtype=np.uint8), (steps[rows], rows)), shape=shape)


def _accumulated(steps: Floats, start: Floats) -> Floats:
    # Running sums down the steps, in place: row by row, since numpy's cumsum goes down one column after the other.
    before = start
    for row in steps:
        np.add(row, before, out=row)
        before = row
    return steps


def _product(weights: Weights, columns: Floats) -> Floats:
    # Sums of counts are exact in float32 up to 2^24; a slice at a time, so that no second copy of them all is made.
    kind: type[np.floating[Any]] = np.float32 if weights.dtype.kind == "u" and weights.shape[1] < EXACT else np.float64
    made, asked = np.zeros((weights.shape[0], columns.shape[1])), columns.astype(kind)
    for start in range(0, weights.shape[1], SLICE):
        part = slice(start, start + SLICE)
        made += np.asarray(weights[:, part].astype(kind) @ asked[part], dtype=np.float64)
    return made
