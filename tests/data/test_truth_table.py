"""The reader is held to the truth table, row by row; docs/ingest.md prints it."""

from __future__ import annotations

import numpy as np
import pytest
from oracles.truth_table import ROWS, Row

from medtea.data.choices import Choices
from medtea.data.pixels import read_dataset

PRECISION = 1e-6  # float32 holds seven digits of a number in [0, 1]


@pytest.mark.parametrize("number", range(1, len(ROWS) + 1))
def test_every_row_of_the_truth_table_is_shown_as_the_slow_twin_says(number: int) -> None:
    row: Row = ROWS[number - 1]
    reading = read_dataset(row.dataset(), Choices(**row.choices()))
    np.testing.assert_allclose(reading.pixels.ravel()[: len(row.words)], row.expected(), rtol=0, atol=PRECISION)
    assert reading.facts.voi == row.says
    assert (reading.facts.polarity_tags == "conflict") == row.conflict


def test_the_truth_table_has_no_row_twice_and_crosses_what_it_says() -> None:
    assert len(set(ROWS)) == len(ROWS) >= 60
    images = [row.image for row in ROWS]
    assert {image.photometric for image in images} == {"MONOCHROME1", "MONOCHROME2"}
    assert {(image.photometric, row.shape) for image, row in zip(images, ROWS, strict=True)} >= {
        (photometric, shape) for photometric in ("MONOCHROME1", "MONOCHROME2") for shape in ("", "IDENTITY", "INVERSE")
    }
    assert {(image.bits, image.signed) for image in images} >= {
        (bits, signed) for bits in (8, 10, 12, 14, 16, 24, 32) for signed in (False, True)
    }


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        # 12 bits, c = 2048, w = 4096: black up to 2047.5 - 2047.5 = 0, white from 4095, MONOCHROME1 turned over.
        (29, [1, 1 - 1000 / 4095, 1 - 2047 / 4095, 1 - 2048 / 4095, 0]),
        # LINEAR, c = 1000, w = 400: from 999.5 - 199.5 = 800 to 1199; 801 is 1/399, 1000 is 200/399.
        (35, [1, 1 - 1 / 399, 1 - 200 / 399, 0, 0]),
    ],
)
def test_some_rows_by_hand(number: int, shown: list[float]) -> None:
    np.testing.assert_allclose(ROWS[number - 1].expected(), shown, atol=1e-12)
