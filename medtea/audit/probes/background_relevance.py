"""Where the network looks: the share of absolute relevance outside the lungs, beside the outside's share of area."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from pydantic import Field as Bound

from medtea.audit.changes import dilated
from medtea.audit.probes.probe import HEATMAP_COST, Array, AuditedGroup, AuditedNetwork, Exhibit, Need, Outcome, largest
from medtea.core.settings import StrictSettings
from medtea.metrics.estimates import Estimate
from medtea.metrics.heatmaps import area_outside, relevance_outside
from medtea.metrics.intervals import bootstrap_by_patient


class Settings(StrictSettings):
    """Settings of the probe.

    Attributes:
        margins_mm: The mask is also widened by so much; where the pixels' size is not known, nothing is said of it.
    """

    margins_mm: tuple[float, ...] = Bound((5.0, 10.0))


class Probe:
    """Sum of |R| outside the lungs over the sum of |R|, the mean over radiographs (Arras et al. 2022, mass accuracy).

    A policy judges the mean of share / area: 1 is indifference, more is looking away. Control: the share outside
    another patient's lungs; if it is as large, the maps do not follow these lungs at all. Details: positive relevance
    alone; the share with widened masks; how often the largest |R| lies outside (pointing game, Zhang et al. 2018); how
    many of the pixels that rank highest, as many as the lungs have, lie outside (Arras et al. 2022, rank accuracy).

    A heatmap inside the lungs does not prove that a network generalises (Viviano et al. 2021): read it together with
    the probes that intervene. Weak as a verdict (docs/audit_validity.md): it is higher for networks that read a planted
    mark than for clean ones on the same data, but clean ones of one kind of data are above reliant ones of another, and
    map_gates voids it where it is needed. So the default policy does not judge it.
    """

    question: ClassVar[str] = "How much relevance lies outside the lungs?"
    needs: ClassVar[frozenset[Need]] = frozenset({Need.LUNG_MASKS, Need.HEATMAPS})
    cost: ClassVar[float] = HEATMAP_COST

    def __init__(self, settings: Settings) -> None:
        """Take the margins."""
        self._margins = settings.margins_mm

    def ask(self, network: AuditedNetwork, group: AuditedGroup, generator: np.random.Generator) -> Outcome:
        """The mean share, with the mean area share of the same radiographs as its reference."""
        maps = network.of(group, "heatmaps")
        shares, areas = _outside(maps, group.lungs)
        estimate = bootstrap_by_patient(group.patients, shares, generator=generator)
        if not estimate.answered:
            sentence, area = f"{network.name} has no relevance anywhere at {group.name}.", None
        else:
            area = float(areas[np.isfinite(shares)].mean())
            sentence = (
                f"{estimate.value:.0%} of {network.name}'s relevance lies outside the lungs at {group.name}; "
                f"that is {_side(estimate, area)} the outside's {area:.0%} of the area."
            )
        return Outcome(
            estimate,
            reference=area,
            control=self._elsewhere(maps, group, generator),
            sentence=sentence,
            void_when="The lung masks are wrong, or the heatmaps do not depend on the weights.",
            reliance=bootstrap_by_patient(group.patients, _ratio(shares, areas), generator=generator),
            of_rows=_ratio(shares, areas),
            exhibits=tuple(
                Exhibit(row, f"{shares[row]:.0%} outside", heatmap=maps[row]) for row in largest(_ratio(shares, areas))
            ),
            details=self._details(maps, group, generator),
        )

    def _elsewhere(self, maps: Array, group: AuditedGroup, generator: np.random.Generator) -> Estimate | None:
        """The share outside the lungs of the next patient."""
        names = sorted(set(group.patients))
        if len(names) < 2:
            return None
        first_of = {name: group.patients.index(name) for name in names}
        following = dict(zip(names, [*names[1:], names[0]], strict=True))
        others = group.lungs[[first_of[following[patient]] for patient in group.patients]]
        return bootstrap_by_patient(group.patients, _outside(maps, others)[0], generator=generator)

    def _details(self, maps: Array, group: AuditedGroup, generator: np.random.Generator) -> dict[str, Estimate]:
        """All else that is counted on the same maps."""
        size, lungs = np.abs(maps).reshape(len(maps), -1), group.lungs.reshape(len(maps), -1)
        answered = (size.sum(1) > 0) & lungs.any(1) & np.isfinite(size).all(1)
        pointing, ranked = (np.full(len(maps), np.nan) for _ in range(2))
        for row in np.flatnonzero(answered):
            order = np.argsort(-size[row], kind="stable")
            pointing[row] = not lungs[row, order[0]]
            ranked[row] = 1 - lungs[row, order[: lungs[row].sum()]].mean()
        found = {
            "positive relevance alone": _outside(np.maximum(maps, 0), group.lungs)[0],
            "largest relevance lies outside": pointing,
            "highest ranks that lie outside": ranked,
        }
        for margin in self._margins if group.pixel_mm is not None else ():
            pixels = margin / np.asarray(group.pixel_mm, dtype=float)
            known = np.isfinite(pixels)
            wider = np.stack([dilated(m, p if k else 0) for m, p, k in zip(group.lungs, pixels, known, strict=True)])
            found[f"beyond {margin:g} mm of the lungs"] = np.where(known, _outside(maps, wider)[0], np.nan)
        return {
            name: bootstrap_by_patient(group.patients, values, generator=generator) for name, values in found.items()
        }


def _outside(maps: Array, lungs: Array) -> tuple[Array, Array]:
    """Shares of relevance and of area outside, (n,) each."""
    return relevance_outside(maps[:, None], lungs[:, None]), np.asarray(area_outside(lungs[:, None]), dtype=float)


def _ratio(shares: Array, areas: Array) -> Array:
    """Share over area; no answer where the lungs fill the radiograph."""
    ratio: np.ndarray[Any, Any] = np.full(len(shares), np.nan)
    np.divide(shares, areas, out=ratio, where=areas > 0)
    return ratio


def _side(estimate: Estimate, area: float) -> str:
    """In words, where the share lies beside the area: below or above it only when the interval leaves the area out."""
    if not estimate.has_interval:
        return "without an interval, to be set beside"
    if not estimate.excludes(area):
        return "not clearly different from"
    return "less than" if estimate.value < area else "more than"
