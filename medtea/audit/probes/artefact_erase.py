"""What the marks that are there do: the mean change of log odds when text and markers on the border are erased."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field as Bound

from medtea.audit.asked import log_odds
from medtea.audit.changes import dilated, imputed
from medtea.audit.probes.probe import Array, AuditedGroup, AuditedNetwork, Exhibit, Need, Outcome, largest
from medtea.core.settings import StrictSettings
from medtea.data.border_text import TALLEST, marks_on_border
from medtea.metrics.estimates import Estimate
from medtea.metrics.intervals import bootstrap_by_patient, paired_difference

Mask = NDArray[np.bool_]
CONTRAST, AWAY = 0.35, 0.05
"""Sharper than what ingest calls text, and as far from the lungs (shares of the side): else bones are taken for it."""
TRIES = 50
"""Places that are drawn for a patch, until one overlaps neither lungs nor marks."""


class Settings(StrictSettings):
    """Settings of the probe.

    Attributes:
        margin: How far around a mark's strokes is erased, in pixels.
        tallest: The tallest marker, as a share of the radiograph's longer side. Text is looked for up to
            data.border_text.TALLEST in any case.
    """

    margin: int = Bound(1, ge=0)
    tallest: float = Bound(0.2, gt=0, le=0.5)


class Probe:
    """Mean of |log odds with the marks erased - log odds| over the radiographs that have some; 0 is indifference.

    Marks: thin strokes of a letter's size, near the end of the grey values, in the outer quarter and not in the lungs
    (data.border_text). They are filled by `imputed`, whose filling does not show their shape (ROAD, Rong et al., ICML
    2022). Control: patches of the same shape and number, erased in the same way at random places outside the lungs.
    The number for a policy is the change beyond the control's, in standard deviations of the network's own log odds
    here. Details: the signed change (below 0: the marks spoke for the finding), and the share of radiographs with a
    mark. That networks read such marks: Zech et al., PLoS Medicine 2018; DeGrave et al., Nature Machine Intelligence 3,
    2021.

    Where a device sharpens strongly, clavicles and tubes at the border are taken for marks too: look at the montage.
    Letters of fewer than five pixels are not found, so at a small size of radiographs a score may rest on marks that
    this probe does not see; planted_mark stamps its own.
    """

    question: ClassVar[str] = "Do text and markers on the border change the score?"
    needs: ClassVar[frozenset[Need]] = frozenset({Need.LUNG_MASKS})
    cost: ClassVar[float] = 2.0

    def __init__(self, settings: Settings) -> None:
        """Take margin and height."""
        self._settings = settings

    def ask(self, network: AuditedNetwork, group: AuditedGroup, generator: np.random.Generator) -> Outcome:
        """The mean change, and that by patches elsewhere."""
        erased, patched, rows = self.changed(group, generator)
        signed, elsewhere = (np.full(len(group), np.nan) for _ in range(2))
        before = log_odds(network.of(group))
        if len(rows):
            masks = group.lung_masks[rows]
            signed[rows] = log_odds(network.scores(erased, masks)) - before[rows]
            elsewhere[rows] = log_odds(network.scores(patched, masks)) - before[rows]
        change, other = np.abs(signed), np.abs(elsewhere)
        estimate, control, direction = (
            bootstrap_by_patient(group.patients, values, generator=generator) for values in (change, other, signed)
        )
        has_mark = np.isin(np.arange(len(group)), rows).astype(float)
        unit = float(np.std(before)) if len(before) else 0.0
        per_unit = 1 / unit if unit > 1e-9 else np.nan
        beyond = paired_difference(group.patients, change, other, generator=generator)
        reliance = paired_difference(group.patients, change * per_unit, other * per_unit, generator=generator)
        return Outcome(
            estimate,
            reference=0.0,
            control=control,
            sentence=_sentence(network.name, group.name, len(rows), estimate, control, beyond),
            void_when="What was erased is anatomy or belongs to the finding; or the marks are too small to be found.",
            reliance=reliance,
            of_rows=(change - other) * per_unit,
            exhibits=tuple(
                Exhibit(
                    row,
                    f"log odds {signed[row]:+.2g}",
                    changed=erased[place],
                    marked=self.marks(group.radiographs[row], group.lungs[row]),
                )
                for row in largest(change)
                for place in np.flatnonzero(rows == row)
            ),
            details={
                "signed change": direction,
                "radiographs with a mark": bootstrap_by_patient(group.patients, has_mark, generator=generator),
            },
        )

    def changed(self, group: AuditedGroup, generator: np.random.Generator) -> tuple[Array, Array, Array]:
        """Radiographs with marks erased, the same with patches erased elsewhere, and which rows these are."""
        erased, patched, rows = [], [], []
        for row, (picture, lungs) in enumerate(zip(group.radiographs, group.lungs, strict=True)):
            marks = self.marks(picture, lungs)
            other = _elsewhere(marks, lungs, generator) if marks.any() else None
            if other is not None:
                rows.append(row)
                erased.append(imputed(picture, marks, generator))
                patched.append(imputed(picture, other, generator))
        empty = group.radiographs[:0]
        return np.stack(erased) if rows else empty, np.stack(patched) if rows else empty, np.array(rows, dtype=int)

    def marks(self, picture: Array, lungs: Mask) -> Mask:
        """What is erased: the marks found, and a margin, but nothing of the lungs."""
        found = np.zeros(lungs.shape, dtype=bool)
        for tallest in sorted({TALLEST, self._settings.tallest}):
            found |= marks_on_border(picture, tallest=tallest, contrast=CONTRAST)
        # ribs and the chest wall run along the lungs
        far = ~dilated(lungs, AWAY * max(lungs.shape))
        return np.asarray(dilated(found & far, self._settings.margin) & ~lungs)


def _elsewhere(marks: Mask, lungs: Mask, generator: np.random.Generator) -> Mask | None:
    """The marks' pixels moved as one, round the edges if need be, to where neither lungs nor marks are.

    The place that overlaps them least of TRIES; None where more than half of it always did.
    """
    taken, best, least = marks | lungs, None, marks.sum() / 2
    for _ in range(TRIES):
        moved = np.roll(marks, generator.integers(0, marks.shape), axis=(0, 1))
        overlap = (moved & taken).sum()
        if overlap <= least:
            best, least = moved, overlap
        if overlap == 0:
            break
    return None if best is None else np.asarray(best & ~lungs)


def _sentence(name: str, place: str, count: int, estimate: Estimate, control: Estimate, beyond: Estimate) -> str:
    if not (estimate.answered and control.answered):
        return f"No text or marker was found on the border at {place} that could be erased for {name}."
    said = (
        f"Erasing text and markers on {count} radiographs at {place} changes {name}'s log odds by {estimate.value:.2f} "
        f"on average, patches elsewhere by {control.value:.2f}: "
    )
    if not beyond.has_interval:
        return said + "too few patients to tell them apart."
    return said + ("the marks are read." if beyond.low > 0 else "not clearly more than patches do.")
