"""From the stored grid to the one that is handed out: cropped, upright, with square pixels; the same for any mask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medtea.core.errors import DataError
from medtea.data.levels import Levels

Box = tuple[int, int, int, int]
"""First row, row after the last, first column, column after the last; counted from 0."""
SQUARE = 0.01  # sides within 1 % are square: spacings are written with few digits
MOST_UNEQUAL = 4.0  # no detector or scanner has pixels four times as long as wide: such a header is damaged

OPPOSITE = {"L": "R", "R": "L", "F": "H", "H": "F"}
DONE = {
    (False, False, False): "none needed",
    (False, False, True): "mirrored left-right",
    (False, True, False): "mirrored top-bottom",
    (False, True, True): "turned by 180 degrees",
    (True, False, False): "mirrored on the diagonal",
    (True, False, True): "turned by 90 degrees clockwise",
    (True, True, False): "turned by 90 degrees counter-clockwise",
    (True, True, True): "mirrored on the other diagonal",
}


@dataclass(frozen=True)
class Turn:
    """What brings an image upright: rows and columns changed places first, then each turned round.

    Attributes:
        transpose: Rows become columns.
        flip_rows: The last row becomes the first.
        flip_columns: The last column becomes the first.
    """

    transpose: bool = False
    flip_rows: bool = False
    flip_columns: bool = False

    @property
    def in_words(self) -> str:
        """As the facts have it."""
        return DONE[self.transpose, self.flip_rows, self.flip_columns]

    def of(self, picture: NDArray[Any]) -> NDArray[Any]:
        """The picture upright."""
        upright = picture.T if self.transpose else picture
        upright = upright[::-1] if self.flip_rows else upright
        return upright[:, ::-1] if self.flip_columns else upright


def turn_to_upright(orientation: Sequence[str]) -> Turn | None:
    """The turn after which rows run to the patient's left and columns to the feet.

    Args:
        orientation: PatientOrientation (0020,0020): where the rows run, and where the columns run, as stored
            (PS3.3 C.7.6.1.1.1). Of a compound direction the first letter is the principal one.

    Returns:
        None where it does not describe a frontal image: towards the front or back, or both along one axis.
    """
    along = [str(direction).strip().upper()[:1] for direction in orientation]
    if len(along) != 2 or not OPPOSITE.keys() >= set(along) or along[1] in {along[0], OPPOSITE[along[0]]}:
        return None
    rows, columns = along
    transpose = rows in "FH"
    if transpose:
        rows, columns = columns, rows
    return Turn(transpose, flip_rows=columns == "H", flip_columns=rows == "R")


@dataclass(frozen=True)
class Geometry:
    """The way from the stored grid.

    Attributes:
        stored: Rows and columns of the stored grid.
        box: What is left of it.
        turn: What is done to the rest.
        shape: Rows and columns after resampling; None: not resampled.
    """

    stored: tuple[int, int]
    box: Box
    turn: Turn = Turn()
    shape: tuple[int, int] | None = None

    @classmethod
    def whole(cls, shape: tuple[int, ...]) -> Geometry:
        """Nothing is changed."""
        rows, columns = shape
        return cls((rows, columns), (0, rows, 0, columns))

    def place(self, picture: NDArray[Any]) -> NDArray[Any]:
        """A picture on the stored grid, onto the radiograph's; a mask (bool) takes the nearest pixel.

        Raises:
            DataError: it is not on the stored grid.
        """
        if picture.shape != self.stored:
            raise DataError(
                f"The mask has {picture.shape[0]} x {picture.shape[1]} pixels and its radiograph {self.stored[0]} x "
                f"{self.stored[1]}; a mask lies on its radiograph's grid."
            )
        top, bottom, left, right = self.box
        return self.place_cropped(picture[top:bottom, left:right])

    def place_cropped(self, picture: NDArray[Any]) -> NDArray[Any]:
        """The same for a picture that is cropped already."""
        return resampled(self.turn.of(picture), self.shape)

    def place_levels(self, picture: Levels) -> NDArray[np.float32] | Levels:
        """The same for levels, which stay levels as long as no two pixels are mixed."""
        turned = Levels(np.ascontiguousarray(self.turn.of(picture.places)), picture.table)
        return turned if self.shape in (None, turned.shape) else resampled(turned.pixels, self.shape)


def resampled(picture: NDArray[Any], shape: tuple[int, int] | None) -> NDArray[Any]:
    """The picture on another grid over the same area: bilinear, a mask by the nearest pixel."""
    if shape is None or picture.shape == shape:
        return np.ascontiguousarray(picture)
    if picture.dtype == bool:
        image = Image.fromarray(np.ascontiguousarray(picture).astype(np.uint8))
        return np.asarray(image.resize(shape[::-1], Image.Resampling.NEAREST)) > 0
    image = Image.fromarray(np.ascontiguousarray(picture, dtype=np.float32))
    return np.asarray(np.clip(np.asarray(image.resize(shape[::-1], Image.Resampling.BILINEAR)), 0, 1))


def square_shape(shape: tuple[int, int], aspect: float | None) -> tuple[int, int] | None:
    """Rows and columns of square pixels as fine as the finer side.

    Args:
        shape: Rows and columns.
        aspect: Distance between rows over distance between columns.

    Returns:
        None where the pixels are square already, or the ratio is unknown or cannot be meant.
    """
    if aspect is None or abs(aspect - 1) <= SQUARE or not 1 / MOST_UNEQUAL <= aspect <= MOST_UNEQUAL:
        return None
    rows, columns = shape
    return (round(rows * aspect), columns) if aspect > 1 else (rows, round(columns / aspect))
