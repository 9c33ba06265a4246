"""relevance(): a stranger's network in one call, and agreement with captum."""

from __future__ import annotations

import pytest
import torch
from captum.attr import InputXGradient
from oracles.lrp_networks import build

from medtea.core.errors import UsageError
from medtea.lrp import relevance


@pytest.mark.parametrize("name", ["plain", "small_resnet"])
def test_values_are_those_of_captums_input_x_gradient(name: str):
    family = build(name)
    for module in family.network.modules():  # captum refuses none of this, but its hooks need out-of-place ReLUs
        if isinstance(module, torch.nn.ReLU):
            module.inplace = False
    for logit in (0, 1):
        x = family.radiograph.clone().requires_grad_()
        expected = InputXGradient(family.network).attribute(x, target=logit).detach()
        # rounding only: the same sums in another order
        torch.testing.assert_close(
            relevance(family.network, family.radiograph, logit), expected, atol=1e-12, rtol=1e-10
        )


def test_network_is_judged_in_eval_mode_and_keeps_its_modes():
    family = build("plain")
    expected = relevance(family.network, family.radiograph, epsilon=0.01)
    family.network.train()
    family.network[4].eval()
    found = relevance(family.network, family.radiograph, epsilon=0.01)
    assert torch.equal(found, expected)
    assert not found.requires_grad
    assert family.network.training
    assert not family.network[4].training


def test_modes_are_kept_when_the_network_is_refused():
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Softplus()).train()
    with pytest.raises(UsageError, match="softplus"):
        relevance(network, torch.rand(1, 1, 2, 2))
    assert network.training


@pytest.mark.parametrize("logit", [-1, 2])
def test_unknown_logit_is_refused(logit: int):
    family = build("plain")
    with pytest.raises(UsageError, match=rf"logit is {logit}; the network has logits 0 to 1"):
        relevance(family.network, family.radiograph, logit)
