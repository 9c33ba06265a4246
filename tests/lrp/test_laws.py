"""Laws of the heatmap pass: linear in the cotangent, blind to scale if ε is relative, fp32 whatever runs around it."""

from __future__ import annotations

import copy
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.lrp_networks import Family
from oracles.lrp_zoo import build, logits_of
from torch import Tensor, nn

from medtea.lrp import HeatmapPass

NETWORKS = ["alexnet", "narrow_resnet18", "narrow_seresnet", "narrow_vit"]
seeds = st.integers(0, 10_000)


@cache
def traced(name: str, convolutions: str = "epsilon") -> tuple[Family, HeatmapPass]:
    family = build(name)
    options = {"convolutions": convolutions, "biases": True}
    return family, HeatmapPass(family.network, family.radiograph, family.layers, **options)


def cotangents(family: Family, seed: int, *leading: int) -> Tensor:
    with torch.no_grad():
        shape = logits_of(family.network, family.radiograph).shape
    return torch.randn(*leading, *shape, generator=torch.Generator().manual_seed(seed), dtype=family.radiograph.dtype)


def everything(heatmap_pass: HeatmapPass, x: Tensor, u: Tensor, **options: object) -> dict[str, Tensor]:
    with torch.no_grad():
        found = heatmap_pass(x, u, **options)
    return {**found.maps, **{f"bias of {k}": b for k, b in found.biases.items()}, "absorbed": found.absorbed}


def assert_alike(found: dict[str, Tensor], expected: dict[str, Tensor], *, relative: float = 1e-9) -> None:
    """But for rounding, by the largest value of each map."""
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert found[key].shape == value.shape, key
        assert (found[key] - value).abs().max() <= relative * value.abs().max() + 1e-14, key


@pytest.mark.parametrize("convolutions", ["epsilon", "z_plus"])
@pytest.mark.parametrize("name", NETWORKS)
@settings(max_examples=5, deadline=None)
@given(seed=seeds, factor=st.floats(-3, 3), epsilon=st.sampled_from([0.0, 0.02]))
def test_maps_are_linear_in_the_cotangent(name: str, convolutions: str, seed: int, factor: float, epsilon: float):
    family, heatmap_pass = traced(name, convolutions)
    x, u, v = family.radiograph, cotangents(family, seed), cotangents(family, seed + 1)
    first, second, sum_ = (everything(heatmap_pass, x, w, epsilon=epsilon) for w in (u, v, u + factor * v))
    for key, value in sum_.items():
        scale = first[key].abs().max() + abs(factor) * second[key].abs().max()
        assert (first[key] + factor * second[key] - value).abs().max() <= 1e-11 * scale + 1e-14, key


@pytest.mark.parametrize("convolutions", ["epsilon", "z_plus"])
@pytest.mark.parametrize("name", NETWORKS)
def test_several_maps_of_one_pass_are_those_of_one_pass_each(name: str, convolutions: str):
    family, heatmap_pass = traced(name, convolutions)
    x, u = family.radiograph, cotangents(family, 0, 3)
    for options in ({}, {"epsilon": 0.02}, {"epsilon": torch.tensor([0.0, 0.1]), "relative": True}):
        several = everything(heatmap_pass, x, u, **options)
        each = [everything(heatmap_pass, x, v, **options) for v in u]
        assert_alike(several, {key: torch.stack([one[key] for one in each]) for key in each[0]})


@pytest.mark.parametrize("name", [*NETWORKS, "unet"])
def test_gradient_of_several_maps_is_the_sum_of_each_maps_own(name: str):
    family, heatmap_pass = traced(name)
    x, u = family.radiograph, cotangents(family, 0, 3)
    parameters = list(family.network.parameters())

    def gradients(v: Tensor) -> list[Tensor]:
        maps = heatmap_pass(x, v, epsilon=0.02).maps
        found = torch.autograd.grad(sum(m.square().sum() for m in maps.values()), parameters, allow_unused=True)
        return [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, found, strict=True)]

    each = [gradients(v) for v in u]
    expected = [sum(parts) for parts in zip(*each, strict=True)]
    largest = max(float(e.abs().max()) for e in expected)
    for found, e in zip(gradients(u), expected, strict=True):
        assert (found - e).abs().max() <= 1e-10 * largest


