"""What acting on a score would bring, in true positives per person, if a false positive costs threshold odds of one."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import logit

from medtea.core.errors import DataError
from medtea.metrics.cells import Cells
from medtea.metrics.logistic import Floats


def net_benefit(cells: Cells, thresholds: ArrayLike) -> Floats:
    """TP / n - FP / n · t / (1 - t), where score >= t means to act; values of the cells are logits of the score.

    Args:
        cells: (samples, cells).
        thresholds: (points,) strictly between 0 and 1.

    Returns:
        (samples, points), from -t / (1 - t) to the prevalence; NaN without rows.

    Raises:
        DataError: a threshold is not between 0 and 1.

    References:
        Vickers & Elkin, Medical Decision Making 26(6), 2006, equation 1.
    """
    at = _thresholds(thresholds)
    acted = (cells.values[:, None] >= logit(at)[None]).astype(np.float64)
    return _per_row(cells.positives @ acted - (cells.negatives @ acted) * (at / (1 - at)), cells)


def treat_all(cells: Cells, thresholds: ArrayLike) -> Floats:
    """The net benefit of acting on everyone: prevalence - (1 - prevalence) · t / (1 - t). (samples, points)."""
    at = _thresholds(thresholds)
    positives, negatives = (counts.sum(axis=1, keepdims=True) for counts in (cells.positives, cells.negatives))
    return _per_row(positives - negatives * (at / (1 - at)), cells)


def gain(cells: Cells, thresholds: ArrayLike) -> Floats:
    """Net benefit less the better of acting on everyone and on no one, sample by sample. (samples, points)."""
    found: Floats = net_benefit(cells, thresholds) - np.maximum(treat_all(cells, thresholds), 0)
    return found


def _thresholds(thresholds: ArrayLike) -> Floats:
    at = np.asarray(thresholds, dtype=np.float64)
    if at.ndim != 1 or not ((at > 0) & (at < 1)).all():
        raise DataError("A decision threshold is a probability strictly between 0 and 1; give a list of them.")
    return at


def _per_row(summed: Floats, cells: Cells) -> Floats:
    sizes = cells.sizes[:, None]
    return np.divide(summed, sizes, out=np.full_like(summed, np.nan), where=sizes > 0)
