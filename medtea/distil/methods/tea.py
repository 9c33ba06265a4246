"""Training with Explanations Alone (Bassi et al., arXiv 2407.09788): the student's heatmaps match the teacher's.

There is no loss on the output and no label in the loss. Two things are ours, not the paper's: heatmaps at hidden
layers are matched beside the one at the input, and the distance is the squared error over the batch's teacher energy
(the paper: input only, multi-scale L1; both can be set). The deepest layer's map sums to the logit less the last
bias, so matching it is close to an output loss; `layers: without_deepest` leaves it out. With the input's map alone
nothing pins the student's offset, since biases absorb what the map lacks of the logit; `biases` does, and then the
sum of what is matched is the logit. ε, and which mix of logits a map explains, are those of the teacher's stored maps
(`teach.epsilon`, `teach.copies`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field as Bound
from pydantic import PositiveFloat
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from medtea.core.errors import ConfigError, nearest
from medtea.core.names import BIASES, INPUT, Field
from medtea.core.settings import StrictSettings
from medtea.data.loader import Batch
from medtea.distil.methods import method
from medtea.distil.methods.method import Context, copy_head, on_one_grid, paired_layers
from medtea.lrp import DISTANCES, HeatmapPass, heatmap_energy_distance, over_channels


class Settings(StrictSettings):
    """Settings of TEA.

    Attributes:
        layers: "all": the input and every stored hidden layer. "without_deepest": all but the last of them.
            "input": the input alone, as published. Or a list of the teacher's layers; the input is always among them.
        weights: Of the maps, the input's first; all alike when empty.
        biases: Match what the biases absorb of the logit as well, one number a radiograph.
        distance: "energy": squared error over the batch's teacher energy. "published": the paper's. "cosine": the
            direction alone, with the scale left free.
        scales: Maps are compared as they are and average-pooled by 2, 4, ...: so many sizes in all, as far as a side
            keeps 2 pixels. Coarse maps help where the shortcut lies on the object, and bring an output loss back where
            it lies beside it. The published distance has its own scales.
        statistics: "batch": a training step normalises by the batch, as constants of the map. "running": by the
            running statistics, so that a radiograph's map does not depend on its batch mates.
        exact: For ε > 0, let the gradient run through the masks a / (a + ε) as well.
        copy_head: Give the student the teacher's last layer, frozen.
    """

    layers: Literal["all", "without_deepest", "input"] | tuple[str, ...] = "all"
    weights: tuple[PositiveFloat, ...] = ()
    biases: bool = False
    distance: Literal["energy", "published", "cosine"] = "energy"
    scales: int = Bound(1, ge=1, le=6)
    statistics: Literal["batch", "running"] = "batch"
    exact: bool = True
    copy_head: bool = True


class Method(method.Method[Settings]):
    """Weighted mean over layers of the distance between the student's and the teacher's signed LRP heatmap.

    A student of another architecture is compared layer by layer of the teacher with its own layer of the nearest
    resolution, the finer map summed to the coarser one's grid.
    """

    sees: ClassVar[frozenset[Field]] = frozenset({Field.RADIOGRAPH, Field.TEACHER_HEATMAP, Field.TEACHER_HEAD})
    search: ClassVar[Mapping[str, Sequence[Any]]] = {
        "layers": ("all", "without_deepest", "input"),
        "distance": ("energy", "published", "cosine"),
        "scales": (1, 2, 3),
        "biases": (False, True),
    }

    def __init__(self, network: nn.Module, head: nn.Linear, settings: Settings, context: Context) -> None:
        """Train `network`, whose last layer is `head`.

        Raises:
            ConfigError: the teacher has no such layer, or there are more or fewer weights than maps.
        """
        super().__init__(network, head, settings, context)
        if settings.copy_head:
            copy_head(head, context)
        self._matched = _matched(settings, [one for one in context.teacher_layers if one not in (INPUT, BIASES)])
        self._heatmaps: HeatmapPass | None = None

    def loss(self, batch: Batch) -> Tensor:
        """Mean over the matched maps of their distance, of the same ε and mix of logits in teacher and student."""
        radiograph, wanted = batch.radiograph, batch.teacher_heatmaps
        if self._heatmaps is None:
            self._heatmaps = HeatmapPass(
                self.network,
                radiograph,
                self._own_layers(),
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
        hidden = {layer: wanted[layer] for layer in self._matched}
        pairs = [(INPUT, INPUT), *paired_layers({one: maps[one] for one in maps if one != INPUT}, hidden)]
        distances = [self._distance(*on_one_grid(maps[own], wanted[layer], conserved=True)) for own, layer in pairs]
        if found.absorbed is not None:
            distances.append(heatmap_energy_distance(found.absorbed, wanted[BIASES]))
        weights = torch.tensor([*(self.settings.weights or [1.0] * len(pairs)), 1.0])[: len(distances)]
        return (torch.stack(distances) * weights.to(distances[0])).sum() / weights.sum()

    def _own_layers(self) -> list[str]:
        """The student's layers whose maps are needed: of the teacher's architecture the matched ones, else all."""
        return self._matched if set(self._matched) <= set(self.context.layers) else list(self.context.layers)

    def _distance(self, found: Tensor, wanted: Tensor) -> Tensor:
        distance = DISTANCES[self.settings.distance]
        losses = [distance(found, wanted)]
        for scale in range(1, 1 if self.settings.distance == "published" else self.settings.scales):
            if min(wanted.shape[-2:]) // 2**scale < 2:
                break
            losses.append(distance(avg_pool2d(found, 2**scale), avg_pool2d(wanted, 2**scale)))
        return torch.stack(losses).mean()

    def __getstate__(self) -> dict[str, Any]:
        """What is sent to another process: all but the traced pass, which is traced anew there."""
        return vars(self) | {"_heatmaps": None}


def _matched(settings: Settings, hidden: list[str]) -> list[str]:
    """The teacher's hidden layers that are matched, from the radiograph on."""
    if isinstance(settings.layers, str):
        matched = {"all": hidden, "without_deepest": hidden[:-1], "input": []}[settings.layers]
    else:
        for layer in settings.layers:
            if layer not in hidden:
                raise ConfigError(f"distil.tea.options.layers: no map of '{layer}' is stored. {nearest(layer, hidden)}")
        matched = [layer for layer in hidden if layer in settings.layers]
    if settings.weights and len(settings.weights) != 1 + len(matched):
        raise ConfigError(
            f"distil.tea.options.weights: {len(settings.weights)} weights for {1 + len(matched)} maps, the input's "
            f"first{''.join(f', {layer}' for layer in matched)}."
        )
    return matched
