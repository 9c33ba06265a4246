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
    if not called.size:
        return without_interval(np.nan, n=0, n_patients=0, n_positive=n_positive)
    names, place = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    value = float(called.mean())
    found = without_interval(value, n=called.size, n_patients=names.size, n_positive=n_positive)
    if names.size == called.size:
        low, high = wilson(value, called.size)
        return replace(found, low=low, high=high, interval="Wilson")
    size = _independent_rows(np.bincount(place, called - value, names.size), value, called.size)
    low, high = wilson(value, size)
    return replace(found, low=low, high=high, interval=f"Wilson, {size:.0f} independent radiographs by patient")


def wilson(value: float, size: float) -> tuple[float, float]:
    """Wilson's 95 % interval of a share that was seen among `size` independent rows, which need not be whole."""
    centre = (value + Z**2 / (2 * size)) / (1 + Z**2 / size)
    half = Z / (1 + Z**2 / size) * np.sqrt(value * (1 - value) / size + Z**2 / (4 * size**2))
    # Rounding must not push an end past the share: at 0 and 1 they are equal.
    return float(min(max(centre - half, 0.0), value)), float(max(min(centre + half, 1.0), value))


def _independent_rows(error_by_patient: np.ndarray, value: float, rows: int) -> float:
    # p (1 - p) / variance; never more than there are rows, nor fewer than one.
    patients = error_by_patient.size
    if value in (0.0, 1.0) or patients < 2:
        return float(patients)
    variance = float((error_by_patient**2).sum()) * patients / (patients - 1) / rows**2
    size = rows if variance == 0 else value * (1 - value) / variance
    # Few patients: the variance is itself uncertain, by as much as t is wider than the normal.
    size *= (stdtrit(rows - 1, 0.975) / stdtrit(patients - 1, 0.975)) ** 2
    return float(min(max(size, 1.0), rows))
