"""Everything that a method or a teacher could ask to see of a few radiographs, made by code."""

from __future__ import annotations

import copy
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from medtea.core.names import BIASES, INPUT, Field
from medtea.data.loader import Batch, Loader, StoredHeatmaps
from medtea.distil.methods.method import Context
from medtea.lrp import HeatmapPass, over_channels
from medtea.training.asked import AskedTeacher
from medtea.training.networks import BACKBONES, SmallResNet

SIZE = 16
LAYERS = BACKBONES["small_resnet"].layers
ASKED = frozenset({Field.TEACHER_FEATURES, Field.TEACHER_GRADIENT})


def small_network(seed: int, *, logits: int = 1) -> SmallResNet:
    """The small backbone with few channels; the batch norms as if trained."""
    return copy.deepcopy(_network(seed, logits))


@cache
def _network(seed: int, logits: int) -> SmallResNet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = SmallResNet((2, 3, 3, 4), logits=logits)
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


def made_arrays(entries: int = 16, *, classes: int = 2) -> dict[Field, np.ndarray[Any, Any]]:
    """Radiographs whose label is how bright a spot inside the lungs is; two hospitals, and a third that is unbiased.

    The unbiased hospital comes last: a quarter of the entries. The twin is the radiograph's lungs alone.
    """
    generator = np.random.default_rng(4)
    labels = (np.arange(entries) % classes).astype(np.float32)
    masks = np.zeros((entries, 1, SIZE, SIZE), dtype=np.uint8)
    masks[..., 3:13, 2:7] = masks[..., 3:13, 9:14] = 1
    radiographs = 0.4 * generator.random((entries, 1, SIZE, SIZE))
    radiographs[:, 0, 5:10, 3:6] += 0.5 * labels[:, None, None] / (classes - 1)
    unbiased = np.arange(entries) >= entries - entries // 4
    return {
        Field.RADIOGRAPH: radiographs.astype(np.float32),
        Field.LUNG_MASK: masks,
        Field.TWIN: (radiographs * masks).astype(np.float32),
        Field.LABEL: labels,
        Field.HOSPITAL: np.where(unbiased, 2, np.arange(entries) // 2 % 2).astype(np.float32),
        Field.UNBIASED: unbiased.astype(np.float32),
    }


def taught(
    teacher: SmallResNet, arrays: dict[Field, np.ndarray[Any, Any]], epsilon: float
) -> tuple[dict[str, Tensor], Tensor]:
    """The teacher's maps by layer and its logits, on lungs only, in evaluation mode."""
    weights = {name: value.numpy().tobytes() for name, value in teacher.eval().state_dict().items()}
    shown = arrays[Field.RADIOGRAPH] * arrays[Field.LUNG_MASK]
    # Tracing takes longer than most tests; what it finds follows from these.
    key = (tuple(weights.items()), shown.tobytes(), epsilon)
    if key not in _TAUGHT:
        _TAUGHT[key] = _taught(teacher, torch.from_numpy(shown), epsilon)
    maps, logits = _TAUGHT[key]
    return {layer: found.clone() for layer, found in maps.items()}, logits.clone()


_TAUGHT: dict[Any, tuple[dict[str, Tensor], Tensor]] = {}


def _taught(teacher: SmallResNet, shown: Tensor, epsilon: float) -> tuple[dict[str, Tensor], Tensor]:
    shown = shown.to(next(teacher.parameters()).dtype)
    with torch.no_grad():
        heatmap_pass = HeatmapPass(teacher, shown[:2], LAYERS, biases=True)
        result = heatmap_pass(shown, mix_of(teacher, len(shown)).to(shown), epsilon=epsilon)
    return {**result.maps, INPUT: over_channels(result.maps[INPUT]), BIASES: result.absorbed}, result.logits


def mix_of(teacher: SmallResNet, count: int) -> Tensor:
    """The mix of logits that each map explains: of one logit itself, of several ±1."""
    logits = teacher.head.out_features
    signs = np.random.default_rng(9).integers(0, 2, (count, logits)) * 2.0 - 1.0
    return torch.ones(count, 1) if logits == 1 else torch.from_numpy(signs).float()


def everything(teacher: SmallResNet, asks: frozenset[Field], *, epsilon: float = 0.0) -> Loader:
    """A loader that has every field, and hands out those in `asks`; the teacher, if asked, is shown lungs only."""
    logits_of_each = teacher.head.out_features
    arrays = made_arrays(classes=max(logits_of_each, 2))
    maps, logits = taught(teacher, arrays, epsilon)
    cotangent = None if logits_of_each == 1 else mix_of(teacher, 16).numpy()[:, None]
    stored = {layer: (found.numpy()[:, None], 1.0) for layer, found in maps.items()}
    return Loader(
        arrays | {Field.TEACHER_LOGIT: logits.numpy()[:, None]},
        asks=asks,
        teacher_asks=frozenset({Field.TWIN}) if asks & ASKED else frozenset(),
        entries=np.arange(16),
        rows=np.arange(16),
        batch_size=16,
        heatmaps=StoredHeatmaps(stored, epsilon, cotangent),
    )


def batch_of(teacher: SmallResNet, asks: frozenset[Field], *, epsilon: float = 0.0) -> Batch:
    """All radiographs as one batch with exactly the fields in `asks`."""
    return next(iter(everything(teacher, asks, epsilon=epsilon)))


def context_of(teacher: SmallResNet, sees: frozenset[Field]) -> Context:
    """What a method that declares `sees` knows before training."""
    asked = AskedTeacher(teacher, teacher.head, LAYERS)
    return Context(
        layers=LAYERS,
        hospitals=3,
        rows=16,
        teacher_head=teacher.head if Field.TEACHER_HEAD in sees else None,
        teacher_layers=[INPUT, *LAYERS, BIASES],
        look=asked.look if Field.TEACHER_FEATURES in sees else None,
        slopes=asked.slopes if Field.TEACHER_GRADIENT in sees else None,
    )


class NotedBatch(Batch):
    """A batch that notes which fields were looked at."""

    def __init__(self, batch: Batch) -> None:
        super().__init__(
            batch.rows,
            batch._fields,
            batch._heatmaps,
            epsilon=batch._epsilon,
            cotangent=batch._cotangent,
            for_teacher=batch.for_teacher,
        )
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
    modules = torch.nn.ModuleList([task.network, getattr(task, "assistant", torch.nn.Module())]).train()
    trained = [parameter for parameter in modules.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=rate)
    losses = []
    for _ in range(steps):
        loss = task.loss(batch)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return losses
