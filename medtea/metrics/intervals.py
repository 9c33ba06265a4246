"""95 % intervals by resampling patients, not radiographs: several radiographs of one patient are not independent.

A statistic is written for weighted rows, so that thousands of replicates are a few array operations: a patient who is
drawn twice gives weight 2 to every row of theirs.

    generator = np.random.default_rng(7)
    bootstrap_by_patient(patients, auroc_of(labels, scores), generator=generator).text()   # "0.87 (0.81 to 0.92)"

Percentile intervals (Efron 1979; clusters: Field & Welsh, JRSS B 69, 2007). They are a little narrow with few patients:
docs/statistics.md has the numbers. What has a closed form is in medtea.metrics.delong and .proportions. When every draw
is perfect the interval would have no width: that no error was seen does not say that none can occur, so there is none.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medtea.core.errors import DataError
from medtea.metrics.estimates import BOOTSTRAP, Estimate, without_interval
from medtea.metrics.weighted import Floats, Statistic, Weights, mean_of

REPLICATES = 2000
# Counts in one block (200 MB): bounds memory. 2,000 draws of 100,000 patients; the more lie side by side, the
# fewer rows are added.
BLOCK = 200_000_000
# Of them, as float64 at a time, where a statistic takes no counts (200 MB).
FLOATS = 25_000_000
# Patients drawn in one go: their counts stay in the processor's cache.
CACHED = 50_000


@dataclass(frozen=True)
class Group:
    """The patients and the statistic of one group of radiographs; row i of the statistic is of patients[i]."""

    patients: Sequence[str]
    statistic: Statistic


def bootstrap_by_patient(
    patients: Sequence[str],
    statistic: Statistic | ArrayLike,
    *,
    replicates: int = REPLICATES,
    generator: np.random.Generator,
) -> Estimate:
    """A statistic with its 95 % percentile interval over resampled patients.

    Args:
        patients: Patient of each row. A name must mean one person: join hospital and pseudonym where pseudonyms repeat.
        statistic: From auroc_of and its neighbours, or an array of values, whose mean over the rows that have an
            answer (are not NaN) is taken; n is then the number of those rows.
        replicates: How many times the patients are drawn, with replacement.
        generator: Source of the draws. Which patients are drawn does not depend on the order of the rows.

    Raises:
        DataError: the number of patients differs from the number of rows.
    """
    if not isinstance(statistic, Statistic):
        patients, statistic = _answered_mean(patients, np.asarray(statistic, dtype=np.float64))
    return _estimate([Group(patients, statistic)], lambda numbers: numbers[0], replicates, generator)


def paired_difference(
    patients: Sequence[str],
    first: Statistic | ArrayLike,
    second: Statistic | ArrayLike,
    *,
    replicates: int = REPLICATES,
    generator: np.random.Generator,
) -> Estimate:
    """First - second over the same rows: both are computed on the same draw of patients.

    Two arrays of values are compared on the rows where both have an answer.

    Raises:
        DataError: rows differ, or a statistic is compared with values.
    """
    if isinstance(first, Statistic) and isinstance(second, Statistic):
        if first.n != second.n:
            raise DataError(f"A paired difference needs the same rows; there are {first.n} and {second.n}.")
        a, b = first, second
        both = Statistic(lambda weights: a.compute(weights) - b.compute(weights), a.n, a.n_positive)
        return bootstrap_by_patient(patients, both, replicates=replicates, generator=generator)
    if isinstance(first, Statistic) or isinstance(second, Statistic):
        raise DataError("A paired difference compares two statistics or two arrays of values, not one of each.")
    values, others = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if values.shape != others.shape:
        raise DataError(f"A paired difference needs the same rows; there are {values.shape} and {others.shape}.")
    return bootstrap_by_patient(patients, values - others, replicates=replicates, generator=generator)


def difference_between_groups(
    first: Sequence[Group], second: Sequence[Group], *, replicates: int = REPLICATES, generator: np.random.Generator
) -> Estimate:
    """Mean over the first groups less mean over the second, each group counting the same: the gap between hospitals.

    Patients who occur in the same groups are drawn together, as many as they are, and apart from all others. Disjoint
    groups are thus independent; groups of the same patients (a mark stamped on the same radiographs) are paired.
    No answer if one group has none. n and n_positive add up the groups' rows; n_patients counts each patient once.
    """
    cut = len(first)

    def combine(numbers: Sequence[Floats]) -> Floats:
        means: Floats = np.mean(np.stack(numbers[:cut]), axis=0) - np.mean(np.stack(numbers[cut:]), axis=0)
        return means

    return _estimate([*first, *second], combine, replicates, generator)


@dataclass(frozen=True)
class Drawn:
    """The statistics of several groups under the same draws of patients, each computed once: methods at one hospital.

    Patients who occur in the same groups are drawn together, as in difference_between_groups.

    Attributes:
        groups: As they were given.
        numbers: (groups, replicates), NaN where a draw has no answer.
    """

    groups: Sequence[Group]
    numbers: Floats

    @classmethod
    def of(cls, groups: Sequence[Group], *, replicates: int = REPLICATES, generator: np.random.Generator) -> Drawn:
        """Draw the patients of all groups, and compute each group's statistic on every draw.

        Raises:
            DataError: the number of patients differs from the number of rows.
        """
        everyone, places, strata = _patients_and_strata(_checked_groups(groups))
        blocks = []
        for counts in _drawn_counts(strata, everyone, replicates, _widest(groups), generator):
            with ThreadPoolExecutor(os.cpu_count()) as pool:  # numpy and scipy let go of the interpreter's lock
                blocks.append(list(pool.map(_computed, groups, [counts] * len(groups), places)))
        return cls(groups, np.concatenate(blocks, axis=1))

    def estimate(self, place: int) -> Estimate:
        """One group's statistic with its 95 % percentile interval."""
        statistic = self.groups[place].statistic
        return _with_interval(_counted([self.groups[place]], statistic.value), self.numbers[place], statistic.ends)


