"""Distances between heatmaps: worked values, laws and gradients."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.autograd import gradcheck

from medtea.core.errors import DataError
from medtea.lrp import heatmap_energy_distance, map_correlation, published_distance

DISTANCES = [heatmap_energy_distance, published_distance]


def maps(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(st.floats(0.05, 20), st.integers(0, 99))
def test_published_distance_matches_scale_by_the_geometric_mean(c: float, seed: int):
    teacher = maps(seed, 2, 1, 17, 23)
    found = published_distance(c * teacher, teacher)
    # the 1e-10 in g is far below the maps' size
    torch.testing.assert_close(found.item(), abs(c - 1) / c**0.5, atol=1e-8, rtol=1e-8)


def test_published_distance_pools_while_the_side_stays_at_least_8():
    # Neighbours cancel in pools of 2: the map differs at scale 1 alone, of the scales 1, 2 (sides 16, 8).
    board = torch.ones(1, 1, 16, 16, dtype=torch.float64)
    board[..., ::2] = -1
    base = torch.full_like(board, 2.0)
    # scale 1: |S| is 1 and 3, mean 2, mean |T| 2, so g = 2 and mean |S - T| / g = 1 / 2; scale 2: 0; mean 1 / 4
    torch.testing.assert_close(published_distance(base + board, base).item(), 0.25)
    # with sides of 15 there is one scale: 8 columns of 1 and 7 of 3, mean 29/15
    found = published_distance((base + board)[..., :15, :15], base[..., :15, :15])
    torch.testing.assert_close(found.item(), 1 / (29 / 15 * 2) ** 0.5)


def test_energy_distance_worked_by_hand():
    student, teacher = torch.tensor([[[[1.0, 2.0]]], [[[0.0, 0.0]]]]), torch.tensor([[[[1.0, 0.0]]], [[[3.0, 0.0]]]])
    # (0 + 4 + 9 + 0) / (1 + 9): the batch's energy, not each radiograph's
    torch.testing.assert_close(heatmap_energy_distance(student, teacher).item(), 1.3)


@pytest.mark.parametrize("distance", DISTANCES)
def test_equal_maps_have_no_distance_and_zero_students_a_finite_gradient(distance):
    teacher = maps(0, 2, 1, 16, 16)
    assert distance(teacher, teacher).item() == 0
    student = torch.zeros_like(teacher).requires_grad_()
    distance(student, teacher).backward()
    assert student.grad.isfinite().all()
    nothing = torch.zeros_like(teacher)
    assert distance(nothing, nothing).isfinite()


@pytest.mark.parametrize("distance", DISTANCES)
def test_gradient_reaches_the_student_alone(distance):
    student, teacher = maps(1, 2, 1, 8, 8).requires_grad_(), maps(2, 2, 1, 8, 8).requires_grad_()
    assert gradcheck(lambda s: distance(s, teacher.detach()), student)
    distance(student, teacher).backward()
    assert teacher.grad is None


def test_correlation_is_plus_or_minus_one_for_scaled_and_shifted_maps():
    teacher = maps(3, 3, 1, 5, 5)
    factors = torch.tensor([2.0, -0.5, 1e-9], dtype=torch.float64).view(-1, 1, 1, 1)
    expected = torch.tensor([1.0, -1.0, 1.0], dtype=torch.float64)
    # a shift of 1e-8 keeps the third map's own variation visible in float64
    torch.testing.assert_close(map_correlation(factors * teacher + 1e-8, teacher), expected, atol=1e-6, rtol=0)


def test_correlation_agrees_with_torch_corrcoef():
    student, teacher = maps(4, 3, 2, 5, 5), maps(5, 3, 2, 5, 5)
    pairs = zip(student.flatten(1), teacher.flatten(1), strict=True)
    expected = [torch.corrcoef(torch.stack(pair))[0, 1] for pair in pairs]
    torch.testing.assert_close(map_correlation(student, teacher), torch.stack(expected))


def test_constant_map_has_no_correlation():
    student, teacher = maps(6, 3, 1, 5, 5), maps(7, 3, 1, 5, 5)
    student[1], teacher[2] = 0.1, 0.3
    assert map_correlation(student, teacher).isnan().tolist() == [False, True, True]


@pytest.mark.parametrize("distance", [*DISTANCES, map_correlation])
def test_different_shapes_are_refused(distance):
    with pytest.raises(DataError, match=r"\(2, 1, 8, 8\).*\(2, 1, 4, 8\)"):
        distance(torch.zeros(2, 1, 8, 8), torch.zeros(2, 1, 4, 8))


def test_published_distance_of_vectors_is_refused():
    with pytest.raises(DataError, match="2 dimensions"):
        published_distance(torch.zeros(2, 8), torch.zeros(2, 8))