@settings(max_examples=10, deadline=None)
@given(factor=st.floats(0.05, 20), epsilon=st.floats(1e-3, 1))
def test_relative_epsilon_does_not_see_how_scale_is_shared_between_layers(factor: float, epsilon: float):
    family, heatmap_pass = traced("alexnet")
    x, u = family.radiograph, cotangents(family, 0)
    scaled = copy.deepcopy(heatmap_pass)
    network = scaled.network
    with torch.no_grad():
        # a times c behind conv2's ReLU, undone by conv3; and behind the hidden layer, undone by the head
        for layer, following in ((network.conv2, network.conv3), (network.hidden, network.head)):
            layer.weight.mul_(factor)
            layer.bias.mul_(factor)
            following.weight.div_(factor)
    found = everything(scaled, x, u, epsilon=epsilon, relative=True)
    assert_alike(found, everything(heatmap_pass, x, u, epsilon=epsilon, relative=True))
    if abs(factor - 1) > 0.1:
        absolute = [everything(p, x, u, epsilon=epsilon)["input"] for p in (scaled, heatmap_pass)]
        assert (absolute[0] - absolute[1]).abs().max() > 1e-6 * absolute[1].abs().max()


@settings(max_examples=10, deadline=None)
@given(factor=st.floats(0.1, 10))
def test_relative_epsilon_scales_with_the_radiograph_in_a_network_without_biases(factor: float):
    x, heatmap_pass = without_biases()
    u = torch.ones(2, 1, dtype=x.dtype)
    one = heatmap_pass(x, u, epsilon=0.1, relative=True).maps["input"]
    many = heatmap_pass(factor * x, u, epsilon=0.1, relative=True).maps["input"]
    torch.testing.assert_close(many, factor * one, atol=1e-14, rtol=1e-9)


@cache
def without_biases() -> tuple[Tensor, HeatmapPass]:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 3, 3, bias=False), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(3, 4, 2, bias=False), nn.ReLU(),
        nn.Flatten(), nn.Linear(16, 1, bias=False),
    ).double()  # fmt: skip
    x = torch.rand(2, 1, 8, 8, dtype=torch.float64)
    return x, HeatmapPass(network, x)


@pytest.mark.parametrize("name", NETWORKS)
def test_relative_epsilon_is_a_radiographs_own(name: str):
    family, heatmap_pass = traced(name)
    x, u = family.radiograph, cotangents(family, 0)
    together = everything(heatmap_pass, x, u, epsilon=0.1, relative=True)
    for i in range(len(x)):
        alone = everything(heatmap_pass, x[i : i + 1], u[i : i + 1], epsilon=0.1, relative=True)
        assert_alike(alone, {key: value[i : i + 1] for key, value in together.items()})


@pytest.mark.parametrize("name", [*NETWORKS, "narrow_efficientnet", "unet"])
def test_maps_are_computed_in_fp32_though_half_precision_is_on_around_them(name: str):
    family = build(name)
    network, x = family.network.float(), family.radiograph.float()
    heatmap_pass = HeatmapPass(network, x, family.layers, biases=True)
    u = cotangents(Family(network, x, ()), 0)
    for options in ({}, {"epsilon": 0.01}, {"epsilon": 0.01, "relative": True, "exact": False}):
        network.zero_grad()
        plain = heatmap_pass(x, u, **options)
        sum(m.square().sum() for m in plain.maps.values()).backward()
        expected = [None if p.grad is None else p.grad.clone() for p in network.parameters()]
        network.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            found = heatmap_pass(x, u, **options)
        sum(m.square().sum() for m in found.maps.values()).backward()
        assert torch.equal(found.logits, plain.logits)
        assert torch.equal(found.absorbed, plain.absorbed)
        for key, value in plain.maps.items():
            assert value.dtype == torch.float32
            assert torch.equal(found.maps[key], value), key
        for p, g in zip(network.parameters(), expected, strict=True):
            assert (g is None) == (p.grad is None)
            assert g is None or torch.equal(p.grad, g)


def test_bfloat16_would_have_changed_the_maps():
    family = build("narrow_resnet18")
    network, x = family.network.float(), family.radiograph.float()
    with torch.autocast("cpu", torch.bfloat16):
        assert not torch.equal(network(x).float(), HeatmapPass(network, x)(x, torch.ones(2, 2)).logits)
