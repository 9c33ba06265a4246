"""Network and radiographs to logits, masks or heatmaps, row by row, without a gradient."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.special import expit
from torch import Tensor, nn

from medtea.core.errors import DataError
from medtea.core.names import INPUT, Field
from medtea.core.progress import track
from medtea.data.lungs import lungs_only
from medtea.lrp import HeatmapPass

Array = np.ndarray[Any, Any]
BATCH = 64
"""Radiographs per forward pass: large enough to be fast, small enough for 4 GiB at 224 pixels."""


@dataclass(frozen=True)
class Shown:
    """What a network is shown at inference, of all that there is of each radiograph.

    Attributes:
        images: The radiographs, or their debiased twins if it looks at those.
        masks: The lung masks if it looks at them, else None.
    """

    images: Array
    masks: Array | None

    def __init__(self, fields: Iterable[str], radiographs: Array, masks: Array | None, twins: Array | None) -> None:
        """Choose by `fields`.

        Raises:
            DataError: it looks at what is not there.
        """
        looks_at = set(fields)
        for field, array in ((Field.LUNG_MASK, masks), (Field.TWIN, twins)):
            if field in looks_at and array is None:
                raise DataError(f"The network looks at '{field}', which these radiographs do not have.")
        object.__setattr__(self, "images", twins if Field.TWIN in looks_at else radiographs)
        object.__setattr__(self, "masks", masks if Field.LUNG_MASK in looks_at else None)


def batches(radiographs: Array, masks: Array | None, rows: Array, device: torch.device, what: str) -> Iterator[Tensor]:
    """The radiographs at `rows`, (batch, channels, size, size) float32; with `masks`, lungs only (see lungs_only)."""
    for start in track(range(0, len(rows), BATCH), what):
        part = rows[start : start + BATCH]
        values = torch.from_numpy(radiographs[part].astype(np.float32)).to(device)
        values = values[:, None] if values.ndim == 3 else values
        yield (
            values
            if masks is None
            else lungs_only(values, torch.from_numpy(np.asarray(masks[part]))[:, None].to(device))
        )


@torch.no_grad()
def predict_logits(
    network: nn.Module, radiographs: Array, rows: Array, *, masks: Array | None = None, what: str = "scores"
) -> Array:
    """Logit of each row, (rows,); of K > 1 logits (rows, K). With `masks` the network is shown lungs only."""
    network.eval()
    device = device_of(network)
    found = [_alone(network(x)).cpu().numpy() for x in batches(radiographs, masks, rows, device, what)]
    return np.concatenate(found) if found else np.zeros(0, dtype=np.float32)


def _alone(logits: Tensor) -> Tensor:
    return logits[:, 0] if logits.shape[1] == 1 else logits


@torch.no_grad()
def predict_masks(network: nn.Module, radiographs: Array, rows: Array) -> Array:
    """Lung probability per pixel, (rows, size, size) float32."""
    network.eval()
    device = device_of(network)
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
    device = device_of(network)
    found = []
    for x in batches(radiographs, masks, rows, device, what):
        heatmaps = heatmaps or HeatmapPass(network, x)
        maps = heatmaps(x, torch.ones(len(x), 1, device=device), epsilon=epsilon).maps
        found.append(maps[INPUT][:, 0].cpu().numpy())
    return np.concatenate(found) if found else np.zeros((0, *radiographs.shape[1:]), dtype=np.float32)


def device_of(network: nn.Module) -> torch.device:
    """Where its weights lie; the CPU if it has none of its own."""
    return next((one.device for one in (*network.parameters(), *network.buffers())), torch.device("cpu"))


def score(logits: Array) -> Array:
    """The sigmoid: logits to scores in [0, 1], without overflow; small scores keep their order."""
    return np.asarray(expit(logits.astype(np.float64)))
