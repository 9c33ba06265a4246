"""What an audit asks: networks as they would be used, and groups of radiographs to show them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
import torch
from scipy.special import logit
from torch import Tensor, nn

from medtea.core.errors import UsageError
from medtea.lrp import HeatmapPass
from medtea.metrics.classification import has_both_classes
from medtea.training.predict import batches, device_of, predict_heatmaps, predict_logits, score

Array = np.ndarray[Any, Any]
UNLABELLED = -1


class Need(StrEnum):
    """What a probe cannot do without; the value completes "It needs ...". Scores are always there."""

    LABELS = "labels of both classes"
    LUNG_MASKS = "lung masks"
    HEATMAPS = "a network that heatmaps can be had of"
    FEATURES = "a network with a last linear layer"
    LAYERS = "a network whose layers can be looked at"
    SEVERAL_HOSPITALS = "radiographs of two hospitals or more"


@dataclass(frozen=True)
class AuditedNetwork:
    """A network as it would be used. What it says of a group's own radiographs is computed once for all probes.

    Attributes:
        name: The method.
        network: One logit per radiograph.
        sees_lungs_only: It is shown lungs only (lungs_only), so it needs the segmenter at inference.
    """

    name: str
    network: nn.Module
    sees_lungs_only: bool
    _passes: dict[tuple[int, ...], HeatmapPass] = field(default_factory=dict, repr=False, compare=False)
    _known: dict[tuple[str, str], tuple[Array, Array]] = field(default_factory=dict, repr=False, compare=False)

    def scores(self, radiographs: Array, lung_masks: Array) -> Array:
        """Scores in [0, 1], (n,), as the network would give them.

        Raises:
            UsageError: a score is not a finite number.
        """
        logits = predict_logits(self.network, radiographs, np.arange(len(radiographs)), masks=self._shown(lung_masks))
        if not np.isfinite(logits).all():
            raise UsageError(f"{int((~np.isfinite(logits)).sum())} scores of {self.name} are not finite numbers.")
        return score(logits)

    def heatmaps(self, radiographs: Array, lung_masks: Array) -> Array:
        """Signed relevance (ε = 0: gradient x input) on the radiograph's grid, (n, size, size)."""
        rows = np.arange(len(radiographs))
        masks = self._shown(lung_masks)
        return predict_heatmaps(self.network, radiographs, rows, masks=masks, heatmaps=self.heatmap_pass(radiographs))

    def features(self, radiographs: Array, lung_masks: Array) -> Array:
        """What the last linear layer is given, (n, features) float32."""
        head = self.head
        if head is None:
            raise UsageError(f"{self.name} has no linear layer whose input could be looked at.")
        kept: list[Tensor] = []
        hook = head.register_forward_pre_hook(lambda _, inputs: kept.append(inputs[0].detach().flatten(1).cpu()))
        try:
            with torch.no_grad():
                for x in batches(
                    radiographs, self._shown(lung_masks), np.arange(len(radiographs)), self.device, "features"
                ):
                    self.network(x)
        finally:
            hook.remove()
        return torch.cat(kept).numpy() if kept else np.zeros((0, head.in_features), dtype=np.float32)

    def of(self, group: AuditedGroup, what: str = "scores") -> Array:
        """The scores, heatmaps or features of the group's own radiographs, as `scores` and its neighbours give them."""
        key = (what, group.name)
        if key not in self._known or self._known[key][0] is not group.radiographs:
            self._known[key] = (group.radiographs, getattr(self, what)(group.radiographs, group.lung_masks))
        return self._known[key][1].copy()

    @property
    def head(self) -> nn.Linear | None:
        """The last linear layer, if there is one."""
        return next((m for m in reversed(list(self.network.modules())) if isinstance(m, nn.Linear)), None)

    @property
    def device(self) -> torch.device:
        """Where its weights lie."""
        return device_of(self.network)

    @property
    def why_closed(self) -> str:
        """Why scores alone can be had of it, as of some that others trained; empty where its layers are open."""
        return str(getattr(self.network, "why_closed", ""))

    def lacks(self, needs: frozenset[Need], group: AuditedGroup) -> str | None:
        """Why a probe with these needs cannot ask this network about this group; None if it can."""
        for need in (Need.LAYERS, Need.FEATURES, Need.HEATMAPS):
            if need in needs and self.why_closed:
                return f"It needs {need}. {self.why_closed}"
        if Need.FEATURES in needs and self.head is None:
            return f"It needs {Need.FEATURES}."
        if Need.HEATMAPS in needs:
            try:
                self.heatmap_pass(group.radiographs)
            except UsageError as reason:
                return f"It needs {Need.HEATMAPS}. {reason}"
        return None

    def heatmap_pass(self, radiographs: Array) -> HeatmapPass:
        """The network's heatmap pass for radiographs of this size, made once for all probes and groups.

        Raises:
            UsageError: the network has an operator without a rule.
        """
        size = radiographs.shape[1:]
        if size not in self._passes:
            example = torch.zeros(1, 1, *size, device=self.device)
            self._passes[size] = HeatmapPass(self.network.eval(), example)
        return self._passes[size]

    def _shown(self, lung_masks: Array) -> Array | None:
        return lung_masks if self.sees_lungs_only else None


