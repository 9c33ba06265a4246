from __future__ import annotations

import numpy as np
import pytest
from oracles.fixed_rows import LABELS, LOGITS
from scipy.special import expit

from medtea.core.errors import DataError
from medtea.metrics.cells import Sampled, sampled
from medtea.metrics.net_benefit import gain, net_benefit, treat_all

AT = [0.2, 0.35, 0.5, 0.7]


def rows_of(labels=LABELS, logits=LOGITS) -> Sampled:
    names = [f"p{place}" for place in range(len(labels))]
    (found,) = sampled(names, labels, [logits], replicates=50, generator=np.random.default_rng(0))
    return found


def test_net_benefit_is_that_of_dcurves() -> None:
    # dcurves 1.1.7, dca(...) on oracles.fixed_rows: model, and acting on everyone
    whole = rows_of().whole
    assert net_benefit(whole, AT)[0] == pytest.approx([0.416667, 0.291026, 0.2, 0.022222], abs=1e-6)
    assert treat_all(whole, AT)[0] == pytest.approx([0.458333, 0.333333, 0.133333, -0.444444], abs=1e-6)


def test_net_benefit_by_counting_rows() -> None:
    scores = expit(LOGITS)
    for at, found in zip(AT, net_benefit(rows_of().whole, AT)[0], strict=True):
        acted = [(label, score >= at) for label, score in zip(LABELS, scores, strict=True)]
        right, wrong = acted.count((1, True)), acted.count((0, True))
        assert found == pytest.approx(right / 60 - wrong / 60 * at / (1 - at))


def test_a_perfect_score_gains_the_prevalence_and_a_useless_one_nothing() -> None:
    labels = np.array([0, 0, 0, 1])
    assert net_benefit(rows_of(labels, np.where(labels, 9.0, -9.0)).whole, AT)[0] == pytest.approx([0.25] * 4)
    everyone = rows_of(labels, np.full(4, 9.0)).whole
    assert net_benefit(everyone, AT)[0] == pytest.approx(treat_all(everyone, AT)[0])
    assert (gain(everyone, AT) <= 0).all()
    nobody = rows_of(labels, np.full(4, -9.0)).whole
    assert net_benefit(nobody, AT)[0].tolist() == [0, 0, 0, 0]


def test_who_has_exactly_the_threshold_is_acted_on() -> None:
    assert net_benefit(rows_of([1, 0], [0.0, -1.0]).whole, [0.5])[0, 0] == 0.5


def test_replicates_are_those_of_their_rows() -> None:
    rows = rows_of()
    for row in range(3):
        counts = rows.drawn.totals[row].astype(int)
        alone = rows_of(np.repeat(LABELS, counts), np.repeat(LOGITS, counts))
        assert net_benefit(rows.drawn, AT)[row] == pytest.approx(net_benefit(alone.whole, AT)[0])


@pytest.mark.parametrize("wrong", [[0.0], [1.0], [[0.5]], [np.nan]])
def test_a_threshold_is_a_probability_in_between(wrong) -> None:
    with pytest.raises(DataError, match="strictly between 0 and 1"):
        net_benefit(rows_of().whole, wrong)
