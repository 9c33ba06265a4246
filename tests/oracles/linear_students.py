"""Students of a few pixels whose every number can be worked out by hand, and their training by all phases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import nn

from medtea.core.names import Field
from medtea.data.loader import Batch, Loader
from medtea.distil.methods.method import Context
from medtea.training.loop import LoopSettings
from medtea.training.phases import History, Loaders, train_phases

Array = np.ndarray[Any, Any]


class StoppedError(Exception):
    """The training was stopped from outside."""


def linear(*weights: float, norm: bool = False) -> nn.Sequential:
    """One logit, the sum of weight times pixel; with a batch norm on the pixels if asked."""
    network = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(len(weights)) if norm else nn.Identity(), nn.Linear(1, 1))
    head = nn.Linear(len(weights), 1)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([weights]))
        head.bias.zero_()
    network[2] = head
    return network


def method_of(module: ModuleType, network: nn.Sequential, *, hospitals: int = 1, rows: int = 8, **options: Any) -> Any:
    """The module's method with a student as `linear` makes it."""
    context = Context(hospitals=hospitals, rows=rows)
    return module.Method(network, network[-1], module.Settings(**options), context)


def batch_of_pixels(pixels: Sequence[Any], labels: Sequence[float], **fields: Sequence[Any]) -> Batch:
    """A batch of radiographs of one row of pixels each, or of several; index row i is radiograph i."""
    values = {Field(name): torch.tensor(value).float() for name, value in fields.items()}
    radiograph = torch.tensor(pixels).float()
    radiograph = radiograph[:, None] if radiograph.ndim == 3 else radiograph[:, None, None]
    known = {Field.RADIOGRAPH: radiograph, Field.LABEL: torch.tensor(labels).float()}
    return Batch(np.arange(len(pixels)), known | values, {})


def train_linear(
    method: Any, arrays: Mapping[Field, Array], folder: Path, *, epochs: int = 8, stop_at: int | None = None
) -> History:
    """Train by all phases, in batches of 4, from the start or from where it was stopped.

    Args:
        method: Its own loss is counted: `stop_at` is the step of the last phase that is not done any more.
        arrays: Entry i is index row i; validation is training's radiographs in order.
        folder: Of the checkpoints, one a step.
        epochs: Of each phase that does not say itself.
        stop_at: Never, if None.
    """
    given, steps = method.loss, 0

    def counted(batch: Batch) -> Any:
        nonlocal steps
        steps += method.network.training
        if steps == stop_at:
            raise StoppedError
        return given(batch)

    method.loss = counted

    def loader(unbiased: bool, shuffled: bool) -> Loader:
        everyone = np.arange(len(arrays[Field.LABEL]))
        return Loader(
            arrays,
            asks=method.sees,
            entries=np.flatnonzero(arrays[Field.UNBIASED]) if unbiased else everyone,
            rows=everyone,
            batch_size=4,
            generator=np.random.default_rng(2) if shuffled else None,
        )

    return train_phases(
        method.phases(lambda: loader(False, False)),
        loaders=Loaders(lambda unbiased: loader(unbiased, True), lambda unbiased: loader(unbiased, False)),
        settings=LoopSettings(epochs=epochs, batch_size=4, learning_rate=0.1, checkpoint_seconds=0, select="last"),
        folder=folder,
        name="linear",
        log=lambda *_: None,
    )
