"""Training with Explanations Alone (Bassi et al., arXiv 2407.09788): the student's heatmaps match the teacher's.

There is no loss on the output and no label in the loss. Two things are ours, not the paper's: heatmaps at hidden
layers are matched beside the one at the input, and the distance is the squared error over the batch's teacher energy
(the paper: input only, multi-scale L1; both can be set). The deepest layer's map sums to the logit less the last
bias, so matching it is close to an output loss; `layers: without_deepest` leaves it out. With the input's map alone
nothing pins the student's offset, since biases absorb what the map lacks of the logit; `biases` does, and then the
sum of what is matched is the logit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from medtea.core.names import BIASES, INPUT, Field
from medtea.core.settings import StrictSettings
from medtea.data.loader import Batch
from medtea.distil.methods import method
from medtea.distil.methods.method import Context, copy_head
from medtea.lrp import HeatmapPass, heatmap_energy_distance, over_channels, published_distance

DISTANCES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "energy": heatmap_energy_distance,
    "published": published_distance,
}


class Settings(StrictSettings):
    """Settings of TEA.

    Attributes:
        layers: "all": the input and every stored hidden layer. "without_deepest": all but the last of them.
            "input": the input alone, as published.
        biases: Match what the biases absorb of the logit as well, one number a radiograph.
        distance: "energy": squared error over the batch's teacher energy. "published": the paper's.
        statistics: "batch": a training step normalises by the batch, as constants of the map. "running": by the
            running statistics, so that a radiograph's map does not depend on its batch mates.
        exact: For ε > 0, let the gradient run through the masks a / (a + ε) as well.
        copy_head: Give the student the teacher's last layer, frozen.
    """

    layers: Literal["all", "without_deepest", "input"] = "all"
    biases: bool = False
    distance: Literal["energy", "published"] = "energy"
    statistics: Literal["batch", "running"] = "batch"
    exact: bool = True
    copy_head: bool = True


class Method(method.Method[Settings]):
    """Sum over layers of the distance between the student's and the teacher's signed LRP heatmap."""

    sees: ClassVar[frozenset[Field]] = frozenset({Field.RADIOGRAPH, Field.TEACHER_HEATMAP, Field.TEACHER_HEAD})

    def __init__(self, network: nn.Module, head: nn.Linear, settings: Settings, context: Context) -> None:
        """Train `network`, whose last layer is `head`."""
        super().__init__(network, head, settings, context)
        if settings.copy_head:
            copy_head(head, context)
        hidden = [layer for layer in context.teacher_layers if layer not in (INPUT, BIASES)]
        self._layers = {"all": hidden, "without_deepest": hidden[:-1], "input": []}[settings.layers]
        self._distance = DISTANCES[settings.distance]
        self._heatmaps: HeatmapPass | None = None

    def loss(self, batch: Batch) -> Tensor:
        """Mean over the matched maps of their distance, of the same ε and mix of logits in teacher and student."""
        radiograph, wanted = batch.radiograph, batch.teacher_heatmaps
        if self._heatmaps is None:
            self._heatmaps = HeatmapPass(
                self.network,
                radiograph,
                self._layers,
                statistics=self.settings.statistics,
                biases=self.settings.biases,
            )
        found = self._heatmaps(
            radiograph,
            batch.heatmap_cotangent,
            epsilon=batch.heatmap_epsilon,
            relative=self.context.relative,
            exact=self.settings.exact,
        )
        maps = found.maps | {INPUT: over_channels(found.maps[INPUT])}
        distances = [self._distance(maps[layer], wanted[layer]) for layer in (INPUT, *self._layers)]
        if found.absorbed is not None:
            distances.append(heatmap_energy_distance(found.absorbed, wanted[BIASES]))
        return torch.stack(distances).mean()

    def __getstate__(self) -> dict[str, Any]:
        """What is sent to another process: all but the traced pass, which is traced anew there."""
        return vars(self) | {"_heatmaps": None}
