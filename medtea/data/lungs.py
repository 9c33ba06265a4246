"""What the teacher is shown: the lungs alone, on a grey scale of their own."""

from __future__ import annotations

import torch
from torch import Tensor

from medtea.core.errors import DataError

PERCENTILES = (0.02, 0.98)
"""Of the lung's grey values; what lies beyond is clipped."""
DARKEST = 0.1
"""The darkest lung pixel: above 0, since a pixel of 0 carries no relevance and could not be told from background."""


def lungs_only(radiograph: Tensor, lung_mask: Tensor) -> Tensor:
    """The radiograph inside the lungs, 0 outside, grey values scaled to [0.1, 1] by the lungs' own percentiles.

    Hospitals differ in exposure, collimation and display: on a scale of the whole radiograph the lungs of one can be
    nearly twice as bright as those of another, and a classifier learns that. Scaled by the lungs alone they agree.

    Args:
        radiograph: (batch, 1, height, width) in [0, 1].
        lung_mask: Same shape, 0 or 1.

    Returns:
        Same shape. All 0 where the mask is empty or the lungs have one grey value only: there is nothing to see.

    Raises:
        DataError: shapes differ.
    """
    if radiograph.shape != lung_mask.shape:
        raise DataError(f"The mask is {tuple(lung_mask.shape)} and the radiograph {tuple(radiograph.shape)}.")
    shown = torch.zeros_like(radiograph)
    for place, (picture, mask) in enumerate(zip(radiograph, lung_mask > 0, strict=True)):
        lung = picture[mask]
        if lung.numel() == 0:
            continue
        low, high = torch.quantile(lung, lung.new_tensor(PERCENTILES))
        if high > low:
            shown[place][mask] = DARKEST + (1 - DARKEST) * ((lung - low) / (high - low)).clamp(0, 1)
    return shown
