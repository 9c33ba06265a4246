from __future__ import annotations

import numpy as np
import pytest
from oracles.slow_metrics import auroc_by_pairs

from medtea.core.errors import DataError
from medtea.metrics.site import site_only_auroc_of, within_site_auroc_of
from medtea.metrics.weighted import auroc_of

GENERATOR = np.random.default_rng(0)
SITES = [f"s{place % 3}" for place in range(45)]
LABELS = GENERATOR.integers(0, 2, 45)
SCORES = np.round(GENERATOR.normal(LABELS, 1), 1)


def within_by_pairs(labels, scores, sites):
    """Every pair of one hospital; a tie is half a point."""
    points, pairs = 0.0, 0
    for site in set(sites):
        own = [place for place, other in enumerate(sites) if other == site]
        of_site = [labels[place] for place in own]
        number = sum(of_site) * (len(of_site) - sum(of_site))
        if number:
            points += auroc_by_pairs(of_site, [scores[place] for place in own]) * number
            pairs += number
    return points / pairs


def test_within_is_the_share_of_pairs_of_one_hospital_that_are_ranked_rightly() -> None:
    found = within_site_auroc_of(LABELS, SCORES, SITES)
    assert found.value == pytest.approx(within_by_pairs(LABELS, SCORES, SITES))


def test_a_weight_counts_as_a_row_that_stands_there_as_often() -> None:
    weights = np.random.default_rng(1).integers(0, 3, (4, 45)).astype(float)
    found = within_site_auroc_of(LABELS, SCORES, SITES).compute(weights)
    for own, one in zip(weights, found, strict=True):
        rows = np.repeat(np.arange(45), own.astype(int))
        assert one == pytest.approx(within_by_pairs(LABELS[rows], SCORES[rows], [SITES[row] for row in rows]))


def test_telling_hospitals_apart_earns_a_pooled_auroc_and_none_within() -> None:
    # 90 % positive at one hospital, 10 % at the other; the score is the hospital and nothing else
    labels = np.array([1] * 9 + [0] + [1] + [0] * 9)
    sites = ["a"] * 10 + ["b"] * 10
    scores = np.array([1.0] * 10 + [0.0] * 10)
    alone = site_only_auroc_of(labels, sites, {"a": 0.9, "b": 0.1})
    # by hand: 9 × 9 pairs right, 9 × 1 + 1 × 9 tied, 1 wrong, of 100
    assert alone.value == pytest.approx(0.81 + 0.5 * 0.18)
    assert auroc_of(labels, scores).value == alone.value
    assert within_site_auroc_of(labels, scores, sites).value == 0.5


def test_the_hospital_alone_says_nothing_where_prevalences_are_alike() -> None:
    assert site_only_auroc_of(LABELS, SITES, dict.fromkeys(SITES, 0.4)).value == 0.5


def test_a_hospital_of_one_class_has_no_pair_and_drops_out() -> None:
    labels, scores = np.array([0, 1, 1, 1]), np.array([0.1, 0.9, 0.0, 0.0])
    assert within_site_auroc_of(labels, scores, ["a", "a", "b", "b"]).value == 1
    assert np.isnan(within_site_auroc_of([0, 0, 1], [0.1, 0.2, 0.3], ["a", "a", "b"]).value)


def test_what_is_missing_is_said() -> None:
    with pytest.raises(DataError, match="one per row"):
        within_site_auroc_of(LABELS, SCORES, SITES[:-1])
    with pytest.raises(DataError, match="have no prevalence"):
        site_only_auroc_of(LABELS, SITES, {"s0": 0.5})
