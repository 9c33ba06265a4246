"""Means over the radiographs of each group (a hospital, say) in a batch; a group that is not in the batch has none."""

from __future__ import annotations

import torch
from torch import Tensor


def mean_by_group(values: Tensor, groups: Tensor) -> Tensor:
    """The mean of each group that is there, (groups, ...), in the order of their numbers.

    Args:
        values: (batch, ...).
        groups: (batch,) numbers.
    """
    _, place, counts = torch.unique(groups, return_inverse=True, return_counts=True)
    sums: Tensor = values.new_zeros(len(counts), *values.shape[1:]).index_add(0, place, values)
    means: Tensor = sums / counts.to(values.dtype).reshape(-1, *[1] * (values.ndim - 1))
    return means
