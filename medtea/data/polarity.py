"""Whether a radiograph is bright where the body is dense: by what the tags say, and by what the picture shows."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from medtea.core.errors import DataError
from medtea.data.choices import Choices
from medtea.data.levels import Picture, pixels_of

SIDE = 128  # about as many rows and columns are looked at
FLAT = 0.02  # an edge line whose standard deviation is below this share of the range is a border
SMALLEST_SIDE = 16
SURE = 0.05  # in shares of the spread between percentiles 5 and 95; below it the picture does not decide
# Top, bottom, left, right in shares of the sides, without the flat border: where lungs, spine and abdomen lie in most
# frontal chest radiographs, adults' and children's.
LUNGS = ((0.25, 0.6, 0.15, 0.4), (0.25, 0.6, 0.6, 0.85))
DENSE = ((0.25, 0.75, 0.45, 0.55), (0.8, 0.95, 0.3, 0.7))


def tags_on_polarity(dataset: Dataset) -> str:
    """Says "agree", "conflict", or "one" where PresentationLUTShape (2050,0020) says nothing (PS3.3 C.8.11.3.1)."""
    expected = {"MONOCHROME1": "INVERSE", "MONOCHROME2": "IDENTITY"}.get(str(dataset.get("PhotometricInterpretation")))
    shape = str(dataset.get("PresentationLUTShape") or "")
    if expected is None or shape not in {"INVERSE", "IDENTITY"}:
        return "one"
    return "agree" if shape == expected else "conflict"


def polarity_conflict(dataset: Dataset) -> bool:
    """Whether PresentationLUTShape (2050,0020) contradicts PhotometricInterpretation, against PS3.3 C.8.11.3.1.

    Viewers disagree about such files: look at some before using them.
    """
    return tags_on_polarity(dataset) == "conflict"


def lung_contrast(radiograph: Picture) -> float:
    """By how much spine and upper abdomen are brighter than the lungs, in shares of the picture's spread.

    mean(dense) - mean(lungs), over percentile 95 - percentile 5, means taken over four boxes at fixed places (LUNGS,
    DENSE). Turning the picture over changes the sign and nothing else.

    Args:
        radiograph: (rows, columns), whole or cropped; flat borders are cut off.

    Returns:
        NaN where too little is left, or nothing spreads.
    """
    step = max(1, min(radiograph.shape) // SIDE)
    small = _without_border(pixels_of(radiograph[::step, ::step]).astype(np.float64))
    low, high = np.percentile(small, [5, 95]) if min(small.shape) >= SMALLEST_SIDE else (0.0, 0.0)
    if not high > low:
        return math.nan
    lungs, dense = (np.mean([_mean_in(small, box) for box in boxes]) for boxes in (LUNGS, DENSE))
    return float((dense - lungs) / (high - low))


def _without_border(picture: NDArray[np.float64]) -> NDArray[np.float64]:
    for _ in range(2):  # rows, then columns
        busy = np.flatnonzero(picture.std(axis=1) >= FLAT * np.ptp(picture))
        picture = (picture[busy[0] : busy[-1] + 1] if len(busy) else picture).T
    return picture


def _mean_in(picture: NDArray[np.float64], box: tuple[float, float, float, float]) -> float:
    (rows, columns), (top, bottom, left, right) = picture.shape, box
    part = picture[round(top * rows) : round(bottom * rows), round(left * columns) : round(right * columns)]
    return float(part.mean())


def content_on_polarity(radiograph: Picture, choices: Choices) -> tuple[str, float | None]:
    """Says "agrees", "disagrees" or "unsure", and the lungs' contrast.

    Raises:
        DataError: it disagrees, and such files are to be refused.
    """
    contrast = lung_contrast(radiograph)
    if math.isnan(contrast):
        return "unsure", None
    if contrast < -SURE and choices.wrong_polarity == "refuse":
        raise DataError(
            "The lungs are brighter than spine and abdomen, so the polarity tag is probably wrong. Look at the file; "
            "wrong_polarity: turn turns such files over, wrong_polarity: flag takes them as they are."
        )
    return "unsure" if abs(contrast) <= SURE else "agrees" if contrast > 0 else "disagrees", contrast
