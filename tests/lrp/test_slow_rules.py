"""Each rule against relevance messages written as in its paper, and against finite differences."""

from __future__ import annotations

import pytest
import torch
from oracles.lrp_zoo import build, logits_of, scatter
from oracles.slopes import assert_gradient_is_the_slope
from oracles.slow_lrp import modified_gradient
from oracles.slow_rules import SqueezeExcite, TinyTransformer, attn_lrp, freeze_gate, plus_lrp
from torch import Tensor, nn

from medtea.lrp import HeatmapPass, Heatmaps

# Rounding only: the twins compute the same sums in another order, and divide by what they multiply with later.
SAME = {"atol": 1e-12, "rtol": 1e-8}
BOX = (-3.0, 3.0)
RULES = {
    "z+": {"convolutions": "z_plus"},
    "zB": {"input_box": BOX},
    "z+ and zB": {"convolutions": "z_plus", "input_box": BOX},
}


def convolutional(*, bias: bool = True) -> nn.Sequential:
    torch.manual_seed(2)
    network = nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1, bias=bias), nn.BatchNorm2d(3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(3, 4, 2, bias=bias), nn.ReLU(), nn.AvgPool2d(2, 1), nn.Flatten(), nn.Linear(4, 5), nn.ReLU(),
        nn.Linear(5, 2),
    ).double().eval()  # fmt: skip
    scatter(network)
    nn.init.uniform_(network[1].running_mean, -0.1, 0.1)
    nn.init.uniform_(network[1].running_var, 0.2, 0.6)
    return network


