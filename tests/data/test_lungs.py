"""What the teacher is shown depends on the lungs alone, and not on how bright a hospital prints them."""

from __future__ import annotations

import pytest
import torch

from medtea.core.errors import DataError
from medtea.data.lungs import DARKEST, lungs_only


@pytest.fixture
def pair() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    radiograph = torch.rand(3, 1, 20, 20, generator=generator, dtype=torch.float64)
    mask = torch.zeros_like(radiograph)
    mask[:, :, 4:16, 5:15] = 1
    return radiograph, mask


def test_outside_is_zero_and_inside_is_not(pair) -> None:
    shown = lungs_only(*pair)
    assert (shown[pair[1] == 0] == 0).all()
    assert shown[pair[1] > 0].min() >= DARKEST
    assert shown.max() == 1


def test_exposure_changes_nothing(pair) -> None:
    radiograph, mask = pair
    torch.testing.assert_close(lungs_only(0.3 * radiograph + 0.2, mask), lungs_only(radiograph, mask))


def test_what_lies_outside_the_lungs_changes_nothing(pair) -> None:
    radiograph, mask = pair
    other = torch.where(mask > 0, radiograph, 1 - radiograph)
    assert torch.equal(lungs_only(other, mask), lungs_only(radiograph, mask))


def test_each_radiograph_has_its_own_scale(pair) -> None:
    radiograph, mask = pair
    assert torch.equal(lungs_only(radiograph, mask)[1:2], lungs_only(radiograph[1:2], mask[1:2]))


def test_a_scale_worked_out_by_hand() -> None:
    # 101 lung pixels 0, 0.01 .. 1: the percentiles are 0.02 and 0.98, so 0.5 lies in the middle of [0.1, 1].
    radiograph = torch.linspace(0, 1, 101, dtype=torch.float64).reshape(1, 1, 1, 101)
    shown = lungs_only(radiograph, torch.ones_like(radiograph)).flatten()
    torch.testing.assert_close(shown[[0, 2, 50, 98, 100]], torch.tensor([0.1, 0.1, 0.55, 1, 1], dtype=torch.float64))


def test_no_lung_or_a_flat_one_shows_nothing(pair) -> None:
    radiograph, mask = pair
    assert lungs_only(radiograph, torch.zeros_like(mask)).abs().max() == 0
    assert lungs_only(torch.full_like(radiograph, 0.4), mask).abs().max() == 0


def test_shapes_that_differ_are_refused(pair) -> None:
    with pytest.raises(DataError, match="The mask is"):
        lungs_only(pair[0], pair[1][:, :, :5])
