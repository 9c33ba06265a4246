"""Sensitivity, specificity and their neighbours: a share of radiographs, with Wilson's interval.

With one radiograph per patient it is Wilson's own. With several it is Wilson's of the number of independent
radiographs that would know the share as well (the effective sample size of surveys): the variance between patients
says how many. Unlike a bootstrap it has a width where all radiographs are called alike, and where few patients remain.

References:
    Wilson, JASA 22, 1927. Korn, Graubard, Survey Methodology 24, 1998 (the effective size and its Student's t).
    Saha, Miller, Wang, International Journal of Biostatistics 12, 2016 (Wilson's interval for clusters).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri, stdtrit

from medtea.core.errors import DataError
from medtea.metrics.delong import Placed, once, placed_mean, variance_of
from medtea.metrics.estimates import Estimate, without_interval

Z = float(ndtri(0.975))


def share(patients: Sequence[str], right: ArrayLike, *, n_positive: int | None = None) -> Estimate:
    """The share of rows that are True, with its 95 % interval.

    Args:
        patients: Of each row. A name must mean one person.
        right: True or False per row: "called positive" of the positives gives the sensitivity.
        n_positive: Of the rows, how many have label 1; for the record.

    Returns:
        No answer without rows. `interval` says whether it is Wilson's own or of how many independent rows. Where all
        rows are alike no variance can be seen, and each patient counts as one row.

    Raises:
        DataError: lengths differ.
    """
    called = np.asarray(right, dtype=bool)
    if called.shape != (len(patients),):
        raise DataError(f"There are {len(patients)} patients for rows of shape {called.shape}; give one per row.")
    return replace(mean_share([placed_mean(patients, called)]), n_positive=n_positive)


def mean_share(seeds: Sequence[Placed]) -> Estimate:
    """The mean of shares, each counting the same, with its 95 % interval: one, or one per seed of an experiment.

    Seeds are networks on the same radiographs: what they get wrong hangs together by patient, and the number of
    independent radiographs says how closely.

    Args:
        seeds: Means of 0 and 1, from placed_mean.
    """
    value = float(np.mean([one.value for one in seeds]))
    rows, patients = sum(one.n for one in seeds), np.unique(np.concatenate([one.patients for one in seeds])).size
    found = once(without_interval(value, n=rows, n_patients=patients), seeds)
    if not found.answered:
        return found
    if patients == rows:
        low, high = wilson(value, rows)
        return replace(found, low=low, high=high, interval="Wilson")
    variance, _ = variance_of(seeds, [1 / len(seeds)] * len(seeds))
    size = _independent_rows(variance, value, rows, patients)
    low, high = wilson(value, size)
    return replace(found, low=low, high=high, interval=f"Wilson, {size:.0f} independent radiographs by patient")


def wilson(value: float, size: float) -> tuple[float, float]:
    """Wilson's 95 % interval of a share that was seen among `size` independent rows, which need not be whole."""
    centre = (value + Z**2 / (2 * size)) / (1 + Z**2 / size)
    half = Z / (1 + Z**2 / size) * np.sqrt(value * (1 - value) / size + Z**2 / (4 * size**2))
    # Rounding must not push an end past the share: at 0 and 1 they are equal.
    return float(min(max(centre - half, 0.0), value)), float(max(min(centre + half, 1.0), value))


def _independent_rows(variance: float, value: float, rows: int, patients: int) -> float:
    # p (1 - p) / variance; never more than there are rows, nor fewer than one.
    if value in (0.0, 1.0) or patients < 2:
        return float(patients)
    size = rows if variance == 0 else value * (1 - value) / variance
    # Few patients: the variance is itself uncertain, by as much as t is wider than the normal.
    size *= (stdtrit(rows - 1, 0.975) / stdtrit(patients - 1, 0.975)) ** 2
    return float(min(max(size, 1.0), rows))