def radiographs(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def one_hot(logit: int, batch: int = 1) -> Tensor:
    return torch.eye(2, dtype=torch.float64)[logit].expand(batch, 2)


def together(found: Heatmaps) -> Tensor:
    return found.maps["input"].flatten(1).sum(1) + sum(b.flatten(1).sum(1) for b in found.biases.values())


@pytest.mark.parametrize("epsilon", [0.0, 0.05])
@pytest.mark.parametrize("rule", RULES)
def test_z_plus_and_z_box_are_the_papers_messages(rule: str, epsilon: float):
    network, x = convolutional(), radiographs(2, 1, 6, 6)
    options = RULES[rule]
    heatmap_pass = HeatmapPass(network, x, **options, biases=True)
    for logit in (0, 1):
        with torch.no_grad():
            found = heatmap_pass(x, one_hot(logit, 2), epsilon=epsilon)
            each = [
                plus_lrp(network, t[None], logit, epsilon=epsilon, z_plus="convolutions" in options,
                         box=options.get("input_box"))
                for t in x
            ]  # fmt: skip
        torch.testing.assert_close(found.maps["input"], torch.cat(each), **SAME)
        torch.testing.assert_close(together(found), network(x)[:, logit].detach(), **SAME)


def test_z_plus_loses_nothing_where_there_is_no_bias_above_it():
    network, x = convolutional(), radiographs(2, 1, 6, 6)
    for layer in (network[8], network[10]):
        nn.init.zeros_(layer.bias)
    with torch.no_grad():
        found = HeatmapPass(network, x, convolutions="z_plus")(x, one_hot(1, 2))
    torch.testing.assert_close(found.maps["input"].sum((1, 2, 3)), found.logits[:, 1], **SAME)


def test_z_box_gives_black_pixels_relevance_and_z_plus_does_not():
    network, x = convolutional(), radiographs(2, 1, 6, 6)
    x[:, :, :3] = 0
    plus = HeatmapPass(network, x, convolutions="z_plus")(x, one_hot(0, 2)).maps["input"]
    box = HeatmapPass(network, x, input_box=BOX)(x, one_hot(0, 2)).maps["input"]
    assert (plus[:, :, :3] == 0).all()
    assert (box[:, :, :3] != 0).any()


@pytest.mark.parametrize("epsilon", [0.0, 0.05])
@pytest.mark.parametrize("rule", RULES)
def test_weights_get_the_slope_of_a_loss_on_z_plus_and_z_box_maps(rule: str, epsilon: float):
    network, x = convolutional(), radiographs(2, 1, 6, 6)
    heatmap_pass = HeatmapPass(network, x, ["2", "5"], **RULES[rule])
    u = radiographs(2, 2)
    targets = {k: m.detach() + 0.1 * torch.rand_like(m) for k, m in heatmap_pass(x, u).maps.items()}

    def loss() -> Tensor:
        maps = heatmap_pass(x, u, epsilon=epsilon).maps
        return sum((maps[k] - t).square().mean() for k, t in targets.items())

    assert_gradient_is_the_slope(network, loss, step=1e-7)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", ["narrow_resnet18", "narrow_seresnet", "unet"])
def test_z_plus_conserves_in_networks_with_branches_and_has_true_slopes(name: str, training: bool):
    family = build(name)
    network, x = family.network, family.radiograph
    heatmap_pass = HeatmapPass(network, x, family.layers, convolutions="z_plus", biases=True)
    network.train(training)
    u = radiographs(2, 2)
    with torch.no_grad():
        found = heatmap_pass(x, u, epsilon=0.01, relative=True)
    terms = torch.stack([b.flatten(1).sum(1).abs() for b in found.biases.values()]).sum(0)
    expected = (u * found.logits).sum(1)
    assert ((together(found) - expected).abs() <= 1e-10 * (terms + expected.abs())).all()
    network.eval()

    def loss() -> Tensor:
        return sum(m.square().mean() for m in heatmap_pass(x, u, epsilon=0.01, relative=True).maps.values())

    assert_gradient_is_the_slope(network, loss, tensors=2, step=1e-8)


@pytest.mark.parametrize("function", ["matmul", "bmm", "einsum", "fused"])
def test_attention_is_attn_lrps_messages_however_it_is_written(function: str):
    torch.manual_seed(0)
    network = TinyTransformer(function=function).double().eval()
    scatter(network)
    x = radiographs(3, 1, 4, 5)
    heatmap_pass = HeatmapPass(network, x, biases=True)
    for logit in (0, 1):
        with torch.no_grad():
            found = heatmap_pass(x, one_hot(logit, 3))
            expected = torch.cat([attn_lrp(network, t[None], logit) for t in x])
        torch.testing.assert_close(found.maps["input"], expected, **SAME)
        torch.testing.assert_close(together(found), found.logits[:, logit], **SAME)
        torch.testing.assert_close(found.logits, network(x).detach(), **SAME)


@pytest.mark.parametrize("activation", [nn.SiLU, nn.Tanh, nn.Hardswish, nn.LeakyReLU])
def test_activation_that_is_0_at_0_hands_relevance_on_as_it_is(activation: type[nn.Module]):
    torch.manual_seed(0)
    network = TinyTransformer(activation=activation).double().eval()
    scatter(network)
    x = radiographs(1, 1, 4, 5)
    with torch.no_grad():
        found = HeatmapPass(network, x)(x, one_hot(1)).maps["input"]
        torch.testing.assert_close(found, attn_lrp(network, x, 1), **SAME)


@pytest.mark.parametrize("epsilon", [0.0, 0.01])
@pytest.mark.parametrize("function", ["matmul", "einsum", "fused"])
def test_weights_get_the_slope_of_a_loss_on_maps_of_attention(function: str, epsilon: float):
    torch.manual_seed(0)
    network = TinyTransformer(function=function).double().eval()
    scatter(network)
    x, u = radiographs(2, 1, 4, 5), radiographs(2, 2)
    heatmap_pass = HeatmapPass(network, x, ["norm1", "wide"])

    def loss() -> Tensor:
        maps = heatmap_pass(x, u, epsilon=epsilon).maps.values()
        return sum((m - 0.1).square().mean() for m in maps)

    assert_gradient_is_the_slope(network, loss, tensors=6)


@pytest.mark.parametrize("gate_first", [False, True])
def test_gate_is_a_constant_of_the_map_the_signal_takes_all(gate_first: bool):
    torch.manual_seed(0)
    network = SqueezeExcite(gate_first=gate_first).double().eval()
    x = radiographs(2, 1, 7, 7)
    found = HeatmapPass(network, x, biases=True)(x, one_hot(1, 2))
    torch.testing.assert_close(together(found), found.logits[:, 1], **SAME)
    freeze_gate(network, x)
    # The frozen twin also takes SiLU by its identity rule, so plain autograd gives its map.
    expected = modified_gradient(network, x, one_hot(1, 2), 0.0)
    torch.testing.assert_close(found.maps["input"], expected, **SAME)


def test_slope_runs_through_the_gate_though_relevance_does_not():
    torch.manual_seed(0)
    network = SqueezeExcite().double().eval()
    x, u = radiographs(2, 1, 7, 7), radiographs(2, 2)
    heatmap_pass = HeatmapPass(network, x)
    for epsilon in (0.0, 0.01):
        assert_gradient_is_the_slope(
            network, lambda e=epsilon: heatmap_pass(x, u, epsilon=e).maps["input"].square().sum(), tensors=8
        )
    gradient = torch.autograd.grad(heatmap_pass(x, u).maps["input"].square().sum(), network.squeeze.weight)[0]
    assert gradient.abs().max() > 0


@pytest.mark.parametrize("name", ["alexnet", "narrow_vit"])
def test_biases_are_each_parameters_own_share_of_the_logit(name: str):
    family = build(name)
    network, x = family.network, family.radiograph[:1]
    classes = logits_of(network, x).shape[1]
    u = radiographs(1, classes)
    found = HeatmapPass(network, x, biases=True)(x, u).biases
    # Only above all that is not linear is the bias's share by the map also that by plain autograd: everywhere in a
    # ReLU network, at the last layer of a ViT.
    last = {"classification_head": "classification_head.bias"}
    every = {key[:-5]: key for key, _ in network.named_parameters() if key.endswith(".bias")}
    pairs = last if name == "narrow_vit" else every
    for path, parameter in pairs.items():
        bias = network.get_parameter(parameter)
        (g,) = torch.autograd.grad((logits_of(network, x) * u).sum(), bias)
        torch.testing.assert_close(found[path].sum(), (bias * g).sum().detach(), **SAME)
