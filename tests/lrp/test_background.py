"""ISNet's two losses on maps whose answers are worked out by hand."""

from __future__ import annotations

import math

import torch

from medtea.lrp.background import background_loss, foreground_loss

MAP = torch.tensor([[[[1.0, -3.0], [2.0, 4.0]]]])
INSIDE = torch.tensor([[[[1.0, 1.0], [0.0, 0.0]]]])


def test_the_background_loss_is_that_worked_out_by_hand() -> None:
    # mean |H| inside is 2, so outside stand 2 / 2 and 4 / 2; ranked 2, 1, 0, 0 with weights 1, 1/2, 1/4, 1/8
    g = (2 * 1 + 1 * 0.5) / (1 + 0.5 + 0.25 + 0.125)
    found = background_loss(MAP, INSIDE, decay=0.5, scale=10.0)
    torch.testing.assert_close(found, torch.tensor([math.log(1 + g / 10)]))
    # -log(1 - g / (g + E)) is how the paper writes it
    assert math.isclose(math.log(1 + g / 10), -math.log(1 - g / (g + 10)))


def test_the_background_loss_does_not_change_with_the_scale_of_the_map_and_its_gradient_reaches_both_sides() -> None:
    one = MAP.double().requires_grad_(True)
    loss = background_loss(one, INSIDE, decay=0.9, scale=1.0)
    torch.testing.assert_close(background_loss(7 * MAP.double(), INSIDE, decay=0.9, scale=1.0), loss.detach())
    (slope,) = torch.autograd.grad(loss.sum(), one)
    assert (slope[..., 0, :] * MAP[..., 0, :] < 0).all(), "more relevance inside lowers it"
    assert (slope[..., 1, :] * MAP[..., 1, :] > 0).all(), "more relevance outside raises it"
    assert torch.autograd.gradcheck(lambda h: background_loss(h, INSIDE, decay=0.9, scale=1.0), one)


def test_without_relevance_outside_there_is_no_background_loss_and_channels_are_averaged() -> None:
    assert background_loss(MAP * INSIDE, INSIDE, decay=0.9, scale=1.0).item() == 0
    # inside both channels have a mean of 2 together: (1 + 3 + 3 + 1) / 4
    two = torch.cat([MAP, MAP.flip(3) * INSIDE], 1)
    alone = background_loss(MAP, INSIDE, decay=0.9, scale=1.0)
    torch.testing.assert_close(background_loss(two, INSIDE, decay=0.9, scale=1.0), alone / 2)


def test_the_foreground_loss_is_nothing_between_the_cuts_and_square_or_linear_outside() -> None:
    totals = torch.tensor([1.0, 2.0, 6.0, 9.0, 12.0])  # C1 = 2, C2 = 8: they sum to 10
    square = foreground_loss(totals, 2.0, 8.0, is_hybrid=False)
    hybrid = foreground_loss(totals, 2.0, 8.0, is_hybrid=True)
    assert square.tolist() == [0.25, 0.0, 0.0, 0.25, 4.0]
    assert hybrid.tolist() == [0.25, 0.0, 0.0, 0.25, 1 + 2]
    # both forms are 1 where they part
    at = torch.tensor([10.0])
    assert foreground_loss(at, 2.0, 8.0, is_hybrid=True).item() == foreground_loss(at, 2.0, 8.0, is_hybrid=False).item()
