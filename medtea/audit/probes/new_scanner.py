"""Whether radiographs of a new hospital are to the network what those it was tested on were: drift, without labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from pydantic import Field as Bound
from sklearn.covariance import LedoitWolf

from medtea.audit.learned import auroc_by_patient, learned_scores
from medtea.audit.probes.probe import Array, AuditedGroup, AuditedNetwork, Need, Outcome
from medtea.core.settings import StrictSettings
from medtea.metrics.classification import NO_ANSWER
from medtea.metrics.estimates import Estimate, without_interval
from medtea.metrics.intervals import bootstrap_by_patient


class Settings(StrictSettings):
    """Settings of the probe.

    Attributes:
        known_share: Of the known hospitals' radiographs so many count as in the distribution.
    """

    known_share: float = Bound(0.95, gt=0.5, lt=1)


class Probe:
    """AUROC of a logistic regression that tells new radiographs from known ones by the network's features; 0.5: none.

    A classifier two-sample test (Lopez-Paz and Oquab, ICLR 2017), in five folds by patient. Known are the hospitals
    seen in training (their test radiographs), new all others. Control: known radiographs split at random in two.
    Details: the share of new radiographs whose features lie further from the known ones than `known_share` of these do
    (Mahalanobis distance, Lee et al., NeurIPS 2018), and how far the scores have moved (AUROC of new against known by
    the score alone). No label is used and no AUROC of the disease is claimed: a network can hold under drift, and can
    fail without any.
    """

    question: ClassVar[str] = "Do radiographs of the new hospitals look new to the network?"
    needs: ClassVar[frozenset[Need]] = frozenset({Need.FEATURES, Need.SEVERAL_HOSPITALS})
    cost: ClassVar[float] = 1.0

    def __init__(self, settings: Settings) -> None:
        """Take the share."""
        self._known_share = settings.known_share

    def ask(self, network: AuditedNetwork, group: Sequence[AuditedGroup], generator: np.random.Generator) -> Outcome:
        """How well features tell new from known."""
        known = [one for one in group if one.is_seen]
        new = [one for one in group if not one.is_seen]
        if not known or not new:
            none = without_interval(NO_ANSWER, n=0, n_patients=0, n_positive=0)
            places = ", ".join(one.name for one in group)
            sentence = f"Of {places} none is new, or none known, to {network.name}."
            return Outcome(none, 0.5, None, sentence, VOID_WHEN)
        features = [np.concatenate([network.of(one, "features") for one in part]) for part in (known, new)]
        scores = [np.concatenate([network.of(one) for one in part]) for part in (known, new)]
        patients = [[p for one in part for p in one.people] for part in (known, new)]
        seed = int(generator.integers(2**31))
        everyone = patients[0] + patients[1]
        is_new = np.repeat([0, 1], [len(features[0]), len(features[1])])
        estimate = auroc_by_patient(everyone, is_new, learned_scores(np.concatenate(features), is_new, everyone, seed))
        halves = _halves(patients[0], generator)
        control = auroc_by_patient(patients[0], halves, learned_scores(features[0], halves, patients[0], seed))
        beyond = _beyond(generator.permutation(features[0]), features[1], self._known_share)
        outside = bootstrap_by_patient(patients[1], beyond, generator=generator)
        return Outcome(
            estimate,
            reference=0.5,
            control=control,
            sentence=_sentence(network.name, known, new, estimate, outside),
            void_when=VOID_WHEN,
            details={
                "new radiographs outside the known distribution": outside,
                "new against known by the score alone": auroc_by_patient(everyone, is_new, np.concatenate(scores)),
            },
        )


VOID_WHEN = "The new radiographs were read in by another way than the known ones."


def _halves(patients: list[str], generator: np.random.Generator) -> Array:
    """0 or 1 for each row, drawn by patient."""
    names = sorted(set(patients))
    half = dict(zip(names, generator.permutation(len(names)) % 2, strict=True))
    return np.array([half[patient] for patient in patients])


def _beyond(known: Array, new: Array, share: float) -> Array:
    """For each new row 1 if it lies further from the known ones than `share` of these do, else 0, (new,) float.

    Half of the known rows, in their order, give mean and covariance, the other half the limit: rows that gave the
    covariance lie nearer to it than others do.
    """
    if len(known) < 4:
        return np.full(len(new), np.nan)
    fit, held = known[::2], known[1::2]
    model = LedoitWolf().fit(fit)
    limit = np.quantile(model.mahalanobis(held), share)
    return np.asarray(model.mahalanobis(new) > limit, dtype=float)


def _sentence(
    name: str, known: Sequence[AuditedGroup], new: Sequence[AuditedGroup], estimate: Estimate, outside: Estimate
) -> str:
    places, others = (", ".join(one.name for one in part) for part in (new, known))
    if not estimate.answered:
        return f"There are too few patients at {places} and {others} to tell whether they differ to {name}."
    far = f", and {outside.value:.0%} of them lie outside what it knows" if outside.answered else ""
    return (
        f"By its features {name} tells radiographs of {places} from those of {others} with an AUROC of "
        f"{estimate.value:.2f}{far}."
    )
