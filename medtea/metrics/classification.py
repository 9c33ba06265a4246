"""How well scores separate the two classes. Labels are 0 and 1; a higher score means class 1.

A number that cannot be computed (one class only, no rows) is NaN and means "no answer".
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from medtea.core.errors import DataError

NO_ANSWER = float("nan")
# Shares are differences and quotients of whole numbers: what is equal may miss by a rounding.
ROUNDING = 1e-12


def checked(labels: ArrayLike, scores: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Labels and scores as arrays of one length.

    Raises:
        DataError: lengths differ, a label is neither 0 nor 1, or a score is NaN (infinite scores are allowed: ranks).
    """
    given, score = np.asarray(labels, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    if given.ndim != 1 or given.shape != score.shape:
        raise DataError(
            f"Labels have the shape {given.shape} and scores {score.shape}; give one label and one score per row."
        )
    if not np.isin(given, (0.0, 1.0)).all():
        wrong = given[~np.isin(given, (0.0, 1.0))][0]
        raise DataError(f"A label is '{wrong:g}'; a label is 0 or 1. Leave unlabelled rows out and count them.")
    if np.isnan(score).any():
        missing = int(np.isnan(score).sum())
        raise DataError(f"{missing} of {score.size} scores are 'nan'; leave rows without a score out and count them.")
    return given.astype(np.int64), score


def has_both_classes(labels: ArrayLike) -> bool:
    """Whether 0 and 1 both occur, without which nothing can be ranked."""
    return np.unique(np.asarray(labels)).size == 2


def auroc(labels: ArrayLike, scores: ArrayLike) -> float:
    """Probability that a random positive scores above a random negative; ties count half. NaN with one class only."""
    label, score = checked(labels, scores)
    return float(roc_auc_score(label, _ranks(score))) if has_both_classes(label) else NO_ANSWER


def average_precision(labels: ArrayLike, scores: ArrayLike) -> float:
    """Sum over thresholds of recall gained times precision; a coin toss scores the prevalence. NaN with one class."""
    label, score = checked(labels, scores)
    return float(average_precision_score(label, _ranks(score))) if has_both_classes(label) else NO_ANSWER


def prevalence(labels: ArrayLike) -> float:
    """Share of positives; NaN without rows."""
    given = np.asarray(labels, dtype=np.float64)
    return float(given.mean()) if given.size else NO_ANSWER


def accuracy(labels: ArrayLike, scores: ArrayLike, threshold: float) -> float:
    """Share of rows called rightly when score >= threshold means 1; NaN without rows or without a threshold."""
    label, score = checked(labels, scores)
    return _share((score >= threshold) == label, threshold)


def sensitivity(labels: ArrayLike, scores: ArrayLike, threshold: float) -> float:
    """Share of positives with score >= threshold; NaN without positives or without a threshold."""
    label, score = checked(labels, scores)
    return _share(score[label == 1] >= threshold, threshold)


def specificity(labels: ArrayLike, scores: ArrayLike, threshold: float) -> float:
    """Share of negatives with score < threshold; NaN without negatives or without a threshold."""
    label, score = checked(labels, scores)
    return _share(score[label == 0] < threshold, threshold)


def youden_threshold(labels: ArrayLike, scores: ArrayLike) -> float:
    """Threshold with the largest sensitivity + specificity - 1, to be chosen on IID validation and carried over.

    Among equals the highest. It lies midway between the lowest score called 1 and the next score below, so that it
    does not sit on one validation radiograph.

    Returns:
        NaN with one class only, and when no threshold beats calling everything one class.

    References:
        Youden, Cancer 3(1), 1950.
    """
    label, score = checked(labels, scores)
    if not has_both_classes(label):
        return NO_ANSWER
    values = np.unique(score)
    false_positives, true_positives, cuts = roc_curve(label, np.searchsorted(values, score), drop_intermediate=False)
    index = true_positives - false_positives
    best = int(np.argmax(index))
    if index[best] <= ROUNDING:
        return NO_ANSWER
    return _between(values, int(cuts[best]))


def threshold_for_sensitivity(labels: ArrayLike, scores: ArrayLike, target: float) -> float:
    """The highest threshold at which at least `target` of the positives are called 1, in (0, 1]; NaN with one class.

    As of youden_threshold: midway between the lowest score called 1 and the next below, to be chosen on IID validation.
    """
    label, score = checked(labels, scores)
    if not has_both_classes(label):
        return NO_ANSWER
    values = np.unique(score)
    positives = np.sort(score[label == 1])
    called = 1 - np.searchsorted(positives, values, side="left") / positives.size
    return _between(values, int(np.flatnonzero(called >= target - ROUNDING)[-1]))


def threshold_for_specificity(labels: ArrayLike, scores: ArrayLike, target: float) -> float:
    """The lowest threshold at which at least `target` of the negatives are called 0; NaN with one class.

    NaN as well where only calling everything 0 would do: the highest score is a negative's and the target needs it.
    """
    label, score = checked(labels, scores)
    if not has_both_classes(label):
        return NO_ANSWER
    values = np.unique(score)
    negatives = np.sort(score[label == 0])
    found = np.flatnonzero(np.searchsorted(negatives, values, side="left") / negatives.size >= target - ROUNDING)
    return _between(values, int(found[0])) if found.size else NO_ANSWER


def _between(values: NDArray[np.float64], lowest: int) -> float:
    # Midway between the lowest score called 1 and the one below it, where there is one.
    below, above = float(values[max(lowest - 1, 0)]), float(values[lowest])
    middle = below + (above - below) / 2
    return middle if below < middle <= above else above


def _share(right: NDArray[np.bool_], threshold: float) -> float:
    return float(right.mean()) if right.size and not np.isnan(threshold) else NO_ANSWER


def _ranks(scores: NDArray[np.float64]) -> NDArray[np.int64]:
    # Both numbers depend on the order alone; scikit-learn refuses infinite scores, which an overflowing logit gives.
    ranks: NDArray[np.int64] = np.unique(scores, return_inverse=True)[1].astype(np.int64)
    return ranks
