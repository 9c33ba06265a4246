"""From a radiograph of any size to one of the run's size: crop the empty border, scale the grey values, resize."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medtea.core.errors import DataError
from medtea.data.dicom.grey import percentiles
from medtea.data.levels import ROWS, Levels, Picture, extremes_of, lines_of, pixels_of

How = Literal["stretch", "pad"]
Box = tuple[slice, slice]

FLAT = 0.02  # grey values this close to black or white count as empty
EMPTY_SHARE = 0.98  # a line is empty when this share of it is: leaves room for a speck
FINER = 2  # times the size: down to that, a large picture is reduced by means of whole blocks
SAMPLED = 768  # lines at least that a percentile is taken of: half a million pixels tell it as well as eight
LARGEST_CROP = 1 / 3  # of the side, at each edge: never crop into a very dark picture


def field_box(radiograph: Picture) -> Box:
    """Rows and columns that are left when black and white edges are cut off.

    An edge line goes when 98 % of its pixels are within 0.02 of the picture's smallest value or of its largest (in
    shares of the range between them), and at most a third of the side goes at each edge. Rows go first; columns are
    judged by the rows that are left.

    Args:
        radiograph: (rows, columns) in [0, 1].
    """
    low, high = extremes_of(radiograph)
    flat = FLAT * (high - low)

    def is_flat(grey: NDArray[np.float32]) -> NDArray[np.bool_]:
        return np.asarray((grey <= low + flat) | (grey >= high - flat))

    if isinstance(radiograph, Levels):
        table, lines = is_flat(radiograph.table), radiograph.places
        rows = _kept(lines, lambda line: table[line])
        return rows, _kept(lines[rows].T, lambda line: table[line])
    rows = _kept(radiograph, is_flat)
    return rows, _kept(radiograph[rows].T, is_flat)


def _kept(lines: NDArray[Any], is_flat: Callable[[NDArray[Any]], NDArray[np.bool_]]) -> slice:
    count = len(lines)
    most = int(count * LARGEST_CROP)
    first, last = 0, count
    while first < most and is_flat(lines[first]).mean() >= EMPTY_SHARE:
        first += 1
    while count - last < most and is_flat(lines[last - 1]).mean() >= EMPTY_SHARE:
        last -= 1
    return slice(first, last)


@dataclass(frozen=True)
class Scale:
    """Grey values to [0, 1]: black becomes 0 and white 1, and what lies outside is clipped."""

    black: float
    white: float

    def of(self, grey: NDArray[np.float32]) -> NDArray[np.float32]:
        """The grey values scaled."""
        scaled = np.subtract(grey, np.float32(self.black), dtype=np.float32)
        scaled /= np.float32(self.white - self.black)
        return np.clip(scaled, 0, 1, out=scaled)


def scale_of(radiograph: Picture, *, low: float = 1, high: float = 99) -> Scale:
    """The scale on which these percentiles of the radiograph are 0 and 1.

    Raises:
        DataError: the percentiles are equal.
    """
    step = max(1, min(radiograph.shape) // SAMPLED)
    sampled = radiograph[::step, ::step]
    if isinstance(sampled, Levels):
        counts = np.bincount(sampled.places.ravel(), minlength=len(sampled.table))
        black, white = percentiles(sampled.table, counts, (low, high))
    else:
        black, white = (float(value) for value in np.percentile(sampled, [low, high]))
    if not white > black:
        raise DataError(
            f"Percentiles {low:g} and {high:g} of the pixels are equal; nearly all of the picture is empty."
        )
    return Scale(black, white)


def fit(radiograph: Picture, size: int, how: How = "stretch", *, scale: Scale | None = None) -> NDArray[np.float32]:
    """The radiograph on size x size pixels, averaged over the area that a new pixel covers.

    Args:
        radiograph: (rows, columns) in [0, 1].
        size: Rows and columns of the result.
        how: "stretch" changes the sides' ratio; "pad" keeps it and adds black on both sides.
        scale: What grey values are brought to before they are averaged.
    """
    if how == "pad" and len(set(radiograph.shape)) > 1:  # the black that is added stays as it is
        pixels = pixels_of(radiograph)
        radiograph, scale = np.asarray(_square(scale.of(pixels) if scale else pixels, how)), None
    rows, columns = radiograph.shape
    block = max(1, min(rows, columns) // (FINER * size))
    # PIL's bilinear filter widens with the reduction, which antialiases; blocks first, since it takes its time.
    image = Image.fromarray(_block_means(radiograph, block, scale))
    covered = (0, 0, columns / block, rows / block)
    resized = image.resize((size, size), Image.Resampling.BILINEAR, box=covered)
    return np.asarray(np.clip(np.asarray(resized, dtype=np.float32), 0, 1))


def _block_means(picture: Picture, block: int, scale: Scale | None) -> NDArray[np.float32]:
    """Means of block x block pixels; at the lower and right edge of those that are left."""
    parts = lines_of(picture, scale.of if scale else np.asarray, rows=max(ROWS // block, 1) * block)
    lines = np.concatenate([_line_means(part, block) for part in parts])
    return np.ascontiguousarray(_line_means(np.ascontiguousarray(lines.T), block).T)


def _line_means(picture: NDArray[np.float32], block: int) -> NDArray[np.float32]:
    whole = len(picture) // block
    means = picture[: whole * block].reshape(whole, block, picture.shape[1]).mean(axis=1)
    rest = picture[whole * block :]
    return means if not len(rest) else np.concatenate([means, rest.mean(axis=0, keepdims=True)])


def fit_mask(mask: NDArray[np.bool_], size: int, how: How = "stretch") -> NDArray[np.bool_]:
    """A mask on the grid that `fit` gives: each pixel takes its nearest neighbour."""
    image = Image.fromarray(np.ascontiguousarray(_square(mask, how), dtype=np.uint8))
    return np.asarray(image.resize((size, size), Image.Resampling.NEAREST)) > 0


def _square(picture: NDArray[np.generic], how: How) -> NDArray[np.generic]:
    rows, columns = picture.shape
    if how == "stretch" or rows == columns:
        return picture
    side = max(rows, columns)
    top, left = (side - rows) // 2, (side - columns) // 2
    padded = np.zeros((side, side), dtype=picture.dtype)
    padded[top : top + rows, left : left + columns] = picture
    return padded


def rows_of(box: Box, how: How = "stretch") -> int:
    """Rows of a radiograph that `fit` makes the run's grid of, with the black that "pad" adds."""
    rows, columns = (side.stop - side.start for side in box)
    return int(max(rows, columns) if how == "pad" else rows)


def prepare(
    radiograph: Picture,
    mask: NDArray[np.bool_] | None,
    *,
    size: int,
    how: How = "stretch",
    box: Box | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Crop (to `field_box`, or to the box that it gave before), scale and fit, the mask along with its radiograph.

    Without a mask, an empty one.

    Raises:
        DataError: the mask has another shape than the radiograph, or the picture is empty.
    """
    if mask is not None and mask.shape != radiograph.shape:
        raise DataError(
            f"The mask has {mask.shape[0]} x {mask.shape[1]} pixels and its radiograph {radiograph.shape[0]} x "
            f"{radiograph.shape[1]}; a mask lies on its radiograph's grid."
        )
    box = box or field_box(radiograph)
    fitted = fit(radiograph[box], size, how, scale=scale_of(radiograph[box]))
    return fitted, np.zeros((size, size), dtype=bool) if mask is None else fit_mask(mask[box], size, how)
