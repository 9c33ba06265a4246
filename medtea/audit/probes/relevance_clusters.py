"""Whether heatmaps fall into kinds that go with the hospital: clusters of where the network looks (SpRAy)."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from pydantic import Field as Bound
from sklearn.cluster import SpectralClustering

from medtea.audit.learned import reduced, shuffled_labels
from medtea.audit.probes.probe import HEATMAP_COST, Array, AuditedGroup, AuditedNetwork, Need, Outcome
from medtea.core.settings import StrictSettings
from medtea.metrics.classification import NO_ANSWER
from medtea.metrics.estimates import Estimate, without_interval
from medtea.metrics.heatmaps import relevance_outside
from medtea.metrics.intervals import bootstrap_by_patient
from medtea.metrics.weighted import Floats, Statistic


class Settings(StrictSettings):
    """Settings of the probe.

    Attributes:
        clusters: How many kinds are looked for.
        side: Maps are reduced to so many pixels a side.
        radiographs: At most this many, spread over the hospitals.
    """

    clusters: int = Bound(4, ge=2, le=12)
    side: int = Bound(16, ge=4, le=64)
    radiographs: int = Bound(600, ge=10)


class Probe:
    """Cramér's V between a heatmap's cluster and its hospital, within the class that was answered; 0: no relation.

    Spectral clustering of reduced maps (Lapuschkin et al., Nature Communications 10, 2019), of |R| scaled to sum 1,
    since where is asked and not how much. Control: V with the hospitals shuffled among patients, which is above 0 by
    chance. Details: each cluster's share of radiographs and its relevance outside the lungs. A kind of map that occurs
    at one hospital alone is a lead to look at, no proof.
    """

    question: ClassVar[str] = "Do heatmaps fall into kinds that go with the hospital?"
    needs: ClassVar[frozenset[Need]] = frozenset({Need.HEATMAPS, Need.LUNG_MASKS, Need.SEVERAL_HOSPITALS})
    cost: ClassVar[float] = HEATMAP_COST

    def __init__(self, settings: Settings) -> None:
        """Take number, size and limit."""
        self._settings = settings

    def ask(self, network: AuditedNetwork, group: Sequence[AuditedGroup], generator: np.random.Generator) -> Outcome:
        """How far clusters go with hospitals."""
        maps = np.concatenate([np.abs(network.of(one, "heatmaps")) for one in group])
        lungs = np.concatenate([one.lungs for one in group])
        hospitals = np.concatenate([[one.hospital] * len(one) for one in group])
        answers = np.concatenate([network.of(one) >= 0.5 for one in group]).astype(int)
        patients = np.array([p for one in group for p in one.people])
        usable = np.flatnonzero((maps.sum((1, 2)) > 0) & np.isfinite(maps).all((1, 2)))
        if len(usable) > self._settings.radiographs:
            usable = np.sort(generator.choice(usable, self._settings.radiographs, replace=False))
        if len(usable) < 5 * self._settings.clusters:
            return _none(network.name, hospitals)
        rows = reduced(maps[usable] / maps[usable].sum((1, 2), keepdims=True), self._settings.side)
        kinds = self._clustered(rows, int(generator.integers(2**31)))
        kept = patients[usable].tolist()
        estimate = bootstrap_by_patient(
            kept, cramers_v_of(kinds, hospitals[usable], answers[usable]), generator=generator
        )
        shuffled = shuffled_labels(hospitals[usable], kept, generator)
        control = bootstrap_by_patient(kept, cramers_v_of(kinds, shuffled, answers[usable]), generator=generator)
        outside = relevance_outside(maps[usable][:, None], lungs[usable][:, None])
        details = {}
        for kind in range(self._settings.clusters):
            mine = np.where(kinds == kind, 1.0, 0.0)
            details[f"share of kind {kind + 1}"] = bootstrap_by_patient(kept, mine, generator=generator)
            details[f"relevance outside, kind {kind + 1}"] = bootstrap_by_patient(
                kept, np.where(kinds == kind, outside, np.nan), generator=generator
            )
        return Outcome(
            estimate,
            reference=0.0,
            control=control,
            sentence=_sentence(network.name, sorted(set(hospitals)), estimate, control),
            void_when="The lungs lie elsewhere at one hospital, by its collimation, so that the same map is moved.",
            details=details,
        )

    def _clustered(self, rows: Array, seed: int) -> Array:
        """The kind of each row."""
        neighbours = min(10, len(rows) - 1)
        model = SpectralClustering(
            self._settings.clusters, affinity="nearest_neighbors", n_neighbors=neighbours, random_state=seed
        )
        with warnings.catch_warnings():
            # maps of two kinds that have nothing in common are a result, not a fault
            warnings.filterwarnings("ignore", message="Graph is not fully connected")
            return np.asarray(model.fit_predict(rows))


def cramers_v_of(kinds: Array, hospitals: Array, strata: Array) -> Statistic:
    """sqrt(χ² / (n (min(kinds, hospitals) - 1))), 0 to 1, χ² and n summed over strata; NaN with one kind or hospital.

    References:
        Cramér, Mathematical Methods of Statistics, 1946.
    """
    kind_names, hospital_names = sorted(set(kinds.tolist())), sorted(set(hospitals.tolist()))
    fewer = min(len(kind_names), len(hospital_names)) - 1
    cells = [
        [((kinds == k) & (hospitals == h) & (strata == s)).astype(float) for k in kind_names for h in hospital_names]
        for s in sorted(set(strata.tolist()))
    ]

    def compute(weights: Floats) -> Floats:
        if fewer < 1:
            return np.full(len(weights), np.nan)
        chi, total = np.zeros(len(weights)), np.zeros(len(weights))
        for stratum in cells:
            seen = np.stack([weights @ cell for cell in stratum], 1).reshape(-1, len(kind_names), len(hospital_names))
            n = seen.sum((1, 2))
            expected = seen.sum(2, keepdims=True) * seen.sum(1, keepdims=True) / np.maximum(n, 1)[:, None, None]
            part = np.zeros_like(seen)
            np.divide((seen - expected) ** 2, expected, out=part, where=expected > 0)
            chi += part.sum((1, 2))
            total += n
        return np.sqrt(chi / np.maximum(total * fewer, 1))

    return Statistic(compute, len(kinds))


def _none(name: str, hospitals: Array) -> Outcome:
    places = ", ".join(sorted(set(hospitals)))
    return Outcome(
        without_interval(NO_ANSWER, n=0, n_patients=0),
        reference=0.0,
        control=None,
        sentence=f"There are too few heatmaps of {name} at {places} to look for kinds of them.",
        void_when="There are too few heatmaps.",
    )


def _sentence(name: str, places: list[str], estimate: Estimate, control: Estimate) -> str:
    said = f"Kinds of {name}'s heatmaps go with {', '.join(places)} by a Cramér's V of {estimate.value:.2f}"
    return f"{said} (shuffled hospitals: {control.value:.2f})."
