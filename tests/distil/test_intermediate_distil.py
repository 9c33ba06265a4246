"""Intermediate-layer distillation: what its probes learn from, and its loss worked out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from oracles.made_batches import LAYERS, batch_of, context_of, everything, small_network
from oracles.made_run import made_index, silent_work
from oracles.made_students import card_of, distilled, learning_rows, taught
from torch import Tensor

from medtea.core.errors import ConfigError
from medtea.core.names import Field
from medtea.core.settings import parse
from medtea.distil.methods.intermediate_distil import Method, Settings
from medtea.training.activations import activations
from medtea.training.linear_probes import pooled
from medtea.training.networks import SmallCNN


def made(student: torch.nn.Module | None = None, *, logits: int = 1, **options: Any) -> tuple[Any, Any]:
    """The method in evaluation mode, its probes as they begin, and everything it sees of 16 radiographs."""
    teacher, network = small_network(0, logits=logits), student or small_network(1, logits=logits)
    settings = parse(Settings, options, "distil.intermediate_distil.options")
    method = Method(network, network.head, settings, context_of(teacher, Method.sees))
    method.network.eval()
    batch = batch_of(teacher, Method.sees)
    method.loss(batch)
    return method, batch


def scatter(method: Any) -> None:
    torch.manual_seed(5)
    for parameter in method.assistant.parameters():
        torch.nn.init.normal_(parameter, std=0.5)


def divergence(wanted: Tensor, found: Tensor, temperature: float) -> float:
    """Sum over classes of p log(p / q), the mean over the batch, written out."""
    p, q = ((z / temperature).double().softmax(1) for z in (wanted, found))
    return (p * (p / q).log()).sum(1).mean().item()


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_the_loss_is_cross_entropy_and_a_divergence_at_each_layer_and_at_the_last(temperature: float) -> None:
    weights, final = (0.5, 1.0, 2.0, 0.0, 3.0), 0.7
    method, batch = made(logits=3, temperature=temperature, weights=weights, final_weight=final)
    scatter(method)
    wanted = method.context.look(batch)
    found = activations(method.network, method.head, batch.radiograph, LAYERS)
    labels = batch[Field.LABEL].long()
    expected = float(-found.logits.detach().log_softmax(1)[torch.arange(16), labels].mean())
    expected += final * temperature**2 * divergence(wanted.logits, found.logits, temperature)
    for number, (layer, weight) in enumerate(zip(LAYERS, weights, strict=True)):
        theirs = method.assistant.teachers[number](wanted.layers[layer].mean((2, 3)))
        mine = method.assistant.students[number](found.layers[layer].mean((2, 3)))
        expected += weight * temperature**2 * divergence(theirs, mine, temperature)
    assert method.loss(batch).item() == pytest.approx(expected, rel=1e-5)


def test_of_one_logit_the_two_classes_are_compared() -> None:
    # KL of Bernoullis with p = sigmoid(z / T), for the last layer alone
    method, batch = made(final_weight=1.0, temperature=2.0, weights=(0.0,) * 5)
    wanted, found = method.context.look(batch).logits, method.network(batch.radiograph)
    p, q = torch.sigmoid(wanted / 2), torch.sigmoid(found / 2)
    kl = (p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()).mean()
    ce = torch.nn.functional.binary_cross_entropy_with_logits(found[:, 0], batch[Field.LABEL])
    assert method.loss(batch).item() == pytest.approx(float(ce + 4 * kl), rel=1e-5)


def test_the_divergence_of_a_probe_moves_the_students_layers_and_not_the_teachers_probe() -> None:
    method, batch = made(final_weight=0.0, layers=("stage2",))
    scatter(method)
    method.loss(batch).backward()
    assert all(parameter.grad is None for parameter in method.assistant.teachers.parameters())
    assert all(parameter.grad.abs().sum() > 0 for parameter in method.assistant.students.parameters())
    with_probe = method.network.stage2[1].conv1.weight.grad.clone()
    method, batch = made(final_weight=0.0, layers=("stage2",), weights=(0.0,))
    method.loss(batch).backward()
    assert not torch.allclose(with_probe, method.network.stage2[1].conv1.weight.grad)


def test_a_student_that_is_its_teacher_with_its_probes_has_the_cross_entropy_alone() -> None:
    teacher = small_network(0)
    method, batch = made(small_network(0))
    scatter(method)
    method.assistant.students.load_state_dict(method.assistant.teachers.state_dict())
    shown = {Field.RADIOGRAPH: batch.for_teacher[Field.TWIN], Field.LABEL: batch[Field.LABEL]}
    same = type(batch)(batch.rows, shown, {}, for_teacher=batch.for_teacher)
    with torch.no_grad():
        logits = teacher.eval()(same.radiograph)[:, 0]
    ce = torch.nn.functional.binary_cross_entropy_with_logits(logits, batch[Field.LABEL])
    assert method.loss(same).item() == pytest.approx(float(ce), rel=1e-5)


def test_a_student_of_another_architecture_is_probed_where_its_resolution_is_nearest() -> None:
    # the student's stages end at 8, 4 and 2 pixels, nearest in ratio to 16, 4 and 1
    student = SmallCNN((2, 3, 4), channels=1, logits=1)
    student.pool = torch.nn.AdaptiveAvgPool2d(1)
    student.head = torch.nn.Linear(4, 1)
    teacher = small_network(0)
    context = context_of(teacher, Method.sees)
    context = type(context)(**{**vars(context), "layers": ("stage1", "stage2", "stage3")})
    method = Method(student, student.head, Settings(layers=("stem", "stage2", "stage4")), context)
    assert method.loss(batch_of(teacher, Method.sees)).isfinite()
    assert method._pairs == [("stage1", "stem"), ("stage2", "stage2"), ("stage3", "stage4")]
    assert [probe.in_features for probe in method.assistant.students] == [2, 3, 4]
    assert [probe.in_features for probe in method.assistant.teachers] == [2, 3, 4]


@pytest.mark.parametrize("probes", ["unbiased", "training"])
def test_the_teachers_probes_are_trained_first_on_what_the_settings_say(probes: str) -> None:
    method, _ = made(probes=probes, probe_epochs=7)
    teacher = small_network(0)
    phases = method.phases(lambda: everything(teacher, Method.sees))
    first = next(phases)
    assert (first.name, first.unbiased_only, first.loop) == ("probes", probes == "unbiased", {"epochs": 7})
    assert first.task.network is method.assistant.teachers
    batch = batch_of(teacher, Method.sees)
    before = first.task.loss(batch)
    # at 0 each of the five probes is as unsure as can be
    assert before.item() == pytest.approx(5 * np.log(2), rel=1e-5)
    before.backward()
    assert all(probe.weight.grad.abs().sum() > 0 for probe in first.task.network)
    assert all(parameter.grad is None for parameter in method.network.parameters())
    second = next(phases)
    assert (second.name, second.task, second.unbiased_only) == ("", method, False)
    assert not any(parameter.requires_grad for parameter in method.assistant.teachers.parameters())
    assert list(phases) == []
    assert (Field.UNBIASED in Method.sees_with(method.settings)) is (probes == "unbiased")


def test_beginning_draws_nothing_and_leaves_the_students_statistics() -> None:
    method, batch = made()
    method.network.train()
    before = {key: value.clone() for key, value in method.network.state_dict().items()}
    state = torch.get_rng_state()
    method._begin(batch)
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(before[key], value) for key, value in method.network.state_dict().items())
    assert method.network.training


def test_pooling_is_the_mean_over_places() -> None:
    assert pooled(torch.tensor([[[[1.0, 3.0], [5.0, 7.0]], [[0.0, 0.0], [0.0, 1.0]]]])).tolist() == [[4.0, 0.25]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": ["stage9"]}, r"the teacher has no layer 'stage9'.*Did you mean 'stage"),
        ({"weights": [1.0]}, r"options\.weights: 1 weights for 5 layers, which are stem, stage1"),
    ],
)
def test_layers_and_weights_must_be_the_teachers(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        made(**options)


def test_a_specialist_teaches_a_student_by_way_of_both_stages(tmp_path: Path) -> None:
    work = silent_work(tmp_path)
    index = made_index(work, learning_rows(unbiased=8))
    teacher = taught(work, index, teacher="specialist")
    (student,) = distilled(work, index, teacher, ["intermediate_distil"], options={"probe_epochs": 2})
    card = card_of(student)
    assert card["options"]["probes"] == "unbiased"
    assert Field.UNBIASED in card["sees"]
    assert (card["trained_on"], card["selected_on"]) == (18, 4)
    probes = {"phase": "probes", "unbiased_only": True, "trained_on": 6, "selected_on": 2}
    assert card["before"] == [probes], "the teacher's probes have not seen a biased radiograph"
    assert (student.folder / "probes" / "history.csv").exists()
