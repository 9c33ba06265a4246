"""Classes against the rest and their mean: scikit-learn's numbers, and an error that knows they share patients."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import logit, softmax
from sklearn.metrics import roc_auc_score

from medtea.core.errors import DataError
from medtea.metrics.delong import auroc_interval, difference, placed
from medtea.metrics.intervals import Drawn, Group
from medtea.metrics.per_class import against_the_rest, macro_auroc
from medtea.metrics.weighted import auroc_of


def study(seed=0, *, n=200, classes=4, per_patient=1, spread=1.0):
    draw = np.random.default_rng(seed)
    owner = np.arange(n) // per_patient
    labels = draw.integers(0, classes, n)
    own = draw.normal(size=(owner.max() + 1, classes))[owner]
    scores = 1.2 * (labels[:, None] == np.arange(classes)) + own + spread * draw.normal(size=(n, classes))
    return [f"p{one:03d}" for one in owner], labels, softmax(scores, axis=1)


@pytest.mark.parametrize("per_patient", [1, 3])
def test_classes_and_their_mean_are_scikit_learns(per_patient):
    patients, labels, scores = study(1, per_patient=per_patient)
    classes = against_the_rest(patients, labels, scores)
    expected = [roc_auc_score(labels == one, scores[:, one]) for one in range(4)]
    assert [one.value for one in classes] == pytest.approx(expected, abs=1e-12)
    macro = macro_auroc(classes)
    assert macro.value == pytest.approx(roc_auc_score(labels, scores, multi_class="ovr", average="macro"), abs=1e-12)
    assert (macro.n, macro.n_patients, macro.n_positive) == (200, len(set(patients)), None)
    assert macro.interval.startswith("mean of 4 classes, " + ("DeLong" if per_patient == 1 else "Obuchowski"))


def test_findings_that_occur_together_are_scikit_learns_multi_label():
    patients, _, scores = study(2)
    draw = np.random.default_rng(3)
    findings = (draw.random(scores.shape) < 0.2 + 0.6 * scores).astype(int)
    macro = macro_auroc(against_the_rest(patients, findings, scores))
    assert macro.value == pytest.approx(roc_auc_score(findings, scores, average="macro"), abs=1e-12)


@pytest.mark.parametrize("per_patient", [1, 3])
def test_the_means_error_is_that_of_the_bootstrap_by_patient(per_patient):
    patients, labels, scores = study(4, n=300, per_patient=per_patient)
    macro = macro_auroc(against_the_rest(patients, labels, scores))
    groups = [Group(patients, auroc_of(labels == one, scores[:, one])) for one in range(4)]
    drawn = Drawn.of(groups, replicates=1000, generator=np.random.default_rng(0)).numbers.mean(axis=0)
    # on the logit scale as the interval is; a standard deviation of 1,000 draws is known to 2.2 %, a tail less well
    width = logit(macro.high) - logit(macro.low)
    assert width == pytest.approx(2 * 1.97 * float(logit(drawn).std()), rel=0.12)


def test_two_classes_whose_probabilities_add_up_to_one_are_one_auroc():
    patients, labels, scores = study(5, classes=2)
    one = auroc_interval(placed(patients, labels, scores[:, 1]))
    macro = macro_auroc(against_the_rest(patients, labels, scores))
    # The same number twice, so that their errors are one; Obuchowski's cross term has all patients in its factor
    # I / (I - 1), the others those of a class: of 100 a class half a percent of the variance.
    assert macro.value == pytest.approx(one.value)
    assert logit(macro.high) - logit(macro.low) == pytest.approx(logit(one.high) - logit(one.low), rel=0.005)


def test_a_class_that_is_not_there_has_no_answer_and_the_mean_says_so():
    patients, labels, scores = study(6)
    labels = np.where(labels == 2, 1, labels)
    classes = against_the_rest(patients, labels, scores)
    assert [math.isnan(one.value) for one in classes] == [False, False, True, False]
    macro = macro_auroc(classes)
    assert macro.value == pytest.approx(np.mean([classes[one].value for one in (0, 1, 3)]))
    assert "the 3 of 4 classes that are there" in macro.interval
    nothing = macro_auroc(against_the_rest(patients[:3], [1, 1, 1], scores[:3]))
    assert not nothing.answered
    assert nothing.interval == "none: no answer"


def test_seeds_are_a_mean_of_means_with_the_covariance_of_all():
    patients, labels, first = study(7)
    second = study(7, spread=1.5)[2]
    runs = [against_the_rest(patients, labels, scores) for scores in (first, second)]
    both = macro_auroc(*runs)
    assert both.value == pytest.approx(np.mean([macro_auroc(run).value for run in runs]))
    # Var((a + b) / 2) from the variance of the eight parts, as a difference to nothing has it
    pair = difference([one for run in runs for one in run], [placed(["x", "y", "z", "w"], [0, 0, 1, 1], [1, 1, 1, 1])])
    error = (pair.estimate.value) / pair.statistic
    width = logit(both.high) - logit(both.low)
    assert width == pytest.approx(2 * 1.97 * error / (both.value * (1 - both.value)), rel=0.01)


def test_what_does_not_fit_is_refused():
    with pytest.raises(DataError, match=r"\(rows, classes\) with a label"):
        against_the_rest(["a", "b"], [0, 1], [0.1, 0.2])
    with pytest.raises(DataError, match="not a class from 0 to 1"):
        against_the_rest(["a", "b"], [0, 2], [[0.1, 0.9], [0.2, 0.8]])
