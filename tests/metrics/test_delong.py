from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.r import asked_of_r, vector
from oracles.slow_metrics import auroc_by_pairs, obuchowski_by_pairs
from scipy.special import logit
from scipy.stats import norm, ttest_ind, ttest_rel
from scipy.stats import t as student

from medtea.core.errors import DataError
from medtea.metrics.delong import FEW, auroc_interval, difference, placed, placed_mean, standard_error, with_other_seeds
from medtea.metrics.proportions import share


def study(seed=0, *, n=60, most=1, positives=0.4):
    """Patients with 1 to `most` radiographs, labels mixed within them, two methods, some ties."""
    draw = np.random.default_rng(seed)
    owner = np.repeat(np.arange(n), draw.integers(1, most + 1, n))[:n]
    labels = (draw.random(n) < positives).astype(int)
    own = draw.normal(size=n)[owner]
    first = np.round(labels + own + draw.normal(size=n), 1)
    second = np.round(0.6 * labels + own + draw.normal(size=n), 1)
    return [f"p{i:03d}" for i in owner], labels, first, second


def two_methods(seed=0, **how):
    patients, labels, first, second = study(seed, **how)
    return placed(patients, labels, first), placed(patients, labels, second)


# -- the variance


@pytest.mark.parametrize("most", [1, 4])
def test_variances_are_those_of_the_plain_sums_over_pairs(most):
    patients, labels, first, second = study(1, n=40, most=most)
    one, other = placed(patients, labels, first), placed(patients, labels, second)
    assert one.value == pytest.approx(auroc_by_pairs(labels, first), abs=1e-12)
    assert standard_error(one) ** 2 == pytest.approx(obuchowski_by_pairs(patients, labels, first), rel=1e-10)
    found = difference([one], [other])
    error = found.estimate.value / found.statistic
    assert error**2 == pytest.approx(obuchowski_by_pairs(patients, labels, first, second), rel=1e-10)


def test_with_one_radiograph_per_patient_it_is_delong():
    patients, labels, first, _ = study(2)
    one = placed(patients, labels, first)
    # DeLong: the sample variances of V10 and V01 over their numbers
    v10 = [np.mean((s > first[labels == 0]) + 0.5 * (s == first[labels == 0])) for s in first[labels == 1]]
    v01 = [np.mean((s < first[labels == 1]) + 0.5 * (s == first[labels == 1])) for s in first[labels == 0]]
    expected = np.var(v10, ddof=1) / len(v10) + np.var(v01, ddof=1) / len(v01)
    assert standard_error(one) ** 2 == pytest.approx(expected, rel=1e-10)
    assert auroc_interval(one).interval == "DeLong, logit scale"


def test_the_variance_of_patients_with_both_labels_is_worked_out_by_hand():
    # a has a positive of 3 and a negative of 1, b a positive of 1 and a negative of 2, c a negative of 0.
    # V10: 3 is above all (1), 1 is above 0 and ties with 1 (1.5 of 3). AUROC (1 + 0.5) / 2 = 0.75. V01: 0.75, 0.5, 1.
    # Less 0.75, by patient: X = 0.25, -0.25, 0 and Y = 0, -0.25, 0.25; I = 3, I10 = 2, I01 = 3, m = 2, n = 3.
    # S10 = 2/1 (0.0625 + 0.0625) / 2 = 1/8; S01 = 3/2 (0.0625 + 0.0625) / 3 = 1/16; S11 = 3/2 0.0625 = 3/32.
    # S10 / m + S01 / n + 2 S11 / (m n) = 1/16 + 1/48 + 1/32 = 11/96: Obuchowski 1997, as her group's program has it.
    one = placed(list("aabbc"), [1, 0, 1, 0, 0], [3, 1, 1, 2, 0])
    assert one.value == 0.75
    assert standard_error(one) ** 2 == pytest.approx(11 / 96, rel=1e-12)


def test_copies_of_every_radiograph_change_nothing():
    patients, labels, first, second = study(3)
    once = difference([placed(patients, labels, first)], [placed(patients, labels, second)])
    parts = [placed(patients * 3, np.tile(labels, 3), np.tile(scores, 3)) for scores in (first, second)]
    thrice = difference(parts[:1], parts[1:])
    assert thrice.statistic == pytest.approx(once.statistic, rel=1e-10)
    assert thrice.p == pytest.approx(once.p, rel=1e-10)
    assert thrice.estimate.interval.startswith("Obuchowski, paired")


