"""Where the network looks: the share of absolute relevance outside the lungs, beside the outside's share of area."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from medtea.audit.probes.probe import AuditedGroup, AuditedNetwork, Outcome
from medtea.core.settings import StrictSettings
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
        """The mean share, with the mean area share as its reference."""
        maps = network.heatmaps(group.radiographs, group.lung_masks)[:, None]
        masks = group.lung_masks[:, None].astype(bool)
        estimate = bootstrap_by_patient(group.patients, relevance_outside(maps, masks), generator=generator)
        area = float(np.mean(np.asarray(area_outside(masks), dtype=float)))
        side = "less than" if estimate.value < area else "as much as or more than"
        return Outcome(
            estimate,
            reference=area,
            control=None,
            sentence=(
                f"{estimate.value:.0%} of {network.name}'s relevance lies outside the lungs at {group.name}; "
                f"that is {side} the outside's {area:.0%} of the area."
                if estimate.answered
                else f"{network.name} has no relevance anywhere at {group.name}."
            ),
            void_when="The lung masks are wrong, or the heatmaps do not depend on the weights.",
        )
