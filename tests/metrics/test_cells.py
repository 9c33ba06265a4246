from __future__ import annotations

import numpy as np
import pytest
from oracles.fixed_rows import LABELS, LOGITS

from medtea.core.errors import DataError
from medtea.metrics import cells
from medtea.metrics.calibration import brier, slope
from medtea.metrics.cells import gathered, sampled

PATIENTS = [f"p{place // 3}" for place in range(60)]


def test_a_draw_brings_all_rows_of_a_patient_as_often_as_they_were_drawn() -> None:
    generator = np.random.default_rng(0)
    (rows,) = sampled(PATIENTS, LABELS, [LOGITS], replicates=50, generator=generator)
    totals = rows.drawn.totals
    # the logits differ, so that a cell is a row; rows 3k to 3k + 2 are of one patient
    by_patient = totals.reshape(50, 20, 3)
    assert (by_patient == by_patient[:, :, :1]).all()
    assert (totals.sum(axis=1) == 60).all(), "twenty patients of three radiographs each"
    assert (rows.n, rows.n_patients, rows.n_positive) == (60, 20, int(LABELS.sum()))
    assert rows.drawn.have_both.all()


def test_methods_share_their_draws() -> None:
    first, second = sampled(PATIENTS, LABELS, [LOGITS, -LOGITS], replicates=30, generator=np.random.default_rng(0))
    assert (first.drawn.totals == second.drawn.totals[:, ::-1]).all()
    assert first.estimate(slope).low == pytest.approx(-second.estimate(slope).high, abs=1e-6)


def test_a_moved_predictor_keeps_its_rows() -> None:
    (rows,) = sampled(PATIENTS, LABELS, [LOGITS], replicates=5, generator=np.random.default_rng(0))
    turned = rows.moved(1.0, -2.0).whole
    assert (np.diff(turned.values) > 0).all(), "still in rising order"
    assert turned.values[0] == 1 - 2 * LOGITS[-1]
    assert turned.positives[0, 0] == LABELS[-1]


def test_equal_values_share_a_cell_and_many_values_are_gathered_in_cells_of_equal_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values, place = gathered(np.array([3.0, 1.0, 3.0, 2.0]))
    assert values.tolist() == [1, 2, 3]
    assert place.tolist() == [2, 0, 2, 1]
    monkeypatch.setattr(cells, "MOST_CELLS", 10)
    many = np.concatenate([np.random.default_rng(0).normal(size=90), np.full(10, 0.123)])
    values, place = gathered(many)
    assert 8 <= values.size <= 10
    assert (np.diff(values) > 0).all()
    assert len(set(place[-10:])) == 1
    assert values[place[0]] == pytest.approx(many[place == place[0]].mean())


def test_gathering_hardly_moves_an_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(1)
    logits = generator.normal(0, 1.5, 900)
    labels = (generator.random(900) < 1 / (1 + np.exp(-logits))).astype(int)
    patients = [f"p{n}" for n in range(900)]
    found = []
    for most in (1000, 400, 100):
        monkeypatch.setattr(cells, "MOST_CELLS", most)
        (rows,) = sampled(patients, labels, [logits], replicates=300, generator=np.random.default_rng(0))
        found.append([rows.estimate(number) for number in (slope, brier)])
    for exact, rough in [*zip(found[0], found[1], strict=True), *zip(found[0], found[2], strict=True)]:
        assert exact.value == rough.value, "the number itself is of the rows as they are"
        width = exact.high - exact.low
        assert rough.low == pytest.approx(exact.low, abs=0.03 * width)
        assert rough.high == pytest.approx(exact.high, abs=0.03 * width)


def test_one_patient_has_no_interval_and_a_number_without_replicates_says_why() -> None:
    (rows,) = sampled(["one"] * 60, LABELS, [LOGITS], replicates=20, generator=np.random.default_rng(0))
    alone = rows.estimate(slope)
    assert alone.answered
    assert not alone.has_interval
    assert alone.interval == "none: one patient"
    (rows,) = sampled(PATIENTS, LABELS, [LOGITS], replicates=20, generator=np.random.default_rng(0))
    found = rows.from_draws(0.5, np.array([0.4, np.nan, np.nan, np.nan]))
    assert not found.has_interval
    assert found.replicates_without_answer == 3
    assert found.interval == "none: more than half of the replicates have no answer"


def test_rows_that_cannot_be_counted_are_refused() -> None:
    for patients, predictor in ((PATIENTS[:-1], LOGITS), (PATIENTS, np.where(LOGITS > 1, np.inf, LOGITS))):
        with pytest.raises(DataError, match="one finite value per row"):
            sampled(patients, LABELS, [predictor], generator=np.random.default_rng(0))
