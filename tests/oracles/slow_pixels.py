"""The grey values of one DICOM pixel after the next, straight from the text of PS3.3 C.11: plain and slow."""

from __future__ import annotations

import math


def stored_number(raw: int, *, bits: int, signed: bool) -> int:
    """The number that the low `bits` of a raw word stand for."""
    number = raw % 2**bits
    return number - 2**bits if signed and number >= 2 ** (bits - 1) else number


def shown(
    raw: int,
    *,
    bits: int,
    signed: bool,
    photometric: str,
    rescale: tuple[float, float] = (1.0, 0.0),
    window: tuple[float, float, str] | None = None,
) -> float:
    """The grey value in [0, 1], bright where dense, of one raw word.

    Args:
        raw: The word in PixelData, unused bits included.
        bits: BitsStored.
        signed: PixelRepresentation 1.
        photometric: PhotometricInterpretation.
        rescale: RescaleSlope and RescaleIntercept.
        window: WindowCenter, WindowWidth and VOILUTFunction.
    """
    slope, intercept = rescale
    x = stored_number(raw, bits=bits, signed=signed) * slope + intercept
    if window is None:
        smallest, largest = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
        ends = sorted([smallest * slope + intercept, largest * slope + intercept])
        y = (x - ends[0]) / (ends[1] - ends[0])
    else:
        y = _windowed(x, *window)
    return 1 - y if photometric == "MONOCHROME1" else y


def _windowed(x: float, c: float, w: float, function: str) -> float:
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
