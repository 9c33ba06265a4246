"""Whether a network's features tell the hospital: a line learned on them, within each class, on other patients."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from pydantic import Field as Bound

from medtea.audit.asked import draw_anew
from medtea.audit.learned import auroc_by_patient, learned_scores
from medtea.audit.probes.probe import Array, AuditedGroup, AuditedNetwork, Need, Outcome
from medtea.core.settings import StrictSettings
from medtea.metrics.estimates import Estimate
from medtea.metrics.intervals import bootstrap_by_patient
from medtea.metrics.weighted import mean_of


class Settings(StrictSettings):
    """Settings of the probe.

    Attributes:
        untrained: Also ask the same network before it learned anything.
    """

    untrained: bool = Bound(True)


class Probe:
    """AUROC of a logistic regression from the last layer's features to the hospital, within each class; 0.5 is none.

    Each hospital against the others, in five folds by patient, the mean over hospitals and classes. Within a class,
    since hospitals differ in how many are ill, and features that tell the class would tell the hospital. Control: the
    features of the same network with random weights, which tell hospitals too, as any picture of a radiograph does.
    Details: the same with only the lungs shown, and with only what is outside them.

    Encoding is not use: a network may know the hospital and not ask it for the answer. Read it with score_site and the
    probes that intervene (probing classifiers: Alain and Bengio 2016; of hospitals: Zech et al., PLoS Medicine 2018).
    """

    question: ClassVar[str] = "Do the network's features tell the hospital?"
    needs: ClassVar[frozenset[Need]] = frozenset({Need.FEATURES, Need.LABELS, Need.LUNG_MASKS, Need.SEVERAL_HOSPITALS})

    def __init__(self, settings: Settings) -> None:
        """Whether to ask the untrained network."""
        self._untrained = settings.untrained

    @property
    def cost(self) -> float:
        """Whole, lungs and outside, and the whole once more."""
        return 4.0 if self._untrained else 3.0

    def ask(self, network: AuditedNetwork, group: Sequence[AuditedGroup], generator: np.random.Generator) -> Outcome:
        """The mean AUROC of all hospitals, for trained and for random weights."""
        seed = int(generator.integers(2**31))
        whole = [network.of(one, "features") for one in group]
        lungs = [network.features(one.radiographs * one.lungs, one.lung_masks) for one in group]
        outside = [network.features(one.radiographs * ~one.lungs, one.lung_masks) for one in group]
        estimate = _told(whole, group, seed, generator)
        control = None
        if self._untrained:
            fresh = _untrained(network, seed)
            control = _told([fresh.features(one.radiographs, one.lung_masks) for one in group], group, seed, generator)
        return Outcome(
            estimate,
            reference=0.5,
            control=control,
            sentence=_sentence(network.name, group, estimate, control),
            void_when="One hospital's radiographs differ by how they were read in, not by how they were taken.",
            details={
                "lungs alone": _told(lungs, group, seed, generator),
                "outside alone": _told(outside, group, seed, generator),
            },
        )


def _told(
    features: Sequence[Array], groups: Sequence[AuditedGroup], seed: int, generator: np.random.Generator
) -> Estimate:
    """Mean AUROC of each hospital against the others within each class, its interval by patient.

    AUROCs are means over pairs, so the interval is that of the mean over hospitals of `auroc_by_patient`, drawn
    together: approximated by the mean of rows' placement values.
    """
    rows = np.concatenate(features)
    hospitals = np.concatenate([[one.hospital] * len(one) for one in groups])
    labels = np.concatenate([one.labels for one in groups])
    patients = [patient for one in groups for patient in one.patients]
    placements: list[Array] = []
    for label in (0, 1):
        names = sorted(set(hospitals))
        # of two hospitals each against the other is one question
        for hospital in names[1:] if len(names) == 2 else names:
            chosen = np.flatnonzero(labels == label)
            is_here = (hospitals[chosen] == hospital).astype(int)
            if len(set(is_here)) < 2:
                continue
            found = np.full(len(rows), np.nan)
            scores = learned_scores(rows[chosen], is_here, [patients[row] for row in chosen], seed)
            found[chosen] = _placements(is_here, scores)
            placements.append(found)
    if not placements:
        return auroc_by_patient([], np.zeros(0), np.zeros(0))
    values = np.stack(placements)
    counted = np.isfinite(values).sum(axis=0)
    mean = np.full(values.shape[1], np.nan)
    np.divide(np.nansum(values, axis=0), counted, out=mean, where=counted > 0)
    kept = [patient for patient, one in zip(patients, counted, strict=True) if one]
    if not kept:
        return auroc_by_patient([], np.zeros(0), np.zeros(0))
    return bootstrap_by_patient(kept, mean_of(mean[counted > 0]), generator=generator)


def _placements(classes: Array, scores: Array) -> Array:
    """For each row the share of the other class that it is placed right of; the mean over a class is the AUROC."""
    found = np.full(len(classes), np.nan)
    known = np.isfinite(scores)
    for one in (0, 1):
        mine, others = known & (classes == one), np.sort(scores[known & (classes != one)])
        if not mine.any() or not others.size:
            continue
        below = np.searchsorted(others, scores[mine], side="left")
        upto = np.searchsorted(others, scores[mine], side="right")
        share = (below + upto) / 2 / others.size
        found[mine] = share if one == 1 else 1 - share
    return found


def _untrained(network: AuditedNetwork, seed: int) -> AuditedNetwork:
    """The same network with its weights drawn anew."""
    fresh = copy.deepcopy(network.network)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for module in fresh.modules():
            draw_anew(module)
    return AuditedNetwork(f"{network.name}, untrained", fresh.eval(), network.sees_lungs_only)


def _sentence(name: str, groups: Sequence[AuditedGroup], estimate: Estimate, control: Estimate | None) -> str:
    places = ", ".join(sorted({one.hospital for one in groups}))
    if not estimate.answered:
        return f"There are too few patients at {places} to learn the hospital from the features of {name}."
    untrained = "" if control is None or not control.answered else f" (untrained: {control.value:.2f})"
    return (
        f"Features of {name} tell {places} apart with an AUROC of {estimate.value:.2f} within a class{untrained}; "
        "that they do does not say that the answer uses it."
    )
