from __future__ import annotations

import numpy as np
import pytest

from medtea.data.phantom import STYLES, draw_phantom
from medtea.segment.checks import CheckSettings, implausible

SIZE = 100
GREY = np.full((SIZE, SIZE), 0.5, dtype=np.float32)


def boxes(*boxes: tuple[int, int, int, int]) -> np.ndarray:
    """Rectangles as (top, bottom, left, right), of 100 x 100 pixels: a pixel is a hundredth of a per cent."""
    mask = np.zeros((SIZE, SIZE), dtype=np.uint8)
    for top, bottom, left, right in boxes:
        mask[top:bottom, left:right] = 1
    return mask


LUNGS = boxes((20, 80, 15, 40), (20, 80, 60, 85))


def test_two_equal_lungs_pass() -> None:
    assert implausible(LUNGS, GREY, CheckSettings()) == ""


@pytest.mark.parametrize("style", sorted(STYLES))
@pytest.mark.parametrize("diseased", [False, True])
def test_the_exact_mask_of_a_phantom_passes(style: str, diseased: bool) -> None:
    for seed in range(20):
        drawn = draw_phantom(np.random.default_rng(seed), size=SIZE, diseased=diseased, style=STYLES[style])
        assert implausible(drawn.lung_mask.astype(np.uint8), drawn.radiograph, CheckSettings()) == ""


@pytest.mark.parametrize(
    ("mask", "reason"),
    [
        (boxes(), "no lung was found"),
        (boxes((40, 50, 30, 40), (40, 50, 60, 70)), "the lungs take 2% of the image, plausible is 8% to 65%"),
        (boxes((5, 95, 5, 48), (5, 95, 52, 95)), "the lungs take 77% of the image, plausible is 8% to 65%"),
        (boxes((20, 80, 10, 25), (20, 80, 40, 55), (20, 80, 70, 85)), "the mask has 3 large parts, lungs are two"),
        # 1500 pixels left of the middle of columns 10 to 85 (at 47), 300 right of it
        (boxes((20, 80, 10, 35), (20, 26, 60, 85)), "one side has 10% of the other's area, plausible is at least 30%"),
        # 396 border pixels: the upper row's 70 are 18 %
        (boxes((0, 40, 15, 85)), "the mask touches 18% of the image's border, plausible is at most 15%"),
    ],
)
def test_each_fault_has_its_reason(mask: np.ndarray, reason: str) -> None:
    assert implausible(mask, GREY, CheckSettings()) == reason


def test_a_black_border_taken_for_lung_is_rejected() -> None:
    # Collimation on both sides without any signal: two parts, balanced, of a lung's area, off the edge.
    radiograph = GREY.copy()
    radiograph[:, :25] = radiograph[:, 75:] = 0
    mask = boxes((10, 90, 3, 25), (10, 90, 75, 97))
    reason = implausible(mask, radiograph, CheckSettings())
    assert reason == "100% of the mask lies on padding or collimation without signal"
    assert implausible(mask, GREY, CheckSettings()) == ""


def test_dark_lungs_are_no_padding() -> None:
    # One grey level of 8 bits is signal.
    radiograph = GREY.copy()
    radiograph[LUNGS > 0] = 1 / 255
    assert implausible(LUNGS, radiograph, CheckSettings()) == ""


def test_a_fragment_is_no_third_lung() -> None:
    # 100 of 3100 pixels are below 5 %; 400 of 3400 are above.
    assert implausible(LUNGS + boxes((85, 95, 45, 55)), GREY, CheckSettings()) == ""
    assert "3 large parts" in implausible(LUNGS + boxes((45, 85, 45, 55)), GREY, CheckSettings())


def test_wider_bounds_let_a_mask_pass() -> None:
    small = boxes((40, 50, 30, 40), (40, 50, 60, 70))
    assert implausible(small, GREY, CheckSettings(area=(0.01, 0.65))) == ""


def test_a_mask_in_one_column_has_an_empty_side() -> None:
    settings = CheckSettings(area=(0.001, 1))
    assert implausible(boxes((20, 80, 50, 51)), GREY, settings).startswith("one side has 0% of the other's area")
