"""Whether a shortcut is there to be learned at all: a classifier that learns from the outside of the lungs alone."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field as Bound

from medtea.audit.changes import dilated, imputed
from medtea.audit.learned import auroc_by_patient, learned_scores, reduced, shuffled_labels
from medtea.audit.probes.probe import AuditedGroup, AuditedNetwork, Need, Outcome
from medtea.core.settings import StrictSettings
from medtea.metrics.estimates import Estimate


class Settings(StrictSettings):
    """Settings of the probe.

    Attributes:
        margin: How far beyond the mask the lungs are taken out, in pixels.
        side: What is left is reduced to so many pixels a side.
    """

    margin: int = Bound(2, ge=0)
    side: int = Bound(24, ge=4, le=64)


class Probe:
    """AUROC of a logistic regression on the radiographs without lungs, in five folds by patient; 0.5: nothing there.

    The lungs are filled smoothly (`imputed`), so that their outline shows least. It is about the data and the same for
    every network: where it is near 0.5 the group offers no linear shortcut, and the other probes had little to find;
    where it is high, a network that does not read it resists. A small network would find more than this line does, at
    the price of a training run; disease that shows outside the lungs (a wide heart, an effusion) counts as well.
    Control: labels shuffled among patients. After the idea of DeGrave et al., Nature Machine Intelligence 3, 2021.
    """

    question: ClassVar[str] = "Is there a shortcut outside the lungs to be learned here?"
    needs: ClassVar[frozenset[Need]] = frozenset({Need.LUNG_MASKS, Need.LABELS})
    cost: ClassVar[float] = 0.0

    def __init__(self, settings: Settings) -> None:
        """Take margin and size."""
        self._settings = settings

    def ask(self, network: AuditedNetwork, group: AuditedGroup, generator: np.random.Generator) -> Outcome:
        """AUROC of the outside, and of shuffled labels."""
        margin = self._settings.margin
        outside = [
            imputed(picture, dilated(lungs, margin), generator, noise=0)
            for picture, lungs in zip(group.radiographs, group.lungs, strict=True)
        ]
        rows = reduced(np.stack(outside), self._settings.side)
        seed = int(generator.integers(2**31))
        estimate = auroc_by_patient(
            group.patients, group.labels, learned_scores(rows, group.labels, group.patients, seed)
        )
        shuffled = shuffled_labels(group.labels, group.patients, generator)
        control = auroc_by_patient(group.patients, shuffled, learned_scores(rows, shuffled, group.patients, seed))
        return Outcome(
            estimate,
            reference=0.5,
            control=control,
            sentence=_sentence(network.name, group.name, estimate),
            void_when="The masks miss lung; or the disease itself shows outside the lungs.",
        )


def _sentence(name: str, place: str, estimate: Estimate) -> str:
    if not estimate.answered:
        return f"There are too few patients at {place} to learn what {name} could read outside the lungs."
    said = f"Without lungs a new classifier reaches an AUROC of {estimate.value:.2f} at {place}: "
    if not estimate.has_interval:
        return said + f"too few patients to say what that offers {name}."
    there = "there is something outside the lungs to be read" if estimate.low > 0.5 else "nothing plain is there"
    return f"{said}{there} by {name}."
