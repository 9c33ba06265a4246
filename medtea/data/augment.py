"""Augmentation of radiograph, lung mask and twin together, by MONAI transforms; no flip, since left is not right."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from monai.transforms import (
    Compose,
    RandAdjustContrastd,
    RandAffined,
    RandGaussianNoised,
    RandGaussianSmoothd,
    RandScaleIntensityFixedMeand,
    RandShiftIntensityd,
)
from pydantic import Field as Bound
from pydantic import field_validator

from medtea.core.settings import StrictSettings

Array = np.ndarray[Any, Any]


class AugmentSettings(StrictSettings):
    """How far a copy may differ from its radiograph.

    Attributes:
        rotation_degrees: Largest turn to either side.
        shift: Largest shift along each side, as a share of the side.
        zoom: Largest relative change of height and of width, each drawn on its own.
        gamma: Range of the exponent of the grey values.
        contrast: Largest relative change of the grey values' distance from their mean.
        brightness: Largest shift of all grey values. A teacher on the lungs' own grey scale gives a copy of another
            contrast and brightness the same heatmaps: students of such copies learn not to look at exposure.
        noise: Standard deviation of added Gaussian noise (grey values are in [0, 1]).
        blur_pixels: Largest standard deviation of Gaussian smoothing.
    """

    rotation_degrees: float = Bound(7.0, ge=0, le=180)
    shift: float = Bound(0.04, ge=0, lt=1)
    zoom: float = Bound(0.08, ge=0, lt=1)
    gamma: tuple[float, float] = (0.7, 1.4)
    contrast: float = Bound(0.0, ge=0, lt=1)
    brightness: float = Bound(0.0, ge=0, lt=1)
    noise: float = Bound(0.02, ge=0)
    blur_pixels: float = Bound(0.7, ge=0)

    @field_validator("gamma")
    @classmethod
    def _rising_and_positive(cls, gamma: tuple[float, float]) -> tuple[float, float]:
        if not 0 < gamma[0] <= gamma[1]:
            raise ValueError("gamma is the least and the largest exponent, both above 0")
        return gamma


def augmentation(settings: AugmentSettings, size: int, seed: int) -> Compose:
    """The transforms, in one list, on dictionaries with "radiograph", "lung_mask" and "twin", each (1, size, size).

    The twin, which may be missing, is changed exactly as the radiograph is, noise included.
    """
    images: dict[str, Any] = {"keys": ("radiograph", "twin"), "allow_missing_keys": True}
    angle = np.deg2rad(settings.rotation_degrees)
    transforms = Compose(
        [
            RandAffined(
                keys=("radiograph", "twin", "lung_mask"),
                allow_missing_keys=True,
                prob=1.0,
                rotate_range=angle,
                # one range per axis: MONAI takes a single number for the first axis alone
                translate_range=(settings.shift * size,) * 2,
                scale_range=(settings.zoom,) * 2,
                mode=("bilinear", "bilinear", "nearest"),
                padding_mode=("border", "border", "zeros"),
            ),
            RandAdjustContrastd(**images, prob=0.7, gamma=settings.gamma),
            RandGaussianSmoothd(
                **images,
                prob=0.3,
                sigma_x=(0.1, max(settings.blur_pixels, 0.1)),
                sigma_y=(0.1, max(settings.blur_pixels, 0.1)),
            ),
            RandGaussianNoised(**images, prob=0.3, std=settings.noise),
            RandScaleIntensityFixedMeand(**images, prob=1.0 if settings.contrast else 0.0, factors=settings.contrast),
            RandShiftIntensityd(**images, prob=1.0 if settings.brightness else 0.0, offsets=settings.brightness),
        ]
    )
    transforms.set_random_state(seed)
    return transforms


def augmented_copy(transforms: Compose, images: Mapping[str, Array]) -> dict[str, Array]:
    """One changed copy of "radiograph" in [0, 1], "lung_mask" of 0 and 1 and perhaps "twin", each (size, size)."""
    changed = transforms({key: torch.from_numpy(image.astype(np.float32))[None] for key, image in images.items()})
    return {key: np.asarray(changed[key][0]).clip(0, 1).astype(image.dtype) for key, image in images.items()}
