from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont
from pydicom.dataset import Dataset
from scipy import ndimage

from medtea.core.errors import DataError
from medtea.data.border_text import around, text_on_border
from medtea.data.levels import Levels
from medtea.data.marks import Mark
from medtea.data.phantom import draw_phantom
from medtea.ingest.acquisition import facts_of
from medtea.ingest.burned_in import judged, says_burned_in


def phantom(number: int, size: int = 320) -> np.ndarray:
    drawn = draw_phantom(np.random.default_rng(number), size=size, diseased=bool(number % 2)).radiograph
    return (0.05 + 0.75 * drawn).astype(np.float32)  # a screen's text is brighter than any anatomy


def written(picture: np.ndarray, text: str, *, height: int, grey: float = 1.0, row: int = 4) -> np.ndarray:
    canvas = Image.new("L", picture.shape[::-1])
    ImageDraw.Draw(canvas).text((6, row), text, fill=255, font=ImageFont.load_default(height))
    share = np.asarray(canvas, dtype=np.float32) / 255
    return picture * (1 - share) + grey * share


@pytest.mark.parametrize("number", range(6))
@pytest.mark.parametrize("text", ["MUELLER ANNA", "27.04.1931", "ID 7731415"])
def test_a_name_or_number_on_the_border_is_text(number: int, text: str) -> None:
    assert text_on_border(written(phantom(number), text, height=14)).is_text
    assert text_on_border(written(phantom(number), text, height=14, row=300)).is_text


def test_dark_large_and_upright_text_is_text_too() -> None:
    dark = written(0.3 + 0.7 * phantom(1), "MUELLER ANNA", height=14, grey=0.0)
    assert text_on_border(dark).is_text
    assert text_on_border(written(phantom(1), "MUELLER ANNA", height=14).T).is_text
    large = np.asarray(Image.fromarray(phantom(2)).resize((2048, 2560)))
    assert text_on_border(written(large, "MUELLER ANNA", height=60)).is_text


def test_a_single_marker_is_none_and_a_plain_phantom_neither() -> None:
    for number in range(12):
        plain = phantom(number)
        assert not text_on_border(plain).is_text
        marked, _ = Mark("L", height=0.06, margin=0.04).stamp(plain)
        assert text_on_border(marked).word in ("none", "marker")


def test_text_does_not_depend_on_the_greys_range_or_polarity() -> None:
    picture = written(phantom(3), "MUELLER ANNA", height=14)
    letters = text_on_border(picture).letters
    assert text_on_border(np.rint(picture * 4095).astype(np.int32)).letters == letters
    assert text_on_border(1 - picture).letters == letters
    assert text_on_border(np.zeros((64, 64))).letters == 0


@pytest.mark.parametrize("table", [np.linspace(0, 1, 4096), 1 - np.linspace(0, 1, 4096) ** 0.5])
def test_levels_show_the_text_that_their_pixels_show(table: np.ndarray) -> None:
    large = np.asarray(Image.fromarray(phantom(2)).resize((1024, 1280)))
    places = np.rint(written(large, "MUELLER ANNA", height=40) * 4095).astype(np.uint16)
    levels = Levels(places, table.astype(np.float32))
    assert text_on_border(levels) == text_on_border(levels.pixels)
    assert text_on_border(levels).is_text


@pytest.mark.parametrize("width", [3, 5, 13, 21])
def test_the_extreme_around_a_pixel_is_that_of_scipys_filter(width: int) -> None:
    picture = np.random.default_rng(0).random((40, 29)).astype(np.float32)
    np.testing.assert_array_equal(around(picture, width, np.maximum), ndimage.maximum_filter(picture, width))
    np.testing.assert_array_equal(around(picture, width, np.minimum), ndimage.minimum_filter(picture, width))


def test_the_tags_are_asked_first() -> None:
    declared = Dataset()
    declared.RecognizableVisualFeatures = "YES"
    assert says_burned_in(declared)
    assert facts_of(declared)["text_on_border"] == "declared"
    declared.RecognizableVisualFeatures = "NO"
    assert not says_burned_in(declared)


def test_the_policy_decides() -> None:
    text, plain = written(phantom(1), "MUELLER ANNA", height=14), phantom(1)
    assert judged(text, "unknown", "flag") == "text"
    assert judged(plain, "declared", "flag") == "declared"
    assert judged(text, "unknown", "ignore") == "unknown"
    assert judged(plain, "unknown", "refuse") in ("none", "marker")
    with pytest.raises(DataError, match=r"looks like text. Set ingest.burned_in: flag"):
        judged(text, "unknown", "refuse")
    with pytest.raises(DataError, match="header declares"):
        judged(plain, "declared", "refuse")
