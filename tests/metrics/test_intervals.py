from __future__ import annotations

import json
import math
import time

import numpy as np
import pytest
from oracles.slow_metrics import auroc_by_pairs, bootstrap_by_loops, rows_of_draw
from scipy.stats import norm
from sklearn.metrics import average_precision_score, roc_auc_score

from medtea.core.errors import DataError
from medtea.metrics import classification, intervals, weighted
from medtea.metrics.estimates import Estimate, without_interval
from medtea.metrics.intervals import Drawn, Group, bootstrap_by_patient, difference_between_groups, paired_difference
from medtea.metrics.weighted import (
    Statistic,
    accuracy_of,
    auroc_of,
    average_precision_of,
    mean_of,
    sensitivity_of,
    specificity_of,
)


def rng(seed=0):
    return np.random.default_rng(seed)


def study(seed=0, *, patients=40, radiographs=(1, 4), gap=1.0, spread=1.0, name="p"):
    """Labels belong to patients; scores = gap * label + the patient's own shift (sd `spread`) + noise (sd 1)."""
    generator = rng(seed)
    owner = np.repeat(np.arange(patients), generator.integers(*radiographs, patients))
    label = generator.permutation(np.arange(patients) % 2)[owner]
    shift = generator.normal(size=patients)[owner]
    scores = gap * label + spread * shift + generator.normal(size=owner.size)
    return [f"{name}{i:04d}" for i in owner], label, scores


def repeated(rows, n):
    return np.bincount(rows, minlength=n)[None].astype(float)


# -- a weight is a repeated row


@pytest.mark.parametrize(
    ("build", "plain"),
    [
        (auroc_of, auroc_by_pairs),
        (auroc_of, roc_auc_score),
        (average_precision_of, average_precision_score),
        (lambda y, s: accuracy_of(y, s, 0.4), lambda y, s: classification.accuracy(y, s, 0.4)),
        (lambda y, s: sensitivity_of(y, s, 0.4), lambda y, s: classification.sensitivity(y, s, 0.4)),
        (lambda y, s: specificity_of(y, s, 0.4), lambda y, s: classification.specificity(y, s, 0.4)),
        (lambda _, s: mean_of(s), lambda _, s: np.mean(s)),
    ],
)
def test_a_weighted_statistic_is_the_plain_one_on_repeated_rows(build, plain):
    patients, labels, scores = study(3, patients=15)
    scores = np.round(scores, 1)  # ties
    rows = rng(4).integers(0, len(patients), 2 * len(patients))
    fast = build(labels, scores).compute(repeated(rows, len(patients)))[0]
    assert fast == pytest.approx(plain(labels[rows], scores[rows]), abs=1e-12)
    assert build(labels, scores).value == pytest.approx(plain(labels, scores), abs=1e-12)


@pytest.mark.parametrize(
    ("build", "plain"), [(auroc_of, auroc_by_pairs), (average_precision_of, average_precision_score)]
)
@pytest.mark.parametrize("digits", [0, 1, 9], ids=["long ties", "ties", "no ties"])
@pytest.mark.parametrize("kind", [np.uint8, np.float64])
def test_draws_read_in_small_pieces_are_the_plain_number_of_each(monkeypatch, build, plain, digits, kind):
    # pieces of 3 rows and 2 replicates; ties longer than a piece, and pieces without a positive or a negative
    monkeypatch.setattr(weighted, "FEWEST", 3)
    monkeypatch.setattr(weighted, "PIECE", 3)
    monkeypatch.setattr(weighted, "MOST", 2 * 40)
    monkeypatch.setattr(weighted, "NARROW", 2)
    draw = rng(5)
    labels = (draw.random(60) < 0.3).astype(int)
    scores = np.round(2 * labels + draw.normal(size=60) * 2, digits)
    drawn = [draw.integers(0, 60, 60) for _ in range(7)]
    weights = np.concatenate([repeated(rows, 60) for rows in drawn]).astype(kind)
    expected = [plain(labels[rows], scores[rows]) for rows in drawn]
    # counts are summed in float32: six digits
    assert build(labels, scores).compute(weights) == pytest.approx(expected, abs=1e-12 if kind == np.float64 else 1e-6)


