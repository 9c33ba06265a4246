"""JTT, LfF and DFR: their weights worked out by hand or by a slow twin, and what each phase leaves alone."""

from __future__ import annotations

import contextlib
import copy
import math
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from oracles.linear_students import Array, StoppedError, batch_of_pixels, linear, method_of, train_linear
from torch import nn

from medtea.core.errors import DataError
from medtea.core.names import Field
from medtea.data.loader import Loader
from medtea.distil.methods import dfr, erm, jtt, lff

SHORT = {"jtt": {"identify_epochs": 2}, "dfr": {"last_layer_epochs": 3}, "lff": {}}


def softplus(logit: float) -> float:
    """Cross-entropy of label 0; of label 1 it is softplus(-logit)."""
    return math.log1p(math.exp(logit))


def biased_arrays() -> dict[Field, Array]:
    """A shortcut, which tells the label but in the unbiased 8 of 24, and the truth, which is blurred in the first 4."""
    labels = np.array([0, 1] * 12, dtype=np.float32)
    signs = 2 * labels - 1
    unbiased = np.arange(24) >= 16
    shortcut = np.where(unbiased, np.array([-1, -1, 1, 1] * 6), signs)
    truth = np.where(np.arange(24) < 4, -signs, signs)
    pixels = np.stack([shortcut, truth], 1).astype(np.float32)
    return {
        Field.RADIOGRAPH: pixels[:, None, None],
        Field.LABEL: labels,
        Field.UNBIASED: unbiased.astype(np.float32),
        Field.HOSPITAL: unbiased.astype(np.float32),
    }


def in_order(arrays: dict[Field, Array], asks: frozenset[Field], rows: Array) -> Loader:
    return Loader(arrays, asks=asks, entries=np.arange(len(rows)), rows=rows, batch_size=3)


@pytest.mark.parametrize("module", [jtt, dfr, lff])
def test_stopped_in_the_last_phase_it_goes_on_to_the_same_student(module: ModuleType, tmp_path: Path) -> None:
    short = SHORT[module.__name__.rpartition(".")[2]]
    students = []
    for folder, stops in (("whole", [None]), ("stopped", [3, None])):
        for stop_at in stops:
            method = method_of(module, linear(0.1, 0.1, norm=True), rows=24, **short)
            with contextlib.suppress(StoppedError):
                train_linear(method, biased_arrays(), tmp_path / folder, epochs=2, stop_at=stop_at)
            assert (tmp_path / folder / "history.csv").exists() is (stop_at is None)
        students.append(method.network.state_dict() | {"of the assistant": method.assistant.state_dict()})
    for kept in (0, 1):
        students[kept] |= students[kept].pop("of the assistant")
    for key, value in students[0].items():
        assert torch.equal(value, students[1][key]), key


# --- JTT


def test_the_error_set_and_its_weights_worked_out_by_hand() -> None:
    # logit = pixel: row 5 is wrong about its label 0; weights 1, 5, 1, 1 over their mean 2; row 0 is not trained on
    method = method_of(jtt, linear(0), rows=6, upweight=5)
    arrays: dict[Field, Array] = {
        Field.RADIOGRAPH: np.array([[1], [2], [-1], [-3]], dtype=np.float32)[:, None, None],
        Field.LABEL: np.array([1, 0, 0, 0], dtype=np.float32),
    }
    method._weigh(linear(1).eval(), in_order(arrays, method.sees, np.array([2, 5, 1, 4])))
    assert method.assistant.weights.tolist() == [1, 0.5, 0.5, 1, 0.5, 2.5]


def test_the_loss_of_jtt_worked_out_by_hand() -> None:
    batch = batch_of_pixels([[1], [2]], [1, 0])
    method = method_of(jtt, linear(1), rows=2)
    assert torch.equal(method.loss(batch), method_of(erm, linear(1)).loss(batch)), "before the error set is known"
    method.assistant.weights.copy_(torch.tensor([0.5, 2.5]))
    assert method.loss(batch).item() == pytest.approx((0.5 * softplus(-1) + 2.5 * softplus(2)) / 2)


