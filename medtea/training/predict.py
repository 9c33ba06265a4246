"""Network and radiographs to logits, masks or heatmaps, row by row, without a gradient."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from scipy.special import expit
from torch import Tensor, nn

from medtea.core.names import INPUT
from medtea.core.progress import track
from medtea.data.lungs import lungs_only
from medtea.lrp import HeatmapPass

Array = np.ndarray[Any, Any]
BATCH = 64
"""Radiographs per forward pass: large enough to be fast, small enough for 4 GiB at 224 pixels."""


def batches(radiographs: Array, masks: Array | None, rows: Array, device: torch.device, what: str) -> Iterator[Tensor]:
    """The radiographs at `rows`, (batch, 1, size, size) float32; with `masks`, lungs only (see lungs_only)."""
    for start in track(range(0, len(rows), BATCH), what):
        part = rows[start : start + BATCH]
        values = torch.from_numpy(radiographs[part].astype(np.float32))[:, None].to(device)
        yield (
            values
            if masks is None
            else lungs_only(values, torch.from_numpy(np.asarray(masks[part]))[:, None].to(device))
        )


@torch.no_grad()
def predict_logits(
    network: nn.Module, radiographs: Array, rows: Array, *, masks: Array | None = None, what: str = "scores"
) -> Array:
    """Logit of each row, (rows,). With `masks` the network is shown lungs only."""
    network.eval()
    device = next(network.parameters()).device
    found = [network(x)[:, 0].cpu().numpy() for x in batches(radiographs, masks, rows, device, what)]
    return np.concatenate(found) if found else np.zeros(0, dtype=np.float32)


@torch.no_grad()
def predict_masks(network: nn.Module, radiographs: Array, rows: Array) -> Array:
    """Lung probability per pixel, (rows, size, size) float32."""
    network.eval()
    device = next(network.parameters()).device
    found = [
        torch.sigmoid(network(x))[:, 0].cpu().numpy() for x in batches(radiographs, None, rows, device, "lung masks")
    ]
    return np.concatenate(found) if found else np.zeros((0, *radiographs.shape[1:]), dtype=np.float32)


@torch.no_grad()
def predict_heatmaps(
    network: nn.Module,
    radiographs: Array,
    rows: Array,
    *,
    masks: Array | None = None,
    epsilon: float = 0.0,
    what: str = "heatmaps",
    heatmaps: HeatmapPass | None = None,
) -> Array:
    """Signed relevance of each row's logit on the radiograph's grid, (rows, size, size) float32.

    Making a pass takes seconds: whoever asks one network several times hands in `heatmaps`, the network's own.
    """
    network.eval()
    device = next(network.parameters()).device
    found = []
    for x in batches(radiographs, masks, rows, device, what):
        heatmaps = heatmaps or HeatmapPass(network, x)
        maps = heatmaps(x, torch.ones(len(x), 1, device=device), epsilon=epsilon).maps
        found.append(maps[INPUT][:, 0].cpu().numpy())
    return np.concatenate(found) if found else np.zeros((0, *radiographs.shape[1:]), dtype=np.float32)


def score(logits: Array) -> Array:
    """The sigmoid: logits to scores in [0, 1], without overflow; small scores keep their order."""
    return np.asarray(expit(logits.astype(np.float64)))
