"""Whether something on a radiograph's border looks like burned-in text: a line of letters, not a single marker.

Letters that a device burns in are as bright as the picture can be, or as dark, thin, of one height and in a row. So:
thin strokes (a morphological top hat) near the grey values' end -> connected parts of a letter's size in the outer
quarter -> parts side by side make a line -> four letters and more are text, fewer are a marker (L, R, PA). Lines are
looked for along rows and along columns. A hint, no proof: BurnedInAnnotation stays what the header says. On 516 real
radiographs of six hospitals (benchmarks/ingest/burned_in.py) a white name and date is seen on 67 to 99 % of them, less
where it lies on white; of those of two hospitals without words of their own 1 % are flagged, of a third 19 %.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from scipy import ndimage

from medtea.core.errors import DataError
from medtea.ingest.acquisition import DECLARED, text_in

TextPolicy = Literal["flag", "refuse", "ignore"]

LONGEST_SIDE = 640  # pixels; larger pictures are reduced, each block to its extreme, so that thin strokes stay
BORDER = 0.25  # share of a side that counts as border
SHORTEST, TALLEST = 0.006, 0.08  # a letter's height, shares of the longest side
FEWEST_ROWS = 5  # pixels: below that a letter cannot be told from a speck
CONTRAST = 0.2  # of a stroke over its surroundings, in shares of the grey values' range
EXTREME = 0.75  # a letter's pixels lie this near the end of the range
TEXT = 4  # letters


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


def says_burned_in(dataset: Dataset) -> bool:
    """Whether BurnedInAnnotation or RecognizableVisualFeatures is YES; missing or NO says little."""
    return any(text_in(dataset, name).upper() == "YES" for name in ("BurnedInAnnotation", "RecognizableVisualFeatures"))


def judged(picture: NDArray[Any], said: str, policy: TextPolicy) -> str:
    """What `text_on_border` of a radiograph is: "declared" by a tag, else what its border looks like.

    Args:
        picture: (rows, columns), before it is reduced to the run's size.
        said: DECLARED, or anything else.
        policy: "ignore" looks at nothing.

    Raises:
        DataError: the policy is "refuse", and text is declared or seen.
    """
    if policy == "ignore":
        return said
    found = DECLARED if said == DECLARED else text_on_border(picture).word
    if policy == "refuse" and found in (DECLARED, "text"):
        how = "The header declares burned-in text." if found == DECLARED else "Something on the border looks like text."
        raise DataError(f"{how} Set ingest.burned_in: flag to keep such radiographs.")
    return found


def text_on_border(picture: NDArray[Any]) -> Border:
    """The longest line of letters on the border, bright ones on dark or dark ones on bright.

    Args:
        picture: (rows, columns), of any range.
    """
    bright, dark = _reduced(picture, np.maximum), _reduced(picture, np.minimum)
    low, high = float(dark.min()), float(bright.max())
    if not high > low:
        return Border(0)
    lines = []
    for grey in ((bright - low) / (high - low), (high - dark) / (high - low)):
        strokes = _strokes(grey.astype(np.float32))
        lines += [_longest_line(strokes), _longest_line(strokes.T)]
    return Border(max(lines))


def _reduced(picture: NDArray[Any], extreme: np.ufunc) -> NDArray[Any]:
    """Each block of pixels as its largest or smallest value; rows first, which lie side by side in memory."""
    factor = -(-max(picture.shape) // LONGEST_SIDE)
    rows, columns = (side // factor * factor for side in picture.shape)
    thinned = functools.reduce(extreme, [picture[first:rows:factor, :columns] for first in range(factor)])
    return np.asarray(functools.reduce(extreme, [thinned[:, first::factor] for first in range(factor)]))


def _strokes(picture: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Thin and bright: what a square wider than a stroke does not fit into."""
    width = max(3, round(TALLEST / 4 * max(picture.shape))) | 1
    opened = ndimage.maximum_filter(ndimage.minimum_filter(picture, width), width)
    return np.asarray((picture - opened > CONTRAST) & (picture >= EXTREME))


def _longest_line(strokes: NDArray[np.bool_]) -> int:
    parts = sorted(_parts(strokes), key=lambda part: part.left)
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


def _parts(strokes: NDArray[np.bool_]) -> Iterator[Part]:
    labels, _ = ndimage.label(strokes, structure=np.ones((3, 3)))
    rows, columns = strokes.shape
    longest = max(strokes.shape)
    lowest, highest = max(FEWEST_ROWS, SHORTEST * longest), max(2 * FEWEST_ROWS, TALLEST * longest)
    for place in ndimage.find_objects(labels):
        part = Part(place[0].start, place[0].stop, place[1].start, place[1].stop)
        middle = (part.top + part.bottom) / 2 / rows, (part.left + part.right) / 2 / columns
        on_border = any(min(share, 1 - share) <= BORDER for share in middle)
        if on_border and lowest <= part.height <= highest and part.right - part.left <= 12 * part.height:
            yield part