def test_jtt_trains_twice_from_the_same_weights() -> None:
    method = method_of(jtt, linear(0.3, -0.2), rows=24, identify_epochs=3, upweight=5)
    loader = in_order(biased_arrays(), method.sees, np.arange(24))
    phases = method.phases(lambda: loader)
    first = next(phases)
    assert first.name == "identify"
    assert first.loop == {"epochs": 3, "select": "last", "patience": 0}
    with torch.no_grad():  # as if it had been trained to go by the truth, which is blurred in the first four
        first.task.network[-1].weight.copy_(torch.tensor([[0.0, 1.0]]))
    (last,) = phases
    assert last.task is method
    assert not last.name
    assert method.network[-1].weight.flatten().tolist() == pytest.approx([0.3, -0.2]), "a copy was trained"
    # 4 of weight 5 and 20 of weight 1: 40 in all
    assert method.assistant.weights.tolist() == pytest.approx([5 * 24 / 40] * 4 + [24 / 40] * 20)


# --- LfF


class SlowAverages:
    """One network's moving averages, radiograph by radiograph."""

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self.averages: dict[int, float] = {}
        self.labels: dict[int, int] = {}

    def __call__(self, row: int, label: int, loss: float) -> None:
        before = self.averages.get(row, loss)
        self.averages[row] = self.decay * before + (1 - self.decay) * loss
        self.labels[row] = label

    def of(self, row: int) -> float:
        same = [average for other, average in self.averages.items() if self.labels[other] == self.labels[row]]
        return self.averages[row] / max(same)


def test_the_losses_of_lff_are_those_of_a_slow_twin_over_steps() -> None:
    q, decay = 0.7, 0.7
    method = method_of(lff, linear(1), rows=6)
    biased = method.assistant.biased
    slow_biased, slow_student = SlowAverages(decay), SlowAverages(decay)
    generator = np.random.default_rng(0)
    for step in range(4):
        own, other = 1 - 0.2 * step, 1 + 0.5 * step  # as if both were trained between the steps
        with torch.no_grad():
            method.network[-1].weight.fill_(own)
            biased[-1].weight.fill_(other)
        pixels = generator.normal(size=6)
        labels = [0, 1, 0, 1, 1, 0]
        there = generator.permutation(6)[:4]
        batch = batch_of_pixels([[pixel] for pixel in pixels[there]], [labels[row] for row in there])
        batch.rows = there
        losses = [[softplus((1 - 2 * labels[row]) * weight * pixels[row]) for row in there] for weight in (other, own)]
        for place, row in enumerate(there):
            slow_biased(row, labels[row], losses[0][place])
            slow_student(row, labels[row], losses[1][place])
        wanted = 0.0
        for place, row in enumerate(there):
            weight = slow_biased.of(row) / (slow_biased.of(row) + slow_student.of(row))
            wanted += (1 - math.exp(-losses[0][place]) ** q) / q + weight * losses[1][place]
        assert method.loss(batch).item() == pytest.approx(wanted / 4, rel=1e-5)


def test_what_the_biased_network_gets_wrong_weighs_more_for_the_student() -> None:
    # two of one class: the student finds both as hard; the biased network is right about the first
    method = method_of(lff, linear(0), rows=2)
    with torch.no_grad():
        method.assistant.biased[-1].weight.fill_(1)
    batch = batch_of_pixels([[3], [-3]], [1, 1])
    method.loss(batch).backward()
    # weights are a / (a + 1), a = CE over the largest: softplus(-3) / softplus(3) and 1; dCE/dw = -pixel / 2
    easy = softplus(-3) / softplus(3)
    wanted = (easy / (easy + 1) * -3 + 0.5 * 3) / 2 / 2
    assert method.network[-1].weight.grad.item() == pytest.approx(wanted)
    plain = method_of(erm, linear(0))
    plain.loss(batch).backward()
    assert plain.network[-1].weight.grad.item() == pytest.approx(0), "ERM finds both as hard"


def test_the_gradient_of_the_generalised_loss_is_cross_entropys_times_p_to_the_q() -> None:
    logits = torch.tensor([-2.0, 0.0, 1.5], requires_grad=True)
    losses = nn.functional.softplus(-logits)
    lff.generalised(losses, 0.7).sum().backward()
    probability = logits.detach().sigmoid()
    torch.testing.assert_close(logits.grad, -(1 - probability) * probability**0.7)


