"""What another background does: the mean change of score when the lungs stand on another patient's background."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field as Bound

from medtea.audit.changes import imputed, partners
from medtea.audit.probes.probe import SHOWN, Array, AuditedGroup, AuditedNetwork, Exhibit, Need, Outcome, largest
from medtea.core.settings import StrictSettings
from medtea.metrics.estimates import Estimate
from medtea.metrics.intervals import bootstrap_by_patient
from medtea.metrics.weighted import Floats, Statistic, Weights


class Settings(StrictSettings):
    """Settings of the probe.

    Attributes:
        draws: Partners of each radiograph, over whom its change is averaged.
    """

    draws: int = Bound(2, ge=1)


class Probe:
    """Mean |score on another's background - score|, the partner being of the other class; 0 is indifference.

    The other's lungs are first taken out of its background (`imputed`), and what then stands around the lungs is a
    radiograph that no scanner made: so the control does the same the other way round, the other's lungs on this
    background. A policy judges the background's share of both changes, |Δ background| / (|Δ background| + |Δ lungs|):
    0.5 says that the background matters as much as the lungs. Details: the change with a partner of the same class, and
    the share of scores that cross 0.5. Weak as a verdict (docs/audit_validity.md): a network that knows little changes
    little by lungs, so that the background's share is high without any reliance, and noise over all is half in the
    lungs. So the default policy does not judge it. The idea of mixing foregrounds and backgrounds is that of Xiao et
    al., ICLR 2021 (backgrounds challenge); there the classes are objects, here they are findings.
    """

    question: ClassVar[str] = "Does the score follow the lungs or the background?"
    needs: ClassVar[frozenset[Need]] = frozenset({Need.LUNG_MASKS, Need.LABELS})

    def __init__(self, settings: Settings) -> None:
        """Take the number of partners."""
        self._draws = settings.draws

    @property
    def cost(self) -> float:
        """Three pictures for each partner."""
        return 3.0 * self._draws

    def ask(self, network: AuditedNetwork, group: AuditedGroup, generator: np.random.Generator) -> Outcome:
        """The mean change by another background, and by other lungs."""
        before, inside = network.of(group), group.lungs
        # of every radiograph once, whatever lungs come to stand on it
        empty = [imputed(one, own, generator) for one, own in zip(group.radiographs, inside, strict=True)]

        def composite(lungs_of: int, background_of: int) -> Array:
            """The lungs of a row on the background of another."""
            here = inside[lungs_of]
            return np.where(here, group.radiographs[lungs_of], empty[background_of]).astype(np.float32)

        def scored(lungs_of: Array, background_of: Array) -> Array:
            pictures = [composite(a, b) for a, b in zip(lungs_of, background_of, strict=True)]
            return network.scores(np.stack(pictures), group.lung_masks[lungs_of])

        background, lungs, same, flips = (np.full((self._draws, len(group)), np.nan) for _ in range(4))
        swaps: list[tuple[float, Exhibit]] = []
        for draw in range(self._draws):
            other = partners(group.labels, group.patients, generator, alike=False)
            here = np.flatnonzero(other >= 0)
            if here.size == 0:
                break
            swapped = scored(here, other[here])
            background[draw, here] = np.abs(swapped - before[here])
            for row in largest(background[draw]):
                after, partner = swapped[here == row].item(), int(other[row])
                shown = Exhibit(
                    row, f"score {before[row]:.2f} to {after:.2f}", changed=composite(row, partner), partner=partner
                )
                swaps.append((float(background[draw, row]), shown))
            flips[draw, here] = (swapped >= 0.5) != (before[here] >= 0.5)
            # other lungs on this background: the composite of the partner, seen from this radiograph
            lungs[draw, here] = np.abs(scored(other[here], here) - before[here])
            alike = partners(group.labels, group.patients, generator)
            there = np.flatnonzero(alike >= 0)
            if there.size:
                same[draw, there] = np.abs(scored(there, alike[there]) - before[there])

        def mean(values: Array) -> Estimate:
            return bootstrap_by_patient(group.patients, values.mean(axis=0), generator=generator)

        estimate, control = mean(background), mean(lungs)
        share = _share(background.mean(axis=0), lungs.mean(axis=0))
        return Outcome(
            estimate,
            reference=0.0,
            control=control,
            sentence=_sentence(network.name, group.name, estimate, control),
            void_when="The masks miss lung, which then is swapped as background; or the seam itself is read.",
            reliance=bootstrap_by_patient(group.patients, share, generator=generator),
            of_rows=share,
            exhibits=tuple(one for _, one in sorted(swaps, key=lambda pair: -pair[0])[:SHOWN]),
            details={"background of the same class": mean(same), "scores that cross 0.5": mean(flips)},
        )


def _share(background: Array, lungs: Array) -> Statistic:
    """Mean change by the background over the sum of both mean changes, of the rows where both have an answer."""
    both = np.isfinite(background) & np.isfinite(lungs)
    changes = np.where(both, [background, lungs], 0.0).T

    def compute(weights: Weights) -> Floats:
        first, second = (weights @ changes).T
        share = np.full(len(weights), np.nan)
        np.divide(first, first + second, out=share, where=first + second > 1e-9 * np.maximum(weights @ both, 1))
        return share

    return Statistic(compute, len(both))


def _sentence(name: str, place: str, estimate: Estimate, control: Estimate) -> str:
    if not (estimate.answered and control.answered):
        return f"No two patients of different classes at {place} could swap backgrounds for {name}."
    return (
        f"On another patient's background {name}'s score at {place} changes by {estimate.value:.2f} on average; "
        f"with another patient's lungs on the same background by {control.value:.2f}."
    )