def _estimate(
    groups: Sequence[Group],
    combine: Callable[[Sequence[Floats]], Floats],
    replicates: int,
    generator: np.random.Generator,
) -> Estimate:
    everyone, places, strata = _patients_and_strata(_checked_groups(groups))
    value = float(combine([np.array([group.statistic.value]) for group in groups])[0])
    found = _counted(groups, value)
    # Without an answer there is nothing to draw for.
    if everyone < 2 or not found.answered:
        return _with_interval(found, np.empty(0))
    blocks = []
    for counts in _drawn_counts(strata, everyone, replicates, _widest(groups), generator):
        blocks.append(combine([_computed(g, counts, rows) for g, rows in zip(groups, places, strict=True)]))
    ends = groups[0].statistic.ends if len(groups) == 1 else ()
    return _with_interval(found, np.concatenate(blocks), ends)


def _checked_groups(groups: Sequence[Group]) -> Sequence[Group]:
    for group in groups:
        if len(group.patients) != group.statistic.n:
            raise DataError(f"There are {len(group.patients)} patients for {group.statistic.n} rows; give one per row.")
    return groups


def _counted(groups: Sequence[Group], value: float) -> Estimate:
    # A number and what it rests on.
    positives = [group.statistic.n_positive for group in groups]
    return without_interval(
        value,
        n=sum(group.statistic.n for group in groups),
        n_patients=len({patient for group in groups for patient in group.patients}),
        n_positive=None if None in positives else sum(count or 0 for count in positives),
    )


