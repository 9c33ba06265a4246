"""The grey values of one DICOM pixel after the next, straight from the text of PS3.3 C.7 and C.11: plain and slow."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

Window = tuple[float, float, str]


@dataclass(frozen=True)
class Table:
    """A modality or VOI table: what it gives for input `first`, `first` + 1, ...; and its bits."""

    first: int
    bits: int
    entries: tuple[int, ...]

    def at(self, x: float) -> int:
        """The entry; below the first input the first, above the last the last."""
        place = round(x) - self.first
        if place < 0:
            return self.entries[0]
        return self.entries[place] if place < len(self.entries) else self.entries[-1]


@dataclass(frozen=True)
class Image:
    """What decides the grey values.

    Attributes:
        bits: BitsStored.
        allocated: BitsAllocated.
        high_bit: HighBit.
        signed: PixelRepresentation 1.
        photometric: PhotometricInterpretation.
        modality: RescaleSlope and RescaleIntercept, a table, or neither.
        voi: WindowCenter, WindowWidth and VOILUTFunction, a table, or neither.
        percentiles: What becomes 0 and 1 without a VOI transformation; None: the ends of the range.
        padding: PixelPaddingValue and PixelPaddingRangeLimit.
    """

    bits: int
    signed: bool = False
    photometric: str = "MONOCHROME2"
    allocated: int = 16
    high_bit: int | None = None
    modality: tuple[float, float] | Table | None = None
    voi: Window | Table | None = None
    percentiles: tuple[float, float] | None = None
    padding: tuple[int, int] | None = None


def shown(words: Sequence[int], image: Image) -> list[float]:
    """The grey value in [0, 1], bright where dense, of each raw word of an image that consists of them."""
    stored = [stored_number(word, image) for word in words]
    is_padding = [image.padding is not None and min(image.padding) <= x <= max(image.padding) for x in stored]
    values = [after_modality(x, image) for x in stored]
    if isinstance(image.voi, Table):
        grey = [image.voi.at(x) / (2**image.voi.bits - 1) for x in values]
    elif image.voi is not None:
        grey = [windowed(x, *image.voi) for x in values]
    else:
        seen = [x for x, padded in zip(values, is_padding, strict=True) if not padded]
        low, high = whole_range(image) if image.percentiles is None else clipped_at(seen, image.percentiles)
        grey = [min(max((x - low) / (high - low), 0.0), 1.0) for x in values]
    if image.photometric == "MONOCHROME1":
        grey = [1 - y for y in grey]
    return [0.0 if padded else y for y, padded in zip(grey, is_padding, strict=True)]


def stored_number(raw: int, image: Image) -> int:
    """The number in the `bits` of a raw word that end at its high bit."""
    high_bit = image.bits - 1 if image.high_bit is None else image.high_bit
    number = raw // 2 ** (high_bit + 1 - image.bits) % 2**image.bits
    return number - 2**image.bits if image.signed and number >= 2 ** (image.bits - 1) else number


def after_modality(x: int, image: Image) -> float:
    """C.11.1."""
    if isinstance(image.modality, Table):
        return image.modality.at(x)
    slope, intercept = image.modality or (1.0, 0.0)
    return slope * x + intercept


def whole_range(image: Image) -> tuple[float, float]:
    """What the values can be at most and at least."""
    if isinstance(image.modality, Table):
        return 0, 2**image.modality.bits - 1
    smallest, largest = (
        (-(2 ** (image.bits - 1)), 2 ** (image.bits - 1) - 1) if image.signed else (0, 2**image.bits - 1)
    )
    ends = sorted([after_modality(smallest, image), after_modality(largest, image)])
    return ends[0], ends[1]


def clipped_at(values: Sequence[float], percentiles: tuple[float, float]) -> tuple[float, float]:
    """The percentiles of a list, on the straight line between two neighbours."""
    ordered = sorted(values)
    ends = []
    for percentile in percentiles:
        place = percentile / 100 * (len(ordered) - 1)
        below = math.floor(place)
        above = min(below + 1, len(ordered) - 1)
        ends.append(ordered[below] + (place - below) * (ordered[above] - ordered[below]))
    return ends[0], ends[1]


def windowed(x: float, c: float, w: float, function: str) -> float:
    """The formulas of C.11.2.1.2.1, C.11.2.1.3.1 and C.11.2.1.3.2 with y_min = 0 and y_max = 1."""
    if function == "LINEAR":
        if x <= c - 0.5 - (w - 1) / 2:
            return 0.0
        if x > c - 0.5 + (w - 1) / 2:
            return 1.0
        return (x - (c - 0.5)) / (w - 1) + 0.5
    if function == "LINEAR_EXACT":
        if x <= c - w / 2:
            return 0.0
        if x > c + w / 2:
            return 1.0
        return (x - c) / w + 0.5
    return 1 / (1 + math.exp(-4 * (x - c) / w))
