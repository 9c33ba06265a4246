"""What a plain classifier can tell from numbers of each row, judged on patients that it did not learn from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from medtea.audit.asked import UNLABELLED
from medtea.metrics.classification import NO_ANSWER
from medtea.metrics.delong import auroc_interval, placed
from medtea.metrics.estimates import Estimate, without_interval

Array = NDArray[Any]
FOLDS = 5
FEWEST = 10
"""Patients of each class, below which nothing is learned and there is no answer."""


def learned_scores(rows: Array, classes: Array, patients: Sequence[str], seed: int) -> NDArray[np.float64]:
    """Probability of class 1 by logistic regression, each row scored by a fold that did not see its patient.

    Args:
        rows: (n, numbers).
        classes: (n,) 0 or 1.
        patients: One for each row; all rows of a patient fall into one fold.
        seed: Of the folds.

    Returns:
        (n,); all NaN where a class has fewer than FEWEST patients.
    """
    patient = np.asarray(patients)
    found = np.full(len(classes), np.nan)
    if min(len(set(patient[classes == one])) for one in (0, 1)) < FEWEST:
        return found
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    for train, test in folds.split(rows, classes, patient):
        if len(set(classes[train])) < 2:
            continue
        # C = 0.1: there may be more numbers than rows, and the default shrinks too little for that
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000))
        found[test] = model.fit(rows[train], classes[train]).predict_proba(rows[test])[:, 1]
    return found


def reduced(pictures: Array, side: int) -> NDArray[np.float32]:
    """Pictures (n, rows, columns) on side x side pixels, each as one row of numbers."""
    small = [
        np.asarray(
            Image.fromarray(np.ascontiguousarray(picture, dtype=np.float32)).resize((side, side), Image.Resampling.BOX)
        )
        for picture in pictures
    ]
    return np.asarray(small, dtype=np.float32).reshape(len(small), side * side)


def auroc_by_patient(patients: Sequence[str], classes: Array, scores: Array) -> Estimate:
    """AUROC of the rows that have a score and a label, with its interval by patient; no answer where none has."""
    known = np.isfinite(scores) & (np.asarray(classes) != UNLABELLED)
    if not known.any():
        return without_interval(NO_ANSWER, n=0, n_patients=0, n_positive=0)
    kept = [patient for patient, is_known in zip(patients, known, strict=True) if is_known]
    return auroc_interval(placed(kept, classes[known], scores[known]))


def shuffled_labels(labels: Array, patients: Sequence[str], generator: np.random.Generator) -> Array:
    """Each patient is given the label of another (of several, that of the other's first row)."""
    first: dict[str, Any] = {}
    for patient, label in zip(patients, labels, strict=True):
        first.setdefault(patient, label)
    names = sorted(first)
    drawn = dict(zip(names, generator.permutation([first[name] for name in names]), strict=True))
    return np.array([drawn[patient] for patient in patients])
