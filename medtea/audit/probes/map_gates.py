"""Whether heatmaps may be believed at all: they must change with the weights, and sum to what they explain."""

from __future__ import annotations

import copy
from typing import ClassVar

import numpy as np
import torch
from pydantic import Field as Bound
from scipy.stats import rankdata

from medtea.audit.asked import draw_anew
from medtea.audit.probes.probe import HEATMAP_COST, Array, AuditedGroup, AuditedNetwork, Need, Outcome
from medtea.core.names import INPUT
from medtea.core.settings import StrictSettings
from medtea.lrp import HeatmapPass
from medtea.metrics.estimates import Estimate
from medtea.metrics.intervals import bootstrap_by_patient
from medtea.training.predict import batches, predict_heatmaps


class Settings(StrictSettings):
    """Settings of the probe.

    Attributes:
        radiographs: At most this many are used.
        most_alike: Maps of a network with random weights that are more alike than this void the heatmap probes.
        largest_gap: So do maps that, with what biases absorb, miss the logit by more than this share of it.
        noise: Standard deviation of the faint noise under which maps are made twice, in grey values.
        least_repeatable: Maps that are less alike than this under two draws of that noise void the probes as well. 0:
            only if they have nothing in common; no better number has been measured.
    """

    radiographs: int = Bound(48, ge=1)
    most_alike: float = Bound(0.5, gt=0, le=1)
    largest_gap: float = Bound(0.01, gt=0)
    noise: float = Bound(0.01, gt=0)
    least_repeatable: float = Bound(0.0, ge=0, lt=1)


class Probe:
    """Spearman's correlation of |R| with |R| of the same network after all its weights were drawn anew.

    1: the maps show the radiograph's edges, not what the network learned (Adebayo et al., NeurIPS 2018, cascading
    randomisation from the last layer to the first: details give the way there). Control: the map itself, 1. Details:
    the share of a logit that the map and all that biases absorbed miss (conservation); how alike two maps are that are
    made under two draws of faint noise (repeatability: what no eye can see must not move the map). When a gate fails,
    the answers of all probes that read heatmaps are void. Another training run of the same network is another network:
    give it to the audit beside this one. The gate fails networks that read a planted mark more often than clean ones
    (docs/audit_validity.md), so that it voids most where most is to be found.
    """

    question: ClassVar[str] = "Do the heatmaps depend on what the network learned?"
    needs: ClassVar[frozenset[Need]] = frozenset({Need.HEATMAPS})

    def __init__(self, settings: Settings) -> None:
        """Take the gates."""
        self._settings = settings

    @property
    def cost(self) -> float:
        """Three depths of randomisation, one map with its biases, and two under noise."""
        return 6 * HEATMAP_COST

    def ask(self, network: AuditedNetwork, group: AuditedGroup, generator: np.random.Generator) -> Outcome:
        """The mean correlation after all weights were drawn anew."""
        kept = np.arange(min(len(group), self._settings.radiographs))
        patients = [group.patients[row] for row in kept]
        maps = network.of(group, "heatmaps")[kept]
        found = {
            name: bootstrap_by_patient(patients, _alike(maps, other), generator=generator)
            for name, other in self._randomised(network, group, kept, generator).items()
        }
        estimate = list(found.values())[-1]
        gap = bootstrap_by_patient(patients, self._gaps(network, group, kept), generator=generator)
        twice = [self._under_noise(network, group, kept, generator) for _ in range(2)]
        repeated = bootstrap_by_patient(patients, _alike(*twice), generator=generator)
        reasons = []
        if estimate.answered and estimate.value > self._settings.most_alike:
            reasons.append("heatmaps hardly change when all weights are drawn anew")
        if gap.answered and gap.value > self._settings.largest_gap:
            reasons.append("heatmaps do not sum to the logit")
        if repeated.answered and repeated.value <= self._settings.least_repeatable:
            reasons.append("heatmaps change under noise that cannot be seen")
        return Outcome(
            estimate,
            reference=0.0,
            control=None,
            sentence=_sentence(network.name, group.name, estimate, reasons),
            void_when="There are too few radiographs to tell.",
            details={
                **dict(list(found.items())[:-1]),
                "share of the logit that is missed": gap,
                "alike under faint noise": repeated,
            },
            is_void=" and ".join(reasons),
        )

    def _randomised(
        self, network: AuditedNetwork, group: AuditedGroup, kept: Array, generator: np.random.Generator
    ) -> dict[str, Array]:
        """Maps after the last third, two thirds and all of the layers were drawn anew, in this order."""
        twin = copy.deepcopy(network.network).eval()
        layers = [m for m in twin.modules() if next(m.parameters(False), None) is not None]
        example = torch.zeros(1, 1, *group.radiographs.shape[1:], device=network.device)
        heatmaps = HeatmapPass(twin, example)
        masks = group.lung_masks if network.sees_lungs_only else None
        found, done = {}, len(layers)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(generator.integers(2**31)))
            for third, name in ((1, "last third of the layers"), (2, "last two thirds"), (3, "all layers")):
                upto = len(layers) - round(len(layers) * third / 3)
                for layer in layers[upto:done]:
                    draw_anew(layer)
                done = min(done, upto)
                found[name] = predict_heatmaps(twin, group.radiographs, kept, masks=masks, heatmaps=heatmaps)
        return found

    def _under_noise(
        self, network: AuditedNetwork, group: AuditedGroup, kept: Array, generator: np.random.Generator
    ) -> Array:
        """Maps of the radiographs with noise of their own."""
        pictures = group.radiographs[kept]
        noise = self._settings.noise * generator.standard_normal(pictures.shape).astype(np.float32)
        return network.heatmaps(np.clip(pictures + noise, 0, 1), group.lung_masks[kept])

    def _gaps(self, network: AuditedNetwork, group: AuditedGroup, kept: Array) -> Array:
        """|logit - map - biases| / |logit| of each radiograph; NaN where biases cannot be followed."""
        example = torch.zeros(1, 1, *group.radiographs.shape[1:], device=network.device)
        heatmaps = HeatmapPass(network.network.eval(), example, biases=True)
        masks = group.lung_masks if network.sees_lungs_only else None
        found = []
        with torch.no_grad():
            for x in batches(group.radiographs, masks, kept, network.device, "conservation"):
                one = heatmaps(x, torch.ones(len(x), 1, device=network.device))
                summed = one.maps[INPUT].double().sum((1, 2, 3))
                if one.absorbed is not None:
                    summed = summed + one.absorbed[:, 0].double()
                logits = one.logits[:, 0].double()
                found.append(((logits - summed).abs() / logits.abs().clamp_min(1e-3)).cpu().numpy())
        return np.concatenate(found)


def _alike(maps: Array, others: Array) -> Array:
    """Spearman's correlation of |R|, radiograph by radiograph; NaN where a map does not vary."""
    found = np.full(len(maps), np.nan)
    for row, (one, other) in enumerate(zip(np.abs(maps), np.abs(others), strict=True)):
        if np.isfinite(one).all() and np.isfinite(other).all() and np.ptp(one) > 0 and np.ptp(other) > 0:
            found[row] = np.corrcoef(rankdata(one), rankdata(other))[0, 1]
    return found


def _sentence(name: str, place: str, estimate: Estimate, reasons: list[str]) -> str:
    if not estimate.answered:
        return f"{name} has no heatmap at {place} that could be set beside another."
    said = f"Heatmaps of {name} at {place} correlate by {estimate.value:.2f} with those of random weights: "
    return said + (f"{' and '.join(reasons)}, so nothing is read from them." if reasons else "they may be read.")
