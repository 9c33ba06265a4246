"""The grey scale of a DICOM image, in the Standard's order: modality table or rescale, then VOI table or window.

`apply_windowing` and `apply_voi` of pydicom are not used: the first turns the image over when RescaleSlope is negative,
the second wraps round in tables of 8-bit entries that are longer than 256.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from medtea.core.errors import DataError
from medtea.data.choices import Choices
from medtea.data.dicom.header import shown, side_values, values_of
from medtea.data.dicom.stored import Range, stored_range

VOI_FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")
Counts = Callable[[], NDArray[np.int64]]


@dataclass(frozen=True)
class Shown:
    """What is shown, before the polarity.

    Attributes:
        grey: One number in [0, 1] for each value.
        voi: What made it, as the facts have it.
        function: Of a window.
        low: What became 0.
        high: What became 1.
    """

    grey: NDArray[np.float64]
    voi: str
    function: str | None = None
    low: float | None = None
    high: float | None = None


def after_modality(dataset: Dataset, stored: NDArray[np.int64]) -> tuple[NDArray[Any], Range, str]:
    """Values after ModalityLUTSequence or rescale (PS3.3 C.11.1), the range they can take, and which it was."""
    full = stored_range(dataset)
    table = dataset.get("ModalityLUTSequence")
    if table:
        values, top = _looked_up(stored, table[0], dataset, lowest=full[0])
        return values, (0.0, top), "table"
    slope, intercept = dataset.get("RescaleSlope"), dataset.get("RescaleIntercept")
    if slope is None or intercept is None:
        return stored, full, "none"
    slope, intercept = float(slope), float(intercept)
    if slope == 0 or not math.isfinite(slope) or not math.isfinite(intercept):
        raise DataError("RescaleSlope (0028,1053) is 0 or not finite; it must be a number other than 0.")
    low, high = sorted(end * slope + intercept for end in full)
    return stored * slope + intercept, (low, high), "rescale"


def after_voi(dataset: Dataset, values: NDArray[Any], full: Range, *, counts: Counts, choices: Choices) -> Shown:
    """Values as grey in [0, 1] (PS3.3 C.11.2): through the table or window that is chosen, or without one.

    Args:
        dataset: The header.
        values: After the modality step.
        full: The range they can take.
        counts: How many pixels of the field have each value.
        choices: Which table or window, and what happens without one.
    """
    tables = [] if choices.voi == "none" else list(dataset.get("VOILUTSequence") or [])
    windows = [] if choices.voi == "none" or tables else _windows(dataset)
    if tables:
        named = [str(item.get("LUTExplanation") or "") for item in tables]
        which, said = _chosen(choices.voi, named, widths=[])
        looked_up, top = _looked_up(np.rint(values).astype(np.int64), tables[which], dataset, lowest=full[0])
        return Shown(np.asarray(looked_up / top, dtype=np.float64), f"table {said}")
    if windows:
        named = [str(name) for name in side_values(dataset, "WindowCenterWidthExplanation")]
        which, said = _chosen(choices.voi, named, widths=[width for _, width in windows])
        center, width = windows[which]
        function = str(dataset.get("VOILUTFunction") or "LINEAR")
        grey = window(values, center=center, width=width, function=function)
        low, high = window_ends(center=center, width=width, function=function)
        return Shown(grey, f"window {said}", function, low, high)
    return _without_voi(values, full, counts, choices)


def _windows(dataset: Dataset) -> list[tuple[float, float]]:
    centers, widths = (
        [float(value) for value in values_of(dataset, keyword)] for keyword in ("WindowCenter", "WindowWidth")
    )
    return list(zip(centers, widths, strict=False))


def _chosen(voi: int | str, named: list[str], *, widths: list[float]) -> tuple[int, str]:
    """The number from 0 of the table or window, and which it is of how many."""
    several = max(len(widths), len(named)) if not widths else len(widths)
    which: int | None = None
    if voi == "first":
        which = 0
    elif voi == "widest":
        which = widths.index(max(widths)) if widths else 0
    elif isinstance(voi, int):
        which = voi - 1 if voi <= several else None
    else:
        wanted = voi.strip().casefold()
        which = next((i for i, name in enumerate(named[:several]) if name.strip().casefold() == wanted), None)
    return which or 0, f"{(which or 0) + 1} of {several}{', for want of the choice' if which is None else ''}"


def _without_voi(values: NDArray[Any], full: Range, counts: Counts, choices: Choices) -> Shown:
    (low, high), said = full, "whole range"
    if choices.unwindowed == "percentiles":
        ends = percentiles(values, counts(), choices.percentiles)
        if ends[0] < ends[1]:
            (low, high), said = ends, "percentiles {:g}-{:g}".format(*choices.percentiles)
    grey = np.clip((np.asarray(values, dtype=np.float64) - low) / (high - low), 0, 1)
    return Shown(grey, said, None, float(low), float(high))


def percentiles(values: NDArray[Any], counts: NDArray[np.int64], wanted: tuple[float, float]) -> Range:
    """Percentiles of a picture in which each value occurs so often, linear between neighbours.

    Raises:
        DataError: nothing was counted.
    """
    order = np.argsort(values, kind="stable")
    ordered, upto = np.asarray(values)[order], np.cumsum(counts[order])
    if upto[-1] == 0:
        raise DataError("PixelPaddingValue (0028,0120) marks every pixel of the field as padding.")

    def at(percentile: float) -> float:
        position = percentile / 100 * (upto[-1] - 1)
        below, above = (
            float(ordered[np.searchsorted(upto, place, side="right")])
            for place in (math.floor(position), math.ceil(position))
        )
        return float(below + (above - below) * (position - math.floor(position)))

    return at(wanted[0]), at(wanted[1])


def window(values: NDArray[Any], *, center: float, width: float, function: str = "LINEAR") -> NDArray[np.float64]:
    """Values through a VOI window, as numbers in [0, 1] (PS3.3 C.11.2.1.2 and C.11.2.1.3).

    Raises:
        DataError: the function is unknown, or the width is too small for it.
    """
    if function not in VOI_FUNCTIONS:
        raise DataError(f"VOILUTFunction (0028,1056) is {shown(function)}; it must be LINEAR, LINEAR_EXACT or SIGMOID.")
    least = "at least 1" if function == "LINEAR" else "above 0"
    if not math.isfinite(center) or not math.isfinite(width) or width < (function == "LINEAR") or width <= 0:
        raise DataError(f"WindowWidth (0028,1051) is '{width:g}'; with {function} it must be {least}.")
    x = np.asarray(values, dtype=np.float64)
    if function == "SIGMOID":
        # Beyond ±700 the exponential overflows a double, and the sigmoid is 0 or 1 long before.
        return np.asarray(1 / (1 + np.exp(np.clip(-4 * (x - center) / width, -700, 700))))
    if function == "LINEAR":
        center, width = center - 0.5, width - 1
    if width == 0:
        return np.asarray(x > center, dtype=np.float64)
    return np.clip((x - center) / width + 0.5, 0, 1)


def window_ends(*, center: float, width: float, function: str) -> tuple[float | None, float | None]:
    """What becomes 0 and 1; a sigmoid has no ends."""
    if function == "SIGMOID":
        return None, None
    if function == "LINEAR":
        center, width = center - 0.5, width - 1
    return center - width / 2, center + width / 2


def _looked_up(
    values: NDArray[np.int64], item: Dataset, dataset: Dataset, *, lowest: float
) -> tuple[NDArray[np.int64], float]:
    """Values through a table of the Modality or VOI LUT Sequence, and the largest output its descriptor allows.

    Args:
        values: What is looked up.
        item: The item of the sequence.
        dataset: The image it belongs to.
        lowest: The smallest value there can be: below 0, the table's first entry is a signed number.
    """
    entries, first, bits = (int(number) for number in item.LUTDescriptor)
    entries = entries or 65_536  # PS3.3 C.11.2.1.1: 0 stands for 2^16
    if lowest < 0 and first >= 32_768:  # written as US, meant as SS
        first -= 65_536
    table = _table(item.LUTData, dataset, entries)
    if not 8 <= bits <= 16 or len(table) < entries:
        raise DataError("LUTDescriptor (0028,3002) does not fit LUTData (0028,3006): entries or bits are wrong.")
    top = (1 << bits) - 1
    if table[:entries].max() > top:
        raise DataError("LUTData (0028,3006) holds entries above what LUTDescriptor (0028,3002) allows.")
    return table.astype(np.int64)[np.clip(values - first, 0, entries - 1)], float(top)


def _table(data: Any, dataset: Dataset, entries: int) -> NDArray[Any]:
    if not isinstance(data, bytes):
        return np.asarray(data)
    if len(data) in (entries, entries + entries % 2):  # one byte an entry, padded to an even length
        return np.frombuffer(data, dtype="u1")
    _, is_little = dataset.original_encoding
    return np.frombuffer(data[: len(data) // 2 * 2], dtype=">u2" if is_little is False else "<u2")
