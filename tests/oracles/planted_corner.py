"""Radiographs whose label is faint in the lungs and plain in a corner, and what a method makes of them in seconds."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from medtea.core.names import Field
from medtea.data.loader import Batch
from medtea.distil.methods.method import Context
from medtea.training.networks import BACKBONES, SmallCNN
from medtea.training.outputs import predicted

SIZE = 20
CORNER = (slice(None), slice(None), slice(0, 5), slice(0, 5))


def planted(seed: int, *, corner: str = "label", entries: int = 64) -> Batch:
    """The label is whether a spot lies in the left lung or in the right, and, but for "reversed", a bright corner."""
    generator = np.random.default_rng(seed)
    labels = np.arange(entries) % 2
    masks = np.zeros((entries, 1, SIZE, SIZE), dtype=np.float32)
    masks[..., 6:18, 2:9] = masks[..., 6:18, 11:18] = 1
    radiographs = 0.1 + 0.3 * generator.random((entries, 1, SIZE, SIZE))
    for entry, label in enumerate(labels):
        row, column = generator.integers(7, 13), generator.integers(3, 5) + 9 * label
        radiographs[entry, 0, row : row + 4, column : column + 4] += 0.35
    marked = labels if corner == "label" else 1 - labels
    radiographs[CORNER] += 0.5 * marked[:, None, None, None]
    fields = {
        Field.RADIOGRAPH: torch.from_numpy(radiographs).float(),
        Field.LUNG_MASK: torch.from_numpy(masks),
        Field.LABEL: torch.from_numpy(labels).float(),
    }
    return Batch(np.arange(entries), fields, {})


def trained_on_it(module: Any, *, steps: int, rate: float = 3e-3, logits: int = 1, **options: Any) -> Any:
    """A method after some steps on planted radiographs, in evaluation mode."""
    torch.manual_seed(0)
    network = SmallCNN((8, 16, 32), channels=1, logits=logits)
    context = Context(layers=BACKBONES["tiny_cnn"].layers)
    method = module.Method(network, network.head, module.Settings(**options), context)
    adam = torch.optim.Adam([*network.parameters(), *method.assistant.parameters()], lr=rate)
    network.train()
    for step in range(steps):
        loss = method.loss(planted(step, entries=32))
        adam.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        adam.step()
    network.eval()
    return method


def accuracy_reversed(method: Any) -> float:
    """Share of right answers where the corner names the other label: 0 for who reads the corner, 1 for the lungs."""
    batch = planted(1000, corner="reversed")
    with torch.no_grad():
        right: Tensor = predicted(method.network(batch.radiograph)) == batch[Field.LABEL]
    return float(right.float().mean())


def gradient_in_corner(method: Any) -> float:
    """Share of the logits' absolute input gradient that lies in the corner."""
    radiograph = planted(1000).radiograph.requires_grad_(True)
    logits = method.network(radiograph)
    (slope,) = torch.autograd.grad((logits[:, -1] - (logits[:, 0] if logits.shape[1] > 1 else 0)).sum(), radiograph)
    return float(slope.abs()[CORNER].sum() / slope.abs().sum())
