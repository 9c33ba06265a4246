"""One door to several explainers, each held to a law of its own."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from medtea.core.errors import UsageError
from medtea.explain import EXPLAINERS, explain
from medtea.lrp import relevance


@pytest.fixture
def network() -> nn.Sequential:
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2), nn.Conv2d(4, 6, 3, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 2),
    )  # fmt: skip


@pytest.fixture
def radiograph() -> torch.Tensor:
    return torch.rand(2, 1, 16, 16, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("by", sorted(EXPLAINERS))
def test_every_explainer_gives_a_map_on_the_radiographs_grid(by: str, network, radiograph) -> None:
    options = {"layer": "3"} if by == "grad_cam" else {}
    network.train()
    found = explain(network, radiograph, by=by, logit=1, **options)
    assert found.shape == radiograph.shape
    assert not found.requires_grad
    assert torch.isfinite(found).all()
    assert found.abs().sum() > 0
    assert all(module.training for module in network.modules())


def test_lrp_is_our_own(network, radiograph) -> None:
    assert torch.equal(explain(network, radiograph, epsilon=0.01), relevance(network, radiograph, 0, epsilon=0.01))


def test_integrated_gradients_add_up_to_the_change_from_black(network, radiograph) -> None:
    found = explain(network, radiograph, by="integrated_gradients", logit=1, n_steps=200)
    change = network(radiograph)[:, 1] - network(torch.zeros_like(radiograph))[:, 1]
    torch.testing.assert_close(found.sum((1, 2, 3)), change.detach(), rtol=0, atol=1e-3)


def test_saliency_keeps_the_gradients_sign(network, radiograph) -> None:
    x = radiograph.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(network(x)[:, 0].sum(), x)
    torch.testing.assert_close(explain(network, radiograph, by="saliency"), gradient)
    assert (gradient < 0).any()


def test_occlusion_is_zero_where_the_network_does_not_look(radiograph) -> None:
    class Corner(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x[:, :, :4, :4].mean((1, 2, 3), keepdim=False)[:, None]

    found = explain(Corner(), radiograph, by="occlusion", window=4)
    assert found[..., 8:, 8:].abs().max() == 0
    assert found[..., :2, :2].min() > 0


def test_an_unknown_explainer_or_layer_names_the_nearest(network, radiograph) -> None:
    with pytest.raises(UsageError, match="Did you mean 'saliency'"):
        explain(network, radiograph, by="saliensy")
    with pytest.raises(UsageError, match="grad_cam needs layer="):
        explain(network, radiograph, by="grad_cam")