def test_a_statistic_that_takes_floats_is_given_them_in_parts(monkeypatch):
    patients, labels, scores = study(6, patients=20)
    sizes = []
    inner = auroc_of(labels, scores)

    def compute(weights):
        sizes.append(weights.shape[0])
        assert weights.dtype == np.float64
        return inner.compute(weights)

    whole = bootstrap_by_patient(patients, inner, replicates=50, generator=rng(1))
    monkeypatch.setattr(intervals, "FLOATS", 8 * len(patients))
    parted = bootstrap_by_patient(
        patients, Statistic(compute, inner.n, inner.n_positive), replicates=50, generator=rng(1)
    )
    assert (parted.low, parted.high) == pytest.approx((whole.low, whole.high), abs=1e-6)
    assert max(sizes) == 8


@pytest.mark.parametrize("build", [auroc_of, average_precision_of])
def test_a_draw_of_one_class_has_no_answer(build):
    statistic = build([0, 0, 1], [0.1, 0.2, 0.3])
    assert np.isnan(statistic.compute(np.array([[1.0, 2, 0], [0, 0, 3], [1, 1, 1]]))).tolist() == [True, True, False]


# -- the bootstrap


def test_the_interval_is_that_of_plain_loops_over_the_same_draws():
    patients, labels, scores = study(5, patients=12)
    scores = np.round(scores, 1)
    fast = bootstrap_by_patient(patients, auroc_of(labels, scores), replicates=200, generator=rng(9))
    low, high, lost = bootstrap_by_loops(patients, lambda rows: auroc_by_pairs(labels[rows], scores[rows]), 200, rng(9))
    assert (fast.low, fast.high) == pytest.approx((low, high), abs=1e-12)
    assert fast.replicates_without_answer == lost
    assert fast.value == pytest.approx(auroc_by_pairs(labels, scores))
    assert (fast.n, fast.n_patients, fast.n_positive) == (len(patients), 12, labels.sum())


def test_all_radiographs_of_a_drawn_patient_come_along():
    assert rows_of_draw(["a", "b", "a"], ["a", "a"]) == [0, 2, 0, 2]
    # Each patient's values sum to 0, so every replicate's mean is 0 if patients stay whole.
    found = bootstrap_by_patient(["a", "b", "a", "b"], [1.0, 5.0, -1.0, -5.0], replicates=50, generator=rng())
    assert (found.low, found.high) == (0, 0)


def test_neither_the_order_of_the_rows_nor_the_block_size_changes_the_interval(monkeypatch):
    patients, labels, scores = study(6)
    first = bootstrap_by_patient(patients, auroc_of(labels, scores), replicates=300, generator=rng(1))
    order = rng(2).permutation(len(patients))
    shuffled = auroc_of(labels[order], scores[order])
    monkeypatch.setattr(intervals, "BLOCK", 5 * len(patients))
    second = bootstrap_by_patient([patients[i] for i in order], shuffled, replicates=300, generator=rng(1))
    assert second.low == pytest.approx(first.low, abs=1e-12)
    assert second.high == pytest.approx(first.high, abs=1e-12)


def test_the_same_seed_gives_the_same_interval_and_another_seed_another():
    patients, labels, scores = study(7)
    runs = [bootstrap_by_patient(patients, auroc_of(labels, scores), generator=rng(seed)) for seed in (1, 1, 2)]
    assert runs[0] == runs[1]
    assert runs[0].low != runs[2].low


def test_the_interval_narrows_as_the_square_root_of_the_patients():
    widths = []
    for patients in (60, 240):
        names, labels, scores = study(8, patients=patients)
        found = bootstrap_by_patient(names, auroc_of(labels, scores), generator=rng(1))
        widths.append(found.high - found.low)
    # Four times the patients, half the width; 25 % for the studies' own luck.
    assert widths[1] / widths[0] == pytest.approx(0.5, rel=0.25)


