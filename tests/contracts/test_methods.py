"""One contract for every file of the bay of methods; and TEA's gradient against finite differences."""

from __future__ import annotations

import inspect
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from oracles.made_batches import (
    LAYERS,
    NotedBatch,
    batch_of,
    everything,
    losses_of_training,
    made_arrays,
    small_network,
    taught,
    view_of,
)
from torch import Tensor

from medtea.core import bay
from medtea.core.errors import ConfigError, UsageError
from medtea.core.names import Field
from medtea.core.settings import StrictSettings, parse
from medtea.data.loader import Batch
from medtea.distil import methods
from medtea.distil.methods import tea
from medtea.distil.methods.method import TeacherView, copy_head
from medtea.training.networks import SmallResNet

EVERY = bay.names(methods)


def module_of(name: str) -> ModuleType:
    return bay.load(methods, name, "distil.method")


def made(name: str, *, student: int = 1, **options: Any) -> tuple[Any, SmallResNet]:
    """A method with a student, and its teacher."""
    module, teacher, network = module_of(name), small_network(0), small_network(student)
    settings = parse(module.Settings, options, f"distil.{name}.options")
    view = view_of(teacher, module.Method.sees)
    return module.Method(network, network.head, settings, view), teacher


# --- the contract


@pytest.mark.parametrize("name", EVERY)
def test_a_method_has_settings_with_defaults_and_says_in_a_line_what_it_is(name: str) -> None:
    module = module_of(name)
    assert issubclass(module.Settings, StrictSettings)
    assert module.Settings() == parse(module.Settings, {}, "")
    line = bay.summary(module)
    assert 20 <= len(line) <= 120
    assert line.endswith(".")
    assert inspect.getdoc(module.Settings)


@pytest.mark.parametrize("name", EVERY)
def test_a_method_declares_what_it_sees_and_sees_the_radiograph(name: str) -> None:
    sees = module_of(name).Method.sees
    assert isinstance(sees, frozenset)
    assert all(isinstance(field, Field) for field in sees)
    assert Field.RADIOGRAPH in sees


@pytest.mark.parametrize("name", EVERY)
def test_with_exactly_what_it_declares_its_loss_is_finite_and_reaches_every_weight(name: str) -> None:
    method, teacher = made(name)
    batch = NotedBatch(batch_of(teacher, method.sees))
    method.network.train()
    loss = method.loss(batch)
    assert loss.shape == ()
    assert loss.isfinite()
    loss.backward()
    trained = {key: p for key, p in method.network.named_parameters() if p.requires_grad}
    assert trained
    for key, parameter in trained.items():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
    assert sum(float(parameter.grad.abs().sum()) for parameter in trained.values()) > 0
    assert batch.looked_at == method.sees - {Field.TEACHER_HEAD}, "what is declared and not looked at is a false claim"


@pytest.mark.parametrize("name", EVERY)
def test_without_one_of_the_fields_it_declares_a_method_fails_by_name(name: str) -> None:
    method, teacher = made(name)
    for field in method.sees - {Field.TEACHER_HEAD}:
        with pytest.raises(UsageError, match=f"'{field}' was not asked for"):
            method.loss(batch_of(teacher, method.sees - {field}))


@pytest.mark.parametrize("name", EVERY)
def test_a_method_that_declares_no_head_trains_without_one(name: str) -> None:
    method, teacher = made(name)
    before = teacher.head.weight.clone()
    losses_of_training(method, batch_of(teacher, method.sees), steps=2)
    assert torch.equal(teacher.head.weight, before), "the teacher does not change"
    copied = Field.TEACHER_HEAD in method.sees
    assert torch.equal(method.network.head.weight, before) is copied


@pytest.mark.parametrize("name", EVERY)
def test_a_method_learns_a_tiny_task_in_seconds(name: str) -> None:
    method, teacher = made(name)
    losses = losses_of_training(method, batch_of(teacher, method.sees), steps=40)
    assert losses[-1] < 0.7 * losses[0], losses


