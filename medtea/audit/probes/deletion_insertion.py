"""Whether the score falls faster when the pixels of highest relevance are removed than when random ones are."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field as Bound
from pydantic import field_validator

from medtea.audit.changes import imputed
from medtea.audit.probes.probe import HEATMAP_COST, Array, AuditedGroup, AuditedNetwork, Need, Outcome
from medtea.core.settings import StrictSettings
from medtea.metrics.estimates import Estimate
from medtea.metrics.intervals import bootstrap_by_patient, paired_difference


class Settings(StrictSettings):
    """Settings of the probe.

    Attributes:
        shares: Of all pixels, removed one after the other.
        radiographs: At most this many are used.
    """

    shares: tuple[float, ...] = Bound((0.05, 0.15, 0.3), min_length=1)
    radiographs: int = Bound(48, ge=1)

    @field_validator("shares")
    @classmethod
    def _are_shares(cls, shares: tuple[float, ...]) -> tuple[float, ...]:
        if not all(0 < share < 1 for share in shares):
            raise ValueError("each share of the pixels lies between 0 and 1")
        return shares


class Probe:
    """Mean over the shares of how much less sure the network is without its most relevant pixels.

    Sure: the probability that it gives to the class it had answered. Removed pixels are filled by `imputed`, whose
    filling does not show the shape of what was removed (ROAD, Rong et al., ICML 2022). Control: as many pixels in a
    random order. Details: the same for the least relevant pixels first (insertion in reverse). Where the map does no
    better than the random order, it does not show what the score rests on; the probe then voids the answers of those
    that read heatmaps, since relevance inside or outside the lungs then says nothing.
    """

    question: ClassVar[str] = "Do the heatmaps show what the score rests on?"
    needs: ClassVar[frozenset[Need]] = frozenset({Need.HEATMAPS})

    def __init__(self, settings: Settings) -> None:
        """Take the shares."""
        self._settings = settings

    @property
    def cost(self) -> float:
        """A heatmap, and each share in three orders."""
        return HEATMAP_COST + 3 * len(self._settings.shares)

    def ask(self, network: AuditedNetwork, group: AuditedGroup, generator: np.random.Generator) -> Outcome:
        """The mean fall for the map's order, for a random order and for the reverse."""
        kept = np.arange(min(len(group), self._settings.radiographs))
        patients = [group.patients[row] for row in kept]
        before = network.of(group)[kept]
        # relevance for the answered class: a map of the one logit, turned where the answer was class 0
        answered = np.where(before >= 0.5, 1.0, -1.0)
        maps = network.of(group, "heatmaps")[kept] * answered[:, None, None]
        flat = maps.reshape(len(kept), -1)
        orders = {
            "most": np.argsort(-flat, axis=1, kind="stable"),
            "random": np.stack([generator.permutation(flat.shape[1]) for _ in kept]) if len(kept) else flat.astype(int),
            "least": np.argsort(flat, axis=1, kind="stable"),
        }
        falls = {
            name: self._fall(network, group, kept, order, answered, before, generator) for name, order in orders.items()
        }
        estimate, control, least = (
            bootstrap_by_patient(patients, fall, generator=generator) for fall in falls.values()
        )
        beyond = paired_difference(patients, falls["most"], falls["random"], generator=generator)
        is_worse = beyond.answered and beyond.value <= 0
        return Outcome(
            estimate,
            reference=None,
            control=control,
            sentence=_sentence(network.name, group.name, estimate, control, beyond),
            void_when="The network is unsure of every radiograph, so that there is nothing to fall.",
            details={"least relevant first": least, "beyond a random order": beyond},
            is_void="removing what the heatmaps show does no more than removing random pixels" if is_worse else "",
        )

    def _fall(
        self,
        network: AuditedNetwork,
        group: AuditedGroup,
        kept: Array,
        order: Array,
        answered: Array,
        before: Array,
        generator: np.random.Generator,
    ) -> Array:
        """Probability of the answered class before less after, the mean over shares, (n,)."""
        falls = []
        for share in self._settings.shares:
            count = max(1, round(share * order.shape[1]))
            pictures = []
            for row, pixels in zip(kept, order[:, :count], strict=True):
                removed = np.zeros(group.radiographs[row].shape, dtype=bool)
                removed.reshape(-1)[pixels] = True
                pictures.append(imputed(group.radiographs[row], removed, generator))
            falls.append(answered * (before - network.scores(np.stack(pictures), group.lung_masks[kept])))
        return np.asarray(np.mean(falls, axis=0))


def _sentence(name: str, place: str, estimate: Estimate, control: Estimate, beyond: Estimate) -> str:
    if not (estimate.answered and control.answered):
        return f"{name} has no score at {place} that could fall."
    said = (
        f"Without its most relevant pixels {name} is less sure by {estimate.value:.2f} on average at {place}, "
        f"without random ones by {control.value:.2f}: "
    )
    if not beyond.has_interval:
        return said + "too few patients to tell them apart."
    return said + ("the heatmaps show what it rests on." if beyond.low > 0 else "not clearly what the score rests on.")
