"""RRR, GradMask, GALS, GAIN, ActDiff and CDEP: losses by hand, and what a corner that names the label is worth."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from oracles.made_batches import batch_of, context_of, made_arrays, small_network
from oracles.planted_corner import accuracy_reversed, gradient_in_corner, planted, trained_on_it
from oracles.slopes import assert_gradient_is_the_slope
from torch import Tensor, nn

from medtea.core.errors import ConfigError
from medtea.core.names import INPUT, Field
from medtea.data.loader import Batch
from medtea.distil.methods import actdiff, cdep, erm, gain, gals, gradmask, rrr
from medtea.distil.methods.method import Context
from medtea.training.activations import gradients, still_statistics


def linear(*weights: float, logits: int = 1) -> nn.Sequential:
    """<w, x> of a radiograph of two pixels, one row of weights a logit."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(2, logits, bias=False))
    network[1].weight.data = torch.tensor(weights).view(logits, 2)
    return network


def two_pixels(label: float, **fields: Any) -> Batch:
    """A lung pixel of 1, and a background pixel of 2."""
    given = {
        Field.RADIOGRAPH: torch.tensor([[[[1.0, 2.0]]]]),
        Field.LUNG_MASK: torch.tensor([[[[1.0, 0.0]]]]),
        Field.LABEL: torch.tensor([label]),
    }
    return Batch(np.arange(1), given, **{"heatmaps": {}, **fields})


def of(module: Any, network: nn.Sequential, **options: Any) -> Any:
    return module.Method(network, network[1], module.Settings(**options), Context())


def in_double(module: Any, *, logits: int, **options: Any) -> tuple[Any, Batch]:
    teacher, network = small_network(0, logits=logits), small_network(1, logits=logits).double().eval()
    settings = module.Settings(**options)
    sees = module.Method.sees_with(settings)
    given = batch_of(teacher, sees)
    fields = {field: given[field][:4].double() for field in sees}
    return module.Method(network, network.head, settings, context_of(teacher, sees)), Batch(given.rows[:4], fields, {})


# --- by hand


@pytest.mark.parametrize("label", [0.0, 1.0])
def test_the_input_gradient_penalties_are_those_worked_out_by_hand(label: float) -> None:
    # z = 3 x0 - x1 = 1 and p = sigmoid(1); outside the lungs dz/dx is -1
    p = torch.sigmoid(torch.tensor(1.0)).item()
    entropy = -np.log(p if label else 1 - p)
    wanted = {
        rrr: 10 * (-1 * (1 - 2 * p)) ** 2,  # d sum log p / dz = 1 - 2p
        gradmask: 10 * 1.0,  # d z / dx, or of -z
        gals: 10 * abs(p - label) / 2,  # d CE / dz = p - y; a mean over two pixels
    }
    for module, penalty in wanted.items():
        method = of(module, linear(3.0, -1.0), penalty=10.0)
        assert method.loss(two_pixels(label)).item() == pytest.approx(entropy + penalty, rel=1e-5), module.__name__


def test_with_two_logits_the_penalties_are_of_what_two_classes_have_in_common() -> None:
    # z0 = 0 and z1 = z is the network of one logit
    one, two = linear(3.0, -1.0), linear(0.0, 0.0, 3.0, -1.0, logits=2)
    for module in (rrr, gradmask, gals):
        losses = [of(module, network).loss(two_pixels(1.0)).item() for network in (one, two)]
        assert losses[0] == pytest.approx(losses[1], rel=1e-5), module.__name__


def test_gals_may_follow_the_teachers_heatmap_and_leaves_out_who_has_none() -> None:
    network = linear(3.0, -1.0)
    assert gals.Method.sees_with(gals.Settings(guide="teacher_heatmap")) == {
        Field.RADIOGRAPH,
        Field.LABEL,
        Field.TEACHER_HEATMAP,
    }
    guided = of(gals, network, penalty=10.0, guide="teacher_heatmap")
    maps = {INPUT: torch.tensor([[[[0.5, -2.0]]]]), "deep": torch.ones(1, 1, 1, 1)}
    p = torch.sigmoid(torch.tensor(1.0)).item()
    # |R| over its maximum is 1/4 and 1: of the lung pixel 3/4 counts, of the other nothing
    wanted = -np.log(p) + 10 * (1 - p) * (3 * 3 / 4) / 2
    assert guided.loss(two_pixels(1.0, heatmaps=maps)).item() == pytest.approx(wanted, rel=1e-5)
    nothing = {INPUT: torch.zeros(1, 1, 1, 2)}
    assert guided.loss(two_pixels(1.0, heatmaps=nothing)).item() == pytest.approx(-np.log(p), rel=1e-5)
    with pytest.raises(ConfigError, match=r"gals\.options\.layer: no map of 'inputs' is stored.*Did you mean 'input'"):
        of(gals, network, guide="teacher_heatmap", layer="inputs").loss(two_pixels(1.0, heatmaps=maps))


def test_gains_mask_is_compared_with_a_map_that_fills_it() -> None:
    full = torch.tensor([[[[0.0, 4.0], [2.0, 0.0]]]])
    assert gain.over_maximum(full).tolist() == [[[[0.0, 1.0], [0.5, 0.0]]]]
    assert gain.over_maximum(0 * full).tolist() == (0 * full).tolist()
    logits = torch.tensor([[1.0, 5.0], [2.0, 3.0]])
    assert gain.score(logits, torch.tensor([1.0, 0.0])).tolist() == [5, 2]
    assert gain.score(logits[:, :1], torch.tensor([1.0, 0.0])).tolist() == [1, -2]


def test_gain_attends_by_a_layer_that_has_room_for_two_lungs() -> None:
    method, batch = in_double(gain, logits=1)
    method.loss(batch)
    assert method._layer == "stage2"  # 4 x 4 of a radiograph of 16 pixels; the next has 2 x 2


