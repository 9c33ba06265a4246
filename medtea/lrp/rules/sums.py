"""Sums: each summand gets the G of the sum; what does not depend on the radiograph keeps its part to itself."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from medtea.lrp.rules.step import Step


class Add(Step):
    """x + α y: both get G (a residual connection)."""

    reads = (0, 1)
    sign = 1

    def forward(self, x: Tensor, y: Tensor | float, *, alpha: float = 1) -> Tensor:
        """Sum, computed out of place even when the network adds in place."""
        self.alpha = self.sign * alpha
        self.shapes = x.shape, getattr(y, "shape", None)
        constants = [value for value, flows in zip((x, y), self.setting.flows, strict=True) if not flows]
        self.constant = constants[0] if constants else None
        return torch.add(x, y, alpha=self.alpha)

    def adjoint(self, g: Tensor) -> Sequence[Tensor]:
        """G, and α G, summed over what was broadcast."""
        flows, (first, second) = self.setting.flows, self.shapes
        scaled = g if self.alpha == 1 else g * self.alpha
        to_second = scaled.sum_to_size(second) if flows[1] and second is not None else g
        return g.sum_to_size(first) if flows[0] else g, to_second

    def absorbed(self, g: Tensor, parts: Sequence[Tensor]) -> Tensor | None:
        """The constant's part."""
        del parts
        if self.constant is None:
            return None
        return g * self.constant if self.setting.flows[1] else g * self.constant * self.alpha


class Subtract(Add):
    """x - α y."""

    sign = -1


class Concatenate(Step):
    """Tensors side by side: each gets its own part of G."""

    def forward(self, tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
        """Concatenation along `dim`."""
        self.dim, self.sizes = dim, [t.shape[dim] for t in tensors]
        self.constants = [None if flows else tensor for tensor, flows in zip(tensors, self.setting.flows, strict=True)]
        return torch.cat(tuple(tensors), dim)

    def adjoint(self, g: Tensor) -> Sequence[Tensor]:
        """G, cut where the tensors met."""
        return torch.split_with_sizes(g, self.sizes, self.dim)

    def absorbed(self, g: Tensor, parts: Sequence[Tensor]) -> Tensor | None:
        """The parts of tensors that do not depend on the radiograph, a class token say."""
        del g
        lost = [(part * c).flatten(1).sum(1) for part, c in zip(parts, self.constants, strict=True) if c is not None]
        return torch.stack(lost, 1) if lost else None


class Pad(Step):
    """A constant border, which takes its part of G away."""

    def forward(self, x: Tensor, border: Sequence[int], mode: str = "constant", value: float | None = None) -> Tensor:
        """F.pad with zeros or another constant."""
        if mode != "constant":
            raise NotImplementedError(mode)
        self.border, self.value = list(border), value or 0.0
        return F.pad(x, self.border, value=self.value)

    def adjoint(self, g: Tensor) -> Sequence[Tensor]:
        """G without the border."""
        return (F.pad(g, [-b for b in self.border]),)

    def absorbed(self, g: Tensor, parts: Sequence[Tensor]) -> Tensor | None:
        """The border's part, where it is not 0."""
        if not self.value:
            return None
        return self.value * (g.flatten(1).sum(1) - parts[0].flatten(1).sum(1))[:, None]