def test_copies_of_every_radiograph_do_not_narrow_the_interval():
    patients, labels, scores = study(9)
    once = bootstrap_by_patient(patients, auroc_of(labels, scores), generator=rng(1))
    statistic = auroc_of(np.tile(labels, 3), np.tile(scores, 3))
    thrice = bootstrap_by_patient(patients * 3, statistic, generator=rng(1))
    assert (thrice.low, thrice.high) == pytest.approx((once.low, once.high), abs=1e-12)


@pytest.mark.parametrize("labels", [[1, 1, 1], [0, 0, 0], []])
def test_one_class_or_no_rows_has_no_answer(labels):
    patients = ["a", "b", "c"][: len(labels)]
    found = bootstrap_by_patient(patients, auroc_of(labels, [0.1] * len(labels)), replicates=10, generator=rng())
    assert math.isnan(found.value)
    assert not found.answered
    assert found.text() == "no answer"
    assert found.to_json()["value"] is None


def test_replicates_without_an_answer_are_counted_and_dropped():
    # One positive of six patients: it is missing from (5/6)^6 = 33 % of the draws.
    labels, scores = [1, 0, 0, 0, 0, 0], [0.9, 0.1, 0.2, 0.3, 0.4, 0.95]
    found = bootstrap_by_patient(list("abcdef"), auroc_of(labels, scores), generator=rng(3))
    assert found.replicates_without_answer / 2000 == pytest.approx((5 / 6) ** 6, abs=0.04)
    assert found.has_interval


def test_no_interval_when_more_than_half_the_replicates_have_no_answer():
    # Two patients, one of each class: half the draws hold both. The statistic below fails on the other half and more.
    def compute(weights):
        return np.where(weights[:, 0] == 2, 1.0, np.where(weights.sum(axis=1) == weights.size, 1.0, np.nan))

    statistic = Statistic(lambda w: np.ones(1) if w.shape[0] == 1 else compute(w), n=2)
    found = bootstrap_by_patient(["a", "b"], statistic, generator=rng(3))
    assert found.value == 1
    assert not found.has_interval
    assert found.replicates_without_answer == pytest.approx(1500, abs=80)
    assert found.text() == "1.00 (no interval)"
    assert found.interval == "none: most draws have no answer"


def test_one_patient_gives_no_interval():
    found = bootstrap_by_patient(["a", "a"], auroc_of([0, 1], [0.1, 0.2]), replicates=10, generator=rng())
    assert found.value == 1
    assert not found.has_interval


def test_values_without_an_answer_are_left_out_and_n_says_how_many_remain():
    found = bootstrap_by_patient(["a", "b", "c"], [0.2, math.nan, 0.4], replicates=50, generator=rng())
    assert found.value == pytest.approx(0.3)
    assert (found.n, found.n_patients, found.n_positive) == (2, 2, None)
    assert not bootstrap_by_patient(["a"], [math.nan], replicates=5, generator=rng()).answered


def test_two_thousand_replicates_of_five_hundred_radiographs_take_less_than_two_seconds():
    patients, labels, scores = study(10, patients=500, radiographs=(1, 2))
    start = time.perf_counter()
    bootstrap_by_patient(patients, auroc_of(labels, scores), generator=rng())
    assert time.perf_counter() - start < 2


def test_rows_that_do_not_match_are_refused():
    with pytest.raises(DataError, match="2 patients for 3 rows"):
        bootstrap_by_patient(["a", "b"], auroc_of([0, 1, 1], [0.1, 0.2, 0.3]), generator=rng())
    with pytest.raises(DataError, match="one value per row"):
        bootstrap_by_patient(["a", "b"], [0.1], generator=rng())
    with pytest.raises(DataError, match="one finite value per row"):
        mean_of([0.1, math.nan])


