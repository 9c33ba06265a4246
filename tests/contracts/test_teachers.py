"""One contract for every file of the bay of teachers."""

from __future__ import annotations

import inspect
from types import ModuleType

import pytest
import torch
from oracles.made_batches import SIZE, NotedBatch, batch_of, losses_of_training, made_arrays, small_network

from medtea.core import bay
from medtea.core.errors import UsageError
from medtea.core.names import INPUT, Field
from medtea.core.settings import StrictSettings
from medtea.lrp import HeatmapPass
from medtea.teach import teachers
from medtea.teach.teachers import masked_classifier

EVERY = bay.names(teachers)
COMES_TRAINED = {"vision_language"}
"""No loss is asked of them and no small network is theirs: see tests/teach."""
TRAINED = sorted(set(EVERY) - COMES_TRAINED)
BY_TRAINING = {Field.UNBIASED}
"""Seen by being trained on; the loss does not look at it."""


def module_of(name: str) -> ModuleType:
    return bay.load(teachers, name, "teach.teacher")


@pytest.mark.parametrize("name", EVERY)
def test_a_teacher_says_in_a_line_what_it_is(name: str) -> None:
    line = bay.summary(module_of(name))
    assert 20 <= len(line) <= 120
    assert line.endswith(".")


@pytest.mark.parametrize("name", EVERY)
def test_a_teacher_says_what_it_sees_and_looks_at_no_more_and_never_at_the_label(name: str) -> None:
    module = module_of(name)
    assert issubclass(module.Settings, StrictSettings)
    assert inspect.getdoc(module.Settings)
    assert inspect.getdoc(module.Teacher)
    assert module.Teacher.looks_at <= module.Teacher.sees
    assert Field.LABEL not in module.Teacher.looks_at
    assert (Field.LABEL in module.Teacher.sees) is (name in TRAINED)


@pytest.mark.parametrize("name", TRAINED)
def test_with_exactly_what_it_declares_its_loss_is_finite_and_reaches_every_weight(name: str) -> None:
    module, network = module_of(name), small_network(1)
    assert isinstance(module.Teacher.sees, frozenset)
    teacher = module.Teacher(network, module.Settings())
    batch = NotedBatch(batch_of(small_network(0), teacher.sees))
    network.train()
    loss = teacher.loss(batch)
    assert loss.shape == ()
    assert loss.isfinite()
    loss.backward()
    for key, parameter in network.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
    assert float(network.head.weight.grad.abs().sum()) > 0
    assert batch.looked_at == teacher.sees - BY_TRAINING


@pytest.mark.parametrize("name", TRAINED)
def test_a_teacher_gets_nothing_that_it_did_not_declare(name: str) -> None:
    teacher = module_of(name).Teacher(small_network(1), module_of(name).Settings())
    for field in teacher.sees - BY_TRAINING:
        with pytest.raises(UsageError, match=f"'{field}' was not asked for"):
            teacher.loss(batch_of(small_network(0), teacher.sees - {field}))


@pytest.mark.parametrize("name", TRAINED)
def test_a_teacher_learns_a_tiny_task_in_seconds(name: str) -> None:
    teacher = module_of(name).Teacher(small_network(1), module_of(name).Settings())
    losses = losses_of_training(teacher, batch_of(small_network(0), teacher.sees), steps=40)
    assert losses[-1] < 0.7 * losses[0], losses


@pytest.mark.parametrize("name", TRAINED)
def test_what_the_network_is_shown_needs_no_label(name: str) -> None:
    # heatmaps are made of copies whose label nobody hands over
    teacher = module_of(name).Teacher(small_network(1), module_of(name).Settings())
    batch = batch_of(small_network(0), teacher.sees - {Field.LABEL})
    assert teacher.shown(batch).shape == (16, 1, SIZE, SIZE)


@pytest.mark.parametrize("name", TRAINED)
def test_only_who_declares_the_unbiased_subset_is_trained_on_it_alone(name: str) -> None:
    teacher = module_of(name).Teacher(small_network(1), module_of(name).Settings())
    phases = list(teacher.phases())
    assert phases[-1].name == "", "the last phase leaves the network that counts"
    if any(phase.unbiased_only for phase in phases):
        assert Field.UNBIASED in teacher.sees


def test_the_masked_classifier_is_shown_lungs_and_has_no_relevance_elsewhere() -> None:
    network = small_network(1).eval()
    teacher = masked_classifier.Teacher(network, masked_classifier.Settings())
    batch = batch_of(small_network(0), teacher.sees)
    masks = torch.from_numpy(made_arrays()[Field.LUNG_MASK]) > 0
    shown = teacher.shown(batch)
    assert (shown[~masks] == 0).all()
    assert (shown[masks] > 0).all(), "a pixel of 0 would carry no relevance"
    for picture, given, mask in zip(shown, batch.radiograph, masks, strict=True):
        brighter = picture[mask][given[mask].argsort()]
        assert (brighter.diff() >= 0).all(), "darker stays darker"
    with torch.no_grad():
        heatmap = HeatmapPass(network, shown)(shown, torch.ones(len(shown), 1)).maps[INPUT]
    assert (heatmap[~masks] == 0).all()
    assert heatmap[masks].abs().sum() > 0
