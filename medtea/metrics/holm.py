"""p-values of a family of comparisons, adjusted so that one false alarm in the whole family stays as rare as asked."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from statsmodels.stats.multitest import multipletests


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the order given.

    A NaN is a comparison without an answer: it stays NaN and does not count in the family.

    References:
        Holm, Scandinavian Journal of Statistics 6, 1979.
    """
    given = np.asarray(p_values, dtype=np.float64)
    adjusted = given.copy()
    answered = np.isfinite(given)
    if answered.any():
        adjusted[answered] = multipletests(given[answered], method="holm")[1]
    return [float(p) for p in adjusted]