@given(st.integers(0, 10_000), st.integers(1, 4))
@settings(max_examples=25, deadline=None)
def test_a_rising_transformation_of_the_scores_changes_nothing_and_a_falling_one_turns_the_auroc_round(seed, most):
    patients, labels, first, _ = study(seed, n=30, most=most)
    if len(set(labels)) < 2:
        return
    one, risen = placed(patients, labels, first), placed(patients, labels, np.exp(first) * 7)
    turned = placed(patients, labels, -first)
    assert auroc_interval(risen) == auroc_interval(one)
    assert turned.value == pytest.approx(1 - one.value)
    assert auroc_interval(turned).low == pytest.approx(1 - auroc_interval(one).high, nan_ok=True)


def test_infinite_scores_are_ranked():
    one = placed(list("abcd"), [0, 0, 1, 1], [-math.inf, 0.2, 0.1, math.inf])
    assert one.value == 0.75


# -- R's pROC: recorded in 2026 from pROC 1.18.0, R 4.2.2; the slow test asks again


LABELS = [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1]
FIRST = [1, 2, 2, 3, 4, 4, 5, 7, 3, 5, 6, 7, 8, 9]
SECOND = [2, 1, 4, 3, 5, 2, 6, 6, 2, 7, 4, 6, 5, 8]
ELSEWHERE = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7]
RECORDED = {
    "auc": 0.84375,
    "low": 0.6263106760098393,
    "variance": 0.0123077876984127,
    "paired": 1.20306625796447,
    "paired_p": 0.22895068141459515,
    "unpaired": 0.530909768176025,
}


def in_our_hands():
    patients = [f"p{i:02d}" for i in range(14)]
    one, other = placed(patients, LABELS, FIRST), placed(patients, LABELS, SECOND)
    away = placed([f"q{i:02d}" for i in range(14)], LABELS, ELSEWHERE)
    paired, unpaired = difference([one], [other]), difference([one], [away])
    error = standard_error(one)
    return {
        "auc": one.value,
        "low": one.value + norm.ppf(0.025) * error,  # pROC: no logit, no Student's t
        "variance": error**2,
        "paired": paired.statistic,
        "paired_p": 2 * norm.sf(abs(paired.statistic)),
        "unpaired": unpaired.statistic,
    }


def test_it_is_what_pROC_gave():
    assert in_our_hands() == pytest.approx(RECORDED, rel=1e-9)


@pytest.mark.slow
def test_it_is_what_pROC_gives():
    program = f"""
    labels <- {vector(LABELS)}
    made <- function(scores) roc(labels, scores, direction = "<", levels = c(0, 1), quiet = TRUE)
    one <- made({vector(FIRST)}); other <- made({vector(SECOND)}); away <- made({vector(ELSEWHERE)})
    paired <- roc.test(one, other, method = "delong", paired = TRUE)
    unpaired <- roc.test(one, away, method = "delong", paired = FALSE)
    tell("auc", auc(one)); tell("low", ci.auc(one, method = "delong")[1]); tell("variance", var(one))
    tell("paired", paired$statistic); tell("paired_p", paired$p.value); tell("unpaired", unpaired$statistic)
    """
    told = asked_of_r(program, "pROC")
    assert told == pytest.approx(RECORDED, rel=1e-9)
    assert told == pytest.approx(in_our_hands(), rel=1e-9)


# -- intervals


def test_the_interval_is_symmetric_on_the_logit_scale_and_stays_inside():
    for seed in range(5):
        found = auroc_interval(placed(*study(seed, positives=0.15)[:3]))
        assert 0 <= found.low < found.value < found.high <= 1
        assert logit(found.high) + logit(found.low) == pytest.approx(2 * logit(found.value))


def test_a_perfect_ranking_has_an_interval_with_a_width():
    labels = [0] * 20 + [1] * 10
    found = auroc_interval(placed([f"p{i}" for i in range(30)], labels, np.arange(30)))
    # ten pairs of different patients: 0.025^(1/10)
    assert (found.value, found.low, found.high) == pytest.approx((1, 0.6915, 1), abs=1e-4)
    assert found.interval == "exact bound, every pair ranked alike"
    turned = auroc_interval(placed([f"p{i}" for i in range(30)], labels, -np.arange(30)))
    assert (turned.value, turned.low, turned.high) == pytest.approx((0, 0, 1 - 0.6915), abs=1e-4)


