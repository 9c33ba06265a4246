"""What of a radiograph the report shows: not what may be written on it.

Devices burn names, dates and letters in near the border. medtea crops what lies outside the collimated field as it
reads; here the border is blanked as well, and all but the chest where ingest saw text. Lungs are always shown.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Blank = Literal["border", "outside_chest", "nothing"]

BORDER = 0.1
"""Share of a side that counts as border."""
AROUND = 0.06
"""Share of a side that is shown around the lungs' box, where all else is blanked."""


def blanked(image: NDArray[Any], lung_mask: NDArray[Any] | None, how: Blank, *, has_text: bool = False) -> NDArray[Any]:
    """The radiograph with 0 where it may be written on.

    Args:
        image: (height, width) in [0, 1].
        lung_mask: Same shape; what it marks stays. None: not known.
        how: "border" blanks a border of BORDER of each side, and outside the chest where has_text says so;
            "outside_chest" all but the lungs' box with a margin; "nothing" leaves everything.
        has_text: Ingest saw, or a tag declared, text on this radiograph. Without a mask nothing of it is shown then.
    """
    if how == "nothing":
        return image
    lungs = np.zeros(image.shape, dtype=bool) if lung_mask is None else np.asarray(lung_mask) > 0
    if how == "outside_chest" or has_text:
        shown = _box(lungs)
    else:
        rows, columns = (max(1, round(BORDER * side)) for side in image.shape)
        shown = lungs.copy()
        shown[rows:-rows, columns:-columns] = True
    return np.where(shown, image, 0).astype(image.dtype)


def _box(lungs: NDArray[np.bool_]) -> NDArray[np.bool_]:
    shown = np.zeros_like(lungs)
    if lungs.any():
        rows, columns = np.flatnonzero(lungs.any(1)), np.flatnonzero(lungs.any(0))
        margin = round(AROUND * max(lungs.shape))
        top, left = max(0, rows[0] - margin), max(0, columns[0] - margin)
        shown[top : rows[-1] + margin + 1, left : columns[-1] + margin + 1] = True
    return shown