@pytest.mark.parametrize("build", [auroc_of, average_precision_of])
def test_perfect_draws_leave_no_interval_without_width(build):
    found = bootstrap_by_patient(list("abcdef"), build([0, 0, 0, 1, 1, 1], range(6)), generator=rng())
    assert found.value == 1
    assert not found.has_interval
    assert found.interval == "none: every draw is at the end of the scale"
    together = Drawn.of([Group(list("abcdef"), build([0, 0, 0, 1, 1, 1], range(6)))], generator=rng())
    assert not together.estimate(0).has_interval


# -- differences


def test_a_method_differs_from_itself_by_nothing():
    patients, labels, scores = study(11)
    statistic = auroc_of(labels, scores)
    found = paired_difference(patients, statistic, statistic, replicates=100, generator=rng())
    assert (found.value, found.low, found.high) == (0, 0, 0)


def test_a_paired_difference_changes_sign_with_its_order():
    patients, labels, scores = study(12)
    first, second = auroc_of(labels, scores), auroc_of(labels, -scores)
    there = paired_difference(patients, first, second, generator=rng(1))
    back = paired_difference(patients, second, first, generator=rng(1))
    assert (there.value, there.low, there.high) == pytest.approx((-back.value, -back.high, -back.low))


def test_pairing_narrows_the_difference_of_two_like_methods():
    patients, labels, scores = study(13, patients=80)
    other = scores + 0.2 * rng(1).normal(size=scores.size)
    first, second = auroc_of(labels, scores), auroc_of(labels, other)
    paired = paired_difference(patients, first, second, generator=rng(2))
    strangers = [f"other {name}" for name in patients]
    apart = difference_between_groups([Group(patients, first)], [Group(strangers, second)], generator=rng(2))
    assert apart.value == pytest.approx(paired.value)
    assert apart.high - apart.low > 2 * (paired.high - paired.low)


def test_groups_of_the_same_patients_are_paired():
    patients, labels, scores = study(14)
    first, second = auroc_of(labels, scores), auroc_of(labels, scores[::-1])
    paired = paired_difference(patients, first, second, generator=rng(2))
    grouped = difference_between_groups([Group(patients, first)], [Group(patients, second)], generator=rng(2))
    assert (grouped.low, grouped.high) == (paired.low, paired.high)
    assert (grouped.n, grouped.n_patients) == (2 * len(patients), paired.n_patients)


def test_the_gap_of_disjoint_groups_has_the_variance_of_both():
    one, two = study(15, patients=150), study(16, patients=150, name="q")
    single = [bootstrap_by_patient(p, auroc_of(y, s), generator=rng(1)) for p, y, s in (one, two)]
    groups = [Group(p, auroc_of(y, s)) for p, y, s in (one, two)]
    gap = difference_between_groups(groups[:1], groups[1:], generator=rng(1))
    expected = math.hypot(*(found.high - found.low for found in single))
    # 10 %: 2,000 replicates leave about 3 % of noise in a width, and the tails are not quite normal.
    assert gap.high - gap.low == pytest.approx(expected, rel=0.1)


def test_every_group_counts_the_same_in_a_gap_of_several():
    groups = [Group(["a", "b"], mean_of([1.0, 3.0])), Group(["c"], mean_of([4.0])), Group(["d"], mean_of([1.0]))]
    # (2 + 4) / 2 - 1, whatever the sizes.
    assert difference_between_groups(groups[:2], groups[2:], replicates=10, generator=rng()).value == pytest.approx(2)


def three_seeds(seed: int = 5) -> list[Group]:
    draws = np.random.default_rng(seed)
    patients = [f"p{number // 2}" for number in range(60)]
    labels = np.arange(60) % 2
    return [Group(patients, auroc_of(labels, draws.normal(labels, 1.5))) for _ in range(4)]


