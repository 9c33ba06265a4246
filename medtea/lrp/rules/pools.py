"""Pools and means: the winner takes all, or each position its part."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from medtea.lrp.rules.step import Step, each

MAX_POOLS = {1: F.max_pool1d_with_indices, 2: F.max_pool2d_with_indices, 3: F.max_pool3d_with_indices}
ADAPTIVE_MAX_POOLS = {
    1: F.adaptive_max_pool1d_with_indices,
    2: F.adaptive_max_pool2d_with_indices,
    3: F.adaptive_max_pool3d_with_indices,
}


class MaxPool(Step):
    """Back to the kept positions; where windows overlap, one position may be kept, and paid, more than once."""

    pools: ClassVar[dict[int, Any]] = MAX_POOLS

    def forward(self, x: Tensor, *window: Any) -> Tensor:
        """Maximum of each window; remembers which position it was."""
        self.shape = x.shape
        y, self.kept = self.pools[x.ndim - 2](x, *window)
        return y  # type: ignore[no-any-return]

    def adjoint(self, g: Tensor) -> Sequence[Tensor]:
        """Scatter to the kept positions, adding up."""
        flat = g.new_zeros(*self.shape[:2], math.prod(self.shape[2:]))
        return (flat.scatter_add(2, self.kept.flatten(2), g.flatten(2)).view(self.shape),)


class AdaptiveMaxPool(MaxPool):
    """As MaxPool, with windows chosen by the output's size."""

    pools = ADAPTIVE_MAX_POOLS


class AveragePool(Step):
    """Mean of each window, back in equal parts."""

    def forward(self, x: Tensor, kernel: Sequence[int], *window: Any) -> Tensor:
        """Average pooling in one, two or three dimensions; one dimension is computed as two."""
        n = x.ndim - 2
        self.flat = n == 1
        stride = window[0] if window and len(window[0]) else kernel
        padding = window[1] if len(window) > 1 else [0]
        ceil = window[2] if len(window) > 2 else False
        include = window[3] if len(window) > 3 else True
        divisor = window[4] if len(window) > 4 else None
        if self.flat:
            x, window_2d = x.unsqueeze(2), ([1, *kernel], [1, *stride], [0, *padding])
        else:
            window_2d = (each(kernel, n), each(stride, n), each(padding, n))
        self.x, self.window, n = x.detach(), (*window_2d, ceil, include, divisor), max(n, 2)
        self.backward = {2: torch.ops.aten.avg_pool2d_backward, 3: torch.ops.aten.avg_pool3d_backward}[n]
        y: Tensor = {2: F.avg_pool2d, 3: F.avg_pool3d}[n](x, *self.window)
        return y.squeeze(2) if self.flat else y

    def adjoint(self, g: Tensor) -> Sequence[Tensor]:
        """Each window's G in equal parts to its positions."""
        g = self.backward(g.unsqueeze(2) if self.flat else g, self.x, *self.window)
        return (g.squeeze(2) if self.flat else g,)


class AdaptiveAveragePool(Step):
    """Mean of windows chosen by the output's size, back in equal parts."""

    def forward(self, x: Tensor, size: Sequence[int]) -> Tensor:
        """Adaptive average pooling in one, two or three dimensions; one dimension is computed as two."""
        self.flat = x.ndim == 3
        x, size = (x.unsqueeze(2), [1, *size]) if self.flat else (x, size)
        self.x = x.detach()
        aten = torch.ops.aten
        y: Tensor = (aten.adaptive_avg_pool2d if x.ndim == 4 else aten.adaptive_avg_pool3d)(x, size)
        return y.squeeze(2) if self.flat else y

    def adjoint(self, g: Tensor) -> Sequence[Tensor]:
        """Each window's G in equal parts to its positions."""
        aten = torch.ops.aten
        backward = aten._adaptive_avg_pool2d_backward if self.x.ndim == 4 else aten._adaptive_avg_pool3d_backward
        g = backward(g.unsqueeze(2) if self.flat else g, self.x)
        return (g.squeeze(2) if self.flat else g,)


class Sum(Step):
    """Sum over dimensions: all get the same G."""

    def forward(self, x: Tensor, dim: Sequence[int], keepdim: bool = False) -> Tensor:
        """Sum over `dim`."""
        self._remember(x, dim, keepdim)
        return x.sum(dim=self.dims, keepdim=keepdim)

    def adjoint(self, g: Tensor) -> Sequence[Tensor]:
        """G for each of the summed values."""
        if not self.keepdim:
            for d in self.dims:
                g = g.unsqueeze(d)
        return (g.expand(self.shape),)

    def _remember(self, x: Tensor, dim: Sequence[int], keepdim: bool) -> None:
        self.shape, self.dims, self.keepdim = x.shape, sorted(d % x.ndim for d in dim), keepdim


class Mean(Sum):
    """Mean over dimensions, back in equal parts."""

    def forward(self, x: Tensor, dim: Sequence[int], keepdim: bool = False) -> Tensor:
        """Mean over `dim`."""
        self._remember(x, dim, keepdim)
        return x.mean(dim=self.dims, keepdim=keepdim)

    def adjoint(self, g: Tensor) -> Sequence[Tensor]:
        """G over the number of averaged values."""
        return super().adjoint(g / math.prod(self.shape[d] for d in self.dims))
