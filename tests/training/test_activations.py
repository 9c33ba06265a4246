"""What is read off a network on the way is what it computes; a teacher that is asked does not change."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from oracles.made_batches import LAYERS, made_arrays, small_network
from torch import nn

from medtea.core.errors import UsageError
from medtea.core.names import INPUT, Field
from medtea.data.loader import Batch
from medtea.training.activations import activations, gradients
from medtea.training.asked import AskedTeacher

RADIOGRAPH = torch.from_numpy(made_arrays(4)[Field.RADIOGRAPH])


def hooks(network: nn.Module) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in network.modules())


def test_activations_are_those_of_an_ordinary_forward_pass() -> None:
    network = small_network(0, logits=3).eval()
    found = activations(network, network.head, RADIOGRAPH, LAYERS)
    assert torch.equal(found.logits, network(RADIOGRAPH))
    assert list(found.layers) == list(LAYERS)
    torch.testing.assert_close(network.head(found.features), found.logits)
    # a layer's output put through what follows it is the logits again
    shallow = network.get_submodule(LAYERS[0])(RADIOGRAPH)
    assert torch.equal(found.layers[LAYERS[0]], shallow)


def test_a_gradient_flows_through_activations_to_the_weights() -> None:
    network = small_network(0)
    activations(network, network.head, RADIOGRAPH, LAYERS).layers[LAYERS[1]].sum().backward()
    assert network.stem[0].weight.grad is not None
    assert network.head.weight.grad is None


def test_slopes_are_those_of_the_mix_of_logits_and_of_small_steps() -> None:
    network = small_network(0, logits=3).double().eval()
    shown, mix = RADIOGRAPH.double(), torch.tensor([[1.0, -1, 0.5]]).double().expand(4, 3)
    found = gradients(network, shown, mix, layers=LAYERS)
    assert list(found.values) == list(found.slopes) == [INPUT, *LAYERS]
    direction, step = torch.randn(shown.shape, dtype=torch.float64), 1e-6
    with torch.no_grad():
        ahead, behind = (network(shown + sign * step * direction) * mix for sign in (1, -1))
    # each radiograph for itself; float64 leaves about 1e-10
    slope = (ahead - behind).sum(1) / (2 * step)
    torch.testing.assert_close((found.slopes[INPUT] * direction).sum((1, 2, 3)), slope, rtol=1e-6, atol=1e-8)
    # the deepest layer is pooled and put through the head: its slope is the head's weights over the places
    deepest = found.slopes[LAYERS[-1]]
    places = deepest[0, 0].numel()
    torch.testing.assert_close(deepest.sum((2, 3)), mix @ network.head.weight)
    torch.testing.assert_close(deepest.amax((2, 3)) * places, mix @ network.head.weight)


@pytest.mark.parametrize("create_graph", [False, True])
def test_slopes_can_be_had_where_no_gradient_is_wanted_and_trained_through_on_request(create_graph: bool) -> None:
    network = small_network(0).eval()
    with torch.no_grad():
        found = gradients(network, RADIOGRAPH, torch.ones(4, 1), create_graph=create_graph)
    assert found.slopes[INPUT].requires_grad is create_graph
    assert found.values[INPUT].requires_grad is create_graph
    assert not RADIOGRAPH.requires_grad
    assert all(parameter.grad is None for parameter in network.parameters())
    if create_graph:
        found.slopes[INPUT].square().sum().backward()
        assert network.stem[0].weight.grad is not None


def test_no_hook_is_left_behind_even_after_an_error() -> None:
    network = small_network(0)
    activations(network, network.head, RADIOGRAPH, LAYERS)
    gradients(network, RADIOGRAPH, torch.ones(4, 1), layers=LAYERS)
    for call in (
        lambda: activations(network, network.head, RADIOGRAPH[:, :, 0], LAYERS),
        lambda: gradients(network, RADIOGRAPH[:, :, 0], torch.ones(4, 1), layers=LAYERS),
    ):
        with pytest.raises(RuntimeError, match=r"input|channels"):
            call()
    assert hooks(network) == 0


# ---- the teacher


def asked_batch() -> Batch:
    for_teacher = Batch(np.arange(4), {Field.TWIN: torch.from_numpy(made_arrays(4)[Field.TWIN])}, {})
    return Batch(np.arange(4), {Field.RADIOGRAPH: RADIOGRAPH}, {}, for_teacher=for_teacher)


def test_a_teacher_that_is_asked_answers_of_its_own_part_of_the_batch_and_stays_as_it_is() -> None:
    network = small_network(0, logits=3)
    before = copy.deepcopy(network.state_dict())
    asked = AskedTeacher(network, network.head, LAYERS)
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())
    looked, sloped = asked.look(asked_batch()), asked.slopes(asked_batch(), torch.ones(4, 3))
    twin = torch.from_numpy(made_arrays(4)[Field.TWIN])
    with torch.no_grad():
        assert torch.equal(looked.logits, network(twin))
    torch.testing.assert_close(sloped.logits, looked.logits)
    assert torch.equal(sloped.values[INPUT], twin)
    assert not any(value.requires_grad for value in (*looked.layers.values(), *sloped.slopes.values(), looked.features))
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_a_batch_without_what_the_teacher_is_shown_is_refused() -> None:
    network = small_network(0)
    with pytest.raises(UsageError, match="without what the teacher is shown"):
        AskedTeacher(network, network.head, LAYERS).look(Batch(np.arange(4), {Field.RADIOGRAPH: RADIOGRAPH}, {}))
