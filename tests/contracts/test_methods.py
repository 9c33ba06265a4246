"""One contract for every file of the bay of methods; and TEA's gradient against finite differences."""

from __future__ import annotations

import copy
import inspect
import pickle
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from oracles.made_batches import (
    LAYERS,
    NotedBatch,
    batch_of,
    context_of,
    everything,
    losses_of_training,
    made_arrays,
    small_network,
    taught,
)
from oracles.slopes import assert_gradient_is_the_slope
from torch import Tensor

from medtea.core import bay
from medtea.core.errors import ConfigError, UsageError
from medtea.core.names import Field
from medtea.core.settings import StrictSettings, parse
from medtea.data.loader import Batch, Loader
from medtea.distil import methods
from medtea.distil.methods import tea
from medtea.distil.methods.method import Context, copy_head
from medtea.training.loop import LoopSettings
from medtea.training.networks import SmallResNet
from medtea.training.phases import Loaders, train_phases

EVERY = bay.names(methods)
LOGITS = (1, 3)
OTHERWISE: list[tuple[str, dict[str, Any]]] = [("gals", {"guide": "teacher_heatmap"}), ("tea", {"copy_head": False})]
"""Settings with which a method sees something else than by default."""
CASES = [*((name, {}) for name in EVERY), *OTHERWISE]
NAMES = [*EVERY, *(f"{name} {options}" for name, options in OTHERWISE)]
GIVEN_ONCE = {Field.TEACHER_HEAD, Field.TEACHER_FEATURES, Field.TEACHER_GRADIENT, Field.UNBIASED}
"""What does not come with a batch, or (the unbiased subset) is seen by being trained on."""
NOT_A_PLAIN_MEAN: dict[str, str] = {"coral": "a covariance divides by one less than there are radiographs"}
"""Methods whose loss of a batch twice over is another one, and why."""
QUICK = {"erm", "tea", "jtt", "group_dro", "isnet", "lff"}
"""Of each kind one (plain, taught, in phases, counting, with a second network): trained in the ordinary run too."""
TRAINED = [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in EVERY]
UNREACHED = {"attention_distil": "stage4"}
"""Where a method trains nothing: of one place, as the deepest stage of 16 pixels is, there is no attention to match."""
SHORTER: dict[str, dict[str, Any]] = {"dfr": {"last_layer_epochs": 4}, "jtt": {"identify_epochs": 2}}
"""Options that make a phase's own number of epochs small where a checkpoint is written at every step."""
EPOCHS = {
    "cdep": 60,  # of a few radiographs batch norm's statistics lag behind while the share moves
    "gain": 60,  # its mask is ten times what its label is, and fitted by a map of 4 x 4 pixels
}
"""Methods that learn the tiny task in more than 30 epochs, and why."""


def module_of(name: str) -> ModuleType:
    return bay.load(methods, name, "distil.method")


def made(name: str, *, student: int = 1, logits: int = 1, **options: Any) -> tuple[Any, SmallResNet]:
    """A method with a student, and its teacher."""
    module, teacher, network = module_of(name), small_network(0, logits=logits), small_network(student, logits=logits)
    settings = parse(module.Settings, options, f"distil.{name}.options")
    context = context_of(teacher, module.Method.sees_with(settings))
    return module.Method(network, network.head, settings, context), teacher


def seen_by(method: Any) -> frozenset[Field]:
    return frozenset(type(method).sees_with(method.settings))


def fields_of(method: Any) -> frozenset[Field]:
    return seen_by(method) - GIVEN_ONCE


class StoppedError(Exception):
    """The training was stopped from outside."""


