"""One predictor and a binary label, gathered in cells, as they are and under draws of patients.

What is counted on predictions (calibration, net benefit) needs no more than how many positives and negatives each
value of the predictor has. A draw of patients changes those counts and nothing else, so that thousands of replicates
are a few array operations, and methods at one hospital share the draws.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array

from medtea.core.errors import DataError
from medtea.metrics.classification import checked
from medtea.metrics.estimates import BOOTSTRAP, Estimate, without_interval
from medtea.metrics.intervals import REPLICATES

Floats = NDArray[np.float64]
MOST_CELLS = 400
"""Values told apart in a resample; more are gathered in this many of equal counts, at their mean."""
BLOCK = 4_000_000  # entries of one block of draws (32 MB)


@dataclass(frozen=True)
class Cells:
    """Values of a predictor in rising order, (cells,), and in each sample their labels, both (samples, cells)."""

    values: Floats
    positives: Floats
    negatives: Floats

    @property
    def totals(self) -> Floats:
        """Rows of each cell, (samples, cells)."""
        return self.positives + self.negatives

    @property
    def sizes(self) -> Floats:
        """Rows of each sample, (samples,)."""
        found: Floats = self.totals.sum(axis=1)
        return found

    @property
    def have_both(self) -> NDArray[np.bool_]:
        """Which samples have both labels, (samples,)."""
        found: NDArray[np.bool_] = (self.positives.sum(axis=1) > 0) & (self.negatives.sum(axis=1) > 0)
        return found

    def moved(self, intercept: float, slope: float) -> Cells:
        """The same rows with the predictor intercept + slope · value; a negative slope turns the order round."""
        values, way = intercept + slope * self.values, 1 if slope >= 0 else -1
        return Cells(values[::way], self.positives[:, ::way], self.negatives[:, ::way])


@dataclass(frozen=True)
class Sampled:
    """One method at one group: its rows as they are (one sample), and under the draws.

    Attributes:
        whole: Every distinct value is a cell.
        drawn: The replicates; beyond MOST_CELLS distinct values a cell holds neighbours.
        n_patients: Behind the rows.
    """

    whole: Cells
    drawn: Cells
    n_patients: int

    @property
    def n(self) -> int:
        """Rows."""
        return int(self.whole.sizes[0])

    @property
    def n_positive(self) -> int:
        """Rows with label 1."""
        return int(self.whole.positives.sum())

    def moved(self, intercept: float, slope: float) -> Sampled:
        """The same rows and draws with another predictor."""
        return Sampled(self.whole.moved(intercept, slope), self.drawn.moved(intercept, slope), self.n_patients)

    def estimate(self, number: Callable[[Cells], Floats]) -> Estimate:
        """The number of the rows with its 95 % percentile interval over the draws.

        Args:
            number: From Cells to (samples,), NaN where a sample has no answer.
        """
        return self.from_draws(float(number(self.whole)[0]), number(self.drawn))

    def from_draws(self, value: float, numbers: Floats) -> Estimate:
        """A value with the interval that its replicates (replicates,) give; none where more than half have no answer.

        One patient has no interval: every draw is the same.
        """
        found = without_interval(value, n=self.n, n_patients=self.n_patients, n_positive=self.n_positive)
        if not found.answered or self.n_patients < 2:
            return replace(found, interval="none: one patient") if found.answered else found
        answered = numbers[~np.isnan(numbers)]
        found = replace(found, replicates_without_answer=int(numbers.size - answered.size))
        if 2 * answered.size < numbers.size:
            return replace(found, interval="none: more than half of the replicates have no answer")
        low, high = np.quantile(answered, (0.025, 0.975))
        return replace(found, low=float(low), high=float(high), interval=BOOTSTRAP)


def sampled(
    patients: Sequence[str],
    labels: ArrayLike,
    predictors: Sequence[ArrayLike],
    *,
    replicates: int = REPLICATES,
    generator: np.random.Generator,
) -> list[Sampled]:
    """The rows of several methods at one group under the same draws of patients.

    Args:
        patients: Patient of each row.
        labels: 0 or 1, one per row.
        predictors: Of each method, one finite value per row, in the same order of rows.
        replicates: How many times the patients are drawn, with replacement.
        generator: Source of the draws; the order of the rows does not matter.

    Raises:
        DataError: lengths differ, or a predictor is not finite.
    """
    names, member = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    wholes, gathered = [], []
    for one in predictors:
        label, value = checked(labels, one)
        if label.size != member.size or not np.isfinite(value).all():
            raise DataError("Give one patient, one label and one finite value per row; leave other rows out, counted.")
        wholes.append(_counted(value, label))
        gathered.append(_cells_of(value, label, member, names.size))
    drawn: list[list[tuple[Floats, Floats]]] = [[] for _ in predictors]
    for counts in _draws(names.size, replicates, generator):
        for blocks, (_, positive, negative) in zip(drawn, gathered, strict=True):
            blocks.append((counts @ positive, counts @ negative))
    return [
        Sampled(whole, Cells(values, *(np.concatenate(part) for part in zip(*blocks, strict=True))), names.size)
        for whole, (values, _, _), blocks in zip(wholes, gathered, drawn, strict=True)
    ]


def _counted(value: Floats, label: NDArray[np.int64]) -> Cells:
    values, place = np.unique(value, return_inverse=True)
    both = [np.bincount(place, weights=label == one, minlength=values.size)[None] for one in (1, 0)]
    return Cells(values, both[0].astype(np.float64), both[1].astype(np.float64))


def gathered(value: Floats) -> tuple[Floats, NDArray[np.intp]]:
    """Values of at most MOST_CELLS cells, rising, and the cell of each row; equal values share a cell."""
    values, place = np.unique(value, return_inverse=True)
    if values.size > MOST_CELLS:
        order = np.argsort(value, kind="stable")
        # By the rank of the first of the equal ones, so that cells hold about as many rows each.
        first = np.flatnonzero(np.diff(place[order], prepend=-1))
        _, place = np.unique(first[place] * MOST_CELLS // value.size, return_inverse=True)
        values = np.bincount(place, weights=value) / np.bincount(place)
    return values, place


def _cells_of(
    value: Floats, label: NDArray[np.int64], member: NDArray[np.intp], patients: int
) -> tuple[Floats, csr_array, csr_array]:
    # Values of the cells, and for each patient how many positives and negatives they have in each.
    values, place = gathered(value)
    shape = (patients, values.size)
    parts = [csr_array(((label == one).astype(np.float64), (member, place)), shape=shape) for one in (1, 0)]
    return values, parts[0], parts[1]


def _draws(patients: int, replicates: int, generator: np.random.Generator) -> Iterator[Floats]:
    block = max(1, BLOCK // max(patients, MOST_CELLS))
    for start in range(0, replicates if patients else 0, block):
        rows = min(block, replicates - start)
        chosen = generator.integers(0, patients, (rows, patients)) + patients * np.arange(rows)[:, None]
        yield np.bincount(chosen.ravel(), minlength=rows * patients).reshape(rows, patients).astype(np.float64)