def test_in_validation_no_average_is_kept_and_the_student_is_selected_by_its_cross_entropy() -> None:
    method = method_of(lff, linear(1), rows=2)
    batch = batch_of_pixels([[3], [-3]], [1, 1])
    before = copy.deepcopy(method.assistant.state_dict())
    method.network.eval()
    assert method.loss(batch).isfinite()
    assert torch.equal(method.selection_loss(batch), method_of(erm, linear(1)).loss(batch))
    assert all(torch.equal(before[key], value) for key, value in method.assistant.state_dict().items())
    method.network.train()
    method.loss(batch)
    assert method.assistant.of_student[1].tolist() == pytest.approx([softplus(-3), softplus(3)])


# --- DFR


def test_the_loss_of_dfr_worked_out_by_hand() -> None:
    # of the subset three have label 0 and one label 1: weights 4 / (2 · 3) and 4 / (2 · 1)
    method = method_of(dfr, linear(1, -2), l1=0.01)
    arrays: dict[Field, Array] = {
        Field.RADIOGRAPH: np.zeros((6, 1, 1, 2), dtype=np.float32),
        Field.LABEL: np.array([0, 0, 1, 1, 0, 1], dtype=np.float32),
        Field.UNBIASED: np.array([1, 1, 1, 0, 1, 0], dtype=np.float32),
    }
    assert method._balance(in_order(arrays, method.sees, np.arange(6)))
    assert method.assistant.weights.tolist() == pytest.approx([2 / 3, 2])
    batch = batch_of_pixels([[1, 0], [3, 1]], [0, 1])  # logits 1 and 1
    of_classes = (2 / 3 * softplus(1) + 2 * softplus(-1)) / 2
    assert method.selection_loss(batch).item() == pytest.approx(of_classes)
    assert method.loss(batch).item() == pytest.approx(of_classes + 0.01 * 3)
    assert method_of(erm, linear(1, -2)).loss(batch).item() == pytest.approx((softplus(1) + softplus(-1)) / 2)


def test_erm_of_dfr_does_not_see_the_unbiased_subset() -> None:
    method = method_of(dfr, linear(1))
    loader = in_order(biased_arrays(), method.sees, np.arange(24))
    phase = next(iter(method.phases(lambda: loader)))
    assert phase.name == "features"
    batch = batch_of_pixels([[1], [5], [2]], [1, 0, 0], unbiased=[0, 1, 0])
    assert phase.task.loss(batch).item() == pytest.approx((softplus(-1) + softplus(2)) / 2)
    only = batch_of_pixels([[5], [2]], [0, 0], unbiased=[1, 1])
    assert phase.task.loss(only).item() == 0


def test_dfr_leaves_erms_features_as_they_are_and_takes_the_weight_off_the_shortcut(tmp_path: Path) -> None:
    arrays = biased_arrays()
    method = method_of(dfr, linear(0.1, 0.1, norm=True), rows=24)
    train_linear(method, arrays, tmp_path)
    of_erm = torch.load(tmp_path / "features" / "checkpoint.pt", weights_only=True)["best"]
    for key, value in method.network.state_dict().items():
        assert torch.equal(value, of_erm[key]) is not key.startswith("2."), f"{key}: only the last layer changes"
    reversed_shortcut: Any = arrays[Field.RADIOGRAPH] * np.array([-1, 1], dtype=np.float32)
    labels = torch.from_numpy(arrays[Field.LABEL])
    right = {}
    for name, state in (("erm", of_erm), ("dfr", method.network.state_dict())):
        student = linear(0, 0, norm=True)
        student.load_state_dict(state)
        with torch.no_grad():
            logits = student.eval()(torch.from_numpy(reversed_shortcut))[:, 0]
        right[name] = ((logits > 0) == (labels > 0))[4:16].float().mean().item()
    assert right == {"erm": 0, "dfr": 1}


def test_without_an_unbiased_subset_dfr_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    arrays = biased_arrays()
    arrays[Field.UNBIASED] = np.zeros_like(arrays[Field.UNBIASED])
    with pytest.raises(DataError, match="needs a small unbiased subset"):
        train_linear(method_of(dfr, linear(0.1, 0.1), rows=24), arrays, tmp_path)
    assert not list(tmp_path.iterdir())
