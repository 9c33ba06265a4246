from __future__ import annotations

import numpy as np
import pytest
from oracles.r import asked_of_r, vector
from scipy.stats import t as student

from medtea.core.errors import DataError
from medtea.metrics.random_effects import random_effects

FOUR = ([1.2, 0.6, 1.9, 1.0], [0.09, 0.04, 0.16, 0.05])
ALIKE = ([1.0, 1.05, 0.98], [0.05, 0.04, 0.09])
TWO = ([1.2, 0.2], [0.05, 0.04])
# metafor 3.8.1: rma(yi, vi, method = "PM", test = "adhoc")
THEIRS = {
    "four": (FOUR, 1.10332877789, 0.281173842825, 1.92548371296, 0.43507916763, 9.43262806236, 0.0240589920281),
    "alike": (ALIKE, 1.01831683168, 0.443920231168, 1.5927134322, 0.0, 0.0481188118812, 0.97622771431),
    "two": (TWO, 0.695, -5.65778470503, 7.04778470503, 0.674536878162, 11.1111111111, 0.000858120666394),
}


@pytest.mark.parametrize("name", THEIRS)
def test_the_mean_its_interval_and_the_spread_are_metafors(name) -> None:
    rows, *theirs = THEIRS[name]
    found = random_effects(*rows)
    ours = (found.mean, found.low, found.high, found.tau, found.q, found.p)
    assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-5)
    assert found.i_squared == pytest.approx(max(0, 1 - (len(rows[0]) - 1) / found.q))


@pytest.mark.slow
def test_metafor_itself_says_the_same() -> None:
    program = (
        f'r <- rma({vector(FOUR[0])}, {vector(FOUR[1])}, method = "PM", test = "adhoc");'
        'tell("mean", r$beta); tell("low", r$ci.lb); tell("tau", sqrt(r$tau2)); tell("error", r$se)'
    )
    theirs = asked_of_r(program, "metafor")
    found = random_effects(*FOUR)
    assert found.mean == pytest.approx(theirs["mean"], abs=1e-4)
    assert found.low == pytest.approx(theirs["low"], abs=1e-4)
    beyond = student.ppf(0.975, 2) * np.hypot(theirs["tau"], theirs["error"])
    assert found.new_high == pytest.approx(theirs["mean"] + beyond, abs=1e-3)


def test_a_new_hospital_is_within_the_spread_and_the_error_of_the_mean() -> None:
    found = random_effects(*FOUR)
    error = (found.high - found.mean) / student.ppf(0.975, 3)
    # Higgins et al. 2009, equation 12: t with k - 2 = 2 degrees of freedom
    width = 4.302653 * np.hypot(found.tau, error)
    assert (found.new_low, found.new_high) == pytest.approx((found.mean - width, found.mean + width), abs=1e-5)
    assert found.new_low < found.low
    assert found.high < found.new_high


def test_hospitals_that_are_alike_are_pooled_by_their_precision_and_never_too_sure() -> None:
    found = random_effects(*ALIKE)
    weights = 1 / np.array(ALIKE[1])
    assert found.tau == 0
    assert found.mean == pytest.approx(np.average(ALIKE[0], weights=weights))
    # Hartung and Knapp's factor would be 0.02 here; it is not taken below 1
    assert found.high - found.mean == pytest.approx(4.302653 / np.sqrt(weights.sum()), rel=1e-5)


def test_one_hospital_says_nothing_of_others_and_two_nothing_of_a_third() -> None:
    one = random_effects([1.2], [0.05])
    assert one.mean == 1.2
    assert np.isnan([one.low, one.high, one.tau, one.i_squared, one.new_low, one.new_high]).all()
    assert np.isnan(random_effects([], []).mean)
    two = random_effects(*TWO)
    assert np.isnan([two.new_low, two.new_high]).all()
    assert two.high - two.low > 12, "nearly useless: t with one degree of freedom"


def test_the_interval_of_a_new_hospital_holds_new_hospitals() -> None:
    generator = np.random.default_rng(0)
    held = []
    for _ in range(300):
        variances = generator.uniform(0.02, 0.1, 6)
        effects = generator.normal(1, 0.8, 6) + generator.normal(0, np.sqrt(variances))
        found = random_effects(effects, variances)
        held.append(found.new_low <= generator.normal(1, 0.8) <= found.new_high)
    # 300 studies: ± 2.5 %
    assert np.mean(held) == pytest.approx(0.95, abs=0.04)


@pytest.mark.parametrize("wrong", [([1.0, 2.0], [0.1]), ([1.0, np.inf], [0.1, 0.1]), ([1.0, 2.0], [0.1, 0.0])])
def test_a_hospital_without_an_answer_is_refused(wrong) -> None:
    with pytest.raises(DataError, match="hospital"):
        random_effects(*wrong)
