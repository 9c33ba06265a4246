from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from oracles.fixed_rows import IN_R, LABELS, LOGITS
from oracles.r import asked_of_r
from scipy.special import expit
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss

from medtea.core.errors import DataError
from medtea.metrics import calibration
from medtea.metrics.calibration import (
    Recalibration,
    brier,
    curves,
    intercept,
    logits_of,
    overlap,
    recalibration,
    scaled_brier,
    slope,
    smooth_ece,
    smooth_ece_by_chance,
    smooth_ece_estimate,
)
from medtea.metrics.cells import Cells, Sampled, sampled

AS_GIVEN = Recalibration(0.0, 1.0, 0, 0)
PATIENTS = [f"p{place // 2}" for place in range(60)]


def rows_of(labels=LABELS, logits=LOGITS, patients=None, replicates=200) -> Sampled:
    names = [f"p{place}" for place in range(len(labels))] if patients is None else patients
    (found,) = sampled(names, labels, [logits], replicates=replicates, generator=np.random.default_rng(0))
    return found


def drawn_rows(n, slope=1.0, offset=0.0, seed=0):
    """Logits with labels of their own probability, told with another slope and offset."""
    generator = np.random.default_rng(seed)
    true = generator.normal(0, 1.3, n)
    return (generator.random(n) < expit(true)).astype(int), offset + slope * true


def smooth_ece_slowly(labels, scores):
    """Halving, over kernels laid on a fine grid with their mirror images; one pair of point and row at a time."""
    grid = (np.arange(2000) + 0.5) / 2000
    low, high = 0.0, 1.0
    for _ in range(20):
        width = (low + high) / 2
        smoothed = np.zeros_like(grid)
        for label, score in zip(labels, scores, strict=True):
            for turn in range(-4, 5):
                for image in (2 * turn + score, 2 * turn - score):
                    kernel = np.exp(-(((grid - image) / width) ** 2) / 2) / (width * np.sqrt(2 * np.pi))
                    smoothed += (label - score) * kernel / len(labels)
        low, high = (width, high) if np.abs(smoothed).mean() > width else (low, width)
    return (low + high) / 2


# --- numbers that R gave: glm and rms 6.5.0 in R 4.2.2, on oracles.fixed_rows


def test_intercept_and_slope_are_those_of_r() -> None:
    whole = rows_of().whole
    assert intercept(whole)[0] == pytest.approx(0.354323002578, abs=1e-7)
    assert slope(whole)[0] == pytest.approx(0.452060338132, abs=1e-6)
    assert brier(whole)[0] == pytest.approx(0.247477695953, abs=1e-11)


def test_the_curve_is_that_of_rms() -> None:
    found = curves(rows_of(), [AS_GIVEN])[0]
    assert found is not None
    assert found.knots == 3, "26 negatives are too few for four knots"
    # predict(glm(y ~ rcs(x, quantile(x, c(.1, .5, .9))), binomial)) at these logits
    theirs = {-1.9: 0.386013340835, -1.0: 0.455438167152, 0.0: 0.551461094048, 0.5: 0.611820754314, 1.9: 0.780848082035}
    ours = np.interp(expit(list(theirs)), found.score, found.observed)
    # straight lines between 41 points
    assert ours == pytest.approx(list(theirs.values()), abs=5e-4)


def test_smooth_ece_is_relplots() -> None:
    # relplot 1.0.3, smECE(f, y, eps=1e-5) without logit scaling, which halves ten times: to 1e-3
    assert smooth_ece(rows_of().whole)[0] == pytest.approx(0.105717192558, abs=1e-3)


