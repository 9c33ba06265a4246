"""What another exposure, window or resolution does: the mean change of score under each, by its strength."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field as Bound
from pydantic import field_validator
from scipy import ndimage

from medtea.audit.probes.probe import Array, AuditedGroup, AuditedNetwork, Need, Outcome
from medtea.core.errors import nearest
from medtea.core.settings import StrictSettings
from medtea.metrics.estimates import Estimate
from medtea.metrics.intervals import bootstrap_by_patient, paired_difference
from medtea.metrics.weighted import auroc_of

Picture = NDArray[Any]


def _gamma(picture: Picture, strength: float) -> Picture:
    return np.asarray(np.power(np.clip(picture, 0, 1), 1 + strength))


def _window(picture: Picture, strength: float) -> Picture:
    return np.clip((picture - strength / 4) / (1 - strength / 2), 0, 1)


def _blur(picture: Picture, strength: float) -> Picture:
    return np.asarray(ndimage.gaussian_filter(picture, strength * picture.shape[0] / 64))


def _jpeg(picture: Picture, strength: float) -> Picture:
    written = io.BytesIO()
    Image.fromarray(np.round(np.clip(picture, 0, 1) * 255).astype(np.uint8)).save(
        written, "JPEG", quality=round(95 - 85 * strength)
    )
    return np.asarray(Image.open(written), dtype=np.float32) / 255


def _crop(picture: Picture, strength: float) -> Picture:
    edge = round(strength * 0.1 * picture.shape[0])
    return _resized(picture[edge : picture.shape[0] - edge, edge : picture.shape[1] - edge], picture.shape)


def _rotation(picture: Picture, strength: float) -> Picture:
    return np.asarray(ndimage.rotate(picture, 10 * strength, reshape=False, order=1, mode="nearest"))


def _polarity(picture: Picture, strength: float) -> Picture:
    return picture + strength * (1 - 2 * picture)


def _collimation(picture: Picture, strength: float) -> Picture:
    edge = round(strength * 0.1 * picture.shape[0])
    copy = np.zeros_like(picture)
    inner = slice(edge, picture.shape[0] - edge), slice(edge, picture.shape[1] - edge)
    copy[inner] = picture[inner]
    return copy


def _resolution(picture: Picture, strength: float) -> Picture:
    rows, columns = (max(8, round(side * (1 - 0.5 * strength))) for side in picture.shape)
    return _resized(_resized(picture, (rows, columns)), picture.shape)


def _noise(picture: Picture, strength: float) -> Picture:
    # the same texture for every radiograph: what is asked is the effect, not the draw
    texture = np.random.default_rng(0).standard_normal(picture.shape)
    return np.clip(picture + 0.1 * strength * texture, 0, 1)


def _resized(picture: Picture, shape: tuple[int, ...]) -> Picture:
    image = Image.fromarray(np.ascontiguousarray(picture, dtype=np.float32))
    return np.asarray(image.resize((shape[1], shape[0]), Image.Resampling.BILINEAR))


STRESSES: dict[str, Callable[[Picture, float], Picture]] = {
    "gamma": _gamma,
    "window": _window,
    "blur": _blur,
    "noise": _noise,
    "jpeg": _jpeg,
    "crop": _crop,
    "rotation": _rotation,
    "collimation": _collimation,
    "resolution": _resolution,
    "polarity": _polarity,
}
"""Changes of a radiograph by strength: 0 leaves it as it is, 1 is as strong as may still pass for another device."""
MOVES = {"crop", "rotation"}
"""Those that move the lungs, and so their mask."""


class Settings(StrictSettings):
    """Settings of the probe.

    Attributes:
        stresses: Which; at strength 1: gamma 2, half the window, a blur of 1/64 of the height, noise of 0.1, JPEG of
            quality 10, 10 % cropped or collimated on each side, 10 degrees, half the resolution, inverted grey values.
        strengths: At which each is tried.
    """

    stresses: tuple[str, ...] = Bound(
        ("gamma", "window", "blur", "noise", "jpeg", "crop", "rotation", "collimation", "resolution"), min_length=1
    )
    strengths: tuple[float, ...] = Bound((0.25, 0.5), min_length=1)

    @field_validator("stresses")
    @classmethod
    def _known(cls, stresses: tuple[str, ...]) -> tuple[str, ...]:
        for stress in stresses:
            if stress not in STRESSES:
                raise ValueError(f"there is no stress '{stress}'. {nearest(stress, STRESSES)}")
        return stresses

    @field_validator("strengths")
    @classmethod
    def _in_range(cls, strengths: tuple[float, ...]) -> tuple[float, ...]:
        if not all(0 < strength <= 1 for strength in strengths):
            raise ValueError("each strength lies above 0 and is at most 1")
        return strengths


class Probe:
    """Slope of |score - score| over the strength, least squares through 0, of the stress that changes most.

    No answer to whether the background is read, but to whether this network survives another scanner: the changes are
    those that devices differ by. Control: the stress that changes least. Details: the slope of every stress, and
    where labels are known the AUROC that the strongest of each costs. The stress with the largest slope is chosen
    after the fact, so its interval is too favourable for a comparison of stresses, not of networks.
    """

    question: ClassVar[str] = "Does the score survive another exposure, window or resolution?"
    needs: ClassVar[frozenset[Need]] = frozenset()

    def __init__(self, settings: Settings) -> None:
        """Take stresses and strengths."""
        self._settings = settings

    @property
    def cost(self) -> float:
        """Each stress at each strength."""
        return float(len(self._settings.stresses) * len(self._settings.strengths))

    def ask(self, network: AuditedNetwork, group: AuditedGroup, generator: np.random.Generator) -> Outcome:
        """The largest and the smallest slope."""
        before = network.of(group)
        slopes: dict[str, Estimate] = {}
        details: dict[str, Estimate] = {}
        strengths = np.array(self._settings.strengths)
        for stress in self._settings.stresses:
            after = np.stack([self._scores(network, group, stress, strength) for strength in strengths])
            slope = strengths @ np.abs(after - before) / (strengths @ strengths)
            slopes[stress] = bootstrap_by_patient(group.patients, slope, generator=generator)
            details[f"slope of {stress}"] = slopes[stress]
            if group.is_labelled:
                details[f"AUROC lost by {stress}"] = paired_difference(
                    group.patients,
                    auroc_of(group.labels, before),
                    auroc_of(group.labels, after[np.argmax(strengths)]),
                    generator=generator,
                )
        ranked = sorted(slopes, key=lambda stress: -slopes[stress].value if slopes[stress].answered else 0)
        worst, best = ranked[0], ranked[-1]
        if slopes[worst].answered:
            sentence = (
                f"{worst.capitalize()} changes {network.name}'s score at {group.name} most, by "
                f"{slopes[worst].value:.2f} at full strength; {best} changes it least, by {slopes[best].value:.2f}."
            )
        else:
            sentence = f"{network.name} has no score at {group.name} that a stress could change."
        return Outcome(
            slopes[worst],
            reference=0.0,
            control=slopes[best],
            sentence=sentence,
            void_when="The radiographs have already been changed in this way, so that more of it does little.",
            details=details,
        )

    def _scores(self, network: AuditedNetwork, group: AuditedGroup, stress: str, strength: float) -> Array:
        pictures = [STRESSES[stress](picture, float(strength)) for picture in group.radiographs]
        masks = group.lung_masks
        if stress in MOVES:
            moved = [STRESSES[stress](mask.astype(np.float32), float(strength)) > 0.5 for mask in group.lungs]
            masks = np.asarray(moved, dtype=np.uint8)
        return network.scores(np.asarray(pictures, dtype=np.float32), masks)