def trained(
    name: str,
    folder: Path,
    *,
    epochs: int,
    logits: int = 1,
    stop_at: int | None = None,
    every: float = 20.0,
    **options: Any,
) -> Any:
    """Train by all phases on 16 radiographs from the start or from the checkpoints in `folder`; the method."""
    torch.manual_seed(3)
    method, teacher = made(name, logits=logits, **options)
    steps = 0

    def loader(unbiased: bool, shuffled: bool) -> Loader:
        found = everything(teacher, seen_by(method))
        found._entries = np.arange(12, 16) if unbiased else np.arange(16)
        found._batch_size = min(8, len(found._entries))
        found.generator = np.random.default_rng(1) if shuffled else None
        take = found._batch

        def counted(*of: Any) -> Batch:
            nonlocal steps
            steps += shuffled
            if steps == stop_at:
                raise StoppedError
            return take(*of)

        found._batch = counted
        return found

    train_phases(
        method.phases(lambda: loader(False, shuffled=False)),
        loaders=Loaders(lambda unbiased: loader(unbiased, True), lambda unbiased: loader(unbiased, False)),
        settings=LoopSettings(epochs=epochs, batch_size=8, learning_rate=0.02, checkpoint_seconds=every, select="last"),
        folder=folder,
        name=name,
        log=lambda *_: None,
    )
    return method


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
    assert inspect.getdoc(module.Method)


@pytest.mark.parametrize("name", EVERY)
def test_a_method_names_values_worth_trying_and_its_default_is_among_them(name: str) -> None:
    module = module_of(name)
    for setting, values in module.Method.search.items():
        assert getattr(module.Settings(), setting) in values, setting
        assert len(values) > 1, setting
        for value in values:
            parse(module.Settings, {setting: value}, f"distil.{name}.options")


@pytest.mark.parametrize("name", EVERY)
def test_a_method_sees_with_its_default_settings_what_its_class_says(name: str) -> None:
    module = module_of(name)
    assert module.Method.sees_with(module.Settings()) == module.Method.sees


@pytest.mark.parametrize(("name", "options"), OTHERWISE, ids=NAMES[len(EVERY) :])
def test_what_a_method_sees_may_depend_on_its_settings(name: str, options: dict[str, Any]) -> None:
    module = module_of(name)
    assert module.Method.sees_with(module.Settings(**options)) != module.Method.sees


@pytest.mark.parametrize("name", EVERY)
def test_a_method_declares_what_it_sees_and_sees_the_radiograph(name: str) -> None:
    sees = module_of(name).Method.sees
    assert isinstance(sees, frozenset)
    assert all(isinstance(field, Field) for field in sees)
    assert Field.RADIOGRAPH in sees
    assert Field.TWIN not in sees, "the twin is the teacher's privilege"


@pytest.mark.parametrize("logits", LOGITS)
@pytest.mark.parametrize(("name", "options"), CASES, ids=NAMES)
def test_with_exactly_what_it_declares_its_loss_is_finite_and_reaches_every_weight(
    name: str, options: dict[str, Any], logits: int
) -> None:
    method, teacher = made(name, logits=logits, **options)
    batch = NotedBatch(batch_of(teacher, seen_by(method)))
    method.network.train()
    method.assistant.train()
    loss = method.loss(batch)
    assert loss.shape == ()
    assert loss.isfinite()
    loss.backward()
    weights = {key: p for key, p in method.network.named_parameters() if p.requires_grad}
    assert weights
    for key, parameter in weights.items():
        if parameter.ndim > 1:
            assert (parameter.grad is None) is (key.partition(".")[0] == UNREACHED.get(name)), key
        if parameter.grad is not None:
            assert parameter.grad.isfinite().all(), key
    assert sum(float(p.grad.abs().sum()) for p in weights.values() if p.grad is not None) > 0
    assert fields_of(method) <= batch.looked_at <= seen_by(method), (
        "what is declared and not looked at is a false claim"
    )


@pytest.mark.parametrize(("name", "options"), CASES, ids=NAMES)
def test_without_one_of_the_fields_it_declares_a_method_fails_by_name(name: str, options: dict[str, Any]) -> None:
    method, teacher = made(name, **options)
    for field in fields_of(method):
        with pytest.raises(UsageError, match=f"'{field}' was not asked for"):
            method.loss(batch_of(teacher, seen_by(method) - {field}))


