"""Numbers of weighted rows, so that thousands of bootstrap replicates are a few array operations.

A patient who is drawn twice gives weight 2 to every row of theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medtea.core.errors import DataError
from medtea.metrics.classification import checked

Floats = NDArray[np.float64]
Weights = NDArray[Any]
NAN = float("nan")
ENDS = (0.0, 1.0)
# Entries of one piece of draws as floats: half a megabyte, which stays in the processor's cache.
PIECE = 131_072
FEWEST = 32  # rows of a piece
# Of a piece that one large tie makes long.
MOST = 16_000_000
# Below so many replicates numpy's own running sum is faster than a row at a time.
NARROW = 32
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
        wrong, positives, negatives = ranked.summed(weights, _pairs_above)
        return _ratio(positives * negatives - wrong, positives * negatives)

    return Statistic(compute, label.size, int(label.sum()), ENDS, takes_counts=True)


def average_precision_of(labels: ArrayLike, scores: ArrayLike) -> Statistic:
    """Average precision: sum over thresholds of recall gained times precision; no answer with one class only."""
    label, score = checked(labels, scores)
    ranked = _Ranked.of(label, score)

    def compute(weights: Weights) -> Floats:
        gained, positives, negatives = ranked.summed(weights, _precisions)
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
    both = np.stack([value, np.ones_like(value)], axis=1)

    def compute(weights: Weights) -> Floats:
        sums = _product(weights, both, whole=False)
        return _ratio(sums[:, 0], sums[:, 1])

    return Statistic(compute, value.size, takes_counts=True)


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


class _Piece(NamedTuple):
    """Some positives, (rows, replicates) each, and buffers of the same shape that may be written to.

    Attributes:
        here: How often each was drawn.
        positives: Positives that score at least as high.
        negatives: Negatives that score at least as high.
        above: Negatives that score higher; None where no negative of the piece has a positive's score.
        spare: To be written to, as negatives and above are.
    """

    here: Weights
    positives: Weights
    negatives: Weights
    above: Weights | None
    spare: Weights


def _pairs_above(piece: _Piece) -> Floats:
    # Pairs that are ranked wrongly: negatives above each positive, those tied with it by half.
    if piece.above is None:
        return _dot(piece.here, piece.negatives)
    np.add(piece.negatives, piece.above, out=piece.spare)
    return _dot(piece.here, piece.spare) / 2


def _precisions(piece: _Piece) -> Floats:
    # Positives, each times the precision where it is the last to be called.
    called = np.add(piece.positives, piece.negatives, out=piece.spare)
    np.maximum(called, 1, out=called)
    return _dot(piece.here, np.divide(piece.positives, called, out=called))


def _dot(first: Weights, second: Weights) -> Floats:
    made: Floats = np.einsum("ir,ir->r", first, second).astype(np.float64)
    return made


@dataclass(frozen=True)
class _Ranked:
    """Rows by falling score: positives and negatives apart, so that each is added up no further than it is asked for.

    Draws are read in pieces that end where a score ends and fit in the processor's cache; running sums go on from one
    to the next. Everything is written into buffers that are made once.

    Attributes:
        positives: Rows of label 1, by falling score.
        negatives: Of label 0.
        ends: Of each distinct score, falling: how many positives and how many negatives score at least as high.
        at: Of each positive: which of `ends` is its score's.
    """

    positives: NDArray[np.intp]
    negatives: NDArray[np.intp]
    ends: NDArray[np.intp]
    at: NDArray[np.intp]

    @classmethod
    def of(cls, label: NDArray[np.int64], score: NDArray[np.float64]) -> _Ranked:
        """Sort once."""
        levels, level = np.unique(-score, return_inverse=True)
        positives, negatives = (np.flatnonzero(label == kind) for kind in (1, 0))
        positives, negatives = (rows[np.argsort(level[rows], kind="stable")] for rows in (positives, negatives))
        counts = [np.bincount(level[rows], minlength=levels.size).cumsum() for rows in (positives, negatives)]
        return cls(positives, negatives, np.stack(counts, axis=1).reshape(-1, 2), level[positives])

    def summed(self, weights: Weights, of: Callable[[_Piece], Floats]) -> tuple[Floats, Floats, Floats]:
        """The sum of `of` over all pieces, and how many positives and negatives each replicate has."""
        replicates, kind = weights.shape[0], _kind(weights)
        rows = max(FEWEST, PIECE // max(replicates, 1))
        bounds = self._bounds(rows)
        longest = int(np.diff(bounds.sum(axis=1)).max(initial=1))
        columns, width = weights.T, max(1, MOST // max(longest, rows))
        made = np.zeros((3, replicates))
        for start in range(0, replicates, width):
            part = slice(start, min(start + width, replicates))
            for piece, last in self._pieces(columns[:, part], bounds, kind):
                if piece is not None:
                    made[0, part] += of(piece)
                made[1:, part] = last
        return made[0], made[1], made[2]

    def _bounds(self, rows: int) -> NDArray[np.intp]:
        # How many positives and negatives are passed before each piece, and after the last: at ends of scores.
        passed = self.ends.sum(axis=1)
        if not passed.size:
            return self.ends
        asked = np.arange(rows, passed[-1] + rows, rows)
        chosen = np.unique(np.minimum(np.searchsorted(passed, asked), passed.size - 1))
        return np.concatenate([np.zeros((1, 2), dtype=np.intp), self.ends[chosen]])

    def _pieces(
        self, columns: Weights, bounds: NDArray[np.intp], kind: type[np.floating[Any]]
    ) -> Iterator[tuple[_Piece | None, tuple[Weights, Weights]]]:
        # Per piece what is asked of it (None without a positive), and the running sums at its end.
        replicates = columns.shape[1]
        most = np.diff(bounds, axis=0).max(axis=0, initial=0)
        running = [np.zeros((most[k] + 1, replicates), dtype=kind) for k in (0, 1)]
        read = np.empty((most.max(), replicates), dtype=columns.dtype)
        here, positives, negatives, above, spare = (np.empty((most[0], replicates), dtype=kind) for _ in range(5))
        for before, after in pairwise(bounds):
            n = after - before
            for k, rows in enumerate((self.positives, self.negatives)):
                taken = np.take(columns, rows[before[k] : after[k]], axis=0, out=read[: n[k]], mode="clip")
                np.copyto(running[k][1 : n[k] + 1], taken)
                if k == 0:
                    np.copyto(here[: n[0]], taken)
                _run(running[k][: n[k] + 1])
            piece = None
            if n[0]:
                at = self.at[before[0] : after[0]]
                end, start = self.ends[at] - before, np.where(at[:, None] > 0, self.ends[at - 1], 0) - before
                for k, out in ((0, positives), (1, negatives)):
                    np.take(running[k], end[:, k], axis=0, out=out[: n[0]], mode="clip")
                tied = (end[:, 1] > start[:, 1]).any()
                higher = np.take(running[1], start[:, 1], axis=0, out=above[: n[0]], mode="clip") if tied else None
                piece = _Piece(here[: n[0]], positives[: n[0]], negatives[: n[0]], higher, spare[: n[0]])
            last = (running[0][n[0]], running[1][n[1]])
            yield piece, last
            for k in (0, 1):
                running[k][0] = running[k][n[k]]


def _run(sums: Weights) -> None:
    """Running sums down the rows, in place."""
    if sums.shape[1] < NARROW:
        np.cumsum(sums, axis=0, out=sums)
        return
    # Row by row, since numpy's cumsum goes down one column after the other.
    before = sums[0]
    for row in sums[1:]:
        np.add(row, before, out=row)
        before = row


def _kind(weights: Weights) -> type[np.floating[Any]]:
    # Sums of counts are exact in float32 up to 2^24.
    return np.float32 if weights.dtype.kind == "u" and weights.shape[1] < EXACT else np.float64


def _product(weights: Weights, columns: Floats, *, whole: bool = True) -> Floats:
    # A piece at a time, in one buffer; columns of whole numbers make exact sums.
    kind = _kind(weights) if whole else np.float64
    made, asked = np.zeros((columns.shape[1], weights.shape[0])), np.ascontiguousarray(columns.T, dtype=kind)
    rows = max(FEWEST, PIECE // max(weights.shape[0], 1))
    buffer = np.empty((rows, weights.shape[0]), dtype=kind)
    for start in range(0, weights.shape[1], rows):
        part = weights.T[start : start + rows]
        np.copyto(buffer[: len(part)], part)
        made += asked[:, start : start + rows] @ buffer[: len(part)]
    return made.T
