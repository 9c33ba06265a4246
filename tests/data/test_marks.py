from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from medtea.core.errors import UsageError
from medtea.data.marks import CORNERS, Mark, stamp_box, stamp_letter


@pytest.mark.parametrize("corner", CORNERS)
@pytest.mark.parametrize("sign", ["L", "R", "box"])
def test_the_pixels_said_to_be_taken_are_those_that_change(sign: str, corner: str) -> None:
    radiograph = np.random.default_rng(0).random((120, 90)).astype(np.float32) * 0.9
    before = radiograph.copy()
    stamped, taken = Mark(sign, corner=corner).stamp(radiograph)
    np.testing.assert_array_equal(stamped != radiograph, taken)
    np.testing.assert_array_equal(stamped[taken], 1.0)
    np.testing.assert_array_equal(radiograph, before)


@pytest.mark.parametrize("corner", CORNERS)
def test_a_mark_lies_in_its_corner_at_its_margin(corner: str) -> None:
    taken = Mark("R", height=0.2, corner=corner, margin=0.05).pixels(100, 100)
    rows, columns = np.nonzero(taken)
    top = rows.min() if corner.startswith("top") else 99 - rows.max()
    side = columns.min() if corner.endswith("left") else 99 - columns.max()
    assert (top, side) == (5, 5)
    assert np.ptp(rows) + 1 == 20


@pytest.mark.parametrize("size", [48, 64, 256, 1000])
def test_a_letters_height_is_the_share_asked_for(size: int) -> None:
    rows, _ = np.nonzero(stamp_letter(np.zeros((size, size), dtype=np.float32), "L", height=1 / 6)[1])
    assert abs(np.ptp(rows) + 1 - size / 6) <= 1


def test_a_letter_is_one_bold_piece() -> None:
    for letter in "LR":
        taken = Mark(letter).pixels(256, 256)
        assert ndimage.label(taken)[1] == 1
        # Bold: strokes wider than a tenth of the letter's height survive an erosion by a twentieth on each side.
        assert ndimage.binary_erosion(taken, iterations=2).any()


def test_letters_differ() -> None:
    assert (Mark("L").pixels(96, 96) != Mark("R").pixels(96, 96)).sum() > 50


def test_a_box_is_filled_and_twice_as_wide_as_high() -> None:
    stamped, taken = stamp_box(np.zeros((120, 120), dtype=np.float32), height=0.1, brightness=0.5)
    assert taken.sum() == 12 * 24
    assert stamped[taken].min() == 0.5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"corner": "top rigth"}, "Did you mean 'top right'"),
        ({"sign": " "}, "sign is empty"),
        ({"height": 0}, r"height is in \(0, 1\]"),
        ({"brightness": 2.0}, "brightness"),
    ],
)
def test_a_mark_that_cannot_be_drawn_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Mark(**({"sign": "L"} | changes))  # type: ignore[arg-type]


def test_a_mark_larger_than_the_radiograph_is_refused() -> None:
    with pytest.raises(UsageError, match="does not fit on 20 x 20"):
        Mark("R", height=1.0).stamp(np.zeros((20, 20), dtype=np.float32))
