"""Where the relevance of a heatmap lies. Arrays of numpy or torch; the answer comes back in the same kind."""

from __future__ import annotations

from typing import Any, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medtea.core.errors import DataError

Array = TypeVar("Array", Tensor, NDArray[np.generic])


def relevance_inside(heatmap: Array, lung_mask: Array) -> Array:
    """Share of absolute relevance that falls inside the lungs, per radiograph.

    sum_lung |R| / sum |R|: 1 when the network used nothing but lung, and the lungs' share of the image when
    |R| is uniform, so compare it with that share, not with 0.

    Args:
        heatmap: Signed LRP relevance of one logit, (batch, 1, height, width).
        lung_mask: Same shape. Not 0 on lung; 0 on mediastinum, diaphragm and outside.

    Returns:
        (batch,) values in [0, 1], float64. NaN where the mask is empty, or the heatmap is zero everywhere or not
        finite: such a radiograph has no answer. Count it; do not average it.

    Raises:
        DataError: shapes differ.

    References:
        Relevance mass accuracy: Arras et al., Information Fusion 81, 2022.
    """
    relevance, lung = _pair(heatmap, lung_mask)
    return _as(heatmap, _share(relevance, lung, lung))


def relevance_outside(heatmap: Array, lung_mask: Array) -> Array:
    """Share of absolute relevance that falls outside the lungs, per radiograph: 1 - relevance_inside.

    Compare it with area_outside, which it equals when |R| is uniform. Arguments, shapes and the case without an
    answer are those of relevance_inside.
    """
    relevance, lung = _pair(heatmap, lung_mask)
    return _as(heatmap, _share(relevance, ~lung, lung))


def area_outside(lung_mask: Array) -> Array:
    """Share of the image's pixels outside the lungs, (batch,) float64; NaN where the mask is empty."""
    _, lung = _pair(lung_mask, lung_mask)
    return _as(lung_mask, _share(torch.ones_like(lung, dtype=torch.float64), ~lung, lung))


def _share(relevance: Tensor, part: Tensor, lung: Tensor) -> Tensor:
    over = (1, 2, 3)
    share = (relevance * part).sum(over) / relevance.sum(over)
    answered = lung.any(dim=3).any(dim=2).any(dim=1) & torch.isfinite(share)
    return torch.where(answered, share, torch.nan)


def _pair(heatmap: Array, lung_mask: Array) -> tuple[Tensor, Tensor]:
    relevance, lung = _tensor(heatmap), _tensor(lung_mask) != 0
    if relevance.shape != lung.shape or relevance.ndim != 4 or relevance.shape[1] != 1:
        raise DataError(
            f"The heatmap has the shape {tuple(relevance.shape)} and the lung mask {tuple(lung.shape)}; "
            "both must be (batch, 1, height, width)."
        )
    # float64: a sum over a megapixel of half-precision relevance would lose the small shares.
    return relevance.to(torch.float64).abs(), lung


def _tensor(array: Tensor | NDArray[np.generic]) -> Tensor:
    # A copy, because torch warns about arrays that cannot be written to, such as memory-mapped ones.
    return array if isinstance(array, Tensor) else torch.from_numpy(np.array(array))


def _as(like: Array, share: Tensor) -> Array:
    answer: Any = share if isinstance(like, Tensor) else share.numpy()
    return cast(Array, answer)