@pytest.mark.slow
def test_r_itself_says_the_same() -> None:
    program = IN_R + (
        'tell("intercept", coef(glm(y ~ 1, offset = x, family = binomial)));'
        'tell("slope", coef(glm(y ~ x, family = binomial))[2]);'
        "v <- val.prob(plogis(x), y, pl = FALSE);"
        'tell("brier", v["Brier"]);'
        "m <- glm(y ~ rcs(x, quantile(x, c(.1, .5, .9))), family = binomial);"
        'tell("middle", predict(m, data.frame(x = 0), type = "response"))'
    )
    theirs = asked_of_r(program, "rms")
    rows = rows_of()
    assert intercept(rows.whole)[0] == pytest.approx(theirs["intercept"], abs=1e-6)
    assert slope(rows.whole)[0] == pytest.approx(theirs["slope"], abs=1e-6)
    assert brier(rows.whole)[0] == pytest.approx(theirs["brier"], abs=1e-9)
    curve = curves(rows, [AS_GIVEN])[0]
    assert np.interp(0.5, curve.score, curve.observed) == pytest.approx(theirs["middle"], abs=1e-4)


# --- statsmodels and scikit-learn, replicate by replicate


def test_every_replicate_is_what_statsmodels_says_of_its_rows() -> None:
    rows = rows_of(patients=PATIENTS, replicates=6)
    ours = np.stack([intercept(rows.drawn), slope(rows.drawn)], axis=1)
    for positives, negatives, mine in zip(rows.drawn.positives, rows.drawn.negatives, ours, strict=True):
        counts = (positives + negatives).astype(int)
        x, y = np.repeat(rows.drawn.values, counts), np.repeat(positives > 0, counts).astype(float)
        moved = sm.GLM(y, np.ones_like(x), family=sm.families.Binomial(), offset=x).fit()
        steep = sm.GLM(y, sm.add_constant(x), family=sm.families.Binomial()).fit()
        assert mine == pytest.approx([moved.params[0], steep.params[1]], abs=1e-5)


def test_brier_is_scikit_learns_and_its_scaled_form_is_by_hand() -> None:
    whole = rows_of().whole
    assert brier(whole)[0] == pytest.approx(brier_score_loss(LABELS, expit(LOGITS)))
    # by hand: two rows, prevalence 1/2, scores 0.5: as good as the prevalence
    assert scaled_brier(rows_of([0, 1], [0.0, 0.0]).whole)[0] == pytest.approx(0)
    # and scores of 1 and 0: 1 - 0 / 0.25
    assert scaled_brier(rows_of([0, 1], [-40.0, 40.0]).whole)[0] == pytest.approx(1)


def test_recalibration_is_scikit_learns_platt_scaling() -> None:
    found = recalibration(LABELS, LOGITS)
    identity = LogisticRegression(C=1e9).fit([[-1.0], [1.0]] * 2, [0, 1, 1, 0])
    identity.coef_, identity.intercept_ = np.array([[1.0]]), np.array([0.0])
    theirs = CalibratedClassifierCV(FrozenEstimator(identity), method="sigmoid", ensemble=False)
    theirs.fit(LOGITS[:, None], LABELS)
    expected = theirs.predict_proba(LOGITS[:, None])[:, 1]
    assert expit(found.intercept + found.slope * LOGITS) == pytest.approx(expected, abs=1e-5)
    assert (found.n, found.n_positive) == (60, 34)


def test_smooth_ece_is_that_of_kernels_laid_one_by_one() -> None:
    for labels, logits in (drawn_rows(40, 1.5, 0.4), drawn_rows(40, -1.0, 1.0, seed=1)):
        slowly = smooth_ece_slowly(labels, expit(logits))
        assert smooth_ece(rows_of(labels, logits).whole)[0] == pytest.approx(slowly, abs=2e-4)


# --- laws


def test_the_order_of_rows_says_nothing_and_a_row_twice_counts_twice() -> None:
    order = np.random.default_rng(3).permutation(60)
    for number in (intercept, slope, brier, scaled_brier, smooth_ece):
        once = number(rows_of().whole)[0]
        assert number(rows_of(LABELS[order], LOGITS[order]).whole)[0] == pytest.approx(once, abs=1e-9)
        twice = rows_of(np.repeat(LABELS, 2), np.repeat(LOGITS, 2))
        assert number(twice.whole)[0] == pytest.approx(once, abs=1e-9)
    shuffled = rows_of(LABELS[order], LOGITS[order], [PATIENTS[place] for place in order])
    assert shuffled.estimate(slope) == rows_of(patients=PATIENTS).estimate(slope)


