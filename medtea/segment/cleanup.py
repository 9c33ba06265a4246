"""Probability to mask: threshold, the largest components, no holes (SimpleITK)."""

from __future__ import annotations

from typing import Any

import numpy as np
import SimpleITK

Array = np.ndarray[Any, Any]


def clean_mask(probability: Array, *, threshold: float = 0.5, components: int = 2) -> Array:
    """The lungs as bytes 0 or 1: the largest `components` connected regions above `threshold`, holes filled.

    Args:
        probability: (height, width) in [0, 1].
        threshold: Lung from this probability on.
        components: How many regions may stay; two lungs are two, touching lungs one.
    """
    binary = SimpleITK.GetImageFromArray((probability >= threshold).astype(np.uint8))
    ordered = SimpleITK.RelabelComponent(SimpleITK.ConnectedComponent(binary, True), sortByObjectSize=True)
    kept = SimpleITK.And(
        SimpleITK.Cast(ordered > 0, SimpleITK.sitkUInt8), SimpleITK.Cast(ordered <= components, SimpleITK.sitkUInt8)
    )
    filled: Array = SimpleITK.GetArrayFromImage(SimpleITK.BinaryFillhole(kept))
    return filled.astype(np.uint8)
