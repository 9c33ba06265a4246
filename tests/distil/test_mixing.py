"""Mixup, CutMix and background randomisation: what they show the student, worked out by hand."""

from __future__ import annotations

import math
from types import ModuleType

import pytest
import torch
from oracles.linear_students import batch_of_pixels, linear, method_of
from torch import Tensor
from torch.nn import functional as F

from medtea.distil.methods import background_random, cutmix, erm, mixup

MIXING = [mixup, cutmix, background_random]


def softplus(logit: float) -> float:
    """Cross-entropy of label 0; of label 1 it is softplus(-logit)."""
    return math.log1p(math.exp(logit))


@pytest.fixture
def swapped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two radiographs each gets the other."""
    monkeypatch.setattr(torch, "randperm", lambda count: torch.arange(count).flip(0))


@pytest.mark.parametrize("module", MIXING)
def test_in_validation_nothing_is_mixed_and_nothing_drawn(module: ModuleType) -> None:
    batch = batch_of_pixels([[2, 1], [-1, 3], [0, 1]], [1, 0, 1], lung_mask=[[[[1, 0]]]] * 3)
    methods = [method_of(which, linear(1, 0.5).eval()) for which in (module, erm)]
    before = torch.get_rng_state()
    assert torch.equal(*(method.selection_loss(batch) for method in methods))
    assert torch.equal(*(method.loss(batch) for method in methods))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("module", MIXING)
def test_what_is_drawn_in_training_comes_from_torchs_global_generator(module: ModuleType) -> None:
    pixels = torch.eye(8, 16).reshape(8, 4, 4).tolist()
    batch = batch_of_pixels(pixels, [0, 1] * 4, lung_mask=[[[[1, 0, 0, 0]] * 4]] * 8)
    method = method_of(module, linear(*range(16)))
    losses = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        losses.append(method.loss(batch).item())
    assert losses[0] == losses[1] != losses[2]


# --- mixup


def test_the_loss_of_mixup_worked_out_by_hand(monkeypatch: pytest.MonkeyPatch, swapped: None) -> None:
    # 3/4 of 2 and 1/4 of -2 is a logit of 1, which 3/4 of the label says is right; the other radiograph mirrors it
    monkeypatch.setattr(mixup, "drawn_share", lambda _: 0.75)
    batch = batch_of_pixels([[2], [-2]], [1, 0])
    found = method_of(mixup, linear(1)).loss(batch)
    assert found.item() == pytest.approx(0.75 * softplus(-1) + 0.25 * softplus(1))
    assert method_of(erm, linear(1)).loss(batch).item() == pytest.approx(softplus(-2))


@pytest.mark.parametrize("logits", [1, 3])
def test_the_two_cross_entropies_are_the_one_against_the_mixed_label(logits: int) -> None:
    outputs = torch.randn(6, logits, generator=torch.Generator().manual_seed(0))
    labels, others = torch.tensor([0, 1] * 3).float(), torch.tensor([1, 1, 0] * 2).float()
    found = mixup.mixed_loss(outputs, labels, others, 0.3)
    if logits == 1:
        wanted = F.binary_cross_entropy_with_logits(outputs[:, 0], 0.3 * labels + 0.7 * others)
    else:
        one_hot = [F.one_hot(one.long(), 3).float() for one in (labels, others)]
        wanted = F.cross_entropy(outputs, 0.3 * one_hot[0] + 0.7 * one_hot[1])
    torch.testing.assert_close(found, wanted)


def test_shares_are_of_the_beta_distribution() -> None:
    torch.manual_seed(0)
    for alpha in (0.2, 1.0):
        shares = torch.tensor([mixup.drawn_share(alpha) for _ in range(2000)])
        # variance of Beta(α, α): 1 / (4 (2 α + 1)); of 2000 draws mean and variance err by some .01 and .004
        assert shares.mean().item() == pytest.approx(0.5, abs=0.04)
        assert shares.var().item() == pytest.approx(1 / (4 * (2 * alpha + 1)), abs=0.015)


# --- CutMix


def test_the_loss_of_cutmix_worked_out_by_hand(monkeypatch: pytest.MonkeyPatch, swapped: None) -> None:
    # one of four pixels is the other's: logits 2 + 2 + 2 - 2 = 4 and -4, of which a quarter of the label is the other's
    monkeypatch.setattr(cutmix, "drawn_box", lambda *_: (slice(0, 1), slice(1, 2)))
    batch = batch_of_pixels([[2] * 4, [-2] * 4], [1, 0])
    found = method_of(cutmix, linear(1, 1, 1, 1)).loss(batch)
    assert found.item() == pytest.approx(0.75 * softplus(-4) + 0.25 * softplus(4))
    assert method_of(erm, linear(1, 1, 1, 1)).loss(batch).item() == pytest.approx(softplus(-8), abs=1e-6)


def test_with_no_probability_cutmix_is_erm() -> None:
    batch = batch_of_pixels([[2, 1], [-2, 3]], [1, 0])
    losses = [method_of(cutmix, linear(1, 1), probability=0).loss(batch), method_of(erm, linear(1, 1)).loss(batch)]
    assert torch.equal(*losses)


def test_what_is_pasted_is_the_others_and_its_share_is_counted() -> None:
    own, others = torch.zeros(2, 3, 4, 8), torch.ones(2, 3, 4, 8)
    mixed, share = cutmix.pasted(own, others, (slice(1, 3), slice(0, 4)))
    assert share == 1 - 8 / 32 == 1 - mixed.mean().item()
    assert (mixed[..., 1:3, :4] == 1).all()
    assert (own == 0).all(), "the batch itself is left as it is"


@pytest.mark.parametrize(("middle", "rows"), [(4, slice(2, 6)), (0, slice(0, 2)), (7, slice(5, 8))])
def test_a_box_is_cut_off_at_the_border(monkeypatch: pytest.MonkeyPatch, middle: int, rows: slice) -> None:
    # a quarter of the area is cut out: half of each side of 8
    monkeypatch.setattr(torch, "randint", lambda *_: torch.tensor(middle))
    assert cutmix.drawn_box(8, 8, 0.75) == (rows, rows)


def test_boxes_of_any_share_lie_in_the_image_and_are_no_larger_than_drawn() -> None:
    torch.manual_seed(0)
    for share in (0.0, 0.3, 0.9, 1.0):
        for _ in range(50):
            sides = [(box.stop - box.start, box.stop) for box in cutmix.drawn_box(28, 20, share)]
            assert all(0 <= length <= end <= side for (length, end), side in zip(sides, (28, 20), strict=True))
            assert sides[0][0] * sides[1][0] <= (1 - share) * 28 * 20 + 1e-9


# --- background randomisation


def row(*pixels: float) -> Tensor:
    return torch.tensor([[pixels]]).float()


def test_lungs_stay_and_the_background_is_anothers_with_its_mean_where_its_lungs_were() -> None:
    radiograph = torch.stack([row(1, 2, 3, 4), row(10, 20, 30, 60)])
    masks = torch.stack([row(0, 1, 0, 0), row(0, 0, 1, 0)])
    found = background_random.on_background_of(torch.tensor([1, 0]), radiograph, masks)
    # the second's background without its lungs is 10, 20, 60: its mean is 30; the first's is 1, 3, 4: 8 / 3
    torch.testing.assert_close(found, torch.stack([row(10, 2, 30, 60), row(1, 8 / 3, 30, 4)]))


def test_each_channel_of_a_scene_has_its_own_mean() -> None:
    scenes = torch.tensor([[[[5.0, 5.0]], [[7.0, 7.0]]], [[[1.0, 2.0]], [[3.0, 4.0]]]])
    masks = torch.stack([row(0, 1), row(1, 0)])
    found = background_random.on_background_of(torch.tensor([1, 0]), scenes, masks)
    # the hole lies where the first's background is to be seen; it is filled with 2 and 4
    torch.testing.assert_close(found[0], torch.tensor([[[2.0, 5.0]], [[4.0, 7.0]]]))


def test_a_radiograph_without_lungs_is_neither_changed_nor_given_to_another() -> None:
    radiograph = torch.stack([row(1, 2), row(3, 4), row(5, 6)])
    masks = torch.stack([row(0, 1), row(0, 0), row(0, 1)])
    found = background_random.on_background_of(torch.tensor([1, 2, 0]), radiograph, masks)
    torch.testing.assert_close(found, torch.stack([row(1, 2), row(3, 4), row(1, 6)]))


def test_on_its_own_background_nothing_changes() -> None:
    radiograph = torch.rand(4, 1, 5, 5)
    masks = torch.zeros(4, 1, 5, 5)
    masks[..., 2:4, 1:3] = 1
    assert torch.equal(background_random.on_background_of(torch.arange(4), radiograph, masks), radiograph)


def test_the_loss_of_background_randomisation_worked_out_by_hand(swapped: None) -> None:
    # the second pixel is background; ERM finds it useful (logits 1 + 2 and -1 - 2), and swapped it says the opposite
    batch = batch_of_pixels([[1, 2], [-1, -2]], [1, 0], lung_mask=[[[[1, 0]]]] * 2)
    assert method_of(erm, linear(1, 1)).loss(batch).item() == pytest.approx(softplus(-3))
    assert method_of(background_random, linear(1, 1)).loss(batch).item() == pytest.approx(softplus(1))
    assert method_of(background_random, linear(1, 1), probability=0).loss(batch).item() == pytest.approx(softplus(-3))
