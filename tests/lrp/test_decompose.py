"""Contextual decomposition: its two parts add up to the logit, whatever the network, and all of it is all of it."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from medtea.core.errors import UsageError
from medtea.lrp.decompose import ContextualDecomposition
from medtea.training.networks import build_classifier

NETWORKS = ["small_resnet", "tiny_cnn", pytest.param("densenet121", marks=pytest.mark.slow)]


def made(name: str, *, training: bool = False) -> tuple[nn.Module, Tensor, Tensor]:
    """A network in float64, radiographs that are black in places, and a part of them."""
    size = 28 if name == "tiny_cnn" else 32
    network = build_classifier(name, 3, logits=2).double().train(training)
    radiograph = torch.rand(3, 1, size, size, generator=torch.Generator().manual_seed(0)).double()
    radiograph[..., :9, :9] = 0
    part = torch.zeros_like(radiograph)
    part[..., size // 3 :] = 1
    return network, radiograph, part


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_parts_add_up_to_the_logits(name: str, training: bool) -> None:
    network, radiograph, part = made(name, training=training)
    own = copy.deepcopy(network)
    relevant, irrelevant = ContextualDecomposition(network, radiograph)(radiograph, part)
    torch.testing.assert_close(relevant + irrelevant, own(radiograph))
    assert (relevant.abs() > 1e-6).all()
    assert (irrelevant.abs() > 1e-6).all()
    for (key, value), moved in zip(network.state_dict().items(), own.state_dict().values(), strict=True):
        torch.testing.assert_close(value, moved, msg=key)  # running statistics moved once


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_whole_radiograph_is_all_of_the_logit_and_none_of_it_is_nothing(name: str, training: bool) -> None:
    network, radiograph, _ = made(name, training=training)
    decompose = ContextualDecomposition(network, radiograph)
    relevant, irrelevant = decompose(radiograph, torch.ones_like(radiograph))
    assert (irrelevant == 0).all()
    assert (relevant != 0).all()
    relevant, irrelevant = decompose(radiograph, torch.zeros_like(radiograph))
    assert (relevant == 0).all()


def test_a_network_without_biases_or_activations_gives_each_part_its_own_logit() -> None:
    network = nn.Sequential(nn.Conv2d(1, 3, 3, bias=False), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(27, 2, bias=False))
    radiograph, part = torch.rand(2, 1, 8, 8), torch.randint(0, 2, (2, 1, 8, 8)).float()
    relevant, irrelevant = ContextualDecomposition(network, radiograph)(radiograph, part)
    torch.testing.assert_close(relevant, network(radiograph * part))
    torch.testing.assert_close(irrelevant, network(radiograph * (1 - part)))


def test_the_rules_are_those_worked_out_by_hand() -> None:
    # two pixels, the first of which is the part; one unit 2 x - 3 y + 1, a ReLU, and one logit 5 a
    network = nn.Sequential(nn.Flatten(), nn.Linear(2, 1), nn.ReLU(), nn.Linear(1, 1, bias=False))
    network[1].weight.data, network[1].bias.data = torch.tensor([[2.0, -3.0]]), torch.tensor([1.0])
    network[3].weight.data.fill_(5.0)
    radiograph, part = torch.tensor([[[[3.0, 1.0]]]]), torch.tensor([[[[1.0, 0.0]]]])
    # W r = 6, W i = -3; the bias 1 goes 6 to 3: r = 6 2/3, i = -2 2/3; relu: 6 2/3 and 4 - 6 2/3
    relevant, irrelevant = ContextualDecomposition(network, radiograph)(radiograph, part)
    torch.testing.assert_close(relevant, torch.tensor([[5 * (6 + 2 / 3)]]))
    torch.testing.assert_close(irrelevant, torch.tensor([[5 * (4 - 6 - 2 / 3)]]))


def test_a_pool_hands_on_both_parts_of_its_largest_value() -> None:
    network = nn.Sequential(nn.MaxPool2d(2), nn.Flatten(), nn.Linear(1, 1, bias=False))
    network[2].weight.data.fill_(1.0)
    radiograph = torch.tensor([[[[1.0, 4.0], [2.0, 3.0]]]])
    decompose = ContextualDecomposition(network, radiograph)
    assert decompose(radiograph, torch.tensor([[[[1.0, 0.0], [1.0, 1.0]]]]))[0].item() == 0
    assert decompose(radiograph, torch.tensor([[[[0.0, 1.0], [0.0, 0.0]]]]))[0].item() == 4


def test_in_training_the_logits_have_the_gradient_of_ordinary_training() -> None:
    network, radiograph, part = made("small_resnet", training=True)
    own = copy.deepcopy(network)
    relevant, irrelevant = ContextualDecomposition(network, radiograph)(radiograph, part)
    (relevant + irrelevant).square().sum().backward()
    own(radiograph).square().sum().backward()
    for (key, found), wanted in zip(network.named_parameters(), own.parameters(), strict=True):
        torch.testing.assert_close(found.grad, wanted.grad, msg=key)


@pytest.mark.parametrize(
    ("network", "operator"), [(nn.Sigmoid(), "aten.sigmoid.default"), (nn.GroupNorm(1, 1), "aten.group_norm.default")]
)
def test_what_has_no_rule_is_refused_by_name(network: nn.Module, operator: str) -> None:
    whole = nn.Sequential(network, nn.Flatten(), nn.Linear(16, 2))
    with pytest.raises(UsageError, match=f"'{operator}' in module '0' has no rule of contextual decomposition"):
        ContextualDecomposition(whole, torch.rand(1, 1, 4, 4))
