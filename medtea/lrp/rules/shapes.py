"""Values in another shape, order or selection: G takes the old shape again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from medtea.lrp.rules.step import Step


class Reshape(Step):
    """Same values in another shape: G takes the old shape again."""

    def forward(self, x: Tensor, *shape: Any) -> Tensor:
        """view, reshape, flatten, squeeze or unsqueeze, by the class's `change`."""
        self.shape = x.shape
        return self.change(x, *shape)

    def change(self, x: Tensor, *shape: Any) -> Tensor:
        """The change of shape itself."""
        return x.reshape(*shape)

    def adjoint(self, g: Tensor) -> Sequence[Tensor]:
        """G in the input's shape."""
        return (g.reshape(self.shape),)


class Flatten(Reshape):
    """Consecutive dimensions made one."""

    def change(self, x: Tensor, *shape: Any) -> Tensor:
        """torch.flatten."""
        return x.flatten(*shape)


class Unflatten(Reshape):
    """One dimension made several."""

    def change(self, x: Tensor, *shape: Any) -> Tensor:
        """torch.unflatten."""
        dim, sizes = shape
        y: Tensor = torch.ops.aten.unflatten.int(x, dim, sizes)
        return y


class Squeeze(Reshape):
    """A dimension of one removed."""

    def change(self, x: Tensor, *shape: Any) -> Tensor:
        """torch.squeeze of named dimensions."""
        dims = shape[0] if isinstance(shape[0], list | tuple) else [shape[0]]
        return x.squeeze(tuple(dims))


class Unsqueeze(Reshape):
    """A dimension of one added."""

    def change(self, x: Tensor, *shape: Any) -> Tensor:
        """torch.unsqueeze."""
        return x.unsqueeze(*shape)


class Permute(Step):
    """Dimensions in another order."""

    def forward(self, x: Tensor, dims: Sequence[int]) -> Tensor:
        """torch.permute."""
        self.back = [[d % x.ndim for d in dims].index(i) for i in range(x.ndim)]
        return x.permute(*dims)

    def adjoint(self, g: Tensor) -> Sequence[Tensor]:
        """The order undone."""
        return (g.permute(*self.back),)


class Transpose(Step):
    """Two dimensions exchanged."""

    def forward(self, x: Tensor, first: int, second: int) -> Tensor:
        """torch.transpose."""
        self.dims = first, second
        return x.transpose(first, second)

    def adjoint(self, g: Tensor) -> Sequence[Tensor]:
        """Exchanged back."""
        return (g.transpose(*self.dims),)


class MatrixTranspose(Transpose):
    """The last two dimensions exchanged: x.mT, x.t()."""

    def forward(self, x: Tensor, first: int = -2, second: int = -1) -> Tensor:
        """Matrix transpose."""
        return super().forward(x, first, second)


class Same(Step):
    """Hands its input on: clone, contiguous, identity."""

    def forward(self, x: Tensor, *_: Any, **__: Any) -> Tensor:
        """The input."""
        return x

    def adjoint(self, g: Tensor) -> Sequence[Tensor]:
        """G unchanged."""
        return (g,)


class Expand(Step):
    """Values repeated along new or single dimensions: G is added up over the repetitions."""

    def forward(self, x: Tensor, size: Sequence[int], **_: Any) -> Tensor:
        """torch.expand."""
        self.shape = x.shape
        return x.expand(*size)

    def adjoint(self, g: Tensor) -> Sequence[Tensor]:
        """G summed to the input's shape."""
        return (g.sum_to_size(self.shape),)


class Select(Step):
    """One index of a dimension: the others get nothing."""

    def forward(self, x: Tensor, dim: int, index: int) -> Tensor:
        """torch.select."""
        self.shape, self.dim, self.index = x.shape, dim, index % x.shape[dim]
        return x.select(dim, index)

    def adjoint(self, g: Tensor) -> Sequence[Tensor]:
        """G at the index, 0 elsewhere."""
        # Not select_scatter: under vmap its gradient is wrong (torch 2.13).
        place = (self.dim, self.index, self.index + 1)
        return (torch.slice_scatter(g.new_zeros(self.shape), g.unsqueeze(self.dim), *place),)


class Slice(Step):
    """A range of a dimension: the rest gets nothing."""

    def forward(
        self, x: Tensor, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
    ) -> Tensor:
        """x[start:end:step] along `dim`."""
        # In full: several maps in one pass do not take "to the end" as torch.export writes it.
        self.shape, self.range = x.shape, (dim, *slice(start, end, step).indices(x.shape[dim]))
        y: Tensor = torch.ops.aten.slice.Tensor(x, dim, start, end, step)
        return y

    def adjoint(self, g: Tensor) -> Sequence[Tensor]:
        """G in the range, 0 elsewhere."""
        return (torch.slice_scatter(g.new_zeros(self.shape), g, *self.range),)
