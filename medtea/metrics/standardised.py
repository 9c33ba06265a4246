"""Standardised differences: how far two groups of people differ in one characteristic, whatever its unit and n.

About 0.1 is usually taken as the least difference worth a word (Austin, Statistics in Medicine 28, 2009); the sizes of
the groups do not enter, so that many patients alone do not make it larger.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

NAN = float("nan")


def difference_of_means(first: ArrayLike, second: ArrayLike) -> float:
    """(mean - mean) / sqrt((variance + variance) / 2), variances with n - 1 (Austin 2009, equation 1).

    Args:
        first: Values of one group; NaN is left out.
        second: Of the other, whose mean is subtracted.

    Returns:
        NaN where a group has fewer than two values: no answer. Where neither varies, 0 if both are alike and infinite
        if they differ.
    """
    a, b = (np.asarray(values, dtype=np.float64) for values in (first, second))
    a, b = a[~np.isnan(a)], b[~np.isnan(b)]
    if min(len(a), len(b)) < 2:
        return NAN
    apart, spread = float(a.mean() - b.mean()), math.sqrt((a.var(ddof=1) + b.var(ddof=1)) / 2)
    if spread == 0:
        return math.copysign(math.inf, apart) if apart else 0.0
    return apart / spread


def difference_of_shares(first: ArrayLike, second: ArrayLike) -> float:
    """sqrt((p - q)' S^-1 (p - q)) of the shares of k categories, S the mean of both multinomial covariances.

    Of two categories it is |p - q| / sqrt((p (1 - p) + q (1 - q)) / 2).

    Args:
        first: Counts of the categories in one group, (k,).
        second: In the other, same order.

    Returns:
        At least 0. NaN where a group is empty: no answer. Infinite where no category occurs in both groups.

    References:
        Yang and Dalton, A unified approach to measuring the effect size between two groups, SAS Global Forum 2012.
    """
    a, b = (np.asarray(counts, dtype=np.float64) for counts in (first, second))
    if not a.sum() or not b.sum():
        return NAN
    there = (a + b) > 0
    if not ((a > 0) & (b > 0)).any():
        return math.inf
    p, q = (counts[there][1:] / counts.sum() for counts in (a, b))
    covariance = sum(np.diag(shares) - np.outer(shares, shares) for shares in (p, q)) / 2
    apart = p - q
    if not apart.any():
        return 0.0
    solved = np.linalg.pinv(covariance, hermitian=True) @ apart
    return float(math.sqrt(max(0.0, float(apart @ solved))))
