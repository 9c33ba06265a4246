"""The contract of a probe: one question to one network about one group of radiographs, answered with an interval."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from pydantic import BaseModel
from torch import nn

from medtea.lrp import HeatmapPass
from medtea.metrics.estimates import Estimate
from medtea.training.predict import predict_heatmaps, predict_logits, score

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class AuditedNetwork:
    """A network as it would be used.

    Attributes:
        name: The method.
        network: One logit per radiograph.
        sees_lungs_only: It is shown lungs only (lungs_only), so it needs the segmenter at inference.
    """

    name: str
    network: nn.Module
    sees_lungs_only: bool
    _passes: dict[tuple[int, ...], HeatmapPass] = field(default_factory=dict, repr=False, compare=False)

    def scores(self, radiographs: Array, lung_masks: Array) -> Array:
        """Scores in [0, 1], (n,), as the network would give them."""
        masks = lung_masks if self.sees_lungs_only else None
        return score(predict_logits(self.network, radiographs, np.arange(len(radiographs)), masks=masks))

    def heatmaps(self, radiographs: Array, lung_masks: Array) -> Array:
        """Signed relevance (ε = 0: gradient x input) on the radiograph's grid, (n, size, size)."""
        masks = lung_masks if self.sees_lungs_only else None
        rows = np.arange(len(radiographs))
        return predict_heatmaps(self.network, radiographs, rows, masks=masks, heatmaps=self._pass(radiographs))

    def _pass(self, radiographs: Array) -> HeatmapPass:
        """The network's heatmap pass for radiographs of this size, made once for all probes and groups."""
        size = radiographs.shape[1:]
        if size not in self._passes:
            device = next((one.device for one in self.network.parameters()), torch.device("cpu"))
            self._passes[size] = HeatmapPass(self.network.eval(), torch.zeros(1, 1, *size, device=device))
        return self._passes[size]


@dataclass(frozen=True)
class AuditedGroup:
    """The radiographs of one group, all with a plausible lung mask.

    Attributes:
        name: The hospital or variant.
        radiographs: (n, size, size) float32 in [0, 1].
        lung_masks: Same shape, 0 or 1.
        labels: (n,) 0 or 1.
        patients: Pseudonym of each row.
        ids: Our own id of each radiograph, for the report; empty where nobody asks.
    """

    name: str
    radiographs: Array
    lung_masks: Array
    labels: Array
    patients: list[str]
    ids: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Outcome:
    """A probe's answer.

    Attributes:
        estimate: The number, with its interval by patient.
        reference: What a network indifferent to the background would give; None where there is no such value.
        control: The same number under the probe's control.
        sentence: The answer in plain words.
        void_when: What would make it worthless.
    """

    estimate: Estimate
    reference: float | None
    control: Estimate | None
    sentence: str
    void_when: str


class Probe(Protocol):
    """Every file of this bay has a `Settings` and a class `Probe` of this form.

    Attributes:
        question: What it asks, in a few words.
    """

    question: ClassVar[str]

    def __init__(self, settings: BaseModel) -> None:
        """Take the probe's settings."""

    def ask(self, network: AuditedNetwork, group: AuditedGroup, generator: np.random.Generator) -> Outcome:
        """Ask one network about one group."""
