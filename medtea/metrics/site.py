"""Whether scores rank patients, or hospitals: AUROC over all pairs, within hospitals, and of the hospital alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medtea.core.errors import DataError
from medtea.metrics.classification import checked
from medtea.metrics.weighted import Statistic, auroc_of

Floats = NDArray[np.float64]


def within_site_auroc_of(labels: ArrayLike, scores: ArrayLike, sites: Sequence[str]) -> Statistic:
    """Mean of the hospitals' AUROCs, each weighed by its pairs of a positive and a negative.

    That is the probability that a random positive scores above a random negative *of the same hospital*; ties count
    half. Hospitals of one class have no pair and drop out. No answer where no hospital has both classes.

    Raises:
        DataError: lengths differ.

    References:
        Van Oirbeek & Lesaffre, Statistics in Medicine 29, 2010 (within-cluster and overall probabilities).
    """
    label, score = checked(labels, scores)
    place = np.asarray(sites, dtype=str)
    if place.shape != label.shape:
        raise DataError(f"There are {place.size} hospitals for {label.size} rows; give one per row.")
    parts = [np.flatnonzero(place == site) for site in np.unique(place)]
    statistics = [auroc_of(label[rows], score[rows]) for rows in parts]

    def compute(weights: Floats) -> Floats:
        above, pairs = np.zeros(len(weights)), np.zeros(len(weights))
        for rows, statistic in zip(parts, statistics, strict=True):
            own = weights[:, rows]
            of_site = (own @ label[rows]) * (own @ (1 - label[rows]))
            above += np.where(of_site > 0, statistic.compute(own) * of_site, 0)
            pairs += of_site
        found: Floats = np.divide(above, pairs, out=np.full(len(weights), np.nan), where=pairs > 0)
        return found

    return Statistic(compute, label.size, int(label.sum()))


def site_only_auroc_of(labels: ArrayLike, sites: Sequence[str], prevalence: dict[str, float]) -> Statistic:
    """AUROC of a score that knows the hospital and nothing else: the prevalence there.

    0.5: the hospital says nothing about the label. What it reaches, a network can reach by telling hospitals apart.

    Raises:
        DataError: a hospital has no prevalence.
    """
    missing = sorted(set(sites) - set(prevalence))
    if missing:
        raise DataError(f"{len(missing)} hospital(s) have no prevalence; give one for each hospital of the rows.")
    return auroc_of(labels, [prevalence[site] for site in sites])