@dataclass(frozen=True)
class AuditedGroup:
    """The radiographs of one group, all with a plausible lung mask, or, where there are none at all, with empty ones.

    Attributes:
        name: The hospital or variant.
        radiographs: (n, size, size) float32 in [0, 1].
        lung_masks: Same shape, 0 or 1.
        labels: (n,) 0 or 1; UNLABELLED everywhere where nobody knows.
        patients: Pseudonym of each row.
        ids: Our own id of each radiograph, for the report; empty where nobody asks.
        hospital: Where they were taken; the name where nothing is said.
        pixel_mm: Height of a pixel of this grid, (n,), NaN where the radiograph's spacing is not known.
        is_seen: Whether its hospital was seen in training.
        columns: What else is known of each row, (n,) each: view, manufacturer, portable ...
    """

    name: str
    radiographs: Array
    lung_masks: Array
    labels: Array
    patients: list[str]
    ids: list[str] = field(default_factory=list)
    hospital: str = ""
    is_seen: bool = True
    pixel_mm: Array | None = None
    columns: Mapping[str, Array] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Fill in what was not said."""
        if not self.hospital:
            object.__setattr__(self, "hospital", self.name)

    def __len__(self) -> int:
        """Radiographs."""
        return len(self.radiographs)

    @property
    def people(self) -> list[str]:
        """Of each row the patient with the hospital: a pseudonym may stand for two people at two hospitals."""
        return [f"{self.hospital}/{patient}" for patient in self.patients]

    @property
    def lungs(self) -> Array:
        """The masks as Booleans."""
        return np.asarray(self.lung_masks) > 0

    @property
    def is_labelled(self) -> bool:
        """Whether anything is known of the labels."""
        return not bool(np.all(self.labels == UNLABELLED))

    def lacks(self, needs: frozenset[Need]) -> str | None:
        """Why a probe with these needs cannot ask about this group; None if it can."""
        if Need.LABELS in needs and not has_both_classes(self.labels):
            return f"It needs {Need.LABELS}."
        if Need.LUNG_MASKS in needs and not self.lungs.any():
            return f"It needs {Need.LUNG_MASKS}."
        return None


def draw_anew(module: nn.Module) -> None:
    """Draw a module's own weights as they were before training; of a module that cannot, shuffle each of them."""
    reset = getattr(module, "reset_parameters", None)
    if callable(reset):
        reset()
        return
    with torch.no_grad():
        for weights in module.parameters(recurse=False):  # of a program, whose layers have no class any more
            weights.copy_(weights.flatten()[torch.randperm(weights.numel()).to(weights.device)].view_as(weights))


def log_odds(scores: Array) -> Array:
    """Logits of scores, (n,): finite, since a score of 0 or 1 is taken as 1e-12 away from it."""
    return np.asarray(logit(np.clip(scores.astype(np.float64), 1e-12, 1 - 1e-12)))
