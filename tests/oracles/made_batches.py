"""Everything that a method or a teacher could ask to see of a few radiographs, made by code."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from medtea.core.names import BIASES, Field
from medtea.data.loader import Batch, Loader, StoredHeatmaps
from medtea.distil.methods.method import TeacherView
from medtea.lrp import HeatmapPass
from medtea.training.networks import BACKBONES, SmallResNet

SIZE = 16
LAYERS = BACKBONES["small_resnet"].layers


def small_network(seed: int) -> SmallResNet:
    """The small backbone with few channels; the batch norms as if trained."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = SmallResNet((2, 3, 3, 4))
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.weight.data.uniform_(0.5, 1.5)
                module.bias.data.uniform_(0.1, 0.4)
                module.momentum = 1.0
        network(torch.from_numpy(made_arrays()[Field.RADIOGRAPH][:, 0])[:, None])
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = 0.1
    return network


def made_arrays(entries: int = 16) -> dict[Field, np.ndarray[Any, Any]]:
    """Radiographs whose label is a bright spot inside the lungs."""
    generator = np.random.default_rng(4)
    labels = (np.arange(entries) % 2).astype(np.float32)
    masks = np.zeros((entries, 1, SIZE, SIZE), dtype=np.uint8)
    masks[..., 3:13, 2:7] = masks[..., 3:13, 9:14] = 1
    radiographs = 0.4 * generator.random((entries, 1, SIZE, SIZE))
    radiographs[:, 0, 5:10, 3:6] += 0.5 * labels[:, None, None]
    return {
        Field.RADIOGRAPH: radiographs.astype(np.float32),
        Field.LUNG_MASK: masks,
        Field.LABEL: labels,
        Field.HOSPITAL: (np.arange(entries) % 3).astype(np.float32),
    }


def taught(
    teacher: SmallResNet, arrays: dict[Field, np.ndarray[Any, Any]], epsilon: float
) -> tuple[dict[str, Tensor], Tensor]:
    """The teacher's maps by layer and its logits, on lungs only, in evaluation mode."""
    shown = torch.from_numpy(arrays[Field.RADIOGRAPH] * arrays[Field.LUNG_MASK])
    shown = shown.to(next(teacher.parameters()).dtype)
    with torch.no_grad():
        heatmap_pass = HeatmapPass(teacher.eval(), shown[:2], LAYERS, biases=True)
        result = heatmap_pass(shown, torch.ones(len(shown), 1), epsilon=epsilon)
    return {**result.maps, BIASES: result.absorbed}, result.logits


def everything(teacher: SmallResNet, asks: frozenset[Field], *, epsilon: float = 0.0) -> Loader:
    """A loader that has every field, and hands out those in `asks`."""
    arrays = made_arrays()
    maps, logits = taught(teacher, arrays, epsilon)
    return Loader(
        arrays | {Field.TEACHER_LOGIT: logits.numpy()},
        asks=asks,
        entries=np.arange(16),
        rows=np.arange(16),
        batch_size=16,
        heatmaps=StoredHeatmaps({layer: (found.numpy()[:, None], 1.0) for layer, found in maps.items()}, epsilon),
    )


def batch_of(teacher: SmallResNet, asks: frozenset[Field], *, epsilon: float = 0.0) -> Batch:
    """All radiographs as one batch with exactly the fields in `asks`."""
    return next(iter(everything(teacher, asks, epsilon=epsilon)))


def view_of(teacher: SmallResNet, sees: frozenset[Field]) -> TeacherView:
    """What a method that declares `sees` gets of the teacher."""
    return TeacherView(teacher.head if Field.TEACHER_HEAD in sees else None, ["input", *LAYERS], relative=False)


class NotedBatch(Batch):
    """A batch that notes which fields were looked at."""

    def __init__(self, batch: Batch) -> None:
        super().__init__(batch.rows, batch._fields, batch._heatmaps, epsilon=batch._epsilon)
        self.looked_at: set[Field] = set()

    def __getitem__(self, field: Field) -> Tensor:
        self.looked_at.add(field)
        return super().__getitem__(field)

    @property
    def teacher_heatmaps(self) -> dict[str, Tensor]:
        self.looked_at.add(Field.TEACHER_HEATMAP)
        return super().teacher_heatmaps


def losses_of_training(task: Any, batch: Batch, *, steps: int, rate: float = 0.01) -> list[float]:
    """The loss before each of some plain training steps on one batch."""
    task.network.train()
    trained = [parameter for parameter in task.network.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=rate)
    losses = []
    for _ in range(steps):
        loss = task.loss(batch)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return losses
