"""Whether the lungs' outline alone tells the class: what a network that is shown lungs only may lean on."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field as Bound

from medtea.audit.learned import auroc_by_patient, learned_scores, reduced, shuffled_labels
from medtea.audit.probes.probe import AuditedGroup, AuditedNetwork, Need, Outcome
from medtea.core.settings import StrictSettings
from medtea.metrics.estimates import Estimate


class Settings(StrictSettings):
    """Settings of the probe.

    Attributes:
        side: Masks are reduced to so many pixels a side.
    """

    side: int = Bound(16, ge=4, le=64)


class Probe:
    """AUROC of a logistic regression on the reduced mask, in five folds by patient; 0.5 is what a mask should tell.

    Disease changes the outline, and a segmenter that misses consolidated lung changes it more: above 0.5 is no
    shortcut by itself, but a teacher that sees lungs only can learn the segmenter's mistakes of one hospital. Control:
    the same with the labels shuffled among patients. Details: the network's own AUROC on the outline, lungs of one
    grey value on black. It says what there is to be had, of every network the same; only the detail is the network's.
    """

    question: ClassVar[str] = "Does the lungs' outline alone tell the class?"
    needs: ClassVar[frozenset[Need]] = frozenset({Need.LUNG_MASKS, Need.LABELS})
    cost: ClassVar[float] = 1.0

    def __init__(self, settings: Settings) -> None:
        """Take the size."""
        self._side = settings.side

    def ask(self, network: AuditedNetwork, group: AuditedGroup, generator: np.random.Generator) -> Outcome:
        """AUROC of the outline, and of shuffled labels."""
        rows = reduced(group.lungs, self._side)
        seed = int(generator.integers(2**31))
        estimate = auroc_by_patient(
            group.patients, group.labels, learned_scores(rows, group.labels, group.patients, seed)
        )
        shuffled = shuffled_labels(group.labels, group.patients, generator)
        control = auroc_by_patient(group.patients, shuffled, learned_scores(rows, shuffled, group.patients, seed))
        outlines = (group.lungs * _lung_grey(group)).astype(np.float32)
        own = auroc_by_patient(group.patients, group.labels, network.scores(outlines, group.lung_masks))
        return Outcome(
            estimate,
            reference=0.5,
            control=control,
            sentence=_sentence(network.name, group.name, estimate, own),
            void_when="Masks were drawn by people who knew the class.",
            details={"the network's AUROC on the outline": own},
        )


def _lung_grey(group: AuditedGroup) -> float:
    """The lungs' mean grey value over all radiographs."""
    return float(group.radiographs[group.lungs].mean())


def _sentence(name: str, place: str, estimate: Estimate, own: Estimate) -> str:
    if not estimate.answered:
        return f"There are too few patients at {place} to learn from outlines what {name} could."
    said = f"The lungs' outline alone tells the class at {place} with an AUROC of {estimate.value:.2f}"
    return f"{said}; {name} makes {own.value:.2f} of it." if own.answered else f"{said}; {name} was not asked."