@pytest.mark.parametrize("name", EVERY)
def test_the_loss_is_a_mean_so_that_a_batch_twice_over_has_the_same(name: str) -> None:
    method, teacher = made(name)
    method.network.eval()
    loader = everything(teacher, method.sees)
    once = next(iter(loader))
    loader._entries = np.tile(np.arange(16), 2)
    loader._batch_size = 32
    twice = next(iter(loader))
    assert len(twice) == 32
    torch.testing.assert_close(method.loss(once), method.loss(twice))


def test_the_bay_has_tea_and_its_controls() -> None:
    assert {"tea", "erm", "logit_distil"} <= set(EVERY)


# --- TEA


def test_tea_sees_neither_label_nor_lung_mask() -> None:
    method, teacher = made("tea")
    assert method.sees == {Field.RADIOGRAPH, Field.TEACHER_HEATMAP, Field.TEACHER_HEAD}
    batch = batch_of(teacher, method.sees)
    for field in (Field.LABEL, Field.LUNG_MASK, Field.HOSPITAL, Field.TEACHER_LOGIT):
        with pytest.raises(UsageError, match="was not asked for"):
            batch[field]
    assert method.loss(batch).isfinite()


def doubled(network: SmallResNet) -> SmallResNet:
    return network.double().eval()


def tea_in_double(*, epsilon: float, student: int = 1, **options: Any) -> tuple[tea.Method, Batch]:
    teacher, network = doubled(small_network(0)), doubled(small_network(student))
    arrays = made_arrays(4)
    maps, _ = taught(teacher, arrays, epsilon)
    radiograph = torch.from_numpy(arrays[Field.RADIOGRAPH]).double()
    method = tea.Method(network, network.head, tea.Settings(**options), view_of(teacher, tea.Method.sees))
    return method, Batch(np.arange(4), {Field.RADIOGRAPH: radiograph}, maps, epsilon=epsilon)


@pytest.mark.parametrize(
    ("layers", "epsilon"),
    [
        ("all", 0.01),
        ("input", 0.0),
        ("input and biases", 0.01),
        pytest.param("all", 0.0, marks=pytest.mark.slow),
        pytest.param("without_deepest", 0.0, marks=pytest.mark.slow),
        pytest.param("without_deepest", 0.01, marks=pytest.mark.slow),
        pytest.param("input", 0.01, marks=pytest.mark.slow),
    ],
)
def test_teas_gradient_in_the_weights_is_that_of_central_differences(layers: str, epsilon: float) -> None:
    matched = {"layers": "input", "biases": True} if layers == "input and biases" else {"layers": layers}
    method, batch = tea_in_double(epsilon=epsilon, **matched, exact=True)
    loss = method.loss(batch)
    loss.backward()
    generator, step = np.random.default_rng(0), 1e-6
    found, wanted = [], []
    for parameter in (p for p in method.network.parameters() if p.requires_grad):
        flat = parameter.data.view(-1)
        gradient = torch.zeros_like(flat) if parameter.grad is None else parameter.grad.view(-1)
        for place in generator.choice(flat.numel(), size=min(2, flat.numel()), replace=False):
            kept = flat[place].item()
            values = []
            for moved in (kept + step, kept - step):
                flat[place] = moved
                with torch.no_grad():
                    values.append(method.loss(batch).item())
            flat[place] = kept
            wanted.append((values[0] - values[1]) / (2 * step))
            found.append(gradient[place].item())
    assert len(wanted) > 30
    # a step of 1e-6 in float64 leaves about 1e-16 / 1e-6 = 1e-10 of the loss, which is near 1
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-7)
    assert np.abs(wanted).max() > 1e-2


def test_without_exact_the_gradient_at_a_large_epsilon_is_another_one() -> None:
    gradients = []
    for exact in (True, False):
        method, batch = tea_in_double(epsilon=0.1, layers="all", exact=exact)
        method.loss(batch).backward()
        gradients.append(method.network.stem[0].weight.grad)
    assert not torch.allclose(gradients[0], gradients[1], rtol=1e-2)


