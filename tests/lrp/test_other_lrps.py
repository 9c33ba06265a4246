"""Other people's LRP where it is right: captum's by its own run, zennit's by recorded values."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from captum.attr import LRP
from captum.attr._utils.lrp_rules import EpsilonRule
from oracles.lrp_closed_form import closed_form_network, closed_form_radiographs
from torch import Tensor, nn

from medtea.lrp import HeatmapPass

RECORDED = json.loads((Path(__file__).parent / "recorded" / "zennit.json").read_text())


class WithoutFlatten(nn.Module):
    """The same network with a functional flatten: captum has no rule for the module."""

    def __init__(self, network: nn.Sequential) -> None:
        super().__init__()
        self.there, self.on = network[:5], network[6:]

    def forward(self, x: Tensor) -> Tensor:
        return self.on(self.there(x).flatten(1))


@pytest.mark.parametrize("logit", [0, 1])
@pytest.mark.parametrize("epsilon", [1e-12, 0.05])
def test_epsilon_maps_are_captums_in_a_plain_network(epsilon: float, logit: int):
    # Captum divides by z + ε at every layer, the output and the pools included; ours by a + ε at ReLUs. The same where
    # its pools and its output layer are given next to none. It starts from R = logit, as we do.
    network, x = closed_form_network(), closed_form_radiographs()
    with torch.no_grad():
        found = HeatmapPass(network, x)(x, torch.eye(2)[logit].expand(2, 2), epsilon=epsilon).maps["input"]
    for i, layer in enumerate(network):
        if isinstance(layer, nn.Conv2d | nn.Linear | nn.MaxPool2d):
            last_or_pool = i == len(network) - 1 or isinstance(layer, nn.MaxPool2d)
            layer.rule = EpsilonRule(1e-12 if last_or_pool else epsilon)
    expected = LRP(WithoutFlatten(network)).attribute(x.clone().requires_grad_(), target=logit).detach()
    assert expected.abs().max() > 0.01
    # Captum needs some ε > 0 against 0 / 0; next to activations of .01 and above 1e-12 shows in the eleventh digit.
    torch.testing.assert_close(found, expected, atol=1e-10, rtol=1e-8)


@pytest.mark.parametrize(
    ("recorded", "options", "epsilon", "logit"),
    [
        ("epsilon 0", {}, 0.0, 1),
        ("epsilon 0.05", {}, 0.05, 1),
        ("z_plus", {"convolutions": "z_plus"}, 0.0, 0),
        ("z_plus and box", {"convolutions": "z_plus", "input_box": (-1.0, 1.0)}, 0.0, 0),
    ],
)
def test_maps_are_those_that_zennit_gave(recorded: str, options: dict[str, object], epsilon: float, logit: int):
    # zennit counts positive biases in z+'s denominator and all of them in z^B's, so relevance goes to them; ours pays
    # inputs alone. With no biases at the convolutions both are the papers' rule.
    network = closed_form_network(biased_convolutions=recorded.startswith("epsilon"))
    x = closed_form_radiographs()
    with torch.no_grad():
        heatmap_pass = HeatmapPass(network, x, **options)
        found = heatmap_pass(x, torch.eye(2)[logit].expand(2, 2), epsilon=epsilon).maps["input"]
    expected = torch.tensor(RECORDED[recorded], dtype=torch.float64).view_as(found)
    assert expected.abs().max() > 0.01
    # zennit's stabiliser was 1e-14, against activations of .001 and above.
    torch.testing.assert_close(found, expected, atol=1e-11, rtol=1e-9)
