"""Where the network looks: the share of absolute relevance outside the lungs, beside the outside's share of area."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from medtea.audit.probes.probe import AuditedGroup, AuditedNetwork, Outcome
from medtea.core.settings import StrictSettings
from medtea.metrics.estimates import Estimate
from medtea.metrics.heatmaps import area_outside, relevance_outside
from medtea.metrics.intervals import bootstrap_by_patient


class Settings(StrictSettings):
    """This probe has none."""


class Probe:
    """Sum of |R| outside the lungs over the sum of |R|, the mean over radiographs (Arras et al. 2022, mass accuracy).

    A heatmap inside the lungs does not prove that a network generalises (Viviano et al. 2021): read it together with
    the probes that intervene.
    """

    question: ClassVar[str] = "How much relevance lies outside the lungs?"

    def __init__(self, settings: Settings) -> None:
        """Nothing to set."""
        del settings

    def ask(self, network: AuditedNetwork, group: AuditedGroup, generator: np.random.Generator) -> Outcome:
        """The mean share, with the mean area share of the same radiographs as its reference."""
        maps = network.heatmaps(group.radiographs, group.lung_masks)[:, None]
        masks = group.lung_masks[:, None].astype(bool)
        shares = relevance_outside(maps, masks)
        estimate = bootstrap_by_patient(group.patients, shares, generator=generator)
        areas = np.asarray(area_outside(masks), dtype=float)[np.isfinite(shares)]
        if not estimate.answered:
            sentence, area = f"{network.name} has no relevance anywhere at {group.name}.", None
        else:
            area = float(areas.mean())
            sentence = (
                f"{estimate.value:.0%} of {network.name}'s relevance lies outside the lungs at {group.name}; "
                f"that is {_side(estimate, area)} the outside's {area:.0%} of the area."
            )
        return Outcome(
            estimate,
            reference=area,
            control=None,
            sentence=sentence,
            void_when="The lung masks are wrong, or the heatmaps do not depend on the weights.",
        )


def _side(estimate: Estimate, area: float) -> str:
    """In words, where the share lies beside the area: below or above it only when the interval leaves the area out."""
    if not estimate.has_interval:
        return "without an interval, to be set beside"
    if not estimate.excludes(area):
        return "not clearly different from"
    return "less than" if estimate.value < area else "more than"
