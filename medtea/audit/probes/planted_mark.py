"""What a letter does: the mean change of score when a mark is stamped outside the lungs."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field as Bound
from pydantic import field_validator
from scipy import ndimage

from medtea.audit.asked import log_odds
from medtea.audit.changes import stamped
from medtea.audit.probes.probe import Array, AuditedGroup, AuditedNetwork, Need, Outcome
from medtea.core.errors import nearest
from medtea.core.settings import StrictSettings
from medtea.data.marks import CORNERS, Mark
from medtea.metrics.estimates import Estimate
from medtea.metrics.intervals import bootstrap_by_patient, paired_difference


class Settings(StrictSettings):
    """Settings of the probe.

    Attributes:
        signs: The marks to stamp, each in every corner; a radiograph's answer is the largest change of them. Letters,
            "box", "cable" or "pacemaker".
        height: Of the mark, as a share of the radiograph's height.
        corners: Where.
        doses: The first mark is also stamped smaller and larger, at these shares of its height.
        noise: Standard deviations of a noise texture over all that is not lung, in grey values.
        blur: Widths of a Gaussian blur of all that is not lung, as shares of the radiograph's height.
    """

    signs: tuple[str, ...] = Bound(("L", "R"), min_length=1)
    height: float = Bound(1 / 6, gt=0, le=0.5)
    corners: tuple[str, ...] = Bound(("top left", "top right"), min_length=1)
    doses: tuple[float, ...] = (0.5, 1.5)
    noise: tuple[float, ...] = (0.05, 0.15)
    blur: tuple[float, ...] = (0.02,)

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
    brightness is changed and no letter is written. A policy judges what the letter does beyond the scattered pixels,
    on log odds and in standard deviations of the network's own here: scores that all lie near 0.5, as those of a
    student that never saw a label may, would move little whatever it reads.
    Details: the dose (a smaller and a larger letter), and diffuse changes of all that is not lung, by noise and by
    blur. A mark that nobody learned from moves no score: the probe finds the marks that it stamps, not others.
    Weak as a verdict (docs/audit_validity.md): a letter moves a clean network that tells nothing by as much of its
    small spread as one that reads the letter. So the default policy does not judge it.
    """

    question: ClassVar[str] = "Does a letter outside the lungs change the score?"
    needs: ClassVar[frozenset[Need]] = frozenset({Need.LUNG_MASKS})

    def __init__(self, settings: Settings) -> None:
        """Take marks and corners."""
        self._settings = settings
        self._marks = [
            Mark(sign, height=settings.height, corner=corner) for sign in settings.signs for corner in settings.corners
        ]

    @property
    def cost(self) -> float:
        """Each mark twice, and each dose once."""
        given = self._settings
        return float(2 * len(self._marks) + len(given.doses) + len(given.noise) + len(given.blur))

    def ask(self, network: AuditedNetwork, group: AuditedGroup, generator: np.random.Generator) -> Outcome:
        """The mean largest change, and the same for scattered pixels."""
        before = network.of(group)

        def change(after: Array) -> Array:
            return np.asarray(np.abs(after - before))

        def scored(scattered: bool) -> list[Array]:
            pictures = (stamped(group, mark, generator if scattered else None) for mark in self._marks)
            return [network.scores(picture, group.lung_masks) for picture in pictures]

        with_mark, without_letter = scored(False), scored(True)
        marked, scattered = (np.max([change(one) for one in all_], axis=0) for all_ in (with_mark, without_letter))
        in_deviations = [_in_deviations(before, all_) for all_ in (with_mark, without_letter)]
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
            reliance=paired_difference(group.patients, *in_deviations, generator=generator),
            of_rows=in_deviations[0] - in_deviations[1],
            details={
                name: bootstrap_by_patient(
                    group.patients, change(network.scores(pictures, group.lung_masks)), generator=generator
                )
                for name, pictures in self._further(group, generator).items()
            },
        )

    def _further(self, group: AuditedGroup, generator: np.random.Generator) -> dict[str, Array]:
        """Radiographs with other doses, and with diffuse changes."""
        first, given = self._marks[0], self._settings
        found: dict[str, Array] = {}
        for dose in given.doses:
            mark = Mark(first.sign, height=min(first.height * dose, 0.5), corner=first.corner)
            found[f"{first.sign} at {dose:g} of its height"] = stamped(group, mark)
        texture = generator.standard_normal(group.radiographs.shape[1:]).astype(np.float32)
        for strength in given.noise:
            found[f"noise of {strength:g}"] = _outside(group, np.clip(group.radiographs + strength * texture, 0, 1))
        for share in given.blur:
            width = share * group.radiographs.shape[1]
            blurred = ndimage.gaussian_filter(group.radiographs, (0, width, width))
            found[f"blur of {share:g} of the height"] = _outside(group, blurred)
        return found


def _in_deviations(before: Array, after: list[Array]) -> Array:
    """The largest |log odds after - before|, (n,), in standard deviations of `before`; NaN where these do not vary."""
    unit = float(np.std(log_odds(before))) if len(before) else 0.0
    if unit < 1e-9:
        return np.full(len(before), np.nan)
    return np.asarray(np.max([np.abs(log_odds(one) - log_odds(before)) for one in after], axis=0) / unit)


def _outside(group: AuditedGroup, changed: Array) -> Array:
    """The changed radiographs outside the lungs, the radiographs as they are inside."""
    return np.where(group.lungs, group.radiographs, changed).astype(np.float32)


def _verdict(beyond: Estimate) -> str:
    """In words, what the change beyond that of scattered pixels says."""
    if not beyond.has_interval:
        return "there are too few patients to tell the letter from scattered pixels"
    return "the letter itself is read" if beyond.low > 0 else "not clearly more than scattered pixels do"