@pytest.mark.parametrize("epsilon", [0.0, 0.01])
@pytest.mark.parametrize("distance", ["energy", "published"])
def test_a_teacher_as_its_own_student_has_no_loss(distance: str, epsilon: float) -> None:
    method, batch = tea_in_double(epsilon=epsilon, student=0, distance=distance)
    masked = torch.from_numpy(made_arrays(4)[Field.LUNG_MASK])
    lungs_only = Batch(
        batch.rows, {Field.RADIOGRAPH: batch.radiograph * masked}, batch.teacher_heatmaps, epsilon=epsilon
    )
    assert method.loss(lungs_only).item() < 1e-12
    assert method.loss(batch).item() > 1e-3, "on the whole radiograph its heatmap is another one"


def test_layers_chooses_the_maps_that_are_matched() -> None:
    # spoiling the map of a layer that is not matched changes nothing
    for layers, unmatched in (("all", []), ("without_deepest", ["stage4"]), ("input", list(LAYERS))):
        method, batch = tea_in_double(epsilon=0.0, layers=layers)
        loss = method.loss(batch)
        for layer in ("input", *LAYERS):
            spoilt = batch.teacher_heatmaps | {layer: batch.teacher_heatmaps[layer] + 1}
            other = method.loss(Batch(batch.rows, {Field.RADIOGRAPH: batch.radiograph}, spoilt))
            assert torch.equal(loss, other) is (layer in unmatched), (layers, layer)


def test_biases_pin_the_offset_that_the_map_at_the_input_leaves_free() -> None:
    # A batch norm's shift moves the logit and, at ε = 0, no relevance at the input as long as no unit changes sides.
    for biases in (False, True):
        method, batch = tea_in_double(epsilon=0.0, layers="input", biases=biases, student=0)
        method.loss(batch).backward()
        shift = method.network.stage4[1].bn2.bias.grad
        assert (shift is not None and bool((shift != 0).any())) is biases


def test_running_statistics_give_a_radiograph_the_same_loss_in_any_company() -> None:
    method, batch = tea_in_double(epsilon=0.0, statistics="running", distance="published")
    evaluated = method.loss(batch)
    method.network.train()
    assert torch.equal(method.loss(batch), evaluated)


# --- the teacher's head


@pytest.mark.parametrize("name", ["tea", "logit_distil"])
def test_the_teachers_head_is_copied_and_frozen_unless_told_not_to(name: str) -> None:
    method, teacher = made(name)
    for own, given in zip(method.network.head.parameters(), teacher.head.parameters(), strict=True):
        assert torch.equal(own, given)
        assert own.data_ptr() != given.data_ptr()
        assert not own.requires_grad
    method, teacher = made(name, copy_head=False)
    assert not torch.equal(method.network.head.weight, teacher.head.weight)
    assert all(parameter.requires_grad for parameter in method.network.head.parameters())


def test_a_head_that_was_not_handed_over_or_does_not_fit_is_said_to_be_so() -> None:
    student: torch.nn.Linear = small_network(1).head
    with pytest.raises(UsageError, match="declare 'teacher_head' in `sees`"):
        copy_head(student, TeacherView(None, [], relative=False))
    with pytest.raises(ConfigError, match=r"student's last layer is \(1, 4\) and the teacher's \(1, 9\)"):
        copy_head(student, TeacherView(torch.nn.Linear(9, 1), [], relative=False))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layer": "all"}, r"distil\.tea\.options\.layer: no such setting.*Did you mean 'layers'\?"),
        ({"layers": "some"}, r"layers: 'some' is not allowed; input should be 'all', 'without_deepest' or 'input'"),
    ],
)
def test_teas_options_are_checked(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse(tea.Settings, options, "distil.tea.options")


def test_output_distillation_has_no_loss_when_the_logits_agree() -> None:
    method, teacher = made("logit_distil", student=0)
    method.network.eval()
    arrays = made_arrays()
    shown: Tensor = torch.from_numpy(arrays[Field.RADIOGRAPH] * arrays[Field.LUNG_MASK])
    given = batch_of(teacher, method.sees)
    same = Batch(given.rows, {Field.RADIOGRAPH: shown, Field.TEACHER_LOGIT: given[Field.TEACHER_LOGIT]}, {})
    assert method.loss(same).item() < 1e-10
    assert method.loss(given).item() > 1e-6
