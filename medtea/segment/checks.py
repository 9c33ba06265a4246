"""Whether a lung mask can be believed; a mask that cannot keeps its radiograph out of training and comparison."""

from __future__ import annotations

from typing import Any

import numpy as np
from pydantic import Field as Bound
from scipy import ndimage

from medtea.core.settings import StrictSettings

Array = np.ndarray[Any, Any]


class CheckSettings(StrictSettings):
    """What a plausible mask looks like. The bounds are wide: they are to catch failures, not unusual patients.

    Attributes:
        area: Least and largest share of the image.
        balance: Least area of the smaller side over the larger, left and right of the mask's middle.
        border: Largest share of the image's border pixels that the mask may touch.
        black: Largest share of the mask on pixels without any signal (collimation, padding).
        fragment: A part under this share of the mask does not count as a component.
    """

    area: tuple[float, float] = (0.08, 0.65)
    balance: float = Bound(0.3, ge=0, le=1)
    border: float = Bound(0.15, ge=0, le=1)
    black: float = Bound(0.25, ge=0, le=1)
    fragment: float = Bound(0.05, ge=0, le=1)


def implausible(mask: Array, radiograph: Array, settings: CheckSettings) -> str:
    """Why `mask` cannot be the lungs of `radiograph`, or "" when nothing speaks against it.

    Args:
        mask: (height, width), 0 or 1.
        radiograph: Same shape, in [0, 1].
        settings: The bounds.
    """
    area = float(mask.mean())
    if area == 0:
        return "no lung was found"
    low, high = settings.area
    if not low <= area <= high:
        return f"the lungs take {area:.0%} of the image, plausible is {low:.0%} to {high:.0%}"
    labelled, _ = ndimage.label(mask)
    sizes = np.sort(np.bincount(labelled.ravel())[1:])[::-1]
    parts = int((sizes >= settings.fragment * sizes.sum()).sum())
    if parts > 2:
        return f"the mask has {parts} large parts, lungs are two"
    columns = np.flatnonzero(mask.any(axis=0))
    middle = (columns[0] + columns[-1] + 1) // 2
    left, right = float(mask[:, :middle].sum()), float(mask[:, middle:].sum())
    balance = min(left, right) / max(left, right)
    if balance < settings.balance:
        return f"one side has {balance:.0%} of the other's area, plausible is at least {settings.balance:.0%}"
    edge = np.concatenate([mask[0], mask[-1], mask[1:-1, 0], mask[1:-1, -1]])
    if edge.mean() > settings.border:
        return f"the mask touches {edge.mean():.0%} of the image's border, plausible is at most {settings.border:.0%}"
    black = float((radiograph[mask > 0] < BLACK).mean())
    if black > settings.black:
        return f"{black:.0%} of the mask lies on padding or collimation without signal"
    return ""


BLACK = 0.5 / 255
"""Below half a grey level of 8 bits there is no signal."""
