"""Cotangents: which logit, or which mix, and what a mix is worth in expectation."""

from __future__ import annotations

import itertools

import pytest
import torch
from oracles.lrp_networks import Family
from oracles.lrp_zoo import build
from torch import Tensor

from medtea.core.errors import DataError, UsageError
from medtea.lrp import HeatmapPass
from medtea.lrp.cotangents import (
    difference,
    every_logit,
    log_odds_of_lowest,
    one_logit,
    random_mix,
    teacher_or_other,
)


def three_classes() -> tuple[Family, HeatmapPass]:
    family = build("alexnet")
    return family, HeatmapPass(family.network, family.radiograph, family.layers)


def test_one_logit_is_one_hot_and_every_logit_is_each_in_turn():
    assert one_logit(2, 3, 1).tolist() == [[0, 1, 0], [0, 1, 0]]
    assert torch.equal(every_logit(2, 3), torch.stack([one_logit(2, 3, k) for k in range(3)]))
    for logit in (-1, 3):
        with pytest.raises(UsageError, match=rf"logit is {logit}; the network has logits 0 to 2"):
            one_logit(2, 3, logit)


def test_map_of_the_difference_is_the_difference_of_the_maps():
    family = build("vgg")
    heatmap_pass = HeatmapPass(family.network, family.radiograph)
    with torch.no_grad():
        first, second = heatmap_pass(family.radiograph, every_logit(2, 2)).maps["input"]
        found = heatmap_pass(family.radiograph, difference(2)).maps["input"]
    torch.testing.assert_close(found, second - first, atol=1e-14, rtol=1e-10)


def test_squared_distance_of_mixed_maps_is_on_average_the_sum_over_all_classes():
    # Exact: the mean over all 2³ signs, each of which random_mix draws alike.
    family, student = three_classes()
    other = build("alexnet", seed=5)
    teacher = HeatmapPass(other.network, family.radiograph, family.layers)
    signs = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=3)))[:, None].expand(8, 2, 3)

    def distances(u: Tensor) -> dict[str, Tensor]:
        with torch.no_grad():
            maps, targets = student(family.radiograph, u).maps, teacher(family.radiograph, u).maps
        return {layer: (maps[layer] - targets[layer]).square().flatten(1).sum(1) for layer in maps}

    mixed, every = distances(signs), distances(every_logit(2, 3))
    for layer, of_signs in mixed.items():
        torch.testing.assert_close(of_signs.mean(), every[layer].sum(), atol=0, rtol=1e-10)


def test_gradient_of_the_mixed_distance_is_on_average_that_of_all_classes():
    family, student = three_classes()
    signs = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=3)))[:, None].expand(8, 2, 3)
    target = torch.rand(3, *family.radiograph.shape, dtype=torch.float64)
    every = student(family.radiograph, every_logit(2, 3)).maps["input"]
    weight = family.network.conv1.weight
    (expected,) = torch.autograd.grad((every - target).square().sum(), weight)
    mixed_target = torch.einsum("sbk,kbchw->sbchw", signs.double(), target)
    mixed = student(family.radiograph, signs).maps["input"]
    (found,) = torch.autograd.grad((mixed - mixed_target).square().sum() / 8, weight)
    torch.testing.assert_close(found, expected, atol=1e-14, rtol=1e-9)


def test_random_mix_draws_every_sign_pattern_alike():
    drawn = random_mix(8000, 3, torch.Generator().manual_seed(0))
    assert set(drawn.unique().tolist()) == {-1.0, 1.0}
    patterns = ((drawn + 1) / 2 @ torch.tensor([4.0, 2.0, 1.0])).long()
    counts = torch.bincount(patterns, minlength=8)
    # 1000 each; the standard deviation is 30
    assert (counts - 1000).abs().max() < 150


def test_teacher_or_other_takes_the_teachers_class_half_the_time_and_the_others_alike():
    logits = torch.tensor([[0.0, 3.0, 1.0, 2.0]]).expand(9000, 4)
    drawn = teacher_or_other(logits, torch.Generator().manual_seed(0))
    assert torch.equal(drawn.sum(1), torch.ones(9000))
    # 4500 (standard deviation 47) and 1500 each (35)
    assert (drawn.sum(0) - torch.tensor([1500.0, 4500.0, 1500.0, 1500.0])).abs().max() < 240
    with pytest.raises(UsageError, match="no other to draw"):
        teacher_or_other(torch.zeros(2, 1), torch.Generator())


def test_draws_follow_the_generator():
    for draw in (
        lambda g: random_mix(5, 3, g),
        lambda g: teacher_or_other(torch.zeros(5, 3), g),
    ):
        first, again, other = (draw(torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
        assert torch.equal(first, again)
        assert not torch.equal(first, other)


def test_log_odds_of_the_lowest_class_have_the_slope_that_autograd_finds():
    logits = torch.randn(5, 4, generator=torch.Generator().manual_seed(2)).double().requires_grad_(True)
    lowest = logits.softmax(1)[range(5), logits.argmin(1)]
    (slope,) = torch.autograd.grad((lowest.log() - (1 - lowest).log()).sum(), logits)
    torch.testing.assert_close(log_odds_of_lowest(logits), slope)
    # of one logit z the classes are 0 and z: the lower is the second where z < 0
    assert log_odds_of_lowest(torch.tensor([[-2.0], [3.0]])).tolist() == [[1.0], [-1.0]]


def test_a_cotangent_may_be_made_of_the_logits_of_the_same_pass():
    family, heatmap_pass = three_classes()
    made = heatmap_pass(family.radiograph, log_odds_of_lowest).maps["input"]
    cotangent = log_odds_of_lowest(family.network(family.radiograph))
    torch.testing.assert_close(made, heatmap_pass(family.radiograph, cotangent).maps["input"])
    with pytest.raises(DataError, match="cotangent is"):
        heatmap_pass(family.radiograph, lambda logits: logits[:, 1:])
