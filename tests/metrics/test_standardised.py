from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medtea.metrics.standardised import difference_of_means, difference_of_shares

counts = st.lists(st.integers(1, 50), min_size=2, max_size=5)


def test_means_one_deviation_apart_differ_by_one() -> None:
    # means 2 and 5, both variances 1: 3 / 1; the other way round the sign turns
    assert difference_of_means([4, 5, 6], [1, 2, 3]) == pytest.approx(3)
    assert difference_of_means([1, 2, 3], [4, 5, 6]) == pytest.approx(-3)
    # variances 1 and 9, means 2 and 6: 4 / sqrt(5)
    assert difference_of_means([3, 6, 9], [1, 2, 3]) == pytest.approx(4 / math.sqrt(5))


def test_what_is_not_known_is_left_out_and_too_few_have_no_answer() -> None:
    assert difference_of_means([4, 5, 6, np.nan], [1, 2, 3]) == pytest.approx(3)
    assert math.isnan(difference_of_means([4.0, np.nan], [1, 2, 3]))
    assert math.isnan(difference_of_means([], [1, 2]))


def test_groups_without_any_spread_are_alike_or_wholly_apart() -> None:
    assert difference_of_means([2, 2], [2, 2]) == 0
    assert difference_of_means([2, 2], [3, 3]) == -math.inf


def test_two_categories_are_the_known_formula() -> None:
    # 0.5 against 0.2: 0.3 / sqrt((0.25 + 0.16) / 2)
    assert difference_of_shares([10, 10], [8, 2]) == pytest.approx(0.3 / math.sqrt(0.205))


def test_three_categories_by_hand() -> None:
    # second and third shares (0.3, 0.2) and (0.2, 0.3): S = [[0.185, -0.06], [-0.06, 0.185]], difference (0.1, -0.1),
    # an eigenvector with value 0.245: sqrt(0.02 / 0.245)
    assert difference_of_shares([5, 3, 2], [5, 2, 3]) == pytest.approx(math.sqrt(0.02 / 0.245))


@given(counts, st.integers(1, 9))
def test_the_size_of_a_group_does_not_enter(first: list[int], times: int) -> None:
    assert difference_of_shares(first, [times * one for one in first]) == pytest.approx(0, abs=1e-6)


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(1, 50)), min_size=2, max_size=5), st.randoms())
def test_the_order_of_categories_and_of_groups_does_not_matter(pairs: list[tuple[int, int]], random: object) -> None:
    first, second = ([pair[i] for pair in pairs] for i in (0, 1))
    found = difference_of_shares(first, second)
    random.shuffle(pairs)  # type: ignore[attr-defined]
    again = difference_of_shares([pair[1] for pair in pairs], [pair[0] for pair in pairs])
    assert again == pytest.approx(found, abs=1e-9)


def test_nothing_in_common_is_infinite_and_an_empty_group_has_no_answer() -> None:
    assert difference_of_shares([5, 0], [0, 5]) == math.inf
    assert difference_of_shares([5, 0, 2], [0, 5, 0]) == math.inf
    assert math.isnan(difference_of_shares([0, 0], [1, 2]))
