"""Whether something on a radiograph's border looks like burned-in text: a line of letters, not a single marker.

Letters that a device burns in are as bright as the picture can be, or as dark, thin, of one height and in a row. So:
thin strokes (a morphological top hat) near the grey values' end -> connected parts of a letter's size in the outer
quarter -> parts side by side make a line -> four letters and more are text, fewer are a marker (L, R, PA). Lines are
looked for along rows and along columns. A hint, no proof: BurnedInAnnotation stays what the header says. On 516 real
radiographs of six hospitals (benchmarks/ingest/burned_in.py) a white name and date is seen on 67 to 99 % of them, less
where it lies on white; of those of two hospitals without words of their own 1 % are flagged, of a third 19 %.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medtea.data.levels import Picture, block_extremes

LONGEST_SIDE = 640  # pixels; larger pictures are reduced, each block to its extreme, so that thin strokes stay
BORDER = 0.25  # share of a side that counts as border
SHORTEST, TALLEST = 0.006, 0.08  # a letter's height, shares of the longest side
FEWEST_ROWS = 5  # pixels: below that a letter cannot be told from a speck
CONTRAST = 0.2  # of a stroke over its surroundings, in shares of the grey values' range
EXTREME = 0.75  # a letter's pixels lie this near the end of the range
TEXT = 4  # letters
WHITE = 255  # extremes of bytes are found at four times the rate


@dataclass(frozen=True)
class Border:
    """What is on the border.

    Attributes:
        letters: Of the longest line; 0 where there is none.
    """

    letters: int

    @property
    def is_text(self) -> bool:
        """Whether the line is longer than a marker."""
        return self.letters >= TEXT

    @property
    def word(self) -> str:
        """One of "none", "marker" or "text"."""
        return "text" if self.is_text else "marker" if self.letters else "none"


@dataclass(frozen=True)
class Part:
    """A connected part of strokes, in pixels; `letters` is more than 1 where letters touch."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def height(self) -> int:
        """Rows."""
        return self.bottom - self.top

    @property
    def letters(self) -> int:
        """Letters that are 0.8 as wide as high."""
        return max(1, round((self.right - self.left) / (0.8 * self.height)))

    @property
    def turned(self) -> Part:
        """The same with rows and columns exchanged."""
        return Part(self.left, self.right, self.top, self.bottom)

    def is_letters(self, longest: int, tallest: float = TALLEST) -> bool:
        """Whether it has the height of a letter, and no more width than some that touch.

        Args:
            longest: The picture's longest side, in pixels.
            tallest: A letter's greatest height, as a share of it.
        """
        lowest, highest = max(FEWEST_ROWS, SHORTEST * longest), max(2 * FEWEST_ROWS, tallest * longest)
        return lowest <= self.height <= highest and self.right - self.left <= 12 * self.height


