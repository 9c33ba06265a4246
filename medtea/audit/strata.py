"""AUROC within strata: pairs of a positive and a negative that have the same hospital, view or device."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from medtea.metrics.weighted import Floats, Statistic, auroc_of


def within_auroc_of(labels: NDArray[Any], scores: NDArray[Any], strata: NDArray[Any]) -> Statistic:
    """AUROC over pairs of the same stratum, all such pairs counting the same; NaN where no stratum has both classes."""
    parts = []
    for one in sorted(set(strata)):
        rows = np.flatnonzero(strata == one)
        parts.append((rows, labels[rows], auroc_of(labels[rows], scores[rows])))

    def compute(weights: Floats) -> Floats:
        right, pairs = np.zeros(len(weights)), np.zeros(len(weights))
        for rows, label, statistic in parts:
            mine = weights[:, rows]
            count = (mine @ label) * (mine @ (1 - label))
            right += np.where(count > 0, np.nan_to_num(statistic.compute(mine)) * count, 0)
            pairs += count
        found = np.full(len(weights), np.nan)
        np.divide(right, pairs, out=found, where=pairs > 0)
        return found

    return Statistic(compute, len(labels), int(labels.sum()))
