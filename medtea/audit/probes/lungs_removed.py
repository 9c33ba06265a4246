"""What is left without lungs: the AUROC of a network that is shown the radiograph with its lungs blanked."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field as Bound
from scipy import ndimage

from medtea.audit.probes.probe import AuditedGroup, AuditedNetwork, Outcome
from medtea.core.settings import StrictSettings
from medtea.metrics.estimates import Estimate
from medtea.metrics.intervals import bootstrap_by_patient
from medtea.metrics.weighted import auroc_of


class Settings(StrictSettings):
    """Settings of the probe.

    Attributes:
        dilation_pixels: How far beyond the mask the blank reaches, so that no rim of lung is left.
    """

    dilation_pixels: int = Bound(2, ge=0)


class Probe:
    """AUROC with every lung pixel replaced by the radiograph's mean outside; 0.5 is what no shortcut leaves.

    Far from 0.5 on either side says that the background alone decides: below it, that a shortcut points the other
    way here than in training. The shape of the blank may itself tell the class: a weakness of this simplest form.
    """

    question: ClassVar[str] = "Does the network still answer with the lungs removed?"

    def __init__(self, settings: Settings) -> None:
        """Take the dilation."""
        self._settings = settings

    def ask(self, network: AuditedNetwork, group: AuditedGroup, generator: np.random.Generator) -> Outcome:
        """AUROC without lungs; its control is the AUROC on the whole radiograph."""
        blank = self.removed(group)
        lungs_only = network.sees_lungs_only
        without = network.scores(blank * (1 - group.lung_masks) if lungs_only else blank, group.lung_masks)
        whole = network.scores(group.radiographs, group.lung_masks)
        estimate = bootstrap_by_patient(group.patients, auroc_of(group.labels, without), generator=generator)
        control = bootstrap_by_patient(group.patients, auroc_of(group.labels, whole), generator=generator)
        return Outcome(
            estimate,
            reference=0.5,
            control=control,
            sentence=f"With the lungs removed, {network.name}'s AUROC at {group.name} {_verdict(estimate)}.",
            void_when="The masks miss lung, so that disease is left to see; or the blank's shape tells the class.",
        )

    def removed(self, group: AuditedGroup) -> np.ndarray[tuple[int, int, int], np.dtype[np.float32]]:
        """The radiographs with lungs and a rim around them set to the mean grey value outside."""
        blanks = group.radiographs.copy()
        reach = np.ones((2 * self._settings.dilation_pixels + 1,) * 2, dtype=bool)
        for picture, mask in zip(blanks, group.lung_masks, strict=True):
            lungs = ndimage.binary_dilation(mask > 0, structure=reach)
            picture[lungs] = picture[~lungs].mean() if (~lungs).any() else 0
        return blanks


def _verdict(estimate: Estimate) -> str:
    """In words, the AUROC and what its interval says."""
    if not estimate.answered:
        return "has no answer: one class is missing"
    if not estimate.has_interval:
        return f"is {estimate.value:.2f}: too few patients for an interval"
    reliance = "the background alone tells the class to it" if estimate.excludes(0.5) else "no shortcut shows here"
    return f"is {estimate.value:.2f}: {reliance}"