def test_statistics_drawn_together_are_those_of_each_alone_under_the_same_draws():
    groups = three_seeds()
    together = Drawn.of(groups, replicates=300, generator=np.random.default_rng(1))
    alone = Drawn.of(groups[:2], replicates=300, generator=np.random.default_rng(1))
    assert together.estimate(1) == alone.estimate(1)
    low, high = np.quantile(together.numbers[0], (0.025, 0.975))
    assert (together.estimate(0).low, together.estimate(0).high) == pytest.approx((low, high))
    single = bootstrap_by_patient(groups[2].patients, groups[2].statistic, generator=np.random.default_rng(3))
    assert together.estimate(2).low == pytest.approx(single.low, abs=0.04)  # other draws of the same patients


def test_a_gap_to_a_group_without_an_answer_has_none():
    first, second = Group(["a", "b"], auroc_of([0, 1], [0, 1])), Group(["c", "d"], auroc_of([1, 1], [0, 1]))
    assert not difference_between_groups([first], [second], replicates=10, generator=rng()).answered


def test_values_are_compared_where_both_have_an_answer():
    found = paired_difference(list("abc"), [1.0, math.nan, 5.0], [0.0, 3.0, 3.0], replicates=10, generator=rng())
    assert found.value == pytest.approx(1.5)
    assert found.n == 2


def test_differences_of_unlike_things_are_refused():
    with pytest.raises(DataError, match="same rows"):
        paired_difference(["a"], [1.0], [1.0, 2.0], generator=rng())
    with pytest.raises(DataError, match="same rows"):
        paired_difference(["a"], mean_of([1.0]), mean_of([1.0, 2.0]), generator=rng())
    with pytest.raises(DataError, match="not one of each"):
        paired_difference(["a"], mean_of([1.0]), [1.0], generator=rng())


# -- the estimate


def test_an_estimate_in_words():
    found = Estimate(0.871, 0.812, 0.919, 500, 480, 200, 0)
    assert found.text() == "0.87 (0.81 to 0.92)"
    assert found.text(signed=True) == "+0.87 (+0.81 to +0.92)"
    assert found.excludes(0.5)
    assert not found.excludes(0.9)
    assert not without_interval(0.9, n=3, n_patients=3).excludes(0)


@pytest.mark.parametrize(
    "found", [Estimate(0.5, 0.4, 0.6, 9, 8, None, 1), without_interval(math.nan, n=0, n_patients=0)]
)
def test_an_estimate_comes_back_from_json(found):
    text = json.dumps(found.to_json(), allow_nan=False)
    assert Estimate.from_json(json.loads(text)).to_json() == found.to_json()


# -- coverage: how often does the 95 % interval hold the truth?


def coverage(studies, replicates, *, patients, gap=1.2, spread=1.0, of_patients=True):
    truth = norm.cdf(gap / math.sqrt(2 * (1 + spread**2)))
    held = 0
    for seed in range(studies):
        names, labels, scores = study(seed, patients=patients, radiographs=(1, 7), gap=gap, spread=spread)
        names = names if of_patients else [str(i) for i in range(len(names))]
        found = bootstrap_by_patient(names, auroc_of(labels, scores), replicates=replicates, generator=rng(seed))
        held += found.low <= truth <= found.high
    return held / studies


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    # 300 studies: a standard error of 1.3 %, three of them on either side of 95 %, less 1 % for the small sample.
    assert 0.90 <= coverage(150, 200, patients=80) <= 0.99


def test_resampling_radiographs_instead_of_patients_holds_it_far_less_often():
    assert coverage(150, 200, patients=80, spread=2.0, of_patients=False) < 0.85


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("patients", "expected"), [(30, 0.93), (60, 0.93), (300, 0.94)])
def test_the_bootstraps_coverage_in_two_thousand_simulated_studies_is_a_little_low_with_few_patients(
    patients, expected
):
    # Three standard errors of 0.57 % on either side.
    assert coverage(2000, 400, patients=patients) == pytest.approx(expected, abs=0.017)
