from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles.slow_metrics import auroc_by_pairs, average_precision_by_thresholds
from sklearn.metrics import roc_auc_score

from medtea.core.errors import DataError
from medtea.metrics.classification import (
    accuracy,
    auroc,
    average_precision,
    prevalence,
    sensitivity,
    specificity,
    threshold_for_sensitivity,
    threshold_for_specificity,
    youden_threshold,
)

# Few distinct scores, so that ties are the rule and not the exception.
rows = st.lists(st.tuples(st.integers(0, 1), st.integers(-4, 4)), min_size=0, max_size=30)


@given(rows)
def test_auroc_counts_pairs_and_halves_ties(pairs):
    labels, scores = [p[0] for p in pairs], [p[1] for p in pairs]
    np.testing.assert_allclose(auroc(labels, scores), auroc_by_pairs(labels, scores), atol=1e-12)


@given(rows)
def test_average_precision_walks_the_thresholds(pairs):
    labels, scores = [p[0] for p in pairs], [p[1] for p in pairs]
    slow = average_precision_by_thresholds(labels, scores)
    np.testing.assert_allclose(average_precision(labels, scores), slow, atol=1e-12)


@given(rows)
def test_auroc_of_reversed_scores_is_the_rest_to_one(pairs):
    labels, scores = [p[0] for p in pairs], [p[1] for p in pairs]
    total = auroc(labels, scores) + auroc(labels, [-score for score in scores])
    assert math.isnan(total) or total == pytest.approx(1)


def test_auroc_is_scikit_learns_and_unchanged_by_a_rising_function():
    generator = np.random.default_rng(1)
    labels, scores = generator.integers(0, 2, 300), generator.normal(size=300)
    assert auroc(labels, scores) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    assert auroc(labels, np.exp(3 * scores)) == pytest.approx(auroc(labels, scores), abs=1e-12)


def test_infinite_scores_are_ranked():
    assert auroc([0, 1, 0, 1], [-math.inf, math.inf, 0.0, 0.0]) == pytest.approx(3.5 / 4)


@pytest.mark.parametrize("labels", [[], [0], [1, 1], [0, 0, 0]])
@pytest.mark.parametrize("number", [auroc, average_precision, youden_threshold])
def test_one_class_or_no_rows_has_no_answer(number, labels):
    assert math.isnan(number(labels, np.linspace(0, 1, len(labels))))


def test_rates_at_a_threshold_by_hand():
    # score >= 0.5 calls rows 2, 3 and 4 positive; rows 2 and 4 are, row 3 is not, and row 1 is missed.
    labels, scores = [0, 1, 1, 0, 1], [0.1, 0.4, 0.5, 0.6, 0.9]
    assert sensitivity(labels, scores, 0.5) == pytest.approx(2 / 3)
    assert specificity(labels, scores, 0.5) == pytest.approx(1 / 2)
    assert accuracy(labels, scores, 0.5) == pytest.approx(3 / 5)
    assert prevalence(labels) == pytest.approx(3 / 5)


def test_rates_without_their_class_or_a_threshold_have_no_answer():
    assert math.isnan(sensitivity([0, 0], [0.1, 0.9], 0.5))
    assert math.isnan(specificity([1, 1], [0.1, 0.9], 0.5))
    assert math.isnan(accuracy([], [], 0.5))
    assert math.isnan(prevalence([]))
    assert math.isnan(accuracy([0, 1], [0.1, 0.9], math.nan))


def test_youden_threshold_lies_midway_between_the_classes():
    # Scores 0.6 and above are positive, 0.2 and below negative: midway is 0.4.
    assert youden_threshold([0, 0, 1, 1], [0.1, 0.2, 0.6, 0.7]) == pytest.approx(0.4)


@given(rows)
def test_no_other_threshold_beats_youdens(pairs):
    labels, scores = [p[0] for p in pairs], [float(p[1]) for p in pairs]
    threshold = youden_threshold(labels, scores)
    if not math.isnan(threshold):
        best = sensitivity(labels, scores, threshold) + specificity(labels, scores, threshold)
        for other in {*scores, threshold - 10, threshold + 10}:
            assert best >= sensitivity(labels, scores, other) + specificity(labels, scores, other) - 1e-12


def test_youden_threshold_of_scores_that_rank_backwards_has_no_answer():
    assert math.isnan(youden_threshold([1, 1, 0, 0], [0.1, 0.2, 0.6, 0.7]))


def test_youden_threshold_between_neighbouring_floats_still_parts_them():
    low = 0.3
    high = np.nextafter(low, 1)
    assert accuracy([0, 1], [low, high], youden_threshold([0, 1], [low, high])) == 1


def test_wrong_labels_missing_scores_and_unequal_lengths_are_refused():
    with pytest.raises(DataError, match="A label is '2'"):
        auroc([0, 2], [0.1, 0.2])
    with pytest.raises(DataError, match="1 of 2 scores are 'nan'"):
        auroc([0, 1], [0.1, math.nan])
    with pytest.raises(DataError, match="one label and one score per row"):
        auroc([0, 1], [0.1])


# -- thresholds with a target


@given(rows, st.sampled_from([0.1, 0.5, 0.8, 1.0]))
def test_no_higher_threshold_has_the_sensitivity_and_no_lower_one_the_specificity(pairs, target):
    labels, scores = [p[0] for p in pairs], [float(p[1]) for p in pairs]
    high = threshold_for_sensitivity(labels, scores, target)
    low = threshold_for_specificity(labels, scores, target)
    if len(set(labels)) < 2:
        assert np.isnan([high, low]).all()
        return
    assert sensitivity(labels, scores, high) >= target - 1e-9
    above = [score for score in scores if score > high]
    if above:
        # the next one calls one more score 0: the lowest that was called 1
        assert sensitivity(labels, scores, math.nextafter(min(above), math.inf)) < target
    if not math.isnan(low):
        assert specificity(labels, scores, low) >= target - 1e-9
        below = [score for score in scores if score < low]
        assert not below or specificity(labels, scores, max(below)) < target
    else:
        assert specificity(labels, scores, max(scores)) < target


def test_a_threshold_with_a_target_lies_midway_between_two_scores():
    labels, scores = [0, 0, 0, 0, 1, 1, 1, 1], [1, 2, 3, 6, 4, 5, 7, 8]
    assert threshold_for_sensitivity(labels, scores, 0.75) == 4.5  # calls 5, 7 and 8 positive
    assert threshold_for_specificity(labels, scores, 0.75) == 3.5  # calls 1, 2 and 3 negative
