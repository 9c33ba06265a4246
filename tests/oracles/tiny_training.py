"""A training of seconds, with everything that draws numbers: shuffling, copies, dropout. Also a child process."""

from __future__ import annotations

import io
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from medtea.core.names import Field
from medtea.data.loader import Batch, Loader, StoredHeatmaps
from medtea.distil.methods import tea
from medtea.distil.methods.method import Context
from medtea.training.loop import LoopSettings, train

SIZE = 12
COPIES = 3


def tiny_network(seed: int = 0) -> nn.Sequential:
    """Convolution, batch norm, dropout and a linear layer."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.AvgPool2d(4),
            nn.Flatten(),
            nn.Dropout(0.2),
            nn.Linear(36, 1),
        )


class Tiny:
    """Cross-entropy on the label."""

    sees: ClassVar[frozenset[Field]] = frozenset({Field.RADIOGRAPH, Field.LABEL})

    def __init__(self, network: nn.Sequential) -> None:
        self.network = network

    def loss(self, batch: Batch) -> Tensor:
        return binary_cross_entropy_with_logits(self.network(batch.radiograph)[:, 0], batch[Field.LABEL])


class Telling:
    """Another task, and each of its training steps is told."""

    def __init__(self, task: Any, tell: Callable[[], None]) -> None:
        self.task, self.tell, self.network = task, tell, task.network

    def loss(self, batch: Batch) -> Tensor:
        if self.network.training:
            self.tell()
        found: Tensor = self.task.loss(batch)
        return found


def arrays(entries: int) -> dict[Field, np.ndarray[Any, Any]]:
    """Radiographs whose label is whether a spot is bright on the left or on the right."""
    generator = np.random.default_rng(5)
    labels = (np.arange(entries) % 2).astype(np.float32)
    radiographs = 0.3 * generator.random((entries, COPIES, SIZE, SIZE))
    for entry, label in enumerate(labels):
        column = slice(1, 5) if label else slice(7, 11)
        radiographs[entry, :, 4:8, column] += 0.6
    return {Field.RADIOGRAPH: radiographs.astype(np.float16), Field.LABEL: labels}


def loader_of(entries: int, *, seed: int | None = None, batch_size: int = 8, **kinds: Any) -> Loader:
    """A loader of the label task; with a seed it is shuffled."""
    return Loader(
        arrays(entries),
        asks=kinds.pop("asks", Tiny.sees),
        entries=np.arange(entries),
        rows=np.arange(entries),
        names=[f"r{entry:06d}" for entry in range(entries)],
        batch_size=batch_size,
        generator=None if seed is None else np.random.default_rng(seed),
        **kinds,
    )


def tea_task(network: nn.Sequential) -> tuple[tea.Method, StoredHeatmaps]:
    """TEA with maps that come from nowhere: what is looked at is the way, not the end."""
    maps = np.random.default_rng(6).standard_normal((16, COPIES, 1, SIZE, SIZE)).astype(np.float16)
    settings = tea.Settings(layers="input", copy_head=False)
    head = network[-1]
    assert isinstance(head, nn.Linear)
    return tea.Method(network, head, settings, Context(teacher_layers=["2"])), StoredHeatmaps({"input": (maps, 0.5)})


def train_tiny(
    folder: Path,
    *,
    task: str = "label",
    epochs: int = 25,
    seed: int = 0,
    checkpoint_seconds: float = 0.0,
    log: Callable[[dict[str, float], int], None] | None = None,
    tell: Callable[[], None] | None = None,
    **settings: Any,
) -> list[dict[str, float]]:
    """Train from the start or from the checkpoint in `folder`, four steps an epoch; leaves weights.bin."""
    folder.mkdir(parents=True, exist_ok=True)
    network = tiny_network(seed)
    trained: Any = Tiny(network)
    kinds: dict[str, Any] = {}
    if task == "tea":
        trained, stored = tea_task(network)
        kinds = {"asks": trained.sees, "heatmaps": stored}
    history = train(
        Telling(trained, tell) if tell else trained,
        training=loader_of(16, seed=seed, batch_size=4, **kinds),
        validation=loader_of(16, batch_size=16, **kinds),
        settings=LoopSettings(
            **{"epochs": epochs, "batch_size": 4, "checkpoint_seconds": checkpoint_seconds, "learning_rate": 0.02}
            | settings
        ),
        folder=folder,
        name="tiny",
        log=log or (lambda *_: None),
    )
    content = io.BytesIO()
    torch.save(dict(network.state_dict()), content)
    (folder / "weights.bin").write_bytes(content.getvalue())
    return history


def train_and_tell(folder: Path, task: str, connection: Connection) -> None:
    """The child process: tells each of its steps as it begins."""
    train_tiny(folder, task=task, epochs=15, tell=lambda: connection.send(True))