def test_a_logit_moved_by_its_own_answer_is_calibrated() -> None:
    whole = rows_of().whole
    lifted = whole.moved(float(intercept(whole)[0]), 1.0)
    assert intercept(lifted)[0] == pytest.approx(0, abs=1e-6)
    stretched = whole.moved(0.0, 2.0)
    assert slope(stretched)[0] == pytest.approx(slope(whole)[0] / 2, abs=1e-6)
    turned = whole.moved(0.3, -1.0)
    assert slope(turned)[0] == pytest.approx(-slope(whole)[0], abs=1e-6)


def test_logits_of_any_size_have_an_answer() -> None:
    for offset, factor in ((0.0, 1e-4), (30.0, 1.0), (-2.0, 20.0)):
        moved = rows_of().whole.moved(offset, factor)
        assert slope(moved)[0] == pytest.approx(0.452060338132 / factor, rel=1e-4)
        assert np.isfinite(intercept(moved)[0])


def test_where_positives_and_negatives_do_not_overlap_there_is_no_slope_and_no_curve() -> None:
    for labels in ([0, 0, 1, 1], [1, 1, 0, 0], [0, 0, 0, 0], [1, 1, 1, 1]):
        rows = rows_of(labels, [-1.0, 0.0, 1.0, 2.0], replicates=20)
        assert not overlap(rows.whole)[0]
        assert np.isnan(slope(rows.whole)[0])
        assert not rows.estimate(slope).answered
        assert curves(rows, [AS_GIVEN]) == [None]
    # touching at one value is no overlap either: a step there fits ever better
    assert np.isnan(slope(rows_of([0, 0, 1, 1], [-1.0, 0.0, 0.0, 2.0]).whole)[0])
    assert np.isfinite(slope(rows_of([0, 1, 0, 1], [-1.0, 0.0, 1.0, 2.0]).whole)[0])


def test_one_class_has_an_error_but_no_intercept() -> None:
    whole = rows_of([1, 1, 1], [-1.0, 0.0, 1.0]).whole
    assert np.isnan(intercept(whole)[0])
    assert np.isnan(scaled_brier(whole)[0])
    assert brier(whole)[0] == pytest.approx(np.mean((expit([-1.0, 0.0, 1.0]) - 1) ** 2))


def test_a_perfectly_ranked_validation_set_recalibrates_all_the_same() -> None:
    found = recalibration([0, 0, 1, 1], [-1.0, -0.5, 0.5, 1.0])
    assert found.answered
    assert found.slope > 1
    assert found.intercept == pytest.approx(0, abs=1e-6), "as many negatives as positives, mirrored"


@pytest.mark.parametrize(
    ("labels", "logits", "reason"),
    [
        ([1, 1], [0.0, 1.0], "one class only"),
        ([0, 1], [0.5, 0.5], "the same score"),
        ([], [], "no validation radiographs"),
    ],
)
def test_what_cannot_be_recalibrated_says_why(labels, logits, reason) -> None:
    found = recalibration(labels, logits)
    assert not found.answered
    assert reason in found.reason
    assert found.n == len(labels)


def test_a_score_of_0_or_1_has_a_far_but_finite_logit_and_no_probability_is_refused() -> None:
    found = logits_of([0.0, 0.5, 1.0])
    assert found == pytest.approx([-27.631, 0, 27.631], abs=1e-3)
    for wrong in ([1.2], [-0.1], [np.nan]):
        with pytest.raises(DataError, match=r"outside \[0, 1\]"):
            logits_of(wrong)


# --- curves


def test_a_recalibrated_curve_is_the_same_shares_at_moved_scores() -> None:
    move = Recalibration(0.3, 0.5, 0, 0)
    given, moved = curves(rows_of(), [AS_GIVEN, move])
    again = curves(rows_of(logits=0.3 + 0.5 * LOGITS), [AS_GIVEN])[0]
    assert moved.score == pytest.approx(again.score)
    assert moved.observed == pytest.approx(again.observed, abs=1e-4)
    assert np.nanmax(np.abs(moved.low - again.low)) < 2e-3
    assert given.observed[[0, -1]] == pytest.approx(moved.observed[[0, -1]], abs=1e-9), "the ends are the same rows"
    assert curves(rows_of(), [Recalibration(np.nan, np.nan, 0, 0)]) == [None]


