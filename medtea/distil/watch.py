"""Four numbers that say, epoch by epoch, how close a student has come to its teacher. They decide nothing.

They are taken of every student alike, also of one whose method may see no mask and no heatmap: what is watched is no
part of its loss, of its selection or of its stopping.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from medtea.core.names import INPUT, Field
from medtea.data.loader import Loader
from medtea.data.shown import shown
from medtea.lrp import HeatmapPass, map_correlation, over_channels
from medtea.metrics.heatmaps import relevance_outside
from medtea.training.outputs import predicted

Array = np.ndarray[Any, Any]
MOST = 64
"""Validation radiographs that are watched, at most: enough for a curve, and cheap beside an epoch."""
LOOKS_AT = frozenset({Field.RADIOGRAPH, Field.LUNG_MASK, Field.TEACHER_HEATMAP, Field.TEACHER_LOGIT})


def some_of(entries: Array) -> Array:
    """At most 64 of the entries, evenly spaced, since the entries of one hospital stand together."""
    return entries[:: max(1, -(-len(entries) // MOST))]


class Watch:
    """The student's maps of some IID validation radiographs beside the teacher's. Means over the radiographs."""

    def __init__(
        self,
        network: nn.Module,
        loader: Loader,
        relative: bool,
        looks_at: frozenset[Field] = frozenset({Field.RADIOGRAPH}),
    ) -> None:
        """Watch `network`.

        Args:
            network: The student.
            loader: Hands over, in order, what it is watched on.
            relative: What ε of the teacher's maps counts in.
            looks_at: What the student is shown of a radiograph.
        """
        self._network = network
        self._looks_at = looks_at
        self._loader = loader
        self._relative = relative
        self._heatmaps: HeatmapPass | None = None

    @torch.no_grad()
    def __call__(self) -> dict[str, float]:
        """Take the four numbers of the network as it is, in evaluation mode.

        Returns:
            map_correlation: Pearson's, of the student's and the teacher's map at the input.
            relevance_outside: Share of the student's |relevance| that lies outside the lungs.
            sum_gap: |logit - sum of the map at the input|, of K logits of the mix that the map explains: what biases,
                and ε, took of it.
            agreement: Share of radiographs that student and teacher give the same class.
            A radiograph without an answer (a constant map, an empty mask) is left out; NaN where none has one.
        """
        self._network.eval()
        found: list[Tensor] = []
        for batch in self._loader:
            x = shown(batch.only(self._looks_at))
            wanted, teacher = batch.teacher_heatmaps[INPUT], batch[Field.TEACHER_LOGIT]
            self._heatmaps = self._heatmaps or HeatmapPass(self._network, x)
            cotangent = batch.heatmap_cotangent
            result = self._heatmaps(x, cotangent, epsilon=batch.heatmap_epsilon, relative=self._relative)
            own, explained = over_channels(result.maps[INPUT]), (cotangent * result.logits).sum(1)
            numbers = (
                map_correlation(own, wanted),
                relevance_outside(own, batch[Field.LUNG_MASK]),
                (explained - own.sum((1, 2, 3))).abs(),
                predicted(result.logits) == predicted(teacher),
            )
            found.append(torch.stack([number.double() for number in numbers]))
        means = torch.cat(found, dim=1).nanmean(dim=1).tolist() if found else [math.nan] * 4
        return dict(zip(("map_correlation", "relevance_outside", "sum_gap", "agreement"), means, strict=True))