def test_copies_of_radiographs_do_not_raise_the_bound_of_a_perfect_ranking():
    labels, patients = [0, 0, 1, 1], list("abcd")
    once = auroc_interval(placed(patients, labels, range(4)))
    many = auroc_interval(placed(patients * 9, labels * 9, list(range(4)) * 9))
    assert (many.low, many.high) == (once.low, once.high) == (pytest.approx(0.025**0.5), 1)


@pytest.mark.parametrize(
    ("patients", "labels", "scores", "why"),
    [
        ("abcd", [0, 1, 1, 1], [2, 1, 3, 1], "none: fewer than two patients of a class"),
        ("abcd", [0, 0, 1, 1], [5, 5, 5, 5], "none: the scores are all the same"),
        ("aa", [0, 1], [1, 2], "none: one patient"),
        ("abc", [1, 1, 1], [1, 2, 3], "none: no answer"),
        ("", [], [], "none: no answer"),
    ],
)
def test_without_an_interval_the_reason_is_said(patients, labels, scores, why):
    found = auroc_interval(placed(list(patients), labels, scores))
    assert not found.has_interval
    assert found.interval == why
    assert found.to_json()["interval"] == why


def test_few_patients_of_a_class_are_told():
    found = auroc_interval(placed(*study(4, n=40, positives=0.15)[:3]))
    assert found.n_positive is not None
    assert found.n_positive < FEW
    assert found.interval.endswith(f"; only {found.n_positive} patients of a class")


# -- several seeds


@pytest.mark.parametrize("most", [1, 4])
def test_the_mean_over_seeds_has_the_interval_of_one_where_all_are_alike(most):
    one = placed(*study(20, most=most)[:3])
    assert auroc_interval(one, one, one) == auroc_interval(one)


def test_the_mean_over_seeds_is_surer_than_one_by_as_much_as_their_errors_differ():
    one, other = two_methods(21)
    found = auroc_interval(one, other)
    pair = difference([one], [other])
    # Var((a + b) / 2) = (2 Var a + 2 Var b - Var(a - b)) / 4
    apart = (pair.estimate.value / pair.statistic) ** 2
    variance = (2 * standard_error(one) ** 2 + 2 * standard_error(other) ** 2 - apart) / 4
    assert found.value == pytest.approx((one.value + other.value) / 2)
    assert (found.n, found.n_patients, found.n_positive) == (one.n, one.patients.size, one.n_positive)
    width = logit(found.high) - logit(found.low)
    normal = 2 * norm.ppf(0.975) * math.sqrt(variance) / (found.value * (1 - found.value))
    # Student's t of some fifty patients is 2 % wider than the normal
    assert normal < width < 1.05 * normal


def test_other_seeds_widen_the_interval_by_their_variance():
    patients = [f"p{i:03d}" for i in range(400)]
    seeds = [placed_mean(patients, np.full(400, value)) for value in (0.2, 0.5, 0.8)]
    found = with_other_seeds(seeds)
    # nothing varies between patients: t with 2 degrees of freedom on the logit scale, s = 0.3
    width = student.ppf(0.975, 2) * 0.3 / math.sqrt(3) / 0.25
    assert (found.value, logit(found.high), logit(found.low)) == pytest.approx((0.5, width, -width))
    less = with_other_seeds(seeds, [placed_mean(patients, np.full(400, 0.1))] * 3)
    assert (less.value, less.high) == pytest.approx((0.4, 0.4 + student.ppf(0.975, 2) * 0.3 / math.sqrt(3)))


def test_one_seed_says_nothing_of_another():
    one, other = two_methods(22)
    assert with_other_seeds([one]).interval == "none: one seed"
    assert with_other_seeds([one], [other]).interval == "none: one seed"
    same = with_other_seeds([one, one, one])
    assert same.low == pytest.approx(auroc_interval(one).low, abs=1e-6), "seeds that are alike add no variance"


# -- comparisons


@pytest.mark.parametrize("most", [1, 4])
def test_a_comparison_changes_sign_with_its_order(most):
    one, other = two_methods(5, most=most)
    there, back = difference([one], [other]), difference([other], [one])
    assert there.estimate.value == pytest.approx(-back.estimate.value)
    assert there.estimate.low == pytest.approx(-back.estimate.high)
    assert there.p == pytest.approx(back.p)


def test_p_is_below_five_percent_exactly_where_the_interval_excludes_zero():
    for seed in range(30):
        found = difference(*([part] for part in two_methods(seed)))
        assert (found.p < 0.05) == found.estimate.excludes(0)


