from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import t as student
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from medtea.metrics.holm import holm
from medtea.metrics.proportions import share, wilson


def named(n):
    return [f"p{i}" for i in range(n)]


# -- shares


@pytest.mark.parametrize(("right", "n"), [(0, 5), (1, 5), (3, 7), (12, 12), (140, 200)])
def test_with_one_radiograph_per_patient_it_is_statsmodels_wilson_interval(right, n):
    found = share(named(n), [True] * right + [False] * (n - right))
    assert (found.low, found.high) == pytest.approx(proportion_confint(right, n, method="wilson"), abs=1e-12)
    assert (found.value, found.interval, found.n, found.n_patients) == (right / n, "Wilson", n, n)


def test_copies_of_every_radiograph_count_as_one():
    right = [True] * 13 + [False] * 7
    once, thrice = share(named(20), right), share(named(20) * 3, right * 3)
    # Twenty independent radiographs less the degree of freedom that their variance took, and t in the normal's place.
    size = 19 * (student.ppf(0.975, 59) / student.ppf(0.975, 19)) ** 2
    assert (thrice.low, thrice.high) == pytest.approx(wilson(0.65, size))
    assert thrice.high - thrice.low > once.high - once.low
    assert thrice.interval == "Wilson, 17 independent radiographs by patient"


def test_radiographs_of_a_patient_that_vary_more_than_chance_do_not_count_more_than_radiographs():
    # Each patient has one right and one wrong: no variance between patients at all.
    found = share(named(15) * 2, [True] * 15 + [False] * 15)
    size = 30 * (student.ppf(0.975, 29) / student.ppf(0.975, 14)) ** 2
    assert (found.low, found.high) == pytest.approx(wilson(0.5, size))
    assert size < 30


@pytest.mark.parametrize("right", [True, False])
def test_where_all_are_alike_each_patient_counts_once(right):
    found = share(named(8) * 4, [right] * 32)
    assert (found.low, found.high) == pytest.approx(wilson(float(right), 8))
    assert found.high - found.low > 0.3


def test_the_interval_of_one_patient_says_next_to_nothing():
    found = share(["a", "a", "a"], [True, False, True])
    assert found.high - found.low > 0.7


def test_without_rows_there_is_no_answer():
    found = share([], [])
    assert not found.answered
    assert found.interval == "none: no answer"


def test_the_order_of_rows_does_not_matter():
    draw = np.random.default_rng(0)
    patients, right = np.array(named(10) * 3), draw.random(30) < 0.7
    order = draw.permutation(30)
    one, other = share(patients.tolist(), right), share(patients[order].tolist(), right[order])
    assert (one.low, one.high) == pytest.approx((other.low, other.high))


# -- Holm


def test_holm_is_worked_out_by_hand():
    # sorted 0.01, 0.02, 0.04: times 3, 2, 1, and never falling
    assert holm([0.04, 0.01, 0.02]) == pytest.approx([0.04, 0.03, 0.04])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])


def test_a_comparison_without_an_answer_is_not_in_the_family():
    found = holm([0.04, math.nan, 0.01])
    assert [found[0], found[2]] == pytest.approx(holm([0.04, 0.01]))
    assert math.isnan(found[1])
    assert holm([]) == []
    assert math.isnan(holm([math.nan])[0])


def test_holm_is_statsmodels():
    p = np.random.default_rng(0).random(12) ** 2
    assert holm(list(p)) == pytest.approx(list(multipletests(p, method="holm")[1]))
