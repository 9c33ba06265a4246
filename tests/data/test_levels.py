"""What levels tell without looking at every pixel is what the pixels tell."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from medtea.data.geometry import Geometry, Turn
from medtea.data.levels import Levels, block_extremes, digest_of, extremes_of, lines_of, pixels_of

TABLES = {
    "rising": np.linspace(0, 1, 4096),
    "falling": 1 - np.linspace(0, 1, 4096),
    "clipped at both ends": np.clip(np.linspace(-0.5, 1.5, 4096), 0, 1),
    "rising where it counts": np.where(np.arange(4096) < 3000, np.linspace(0, 1, 4096), 0),
    "neither": np.abs(np.linspace(-1, 1, 4096)),
    "padding at the top": np.where(np.arange(4096) == 2999, 0, np.linspace(0, 1, 4096)),
}


def made(table: str, shape: tuple[int, int] = (71, 53)) -> Levels:
    places = np.random.default_rng(0).integers(100, 3000, shape).astype(np.uint16)
    places[3, 4] = 2999
    return Levels(places, TABLES[table].astype(np.float32))


@pytest.mark.parametrize("table", TABLES)
def test_pixels_are_looked_up(table: str) -> None:
    levels = made(table)
    assert levels.shape == (71, 53)
    assert levels.pixels.dtype == np.float32
    np.testing.assert_array_equal(levels.pixels, levels.table[levels.places])
    part = (slice(5, 60, 3), slice(None, None, 2))
    np.testing.assert_array_equal(pixels_of(levels[part]), levels.pixels[part])


@pytest.mark.parametrize("side", [1, 4])
@pytest.mark.parametrize("table", TABLES)
def test_extremes_are_those_of_the_pixels(table: str, side: int) -> None:
    levels = made(table)
    assert extremes_of(levels) == extremes_of(levels.pixels) == (levels.pixels.min(), levels.pixels.max())
    blocks = levels.pixels[: 71 // side * side, : 53 // side * side].reshape(71 // side, side, 53 // side, side)
    for picture in (levels, levels.pixels):
        low, high = block_extremes(picture, side)
        np.testing.assert_array_equal(low, blocks.min(axis=(1, 3)))
        np.testing.assert_array_equal(high, blocks.max(axis=(1, 3)))


def test_the_ways_that_spare_the_pixels_are_taken() -> None:
    assert [made(table).direction for table in TABLES] == [1, -1, 1, 1, 0, 0]
    spared = made("falling")
    extremes_of(spared)
    block_extremes(spared, 3)
    assert "pixels" not in vars(spared)


@pytest.mark.parametrize("shape", [None, (53, 90)])
def test_levels_are_placed_as_their_pixels_are(shape: tuple[int, int] | None) -> None:
    levels = made("clipped at both ends")
    geometry = Geometry((71, 53), (0, 71, 0, 53), Turn(transpose=True, flip_rows=True), shape)
    np.testing.assert_array_equal(pixels_of(geometry.place_levels(levels)), geometry.place_cropped(levels.pixels))


@pytest.mark.parametrize("rows", [1, 16, 100])
@pytest.mark.parametrize("table", TABLES)
def test_lines_are_what_is_made_of_the_pixels(table: str, rows: int) -> None:
    levels = made(table)
    for picture in (levels, levels.pixels):
        parts = list(lines_of(picture, np.sqrt, rows=rows))
        assert max(len(part) for part in parts) == min(rows, 71)
        np.testing.assert_array_equal(np.concatenate(parts), np.sqrt(levels.pixels))


@pytest.mark.parametrize("table", TABLES)
def test_one_picture_has_one_digest_however_it_is_coded(table: str) -> None:
    levels = made(table)
    values = np.rint(levels.pixels.astype(np.float64) * 65535).astype("<u2")
    assert digest_of(levels) == digest_of(levels.pixels) == hashlib.sha256(values.tobytes()).hexdigest()
    shuffled = np.random.default_rng(0).permutation(len(levels.table)).astype(np.uint16)
    coded = np.empty_like(levels.table)
    coded[shuffled] = levels.table
    other = Levels(shuffled[levels.places], coded)
    assert digest_of(other) == digest_of(levels)
    changed = levels.pixels.copy()
    changed[70, 52] += 2 / 65535
    assert digest_of(changed) != digest_of(levels)
