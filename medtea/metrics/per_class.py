"""AUROCs of more than two classes, or of several findings of one radiograph: each one against the rest, and their mean.

Classes are told apart on the same patients, so that the mean's error needs their covariance: it is that of
medtea.metrics.delong, summed by patient over all classes.

References:
    Hand, Till, Machine Learning 45, 2001 (classes against each other; here each stands against all others, as
    scikit-learn's multi_class="ovr", average="macro").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from medtea.core.errors import DataError
from medtea.metrics.delong import Placed, auroc_interval, placed
from medtea.metrics.estimates import NAN, Estimate, without_interval


def against_the_rest(patients: Sequence[str], labels: ArrayLike, scores: ArrayLike) -> list[Placed]:
    """The AUROC of every class against all others, in the order of the columns.

    Args:
        patients: Of each row. A name must mean one person.
        labels: (rows,) the number of the class; or (rows, classes) 0 or 1, where findings may occur together.
        scores: (rows, classes), higher means that class; a column is ranked by itself and need be no probability.

    Returns:
        One for each column; a class that no row has, or all rows have, has no answer.

    Raises:
        DataError: shapes do not fit, or a label is no class.
    """
    given, score = np.asarray(labels), np.asarray(scores, dtype=np.float64)
    if score.ndim != 2 or given.shape not in ((len(score),), score.shape):
        raise DataError(f"Scores are (rows, classes) with a label per row or entry; got {score.shape}, {given.shape}.")
    classes = np.arange(score.shape[1])
    if given.ndim == 1:
        if not np.isin(given, classes).all():
            raise DataError(f"A label is not a class from 0 to {score.shape[1] - 1}; give a column for each class.")
        given = (given[:, None] == classes).astype(int)
    return [placed(patients, given[:, one], score[:, one]) for one in classes]


def macro_auroc(*seeds: Sequence[Placed]) -> Estimate:
    """The mean of the classes' AUROCs, each counting the same, with its 95 % interval by patient.

    Args:
        *seeds: Classes from against_the_rest: of one network, or of the networks of several seeds on the same rows.

    Returns:
        The mean over the classes that have an answer; `interval` says how many of how many they are. n_positive is
        None: there is no one class that counts.
    """
    classes = [one for seed in seeds for one in seed]
    there = [one for one in classes if np.isfinite(one.value)]
    if not there:
        n, patients = (classes[0].n, classes[0].patients.size) if classes else (0, 0)
        return without_interval(NAN, n=n, n_patients=patients)
    found = auroc_interval(*there)
    answered, asked = len(there) // len(seeds), len(seeds[0])
    which = f"{asked} classes" if answered == asked else f"the {answered} of {asked} classes that are there"
    how = found.interval if found.interval.startswith("none") else f"mean of {which}, {found.interval}"
    return replace(found, n_positive=None, interval=how)
