"""Probability to mask: threshold, the largest components, no holes (SimpleITK)."""

from __future__ import annotations

from typing import Any

import numpy as np
import SimpleITK as sitk

Array = np.ndarray[Any, Any]


def clean_mask(probability: Array, *, threshold: float = 0.5, components: int = 2) -> Array:
    """The lungs as bytes 0 or 1: the largest `components` connected regions above `threshold`, holes filled.

    Args:
        probability: (height, width) in [0, 1].
        threshold: Lung from this probability on.
        components: How many regions may stay; two lungs are two, touching lungs one.
    """
    binary = sitk.GetImageFromArray((probability >= threshold).astype(np.uint8))
    ordered = sitk.RelabelComponent(sitk.ConnectedComponent(binary, True), sortByObjectSize=True)
    kept = sitk.And(sitk.Cast(ordered > 0, sitk.sitkUInt8), sitk.Cast(ordered <= components, sitk.sitkUInt8))
    return sitk.GetArrayFromImage(sitk.BinaryFillhole(kept)).astype(np.uint8)
