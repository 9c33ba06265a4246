"""Whether the score differs by hospital among radiographs of one class, and what the pooled AUROC owes to that."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from medtea.audit.asked import log_odds
from medtea.audit.probes.probe import Array, AuditedGroup, AuditedNetwork, Need, Outcome
from medtea.core.settings import StrictSettings
from medtea.metrics.estimates import Estimate
from medtea.metrics.intervals import Group, bootstrap_by_patient, difference_between_groups
from medtea.metrics.site import within_site_auroc_of
from medtea.metrics.weighted import Statistic, auroc_of, mean_of


class Settings(StrictSettings):
    """This probe has none."""


class Probe:
    """Pooled AUROC less the mean AUROC within hospitals, weighted by their pairs of a positive and a negative.

    0: pooling adds nothing. Above 0: hospitals with more ill patients are scored higher as a whole, so part of the
    pooled AUROC is recognition of the hospital (Zech et al., PLoS Medicine 2018). Below 0: hospitals are on different
    scales, and one threshold will not serve. It does not ask whether a mark that goes with the label is read, and how
    often it finds a network that reads the hospital is not measured. A policy judges the distance from 0. Control: the
    AUROC within hospitals. Details: by how much the log odds differ from the first hospital, given the label.
    """

    question: ClassVar[str] = "Does the score depend on the hospital, given the label?"
    needs: ClassVar[frozenset[Need]] = frozenset({Need.LABELS, Need.SEVERAL_HOSPITALS})
    cost: ClassVar[float] = 0.0

    def __init__(self, settings: Settings) -> None:
        """Nothing to set."""
        del settings

    def ask(self, network: AuditedNetwork, group: Sequence[AuditedGroup], generator: np.random.Generator) -> Outcome:
        """Pooled less within."""
        scores = np.concatenate([network.of(one) for one in group])
        labels = np.concatenate([one.labels for one in group])
        hospitals = np.concatenate([[one.hospital] * len(one) for one in group])
        patients = [person for one in group for person in one.people]
        within, pooled = within_site_auroc_of(labels, scores, hospitals.tolist()), auroc_of(labels, scores)
        owed = Statistic(
            lambda weights: pooled.compute(weights) - within.compute(weights), len(labels), int(labels.sum())
        )
        distance = Statistic(lambda weights: np.abs(owed.compute(weights)), len(labels), int(labels.sum()))
        estimate, control, reliance = (
            bootstrap_by_patient(patients, statistic, generator=generator) for statistic in (owed, within, distance)
        )
        return Outcome(
            estimate,
            reference=0.0,
            control=control,
            sentence=_sentence(network.name, sorted(set(hospitals)), estimate, control),
            void_when="Labels do not mean the same at the hospitals.",
            reliance=reliance,
            details=_shifts(scores, labels, hospitals, patients, generator),
        )


def _shifts(
    scores: Array, labels: Array, hospitals: Array, patients: list[str], generator: np.random.Generator
) -> dict[str, Estimate]:
    """Mean log odds of a class at each hospital less those at the first."""
    odds = log_odds(scores)
    first, *others = sorted(set(hospitals))
    found = {}
    for label, word in ((1, "positives"), (0, "negatives")):
        for hospital in others:
            parts = []
            for place in (hospital, first):
                rows = np.flatnonzero((hospitals == place) & (labels == label))
                parts.append(Group([patients[row] for row in rows], mean_of(odds[rows])))
            if all(len(part.patients) for part in parts):
                found[f"log odds of {word}, {hospital} less {first}"] = difference_between_groups(
                    parts[:1], parts[1:], generator=generator
                )
    return found


def _sentence(name: str, places: list[str], estimate: Estimate, control: Estimate) -> str:
    said = f"Over {', '.join(places)} the pooled AUROC of {name}"
    if not (estimate.answered and control.answered):
        return f"{said} cannot be set beside the AUROC within hospitals."
    how = "is" if not estimate.has_interval else "differs clearly:" if estimate.excludes(0) else "is not clearly off:"
    return f"{said} {how} {estimate.value:+.2f} beside {control.value:.2f} within hospitals."