def test_shuffling_moves_what_lies_outside_the_mask_and_loses_nothing() -> None:
    radiograph = torch.arange(2 * 3 * 16.0).view(2, 3, 4, 4)
    mask = torch.zeros(2, 1, 4, 4)
    mask[0, :, 1:3] = mask[1, :, :, 0] = 1
    moved = actdiff.shuffled_outside(radiograph, mask, torch.rand(2, 16))
    inside = mask.expand_as(radiograph) > 0
    assert torch.equal(moved[inside], radiograph[inside])
    assert not torch.equal(moved, radiograph)
    for one, other in zip(moved.flatten(2), radiograph.flatten(2), strict=True):
        assert torch.equal(one.sort(1).values, other.sort(1).values)
    # the channels of a pixel stay together
    assert torch.equal(moved[:, 1] - moved[:, 0], torch.full((2, 4, 4), 16.0))


def test_actdiff_has_no_penalty_where_nothing_lies_outside_the_mask() -> None:
    for outside in ("shuffled", "removed"):
        method, batch = in_double(actdiff, logits=1, outside=outside, layers="all")
        plain = erm.Method(method.network, method.head, erm.Settings(), Context())
        assert method.loss(batch).item() > plain.loss(batch).item() + 1e-3
        every = Batch(batch.rows, {**batch._fields, Field.LUNG_MASK: torch.ones(4, 1, 16, 16).double()}, {})
        torch.testing.assert_close(method.loss(every), plain.loss(every))


def test_a_second_look_in_training_leaves_the_running_statistics_alone() -> None:
    network = small_network(1).train()
    before = {key: value.clone() for key, value in network.state_dict().items() if "running" in key}
    radiograph = 2 * torch.from_numpy(made_arrays()[Field.RADIOGRAPH])
    with still_statistics(network):
        network(radiograph)
    assert all(torch.equal(network.state_dict()[key], value) for key, value in before.items())
    network(radiograph)
    assert not any(torch.equal(network.state_dict()[key], value) for key, value in before.items())


def test_cdep_has_the_share_of_the_background_by_hand() -> None:
    # z = 3 x0 - x1 without bias: the background gives -2 and the lungs 3
    entropy = -np.log(torch.sigmoid(torch.tensor(1.0)).item())
    method = of(cdep, linear(3.0, -1.0), penalty=10.0)
    assert method.loss(two_pixels(1.0)).item() == pytest.approx(entropy + 10 * 2 / 5, rel=1e-5)
    two = of(cdep, linear(0.0, 0.0, 3.0, -1.0, logits=2), penalty=10.0, part="published")
    published = (torch.sigmoid(torch.tensor(0.0)) + torch.sigmoid(torch.tensor(-2.0 - 3.0))).item() / 2
    assert two.loss(two_pixels(1.0)).item() == pytest.approx(entropy + 10 * published, rel=1e-5)
    with pytest.raises(ConfigError, match="'published' needs a logit for every class"):
        of(cdep, linear(3.0, -1.0), part="published")


# --- gradients


def test_what_is_explained_may_be_a_function_of_the_logits() -> None:
    network = small_network(1).double().eval()
    radiograph = torch.from_numpy(made_arrays(3)[Field.RADIOGRAPH]).double()
    by_function = gradients(network, radiograph, lambda logits: logits[:, 0].square(), layers=["stage1"])
    by_cotangent = gradients(network, radiograph, 2 * by_function.logits, layers=["stage1"])
    for layer in (INPUT, "stage1"):
        torch.testing.assert_close(by_function.slopes[layer], by_cotangent.slopes[layer])
    inner = gradients(network, radiograph, lambda logits: logits[:, 0].square(), layers=["stage1"], at_input=False)
    assert list(inner.slopes) == ["stage1"]
    torch.testing.assert_close(inner.slopes["stage1"], by_function.slopes["stage1"])


@pytest.mark.parametrize("logits", [1, 3])
@pytest.mark.parametrize("module", [rrr, gain, cdep], ids=lambda module: module.__name__.rpartition(".")[2])
def test_the_gradient_in_the_weights_is_that_of_central_differences(module: Any, logits: int) -> None:
    method, batch = in_double(module, logits=logits)
    # a short step crosses few ReLUs
    assert assert_gradient_is_the_slope(method.network, lambda: method.loss(batch), tensors=6, step=1e-8) > 1e-2


# --- a corner that names the label


@pytest.mark.parametrize(
    ("module", "options"),
    [
        (rrr, {"penalty": 10.0}),
        (gals, {}),
        (gradmask, {"penalty": 0.1}),
        (cdep, {}),
        (actdiff, {"penalty": 0.1, "outside": "removed"}),
    ],
    ids=lambda of: of.__name__.rpartition(".")[2] if hasattr(of, "__name__") else "",
)
def test_the_penalty_takes_the_network_off_the_corner(module: Any, options: dict[str, Any]) -> None:
    method = trained_on_it(module, steps=STEPS, **options)
    assert gradient_in_corner(method) < 0.5 * gradient_in_corner(plain())
    assert accuracy_reversed(method) > 0.9


def test_erm_reads_the_corner() -> None:
    assert accuracy_reversed(plain()) == 0
    with torch.no_grad():
        right: Tensor = (plain().network(planted(7).radiograph)[:, 0] > 0) == planted(7)[Field.LABEL]
    assert right.all()


STEPS = 150
PLAIN: list[Any] = []


def plain() -> Any:
    """ERM after as many steps, trained once."""
    if not PLAIN:
        PLAIN.append(trained_on_it(erm, steps=STEPS))
    return PLAIN[0]