def text_on_border(picture: Picture) -> Border:
    """The longest line of letters on the border, bright ones on dark or dark ones on bright.

    Args:
        picture: (rows, columns), of any range.
    """
    dark, bright = block_extremes(picture, -(-max(picture.shape) // LONGEST_SIDE))  # so that thin strokes stay
    low, high = float(dark.min()), float(bright.max())
    if not high > low:
        return Border(0)
    lines = []
    for grey in ((bright - low) / (high - low), (high - dark) / (high - low)):
        found = list(_on_border(_strokes(np.rint(WHITE * grey).astype(np.uint8))))
        lines += [_longest_line(found, grey.shape), _longest_line([part.turned for part in found], grey.shape)]
    return Border(max(lines))


def marks_on_border(
    picture: NDArray[Any], *, tallest: float = TALLEST, contrast: float = CONTRAST
) -> NDArray[np.bool_]:
    """The pixels of all parts on the border that have a letter's size, text and markers alike, on the picture's grid.

    Args:
        picture: (rows, columns), of any range, no side longer than LONGEST_SIDE.
        tallest: A letter's greatest height, a share of the longest side.
        contrast: Of a stroke over its surroundings, in shares of the grey values' range.
    """
    found = np.zeros(picture.shape, dtype=bool)
    low, high = float(np.min(picture)), float(np.max(picture))
    if not high > low:
        return found
    bright = np.rint(WHITE * (np.asarray(picture, dtype=np.float32) - low) / (high - low)).astype(np.uint8)
    for grey in (bright, WHITE - bright):
        strokes = _strokes(grey, tallest, contrast)
        labels, _ = ndimage.label(strokes, structure=np.ones((3, 3)))
        for part in _on_border(strokes):
            if part.is_letters(max(picture.shape), tallest):
                here = slice(part.top, part.bottom), slice(part.left, part.right)
                names, counts = np.unique(labels[here][labels[here] > 0], return_counts=True)
                own = np.zeros_like(found)
                own[here] = labels[here] == names[counts.argmax()]
                found |= _whole(own, grey, tallest)
    return found


def _whole(part: NDArray[np.bool_], grey: NDArray[np.uint8], tallest: float) -> NDArray[np.bool_]:
    """All of a letter of which a part is thin; the part where what it hangs together with is no letter."""
    labels, _ = ndimage.label(grey >= EXTREME * WHITE, structure=np.ones((3, 3)))
    joined = np.isin(labels, np.unique(labels[part]))
    rows, columns = np.flatnonzero(joined.any(1)), np.flatnonzero(joined.any(0))
    whole = Part(int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1)
    return joined if whole.is_letters(max(grey.shape), 1.5 * tallest) else part


def _strokes(picture: NDArray[np.uint8], tallest: float = TALLEST, contrast: float = CONTRAST) -> NDArray[np.bool_]:
    """Thin and bright: what a square wider than a stroke does not fit into."""
    width = max(3, round(tallest / 4 * max(picture.shape))) | 1
    opened = around(around(picture, width, np.minimum), width, np.maximum)
    return np.asarray((picture - opened > contrast * WHITE) & (picture >= EXTREME * WHITE))


def around(picture: NDArray[np.uint8], width: int, extreme: np.ufunc) -> NDArray[np.uint8]:
    """The extreme of the square of odd width around each pixel, mirrored at the edges: scipy's filter, but faster.

    The extreme of 2 n pixels is that of two times n: windows grow by doubling, and two that overlap make the last.
    """
    for _ in range(2):  # rows, then columns
        found, length = np.pad(picture, ((width // 2, width // 2), (0, 0)), mode="symmetric"), 1
        while 2 * length <= width:
            found, length = extreme(found[:-length], found[length:]), 2 * length
        rest = width - length
        found = extreme(found[: len(found) - rest], found[rest:])
        picture = np.ascontiguousarray(found.T)
    return picture


def _longest_line(found: Iterable[Part], shape: tuple[int, ...]) -> int:
    parts = sorted((part for part in found if part.is_letters(max(shape))), key=lambda part: (part.left, part.top))
    longest = 0
    ends: list[tuple[Part, int]] = []  # of each line so far: its last part, and its letters
    for part in parts:
        letters, before = 0, None
        for place, (last, count) in enumerate(ends):
            if count > letters and _continues(last, part):
                letters, before = count, place
        if before is not None:
            ends.pop(before)
        ends.append((part, letters + part.letters))
        longest = max(longest, letters + part.letters)
    return longest


def _continues(last: Part, part: Part) -> bool:
    overlap = min(last.bottom, part.bottom) - max(last.top, part.top)
    small, tall = sorted((last.height, part.height))
    return overlap >= 0.6 * small and tall <= 1.7 * small and 0 <= part.left - last.right <= 1.5 * tall


def _on_border(strokes: NDArray[np.bool_]) -> Iterator[Part]:
    labels, _ = ndimage.label(strokes, structure=np.ones((3, 3)))
    rows, columns = strokes.shape
    for place in ndimage.find_objects(labels):
        part = Part(place[0].start, place[0].stop, place[1].start, place[1].stop)
        middle = (part.top + part.bottom) / 2 / rows, (part.left + part.right) / 2 / columns
        if any(min(share, 1 - share) <= BORDER for share in middle):
            yield part
