"""Trainings for two processes; torchrun starts this file. Each process notes its weights at every step."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
from oracles.tiny_training import SIZE, Tiny, loader_of, tea_task, tiny_network
from torch import Tensor, nn

from medtea.core.errors import DataError
from medtea.data.loader import Batch
from medtea.training.loop import LoopSettings, train
from medtea.training.processes import lead_or_follow

BATCH = 8


def plain_network(dropout: float = 0.0) -> nn.Sequential:
    """No batch norm, so that a batch's mean loss does not depend on how it is shared; one weight is never used."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        network = nn.Sequential(
            nn.Conv2d(1, 3, 5, stride=2), nn.Tanh(), nn.Flatten(), nn.Dropout(dropout), nn.Linear(3 * 4 * 4, 1)
        )
    assert SIZE == 12, "the linear layer's width follows from it"
    network.register_parameter("unused", nn.Parameter(torch.ones(2)))
    return network


class Noting:
    """Another task; the digest of the weights is noted at each training step, in a file of this process."""

    def __init__(self, task: Any, folder: Path, stop_at: int = -1) -> None:
        self.task, self.folder, self.network, self.stop_at = task, folder, task.network, stop_at

    def loss(self, batch: Batch) -> Tensor:
        if self.network.training:
            weights = torch.cat([parameter.detach().flatten() for parameter in self.network.parameters()])
            with (self.folder / f"rank{os.environ.get('RANK', 0)}.txt").open("a") as file:
                file.write(f"{hashlib.sha256(weights.numpy().tobytes()).hexdigest()} {len(batch)}\n")
            self.stop_at -= 1
            if self.stop_at == 0 and os.environ["RANK"] == "0":
                sys.exit(7)
        found: Tensor = self.task.loss(batch)
        return found


class Bursting(Tiny):
    """Infinite, but in the last process only."""

    def loss(self, batch: Batch) -> Tensor:
        found = super().loss(batch)
        return found if os.environ["RANK"] == "0" else found + torch.inf


def train_here(folder: Path, task: str, *, dropout: float = 0.0, stop_at: int = -1, epochs: int = 6) -> None:
    """One training; leaves its history, and each process's digests."""
    folder.mkdir(parents=True, exist_ok=True)
    kinds: dict[str, Any] = {}
    made: Any = Tiny(plain_network(dropout))
    if task == "tea":
        made, stored = tea_task(tiny_network())
        kinds = {"asks": made.sees, "heatmaps": stored}
    elif task == "bursting":
        made = Bursting(plain_network())
    train(
        Noting(made, folder, stop_at),
        training=loader_of(16, seed=0, batch_size=BATCH, **kinds),
        validation=loader_of(16, batch_size=16, **kinds),
        settings=LoopSettings(epochs=epochs, batch_size=BATCH, learning_rate=0.02, checkpoint_seconds=0),
        folder=folder,
        name=task,
        log=lambda *_: None,
    )
    torch.save(made.network.state_dict(), folder / "weights.bin")


def way(folder: Path, what: str) -> None:
    """What the first process does."""
    if what == "three":
        train_here(folder / "label", "label")
        train_here(folder / "tea", "tea", epochs=12)
        try:
            train_here(folder / "bursting", "bursting")
        except DataError as error:
            (folder / "error.json").write_text(json.dumps(str(error)))
        train_here(folder / "after", "label")
    else:
        train_here(folder, "label", dropout=0.3, stop_at=int(what))


if __name__ == "__main__":
    lead_or_follow(lambda: way(Path(sys.argv[1]), sys.argv[2]))
