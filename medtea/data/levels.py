"""A picture as places in a table of grey values: what the table tells of all pixels need not be asked of each.

Where the table rises, or falls, over the places that occur, the largest of some grey values is that of the largest
place, or of the smallest: places are integers of half the size, and eight million of them are soon compared.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROWS = 32  # that go through the table at a time: they stay in the processor's cache
Key = tuple[slice, slice]


@dataclass(frozen=True, eq=False)
class Levels:
    """A radiograph's grey values.

    Attributes:
        places: (rows, columns), unsigned: where each pixel's grey value stands in `table`.
        table: float32.
    """

    places: NDArray[np.unsignedinteger]
    table: NDArray[np.float32]

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        rows, columns = self.places.shape
        return rows, columns

    def __getitem__(self, key: Key) -> Levels:
        """The part of it, and not a pixel copied."""
        return Levels(self.places[key], self.table)

    @cached_property
    def pixels(self) -> NDArray[np.float32]:
        """Every pixel's grey value, (rows, columns)."""
        pixels = np.empty(self.places.shape, dtype=np.float32)
        for first in range(0, len(self.places), ROWS):
            some = slice(first, first + ROWS)
            # no place is outside of the table; "clip" spares a buffer
            np.take(self.table, self.places[some], out=pixels[some], mode="clip")
        return pixels

    @cached_property
    def extremes(self) -> tuple[float, float]:
        """The smallest and the largest grey value that occurs."""
        if self.direction == 0:
            return float(self.pixels.min()), float(self.pixels.max())
        low, high = self.table[list(self._ends)][:: self.direction]
        return float(low), float(high)

    @cached_property
    def direction(self) -> int:
        """1 where the grey values rise with the places that occur, -1 where they fall, 0 where they do both."""
        first, last = self._ends
        steps = np.diff(self.table[first : last + 1])
        return 1 if (steps >= 0).all() else -1 if (steps <= 0).all() else 0

    @cached_property
    def _ends(self) -> tuple[int, int]:
        return int(self.places.min()), int(self.places.max())


Picture = NDArray[Any] | Levels


def pixels_of(picture: Picture) -> NDArray[Any]:
    """The picture as an array."""
    return picture.pixels if isinstance(picture, Levels) else picture


def extremes_of(picture: Picture) -> tuple[float, float]:
    """The smallest and the largest grey value."""
    return picture.extremes if isinstance(picture, Levels) else (float(picture.min()), float(picture.max()))


def lines_of(
    picture: Picture, of: Callable[[NDArray[Any]], NDArray[Any]], *, rows: int = ROWS
) -> Iterator[NDArray[Any]]:
    """What `of` makes of the grey values, each by itself, some rows at a time: they stay in the processor's cache."""
    parts = (slice(first, first + rows) for first in range(0, picture.shape[0], rows))
    if isinstance(picture, Levels):
        table = of(picture.table)
        return (np.take(table, picture.places[some], mode="clip") for some in parts)
    return (of(picture[some]) for some in parts)


def digest_of(picture: Picture) -> str:
    """SHA-256 of the grey values in [0, 1] as 16-bit numbers, rows first: a picture has one, however it is coded."""
    digest = hashlib.sha256()
    for lines in lines_of(picture, _sixteen_bits):
        digest.update(np.ascontiguousarray(lines).data)
    return digest.hexdigest()


def _sixteen_bits(grey: NDArray[Any]) -> NDArray[np.uint16]:
    return np.rint(grey * np.float64(0xFFFF)).astype("<u2")


def block_extremes(picture: Picture, side: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Each block of side x side pixels as its smallest value, and as its largest; what is left at the edges is not."""
    if not isinstance(picture, Levels):
        return _blocks(picture, side, np.minimum), _blocks(picture, side, np.maximum)
    if picture.direction == 0:
        return block_extremes(picture.pixels, side)
    low, high = (picture.table[blocks] for blocks in block_extremes(picture.places, side))
    return (low, high) if picture.direction > 0 else (high, low)


def _blocks(picture: NDArray[Any], side: int, extreme: np.ufunc) -> NDArray[Any]:
    """Rows first, which lie side by side in memory."""
    rows, columns = (length // side for length in picture.shape)
    whole = picture[: rows * side, : columns * side]
    thinned = extreme.reduce(whole.reshape(rows, side, columns * side), axis=1)
    return np.asarray(functools.reduce(extreme, [thinned[:, first::side] for first in range(side)]))