def test_the_curve_of_calibrated_scores_is_the_diagonal_and_its_band_holds_it() -> None:
    labels, logits = drawn_rows(3000)
    curve = curves(rows_of(labels, logits), [AS_GIVEN])[0]
    assert curve.knots == 4
    middle = (curve.score > 0.1) & (curve.score < 0.9)
    assert np.abs(curve.observed - curve.score)[middle].max() < 0.06
    assert (curve.low <= curve.observed + 1e-9).all()
    assert (curve.observed <= curve.high + 1e-9).all()
    assert ((curve.low <= curve.score) & (curve.score <= curve.high))[middle].mean() > 0.8


def test_scores_that_hardly_differ_have_a_straight_line() -> None:
    curve = curves(rows_of([0, 1, 0, 1, 1, 0], [0.0, 0.0, 0.0, 0.0, 1.0, 1.0]), [AS_GIVEN])[0]
    assert curve is None or curve.knots == 0


# --- intervals


def test_the_interval_of_the_slope_is_about_the_models_where_patients_have_one_radiograph() -> None:
    labels, logits = drawn_rows(800, 1.5)
    found = rows_of(labels, logits, replicates=1000).estimate(slope)
    model = sm.GLM(labels, sm.add_constant(logits), family=sm.families.Binomial()).fit()
    low, high = model.conf_int()[1]
    # the bootstrap's own noise, and its skewness
    assert found.low == pytest.approx(low, abs=0.05)
    assert found.high == pytest.approx(high, abs=0.05)
    assert found.interval == "bootstrap by patient"


def test_the_smooth_errors_interval_reaches_to_0_where_chance_alone_gives_as_much() -> None:
    labels, logits = drawn_rows(200)
    patients = [f"p{place}" for place in range(200)]
    by_chance = smooth_ece_by_chance(patients, logits, generator=np.random.default_rng(0))
    rows = rows_of(labels, logits)
    assert 0 < smooth_ece(rows.whole)[0] < by_chance < 0.15
    assert smooth_ece_estimate(rows, by_chance).low == 0
    wrong = rows_of(labels, logits + 2)
    assert smooth_ece_estimate(wrong, by_chance).low > by_chance


def test_chance_gives_more_where_patients_have_several_radiographs() -> None:
    _, logits = drawn_rows(120)
    apart = smooth_ece_by_chance([f"p{n}" for n in range(120)], logits, generator=np.random.default_rng(0))
    together = smooth_ece_by_chance([f"p{n // 6}" for n in range(120)], logits, generator=np.random.default_rng(0))
    assert together > 1.3 * apart
    assert np.isnan(smooth_ece_by_chance([], [], generator=np.random.default_rng(0)))


def test_a_sample_of_scores_that_are_the_probabilities_stays_below_chance_in_95_percent() -> None:
    generator = np.random.default_rng(2)
    logits = generator.normal(0, 1, 100)
    bound = smooth_ece_by_chance([f"p{n}" for n in range(100)], logits, generator=generator)
    order = np.argsort(logits)
    labels = generator.random((1000, 100)) < expit(logits[order])
    found = smooth_ece(Cells(logits[order], labels.astype(float), (~labels).astype(float)))
    # a share of 1000: ± 2 %, and the bound is itself from 400 draws
    assert (found <= bound).mean() == pytest.approx(0.95, abs=0.03)


def test_more_rows_get_more_cosines_and_the_same_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    labels, logits = drawn_rows(200, 2.0)
    whole = rows_of(labels, logits).whole
    few = smooth_ece(whole)[0]
    monkeypatch.setattr(calibration, "COSINES", {})
    assert smooth_ece(whole)[0] == pytest.approx(few, abs=1e-4)
