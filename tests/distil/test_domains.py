"""DANN and Deep CORAL: their losses worked out by hand, and where they part from ERM."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from oracles.linear_students import batch_of_pixels, linear, method_of
from torch import Tensor

from medtea.data.loader import Batch
from medtea.distil.methods import coral, dann, erm


def gradient_of(method: Any, batch: Batch) -> Tensor:
    """In the weights of a layer before the head, of one pixel to one feature."""
    method.network.zero_grad()
    method.loss(batch).backward()
    found: Tensor = method.network[1].weight.grad
    return found.clone()


def two_layers() -> torch.nn.Sequential:
    """Feature = pixel, logit = feature."""
    network = linear(1)
    network[1] = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.ones_(network[1].weight)
    return network


def dann_with_a_known_discriminator(**options: Any) -> Any:
    """The discriminator's logits are 0 and the feature's positive part."""
    method = method_of(dann, two_layers(), hospitals=2, hidden=1, **options)
    first, _, second = method.assistant.discriminator
    with torch.no_grad():
        for parameter, value in ((first.weight, [[1]]), (first.bias, [0]), (second.weight, [[0], [1]])):
            parameter.copy_(torch.tensor(value))
        second.bias.zero_()
    return method


# --- DANN


def test_the_loss_of_dann_worked_out_by_hand() -> None:
    # Feature 2 is of hospital 1, and 1 and 3 of hospital 0, whose mean counts once. The reversal changes no value.
    batch = batch_of_pixels([[2], [1], [3]], [1, 1, 1], hospital=[1, 0, 0])
    label = sum(math.log1p(math.exp(-logit)) for logit in (2, 1, 3)) / 3
    of_first = sum(math.log1p(math.exp(logit)) for logit in (1, 3)) / 2
    of_second = math.log1p(math.exp(-2))
    found = dann_with_a_known_discriminator(ramp_steps=0).loss(batch)
    assert found.item() == pytest.approx(label + (of_first + of_second) / 2)


def test_the_gradient_is_reversed_for_the_features_and_not_for_the_discriminator() -> None:
    # one radiograph of hospital 1, feature 2: d CE(hospital) / d feature = p - 1, p = sigmoid(2); times the pixel, 2
    batch = batch_of_pixels([[2]], [0], hospital=[1])
    method = dann_with_a_known_discriminator(ramp_steps=0)
    of_erm = gradient_of(method_of(erm, two_layers()), batch).item()
    of_hospital = 2 * (1 / (1 + math.exp(-2)) - 1)
    strength = 2 / (1 + math.exp(-10)) - 1
    assert gradient_of(method, batch).item() == pytest.approx(of_erm - strength * of_hospital)
    assert method.assistant.discriminator[2].weight.grad[1].item() == pytest.approx(of_hospital)
    tenfold = dann_with_a_known_discriminator(ramp_steps=0, penalty=10)
    assert gradient_of(tenfold, batch).item() == pytest.approx(of_erm - 10 * strength * of_hospital)
    assert tenfold.assistant.discriminator[2].weight.grad[1].item() == pytest.approx(of_hospital)


def test_the_reversal_grows_with_the_training_steps_as_in_the_paper() -> None:
    batch = batch_of_pixels([[2]], [1], hospital=[1])
    method = dann_with_a_known_discriminator(ramp_steps=4)
    of_erm = gradient_of(method_of(erm, two_layers()), batch).item()
    of_hospital = 2 * (1 / (1 + math.exp(-2)) - 1)
    found = []
    for _ in range(6):
        found.append((of_erm - gradient_of(method, batch).item()) / of_hospital)
        with torch.no_grad():  # validation does not count
            method.network.eval()
            method.loss(batch)
            method.network.train()
    shares = [0, 0.25, 0.5, 0.75, 1, 1]
    assert found == pytest.approx([2 / (1 + math.exp(-10 * share)) - 1 for share in shares], abs=1e-5)
    assert method.assistant.state_dict()["steps"] == 6, "is in the checkpoint"


def test_dann_is_selected_by_the_labels_alone() -> None:
    batch = batch_of_pixels([[2], [-1]], [1, 0], hospital=[1, 0])
    method = dann_with_a_known_discriminator()
    assert torch.equal(method.selection_loss(batch), method_of(erm, two_layers()).loss(batch))
    assert method.loss(batch) > method.selection_loss(batch)


# --- Deep CORAL

FEATURES = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 0.0], [0.0, 2.0]])
"""Of two hospitals: covariances diag(2, 0) and diag(0, 2), whose difference has the squared norm 8; d = 2."""
HOSPITALS = torch.tensor([0.0, 0.0, 1.0, 1.0])


def test_the_distance_of_covariances_worked_out_by_hand() -> None:
    assert coral.covariance_distance(FEATURES, HOSPITALS).item() == pytest.approx(8 / 16)
    # the means are (1, 0) and (0, 1)
    assert coral.covariance_distance(FEATURES, HOSPITALS, means=True).item() == pytest.approx(8 / 16 + 2 / 2)


def test_a_mean_over_pairs_in_which_a_hospital_with_one_radiograph_has_no_part() -> None:
    # a third hospital like the first: pairs 0 and 1, 0 and 2, 1 and 2 are .5, 0 and .5 apart
    features = torch.cat([FEATURES, FEATURES[:2], torch.tensor([[9.0, 9.0]])])
    hospitals = torch.tensor([0.0, 0.0, 1.0, 1.0, 2.0, 2.0, 7.0])
    assert coral.covariance_distance(features, hospitals).item() == pytest.approx(1 / 3)


def test_features_moved_at_one_hospital_are_as_far_apart_unless_means_are_compared() -> None:
    moved = FEATURES + 3 * HOSPITALS[:, None]
    for means in (False, True):
        found = [coral.covariance_distance(one, HOSPITALS, means=means).item() for one in (FEATURES, moved)]
        assert (found[0] == pytest.approx(found[1])) is not means


def test_the_covariance_is_torchs() -> None:
    features = torch.rand(7, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(coral.covariance(features), torch.cov(features.T))


def test_coral_is_erm_and_the_distance_and_with_one_hospital_erm_alone() -> None:
    pixels = FEATURES.tolist()
    losses = []
    for hospitals in ([0, 0, 1, 1], [0, 0, 0, 0], [0, 1, 2, 3]):
        batch = batch_of_pixels(pixels, [0, 1, 1, 0], hospital=hospitals)
        losses.append(method_of(coral, linear(1, 0.5), penalty=10).loss(batch).item())
    of_erm = method_of(erm, linear(1, 0.5)).loss(batch).item()
    assert losses == pytest.approx([of_erm + 10 * 8 / 16, of_erm, of_erm])
