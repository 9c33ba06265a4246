from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from oracles.fixed_rows import LABELS, LOGITS

from medtea.metrics.logistic import fit_logistic, knots_of, spline_design


def test_weighted_fits_are_statsmodels() -> None:
    generator = np.random.default_rng(0)
    design = np.stack([np.ones(60), LOGITS, LOGITS**2], axis=1)
    weights = generator.integers(0, 4, (5, 60)).astype(float)
    offset = generator.normal(size=60)
    found = fit_logistic(design, weights * LABELS, weights * (1 - LABELS), offset)
    for own, one in zip(weights, found, strict=True):
        model = sm.GLM(LABELS, design, family=sm.families.Binomial(), freq_weights=own, offset=offset).fit(tol=1e-12)
        assert one == pytest.approx(model.params, abs=1e-5)


def test_a_sample_of_one_label_has_no_answer_and_spoils_no_other() -> None:
    positives = np.stack([LABELS, np.zeros(60), LABELS]).astype(float)
    negatives = np.stack([1 - LABELS, np.ones(60), 1 - LABELS]).astype(float)
    found = fit_logistic(np.ones((60, 1)), positives, negatives)
    share = LABELS.mean()
    assert found[[0, 2], 0] == pytest.approx(np.log(share / (1 - share)), abs=1e-7)
    assert np.isnan(found[1, 0])


def test_a_far_offset_is_come_back_from() -> None:
    # by hand: all offsets equal, so that offset + intercept is the logit of the share
    share = LABELS.mean()
    for far in (-35.0, 35.0):
        found = fit_logistic(np.ones((60, 1)), LABELS[None] * 1.0, 1.0 - LABELS[None], np.full(60, far))
        assert found[0, 0] == pytest.approx(np.log(share / (1 - share)) - far, abs=1e-5)


def test_the_spline_is_rcspline_eval_of_hmisc() -> None:
    # rcspline.eval(c(-1.9, 0, 1.5, 1.99), knots = quantile(x, c(.05, .35, .65, .95)), inclx = TRUE) of Hmisc, R 4.2.2
    knots = knots_of(LOGITS, 4)
    assert knots == pytest.approx([-1.8, -0.6, 0.6, 1.8])
    found = spline_design(np.array([-1.9, 0.0, 1.5, 1.99]), knots)
    assert found[:, 0].tolist() == [1, 1, 1, 1]
    assert found[:, 1].tolist() == [-1.9, 0, 1.5, 1.99]
    assert found[:, 2] == pytest.approx([0, 0.45, 2.60416666667, 3.58])
    assert found[:, 3] == pytest.approx([0, 0.0166666666667, 0.602083333333, 0.926666666667])


def test_the_spline_is_straight_beyond_its_outer_knots() -> None:
    knots = np.array([-1.0, 0.0, 0.5, 1.0])
    for ends in (np.linspace(-5, -1, 9), np.linspace(1, 5, 9)):
        assert np.abs(np.diff(spline_design(ends, knots), n=2, axis=0)).max() < 1e-9


def test_knots_that_coincide_leave_a_straight_line() -> None:
    values = np.array([0.0] * 50 + [1.0] * 5)
    assert knots_of(values, 4).size == 0
    assert spline_design(values, knots_of(values, 4)).shape == (55, 2)
