"""Matching other explanations than LRP, and features: by hand, true slopes, and no loss at the teacher itself."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from oracles.doubles import by_hand, in_double, linear, shown_to_both
from oracles.made_batches import LAYERS, small_network
from oracles.slopes import assert_gradient_is_the_slope
from torch import Tensor, nn

from medtea.core import bay
from medtea.core.errors import ConfigError
from medtea.core.names import INPUT, Field
from medtea.distil import methods
from medtea.distil.methods import feature_distil
from medtea.distil.methods.grad_cam import grad_cam, of_unit_length
from medtea.distil.methods.method import Context, drawn_mix
from medtea.training.activations import Gradients, activations
from medtea.training.asked import AskedTeacher

EXPLANATIONS = [
    ("gradient_input", {}),
    ("gradient_input", {"distance": "published"}),
    ("gradient_input", {"distance": "cosine"}),
    ("input_gradient", {}),
    ("grad_cam", {}),
    ("attention_distil", {}),
    ("feature_distil", {}),
    ("feature_distil", {"copy_head": False}),
]
CASES = pytest.mark.parametrize(("name", "options"), EXPLANATIONS)


@pytest.mark.parametrize("logits", [1, 3])
@CASES
def test_the_gradient_in_the_weights_is_that_of_central_differences(
    name: str, options: dict[str, Any], logits: int
) -> None:
    method, batch = in_double(name, logits=logits, **options)
    trained = nn.ModuleList([method.network, method.assistant])
    assert assert_gradient_is_the_slope(trained, lambda: method.loss(batch), tensors=6) > 1e-3


@pytest.mark.parametrize("logits", [1, 3])
@CASES
def test_a_teacher_as_its_own_student_has_no_loss_on_what_the_teacher_is_shown(
    name: str, options: dict[str, Any], logits: int
) -> None:
    method, batch = in_double(name, student=0, logits=logits, **options)
    assert method.loss(shown_to_both(batch)).item() < 1e-12
    assert method.loss(batch).item() > 1e-6, "on the whole radiograph it looks elsewhere"


# Of pixels (x, y) the student's logit is x + 2y, the teacher's 3x + 4y. The student sees (5, 7), the teacher (1, 1).
BY_HAND = {"student": (1.0, 2.0), "teacher": (3.0, 4.0), "pixels": [(5.0, 7.0)], "shown": [(1.0, 1.0)]}


def test_gradient_times_input_by_hand() -> None:
    # maps (5, 14) and (3, 4): (2² + 10²) / (3² + 4²)
    loss = by_hand("gradient_input", copy_head=False, **BY_HAND)
    assert loss.item() == pytest.approx(104 / 25)


def test_input_gradient_by_hand_knows_nothing_of_the_pixels() -> None:
    # maps (1, 2) and (3, 4): (2² + 2²) / (3² + 4²)
    loss = by_hand("input_gradient", copy_head=False, **BY_HAND)
    assert loss.item() == pytest.approx(8 / 25)
    assert by_hand("input_gradient", **BY_HAND).item() == 0, "with the teacher's last layer the two are one network"


def test_features_by_hand() -> None:
    # features are the pixels: (4² + 6²) / (1² + 1²); the logits are 19 and 7: 12² / 7² more where the head is its own
    assert by_hand("feature_distil", **BY_HAND).item() == pytest.approx(26)
    assert by_hand("feature_distil", copy_head=False, **BY_HAND).item() == pytest.approx(26 + 144 / 49)


def test_attention_by_hand_is_of_squares_and_of_unit_length() -> None:
    # energies (3, 4) and (4, 3), each of length 5: 2 (1/5)², whatever their size
    for size in (1.0, 7.0):
        pixels, shown = [(3**0.5, 2.0)], [(2.0 * size, 3**0.5 * size)]
        loss = by_hand("attention_distil", student=(1, 1), teacher=(1, 2), pixels=pixels, shown=shown)
        assert loss.item() == pytest.approx(2 / 25)


def test_attention_is_a_mean_over_the_layers_or_of_the_deepest_alone() -> None:
    def unit(activation: Tensor) -> Tensor:
        energy = activation.square().sum(1).flatten(1)
        return energy / energy.square().sum(1, keepdim=True).sqrt()

    # without the last layer, which has one place on radiographs this small
    layers = LAYERS[:-1]
    teacher = small_network(0).double()
    look = AskedTeacher(teacher, teacher.head, layers).look
    losses = {}
    for chosen in ("all", "deepest"):
        method, batch = in_double("attention_distil", layers=chosen)
        method.context = dataclasses.replace(method.context, layers=layers, look=look)
        losses[chosen] = method.loss(batch).item()
    found, wanted = activations(method.network, method.head, batch.radiograph, layers).layers, look(batch).layers
    distances = [(unit(found[one]) - unit(wanted[one])).square().sum(1).mean().item() for one in layers]
    assert losses["all"] == pytest.approx(sum(distances) / len(layers))
    assert losses["deepest"] == pytest.approx(distances[-1])


def test_a_layer_of_one_place_is_not_what_attention_matches() -> None:
    method, batch = in_double("attention_distil", layers="deepest")
    assert method.loss(batch).item() > 1e-6


def test_grad_cam_by_hand() -> None:
    # The mean slope is positive and one number, so that the map is the pixels': (.6, .8) and (.8, .6) at unit length.
    given = {"student": (1.0, 2.0), "pixels": [(3.0, 4.0)], "shown": [(4.0, 3.0)]}
    assert by_hand("grad_cam", teacher=(2, 2), copy_head=False, **given).item() == pytest.approx(0.08)
    # with a negative mean slope the teacher's map is cut to zero, and the student's of unit length stands alone
    assert by_hand("grad_cam", teacher=(-2, -2), copy_head=False, **given).item() == pytest.approx(1)


def test_grad_cam_is_of_the_deepest_layer_that_has_places_to_tell_apart() -> None:
    values = {INPUT: torch.rand(2, 1, 8, 8), "wide": torch.rand(2, 3, 4, 4), "point": torch.rand(2, 5, 1, 1)}
    slopes = {layer: torch.rand_like(value) for layer, value in values.items()}
    found = grad_cam(Gradients(torch.zeros(2, 1), values, slopes))
    # by hand, place by place
    weights = slopes["wide"].sum((2, 3)) / 16
    for row in range(4):
        for column in range(4):
            wanted = (weights * values["wide"][:, :, row, column]).sum(1).clamp_min(0)
            torch.testing.assert_close(found[:, 0, row, column], wanted)


def test_a_map_of_zeros_has_no_length_and_a_finite_slope() -> None:
    maps = torch.zeros(3, 1, 2, 2)
    maps[0, 0, 0] = torch.tensor([3.0, 4.0])
    maps.requires_grad_(True)
    found = of_unit_length(maps)
    assert found[0].flatten().tolist() == pytest.approx([0.6, 0.8, 0, 0])
    assert found[1:].abs().max() == 0
    found.sum().backward()
    assert maps.grad is not None
    assert maps.grad.isfinite().all()


def test_the_mix_is_drawn_in_training_and_always_the_same_in_validation() -> None:
    method, _ = in_double("gradient_input", logits=3)
    assert drawn_mix(method, 2).tolist() == 2 * [[1, -1, 1]]
    method.network.train()
    drawn = drawn_mix(method, 200)
    assert set(drawn.unique().tolist()) == {-1.0, 1.0}
    assert drawn.mean(0).abs().max() < 0.3, "600 coins"


@pytest.mark.parametrize("name", ["gradient_input", "input_gradient", "grad_cam", "feature_distil"])
def test_with_a_head_of_its_own_a_student_keeps_it_and_learns_it(name: str) -> None:
    method, batch = in_double(name, copy_head=False)
    assert all(parameter.requires_grad for parameter in method.head.parameters())
    method.loss(batch).backward()
    assert method.head.weight.grad.abs().sum() > 0
    copied, _ = in_double(name)
    assert not any(parameter.requires_grad for parameter in copied.head.parameters())
    assert not torch.equal(method.head.weight, copied.head.weight)


def test_features_of_another_number_are_brought_to_it_by_what_is_thrown_away() -> None:
    given, network = linear((1.0, 2.0, 3.0)), linear((1.0, 2.0))
    wider = Context(teacher_head=given.head)
    method = feature_distil.Method(network, network.head, feature_distil.Settings(copy_head=False), wider)
    assert method.assistant.regressor.weight.shape == (3, 2)
    assert "regressor" not in str(method.network)
    with pytest.raises(ConfigError, match=r"student's last layer is \(1, 2\) and the teacher's \(1, 3\)"):
        feature_distil.Method(network, network.head, feature_distil.Settings(), wider)


def test_none_of_them_sees_a_label_or_a_mask() -> None:
    for name in {name for name, _ in EXPLANATIONS}:
        sees = bay.load(methods, name, "method").Method.sees
        assert not sees & {Field.LABEL, Field.LUNG_MASK, Field.HOSPITAL, Field.UNBIASED, Field.TEACHER_LOGIT}
