"""Every backbone builds, answers with one logit, and has the layers and the head that its entry names."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from medtea.core.errors import ConfigError
from medtea.core.names import INPUT
from medtea.lrp import HeatmapPass
from medtea.training.networks import BACKBONES, SmallResNet, backbone, build_classifier, build_segmenter, head_of

# the smallest side whose deepest layer still has more than one pixel
SIDES = dict.fromkeys(BACKBONES, 64) | {"small_resnet": 32}
QUICK = {"small_resnet", "resnet18"}
EVERY = [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in sorted(BACKBONES)]


@pytest.mark.parametrize("name", EVERY)
def test_a_backbone_gives_one_logit_and_heatmaps_at_all_its_layers(name: str) -> None:
    network = build_classifier(name, 0).eval()
    x = torch.rand(2, 1, SIDES[name], SIDES[name])
    for layer in BACKBONES[name].layers:
        network.get_submodule(layer)
    result = HeatmapPass(network, x, BACKBONES[name].layers)(x, torch.ones(2, 1))
    with torch.no_grad():
        logits = network(x)
    assert logits.shape == (2, 1)
    torch.testing.assert_close(result.logits, logits, rtol=1e-4, atol=1e-5)  # batch norm is computed in another order
    assert set(result.maps) == {INPUT, *BACKBONES[name].layers}
    assert result.maps[INPUT].shape == x.shape
    sides = [result.maps[layer].shape[-1] for layer in BACKBONES[name].layers]
    assert sides == sorted(sides, reverse=True), "from the input to the deepest"
    assert all(found.shape[:2] == (2, 1) and found.abs().sum() > 0 for found in result.maps.values())


@pytest.mark.parametrize("name", EVERY)
def test_in_training_a_heatmap_pass_computes_what_the_network_does(name: str) -> None:
    # what a network's own code does in train mode alone would not be seen by the pass
    network = build_classifier(name, 0)
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0  # the mask is drawn in another order
    x = torch.rand(4, 1, SIDES[name], SIDES[name])
    heatmap_pass = HeatmapPass(network, x)
    network.train()
    with torch.no_grad():
        found, wanted = heatmap_pass(x, torch.ones(4, 1)).logits, network(x)
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4)


# not DenseNet: a batch norm follows its deepest block, and its bias takes a share
@pytest.mark.parametrize("name", ["small_resnet", "resnet18"])
def test_the_deepest_map_sums_to_the_logit_less_the_last_bias(name: str) -> None:
    # the docstring of TEA rests on it; at ε = 0 the way from the deepest ReLU on is linear
    network = build_classifier(name, 0).eval()
    layer = BACKBONES[name].layers[-1]
    x = torch.rand(2, 1, SIDES[name], SIDES[name])
    result = HeatmapPass(network, x, [layer])(x, torch.ones(2, 1))
    wanted = (result.logits - head_of(network, name).bias)[:, 0]
    torch.testing.assert_close(result.maps[layer].sum((1, 2, 3)), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", EVERY)
def test_the_head_is_the_linear_layer_that_ends_the_network(name: str) -> None:
    network = build_classifier(name, 0).eval()
    head = head_of(network, name)
    assert head.out_features == 1
    seen: list[Tensor] = []

    def note(module: nn.Module, given: tuple[Tensor, ...], answer: Tensor) -> None:
        seen.append(answer)

    head.register_forward_hook(note)
    with torch.no_grad():
        answer = network(torch.rand(2, 1, SIDES[name], SIDES[name]))
    assert torch.equal(seen[0], answer)


def same(one: nn.Module, other: nn.Module) -> bool:
    states = one.state_dict(), other.state_dict()
    return all(torch.equal(states[0][key], states[1][key]) for key in states[0])


@pytest.mark.parametrize("name", ["small_resnet", "resnet18"])
def test_one_seed_gives_the_same_weights_and_another_seed_others(name: str) -> None:
    torch.manual_seed(1)
    first = build_classifier(name, 7)
    torch.manual_seed(2)
    assert same(first, build_classifier(name, 7))
    assert not same(first, build_classifier(name, 8))
    assert same(build_segmenter((4, 8), 7), build_segmenter((4, 8), 7))
    assert not same(build_segmenter((4, 8), 7), build_segmenter((4, 8), 8))


def test_building_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    build_classifier("small_resnet", 7)
    build_segmenter((4, 8), 7)
    assert torch.equal(before, torch.get_rng_state())


def test_the_segmenter_gives_one_logit_per_pixel() -> None:
    network = build_segmenter((4, 8, 16), 0)
    assert network(torch.rand(2, 1, 32, 32)).shape == (2, 1, 32, 32)


@pytest.mark.parametrize("side", [64, 96, 160])
def test_the_small_network_takes_the_sides_it_is_for(side: int) -> None:
    assert SmallResNet((2, 2, 4, 4))(torch.rand(1, 1, side, side)).shape == (1, 1)


def test_the_small_network_never_strides_so_that_its_heatmaps_have_no_chequerboard() -> None:
    strides = {module.stride for module in SmallResNet().modules() if isinstance(module, nn.Conv2d)}
    assert strides == {(1, 1)}


def test_an_unknown_backbone_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"network: 'smal_resnet' is not known.*Did you mean 'small_resnet'\?"):
        backbone("smal_resnet")
    with pytest.raises(
        ConfigError, match=r"network: 'vgg' is not known\. Allowed: densenet121, efficientnet_b0, resnet18"
    ):
        build_classifier("vgg", 0)


def test_a_head_that_is_not_linear_is_refused() -> None:
    network = SmallResNet()
    network.head = nn.Identity()  # type: ignore[assignment]
    with pytest.raises(ConfigError, match="head of 'small_resnet' is a Identity, TEA needs a linear layer"):
        head_of(network, "small_resnet")