def _with_interval(found: Estimate, numbers: Floats, ends: Sequence[float] = ()) -> Estimate:
    # One patient would be drawn every time: an interval without width that says nothing.
    if found.n_patients < 2 or not found.answered:
        return found if not found.answered else replace(found, interval="none: one patient")
    answered = numbers[~np.isnan(numbers)]
    found = replace(found, replicates_without_answer=numbers.size - answered.size)
    if 2 * answered.size < numbers.size:
        return replace(found, interval="none: most draws have no answer")
    low, high = np.quantile(answered, (0.025, 0.975))
    if low == high and found.value in ends:
        return replace(found, interval="none: every draw is at the end of the scale")
    return replace(found, low=float(low), high=float(high), interval=BOOTSTRAP)


def _widest(groups: Sequence[Group]) -> int:
    return max(group.statistic.n for group in groups)


def _patients_and_strata(
    groups: Sequence[Group],
) -> tuple[int, list[NDArray[np.int64]], list[NDArray[np.int64]]]:
    # Number of distinct patients; for each group the patient number of each row; and the patients who occur in the
    # same groups, together. Sorted names, so that the order of the rows does not matter. Methods at one hospital have
    # the same rows: those are looked at once.
    distinct: list[list[str]] = []
    which = []
    for group in groups:
        names = list(group.patients)
        which.append(next((place for place, one in enumerate(distinct) if one == names), len(distinct)))
        if which[-1] == len(distinct):
            distinct.append(names)
    everyone, inverse = np.unique(np.concatenate([np.asarray(one, dtype=str) for one in distinct]), return_inverse=True)
    places = np.split(inverse, np.cumsum([len(one) for one in distinct])[:-1])
    membership = np.stack([np.isin(np.arange(everyone.size), place) for place in places], axis=1)
    _, stratum = np.unique(membership, axis=0, return_inverse=True)
    flat = stratum.reshape(-1)
    strata = [np.flatnonzero(flat == one) for one in range(int(flat.max(initial=-1)) + 1)]
    return everyone.size, [places[one] for one in which], strata


def _drawn_counts(
    strata: Sequence[NDArray[np.int64]], everyone: int, replicates: int, widest: int, generator: np.random.Generator
) -> Iterator[Weights]:
    # How often each patient was drawn, (block, everyone) at a time, a patient's replicates side by side: a row of a
    # statistic then adds up whole lines of memory. Nobody is drawn more often than there are patients to draw.
    block = max(1, BLOCK // max(widest, everyone, 1))
    for start in range(0, replicates, block):
        counts = np.empty((min(block, replicates - start), everyone), dtype=np.uint8)
        for members in strata:
            together = max(1, CACHED // members.size)
            for first in range(0, len(counts), together):
                part = counts[first : first + together]
                drawn = generator.integers(0, members.size, (len(part), members.size))
                drawn += members.size * np.arange(len(part))[:, None]
                # A slice where it is everyone: picking columns one by one takes longer than the draw.
                part[:, members if members.size < everyone else slice(None)] = np.bincount(
                    drawn.ravel(), minlength=drawn.size
                ).reshape(drawn.shape)
        yield np.ascontiguousarray(counts.T).T


def _computed(group: Group, counts: Weights, rows: NDArray[np.int64]) -> Floats:
    # Each patient once and in order is the usual case, and needs no copy.
    in_order = rows.size == counts.shape[1] and np.array_equal(rows, np.arange(rows.size))
    weights = counts if in_order else np.take(counts.T, rows, axis=0).T
    if group.statistic.takes_counts:
        return group.statistic.compute(weights)
    step = max(1, FLOATS // max(rows.size, 1))
    parts = [weights[start : start + step].astype(np.float64) for start in range(0, len(weights), step)]
    return np.concatenate([group.statistic.compute(part) for part in parts])


def _answered_mean(patients: Sequence[str], values: Floats) -> tuple[Sequence[str], Statistic]:
    names = np.asarray(patients, dtype=str)
    if values.shape != names.shape:
        raise DataError(f"There are {names.size} patients for values of shape {values.shape}; give one value per row.")
    answered = np.isfinite(values)
    return names[answered].tolist(), mean_of(values[answered])