def test_two_hospitals_have_the_variance_of_both():
    one = placed(*study(6)[:3])
    patients, labels, scores, _ = study(7, n=80)
    other = placed([f"elsewhere {name}" for name in patients], labels, scores)
    found = difference([one], [other])
    error = found.estimate.value / found.statistic
    assert error == pytest.approx(math.hypot(standard_error(one), standard_error(other)))
    assert found.estimate.interval.startswith("DeLong, unpaired")
    assert (found.estimate.n, found.estimate.n_patients) == (140, 140)


def test_the_mean_of_two_hospitals_has_a_quarter_of_their_variances():
    parts = []
    for seed in (8, 9, 10):
        patients, labels, scores, _ = study(seed)
        parts.append(placed([f"{seed} {name}" for name in patients], labels, scores))
    found = difference(parts[:2], parts[2:])
    expected = math.sqrt(
        (standard_error(parts[0]) ** 2 + standard_error(parts[1]) ** 2) / 4 + standard_error(parts[2]) ** 2
    )
    assert found.estimate.value == pytest.approx((parts[0].value + parts[1].value) / 2 - parts[2].value)
    assert found.estimate.value / found.statistic == pytest.approx(expected)


def test_groups_of_the_same_patients_are_paired_though_their_radiographs_differ():
    patients, labels, scores, _ = study(11)
    whole = placed(patients, labels, scores)
    marked = placed(patients, labels, scores + 0.3 * np.random.default_rng(0).normal(size=scores.size))
    apart = placed([f"other {name}" for name in patients], labels, scores)
    assert difference([whole], [marked]).estimate.interval.startswith("DeLong, paired")
    near, far = difference([whole], [marked]).estimate, difference([whole], [apart]).estimate
    assert near.high - near.low < (far.high - far.low) / 2


def test_two_perfect_methods_have_a_difference_without_interval_and_p():
    patients, labels = [f"p{i}" for i in range(20)], [0] * 10 + [1] * 10
    one = placed(patients, labels, np.arange(20))
    found = difference([one], [placed(patients, labels, np.arange(20) ** 2)])
    assert found.estimate.value == 0
    assert not found.estimate.has_interval
    assert math.isnan(found.p)
    assert found.estimate.interval == "none: nothing varies between patients"


def test_what_has_no_answer_leaves_the_comparison_without_one():
    one, nothing = two_methods(12)[0], placed(["x", "y"], [1, 1], [1, 2])
    found = difference([one], [nothing])
    assert not found.estimate.answered
    assert math.isnan(found.p)


def test_means_are_compared_by_the_paired_t_test():
    draw = np.random.default_rng(0)
    patients = [f"p{i}" for i in range(30)]
    first, second = draw.random(30), draw.random(30)
    found = difference([placed_mean(patients, first)], [placed_mean(patients, second)])
    expected = ttest_rel(first, second)
    assert (found.statistic, found.p) == pytest.approx((expected.statistic, expected.pvalue))


def test_the_difference_of_two_hospitals_means_is_welchs_t_test():
    draw = np.random.default_rng(0)
    first, second = draw.random(30), 2 * draw.random(12)
    parts = [placed_mean([f"p{i}" for i in range(30)], first), placed_mean([f"q{i}" for i in range(12)], second)]
    expected = ttest_ind(first, second, equal_var=False)
    found = difference(parts[:1], parts[1:])
    assert (found.statistic, found.p) == pytest.approx((expected.statistic, expected.pvalue))


def test_balanced_accuracy_is_the_auroc_of_the_calls():
    patients, labels, scores, _ = study(13)
    called = scores >= 0.5
    sensitivity, specificity = called[labels == 1].mean(), (~called)[labels == 0].mean()
    one = placed(patients, labels, called)
    assert one.value == pytest.approx((sensitivity + specificity) / 2)
    # independent shares: a quarter of p (1 - p) / (n - 1) each
    m, n = labels.sum(), (1 - labels).sum()
    variance = sensitivity * (1 - sensitivity) / (m - 1) + specificity * (1 - specificity) / (n - 1)
    assert standard_error(one) ** 2 == pytest.approx(variance / 4)


def test_rows_that_do_not_match_are_refused():
    with pytest.raises(DataError, match="1 patients for 2 rows"):
        placed(["a"], [0, 1], [1, 2])
    with pytest.raises(DataError, match="one finite value per row"):
        placed_mean(["a"], [math.nan])
    with pytest.raises(DataError, match="2 patients for rows of shape"):
        share(["a", "b"], [True])
