"""Methods that compare hospitals: their losses by hand, and the laws that their papers promise."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from oracles.doubles import in_double, logits_batch, of_logits
from oracles.slopes import assert_gradient_is_the_slope
from torch import nn

from medtea.core.names import Field
from medtea.data.loader import Batch
from medtea.distil.methods.irm import slope_of_scale
from medtea.distil.methods.pgi import divergence
from medtea.training.outputs import cross_entropy

LOG2, LOG3, LOG4 = math.log(2), math.log(3), math.log(4)
SURE = 1 - LOG3 / LOG4
"""log(4/3) / log(4)."""


def batch_of(logits: list[Any], labels: list[float], hospitals: list[float]) -> Batch:
    unbiased = [0.0] * len(logits)
    return logits_batch(logits, {Field.LABEL: labels, Field.HOSPITAL: hospitals, Field.UNBIASED: unbiased})


@pytest.mark.parametrize("logits", [1, 3])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("group_dro", {}),
        ("irm", {"anneal_steps": 0}),
        ("irm", {}),
        ("vrex", {"anneal_steps": 0}),
        ("pgi", {}),
    ],
)
def test_the_gradient_in_the_weights_is_that_of_central_differences(
    name: str, options: dict[str, Any], logits: int
) -> None:
    method, batch = in_double(name, logits=logits, **options)
    assert batch[Field.HOSPITAL].unique().numel() > 1
    assert assert_gradient_is_the_slope(method.network, lambda: method.loss(batch), tensors=4) > 1e-3


# At logit log 3 class 1 has probability 3/4: its loss is log(4/3), that of class 0 log 4. At logit 0 both are log 2.


def test_group_dro_weighs_groups_by_the_exponential_of_their_loss() -> None:
    method = of_logits("group_dro", step_size=1.0)
    batch = batch_of([LOG3, LOG3, 0.0, 0.0], labels=[0, 1, 1, 1], hospitals=[0, 0, 1, 1])
    losses = [LOG4, LOG4 * SURE, 0.0, LOG2]  # label 0 at hospital 1 is not there: loss 0
    weights = torch.full((4,), 0.25)
    method.network.train()
    for _ in range(2):
        # exp of the losses is 4, 4/3, 1, 2
        weights = weights * torch.tensor([4, 4 / 3, 1, 2])
        weights = weights / weights.sum()
        found = method.loss(batch)
        torch.testing.assert_close(method.assistant.weights, weights)
        assert found.item() == pytest.approx((weights * torch.tensor(losses)).sum().item())
    # after one step (12, 4, 3, 6) / 25, after two (144, 16, 9, 36) / 205
    assert method.assistant.weights.tolist() == pytest.approx([144 / 205, 16 / 205, 9 / 205, 36 / 205])


def test_in_validation_group_dros_weights_stay_and_are_shared_among_the_groups_that_are_there() -> None:
    method = of_logits("group_dro", step_size=1.0)
    batch = batch_of([LOG3, LOG3, 0.0], labels=[0, 1, 1], hospitals=[0, 0, 1])
    assert method.loss(batch).item() == pytest.approx((LOG4 + LOG4 * SURE + LOG2) / 3)
    assert method.assistant.weights.tolist() == [0.25] * 4


def test_a_tiny_step_of_group_dro_is_the_mean_over_groups() -> None:
    method = of_logits("group_dro", step_size=1e-9)
    method.network.train()
    batch = batch_of([LOG3, LOG3, 0.0, 0.0, 0.0], labels=[0, 1, 1, 1, 0], hospitals=[0, 0, 1, 1, 1])
    assert method.loss(batch).item() == pytest.approx((LOG4 + LOG4 * SURE + LOG2 + LOG2) / 4)


@pytest.mark.parametrize("classes", [1, 3])
def test_irms_slope_is_that_of_a_scale_in_front_of_the_logits(classes: int) -> None:
    logits = torch.randn(6, classes, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    labels = (torch.arange(6) % max(classes, 2)).double()
    scale = torch.ones(6, 1, dtype=torch.float64, requires_grad=True)
    (wanted,) = torch.autograd.grad(cross_entropy(scale * logits, labels).sum(), scale)
    torch.testing.assert_close(slope_of_scale(logits, labels), wanted[:, 0])


def test_irm_by_hand_before_and_after_it_is_annealed() -> None:
    # one hospital, one radiograph of label 1 at logit log 3: risk log(4/3), slope (3/4 - 1) log 3
    method = of_logits("irm", penalty=100.0, anneal_steps=2)
    batch = batch_of([LOG3], labels=[1], hospitals=[0])
    risk, penalty = LOG4 * SURE, (LOG3 / 4) ** 2
    assert method.loss(batch).item() == pytest.approx(risk + penalty)
    assert method.assistant.steps == 0, "validation is no step"
    method.network.train()
    for _ in range(2):
        assert method.loss(batch).item() == pytest.approx(risk + penalty)
    assert method.loss(batch).item() == pytest.approx((risk + 100 * penalty) / 100)


def test_irm_has_nothing_against_a_classifier_that_no_scale_betters_at_any_hospital() -> None:
    # three of four are of label 1 at each hospital, and all are predicted to be so with probability 3/4
    labels, hospitals = [1.0, 1, 1, 0] * 2, [0.0] * 4 + [1.0] * 4
    losses = [
        of_logits("irm", penalty=penalty, anneal_steps=0).loss(batch_of([LOG3] * 8, labels, hospitals)).item()
        for penalty in (0.0, 1.0)
    ]
    assert losses[0] == pytest.approx(losses[1])
    turned = [1.0, 1, 1, 0, 0, 0, 0, 1]
    of_turned = of_logits("irm", penalty=1.0, anneal_steps=0).loss(batch_of([LOG3] * 8, turned, hospitals))
    # at the second hospital the risk is (log(4/3) + 3 log 4) / 4, and the slope 3/4 - 1/4 times log 3
    risk = (LOG4 * SURE + LOG4) / 2
    assert of_turned.item() == pytest.approx(risk + (LOG3 / 2) ** 2 / 2)


def test_vrex_by_hand() -> None:
    # risks log 4 and log 2: mean 3/2 log 2, variance (log 2 / 2)²
    batch = batch_of([LOG3, 0.0, 0.0], labels=[0, 1, 0], hospitals=[0, 1, 1])
    method = of_logits("vrex", penalty=10.0, anneal_steps=1)
    method.network.train()
    for penalty in (1, 10):
        assert method.loss(batch).item() == pytest.approx(1.5 * LOG2 + penalty * (LOG2 / 2) ** 2)
    one = batch_of([LOG3, 0.0], labels=[0, 1], hospitals=[1, 1])
    assert method.loss(one).item() == pytest.approx((LOG4 + LOG2) / 2), "of one hospital there is no variance"


def test_pgis_divergence_by_hand() -> None:
    half, sure = [1 / 2, 1 / 2], [1 / 4, 3 / 4]
    # the majority is at hospital 1: KL(sure || half) = 1/4 log(1/2) + 3/4 log(3/2), over two probabilities
    wanted = (math.log(1 / 2) / 4 + 3 * math.log(3 / 2) / 4) / 2
    found = divergence(torch.tensor([sure, half, half]), torch.tensor([0.0, 1, 1]))
    assert found.item() == pytest.approx(wanted, rel=1e-5)
    # a third hospital that agrees with the majority: the mean over the two others
    found = divergence(torch.tensor([sure, half, half, half]), torch.tensor([0.0, 1, 1, 2]))
    assert found.item() == pytest.approx(wanted / 2, rel=1e-5)
    # the mean is of probabilities before the logarithm: two opposites are one half
    opposite = torch.tensor([[0.2, 0.8], [0.8, 0.2], *[half] * 3])
    assert divergence(opposite, torch.tensor([0.0, 0, 1, 1, 1])).item() == pytest.approx(0, abs=1e-6)
    assert divergence(torch.tensor([sure, half]), torch.tensor([3.0, 3])).item() == 0


def test_pgi_by_hand_compares_within_a_class_alone() -> None:
    # label 1: logit log 3 at hospital 0, logit 0 twice at hospital 1; label 0 at hospital 0 only
    batch = batch_of([LOG3, 0.0, 0.0, 0.0], labels=[1, 1, 1, 0], hospitals=[0, 1, 1, 0])
    risk = ((LOG4 * SURE + LOG2) / 2 + LOG2) / 2
    kl = (math.log(1 / 2) / 4 + 3 * math.log(3 / 2) / 4) / 2
    for penalty in (0.0, 50.0):
        assert of_logits("pgi", penalty=penalty).loss(batch).item() == pytest.approx(risk + penalty * kl, rel=1e-5)


@pytest.mark.parametrize("name", ["group_dro", "irm", "vrex", "pgi"])
def test_what_a_hospital_is_called_does_not_matter_but_who_is_there_does(name: str) -> None:
    given = {"logits": [[2.0, 0, 1], [0.5, 1, 0], [0, 0.3, 2], [1, 1, 0], [0, 0, 1]], "labels": [0.0, 1, 2, 1, 1]}

    def loss(hospitals: list[float]) -> float:
        method = of_logits(name, hospitals=2, classes=3)
        method.network.train()
        found: float = method.loss(batch_of(**given, hospitals=hospitals)).item()
        return found

    assert loss([0, 0, 0, 0, 1]) == pytest.approx(loss([1, 1, 1, 1, 0]))
    assert loss([0, 0, 0, 0, 1]) != pytest.approx(loss([0, 1, 0, 0, 0]), rel=1e-3)


def test_what_is_counted_is_kept_beside_the_student_and_not_in_it() -> None:
    for name in ("group_dro", "irm", "vrex"):
        method = of_logits(name)
        assert [*method.assistant.state_dict()] == [{"group_dro": "weights"}.get(name, "steps")]
        assert isinstance(method.network, nn.Sequential)
        assert [*method.network.state_dict()] == ["1.weight"]