@pytest.mark.parametrize(("name", "options"), CASES, ids=NAMES)
def test_what_a_method_may_not_see_changes_nothing(name: str, options: dict[str, Any]) -> None:
    method, teacher = made(name, **options)
    method.network.eval()
    losses = []
    for spoilt in (False, True):
        loader = everything(teacher, seen_by(method))
        unseen = {field for field in made_arrays() if field not in seen_by(method) and field != Field.TWIN}
        loader._arrays |= {field: made_arrays()[field][::-1] for field in unseen if spoilt}
        batch = next(iter(loader))
        assert batch._fields.keys() - seen_by(method) == (unseen if spoilt else set())
        torch.manual_seed(0)
        losses.append(method.loss(batch))
    assert torch.equal(*losses)


@pytest.mark.parametrize(("name", "options"), CASES, ids=NAMES)
def test_the_teacher_does_not_change_and_its_head_is_only_had_if_declared(name: str, options: dict[str, Any]) -> None:
    method, teacher = made(name, **options)
    before = copy.deepcopy(teacher.state_dict())
    losses_of_training(method, batch_of(teacher, seen_by(method)), steps=2)
    for key, value in teacher.state_dict().items():
        assert torch.equal(value, before[key]), key
    copied = Field.TEACHER_HEAD in seen_by(method)
    assert torch.equal(method.network.head.weight, teacher.head.weight) is copied


@pytest.mark.parametrize("logits", LOGITS)
@pytest.mark.parametrize("name", TRAINED)
def test_a_method_learns_a_tiny_task_in_seconds(name: str, logits: int, tmp_path: Path) -> None:
    fresh, teacher = made(name, logits=logits)
    batch = batch_of(teacher, seen_by(fresh))
    losses = []
    for method in (fresh, trained(name, tmp_path, logits=logits, epochs=EPOCHS.get(name, 30))):
        method.network.eval()
        method.assistant.eval()
        torch.manual_seed(0)
        losses.append(method.selection_loss(batch).item())
    assert losses[1] < 0.8 * losses[0], losses


@pytest.mark.parametrize("name", TRAINED)
def test_a_method_that_is_stopped_goes_on_to_the_same_student(name: str, tmp_path: Path) -> None:
    options = SHORTER.get(name, {})
    whole = trained(name, tmp_path / "whole", epochs=4, **options).network.state_dict()
    for stop_at in (3, 6):
        with pytest.raises(StoppedError):
            trained(name, tmp_path / "stopped", epochs=4, stop_at=stop_at, every=0, **options)
    resumed = trained(name, tmp_path / "stopped", epochs=4, every=0, **options).network.state_dict()
    for key, value in whole.items():
        assert torch.equal(value, resumed[key]), key


@pytest.mark.parametrize(("name", "options"), CASES, ids=NAMES)
def test_a_method_can_be_sent_to_another_process(name: str, options: dict[str, Any]) -> None:
    method, teacher = made(name, **options)
    batch = batch_of(teacher, seen_by(method))
    method.network.eval()
    torch.manual_seed(0)
    here = method.loss(batch)
    there = pickle.loads(pickle.dumps(method))  # our own, of this line
    torch.manual_seed(0)
    assert torch.equal(there.loss(batch), here)


@pytest.mark.parametrize("name", sorted(set(EVERY) - NOT_A_PLAIN_MEAN.keys()))
def test_the_loss_is_a_mean_so_that_a_batch_twice_over_has_the_same(name: str) -> None:
    method, teacher = made(name)
    method.network.eval()
    loader = everything(teacher, seen_by(method))
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
    method = tea.Method(network, network.head, tea.Settings(**options), context_of(teacher, tea.Method.sees))
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
    assert assert_gradient_is_the_slope(method.network, lambda: method.loss(batch), tensors=20) > 1e-2


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
        copy_head(student, Context())
    with pytest.raises(ConfigError, match=r"student's last layer is \(1, 4\) and the teacher's \(1, 9\)"):
        copy_head(student, Context(teacher_head=torch.nn.Linear(9, 1)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layer": "all"}, r"distil\.tea\.options\.layer: no such setting.*Did you mean 'layers'\?"),
        ({"layers": "some"}, r"layers.*'some' is not allowed; input should be 'all', 'without_deepest' or 'input'"),
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
