"""What a letter does: the mean change of score when a mark is stamped outside the lungs."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field as Bound
from pydantic import field_validator

from medtea.audit.probes.probe import Array, AuditedGroup, AuditedNetwork, Outcome
from medtea.core.errors import nearest
from medtea.core.settings import StrictSettings
from medtea.data.marks import CORNERS, Mark
from medtea.metrics.estimates import Estimate
from medtea.metrics.intervals import bootstrap_by_patient, paired_difference


class Settings(StrictSettings):
    """Settings of the probe.

    Attributes:
        signs: The marks to stamp, each in every corner; a radiograph's answer is the largest change of them.
        height: Of the mark, as a share of the radiograph's height.
        corners: Where.
    """

    signs: tuple[str, ...] = Bound(("L", "R"), min_length=1)
    height: float = Bound(1 / 6, gt=0, le=0.5)
    corners: tuple[str, ...] = Bound(("top left", "top right"), min_length=1)

    @field_validator("corners")
    @classmethod
    def _known_corners(cls, corners: tuple[str, ...]) -> tuple[str, ...]:
        for corner in corners:
            if corner not in CORNERS:
                raise ValueError(f"there is no corner '{corner}'. {nearest(corner, CORNERS)}")
        return corners


class Probe:
    """max over marks of |score with the mark - score without|, the mean over radiographs; 0 is indifference.

    Control: the same pixels take the same grey value, but scattered at random over the outside of the lungs, so that
    brightness is changed and no letter is written.
    """

    question: ClassVar[str] = "Does a letter outside the lungs change the score?"

    def __init__(self, settings: Settings) -> None:
        """Take marks and corners."""
        self._marks = [
            Mark(sign, height=settings.height, corner=corner) for sign in settings.signs for corner in settings.corners
        ]

    def ask(self, network: AuditedNetwork, group: AuditedGroup, generator: np.random.Generator) -> Outcome:
        """The mean largest change, and the same for scattered pixels."""
        before = network.scores(group.radiographs, group.lung_masks)

        def largest_change(scattered: bool) -> Array:
            pictures = (self.stamped(mark, group, generator if scattered else None) for mark in self._marks)
            changes = [np.abs(network.scores(picture, group.lung_masks) - before) for picture in pictures]
            largest: Array = np.max(changes, axis=0)
            return largest

        marked, scattered = largest_change(False), largest_change(True)
        estimate = bootstrap_by_patient(group.patients, marked, generator=generator)
        control = bootstrap_by_patient(group.patients, scattered, generator=generator)
        beyond = paired_difference(group.patients, marked, scattered, generator=generator)
        if not (estimate.answered and control.answered):
            sentence = f"{network.name} has no score at {group.name} that a letter could change."
        else:
            sentence = (
                f"A letter outside the lungs changes {network.name}'s score at {group.name} by {estimate.value:.2f} "
                f"on average (scattered pixels: {control.value:.2f}): {_verdict(beyond)}."
            )
        return Outcome(
            estimate,
            reference=0.0,
            control=control,
            sentence=sentence,
            void_when="The marks already stand on the radiographs in the same place.",
        )

    def stamped(self, mark: Mark, group: AuditedGroup, generator: np.random.Generator | None) -> Array:
        """The radiographs with the mark on every pixel outside the lungs; with a generator, scattered there instead."""
        pictures = group.radiographs.copy()
        taken = mark.pixels(*pictures.shape[1:])
        for picture, lungs in zip(pictures, group.lung_masks > 0, strict=True):
            pixels = np.flatnonzero(taken & ~lungs)
            if generator is not None:
                pixels = generator.choice(np.flatnonzero(~lungs), size=len(pixels), replace=False)
            picture.reshape(-1)[pixels] = mark.brightness
        return pictures


def _verdict(beyond: Estimate) -> str:
    """In words, what the change beyond that of scattered pixels says."""
    if not beyond.has_interval:
        return "there are too few patients to tell the letter from scattered pixels"
    return "the letter itself is read" if beyond.low > 0 else "not clearly more than scattered pixels do"
