"""One rule per ATen operator: what it computes, and how relevance per unit of input goes back through it.

Letters of the papers: a is an activation, G = R / a its relevance per unit ("modified gradient"), ε the stabiliser.
LRP-ε written for the modified gradient (LRP-Flex): every linear operator sends G back through its transpose, biases
included in the forward alone, and a ReLU multiplies G by a / (a + ε). ε = 0 is gradient × input.

Every adjoint is made of ordinary differentiable operators, so a loss on heatmaps needs a first-order backward only.
A new operator is one more `Step` here and one line of `RULES`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
CONVOLUTIONS_TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
MAX_POOLS = {1: F.max_pool1d_with_indices, 2: F.max_pool2d_with_indices, 3: F.max_pool3d_with_indices}
ADAPTIVE_MAX_POOLS = {
    1: F.adaptive_max_pool1d_with_indices,
    2: F.adaptive_max_pool2d_with_indices,
    3: F.adaptive_max_pool3d_with_indices,
}


@dataclass(frozen=True)
class Setting:
    """What an operator has to know about the call it works in.

    `epsilon` is None for ε = 0, else a tensor that broadcasts over (batch,). `exact` lets gradients of the heatmap
    flow through ε's dependence on the activations. `module` owns the operator and says whether it trains.
    """

    epsilon: Tensor | None
    exact: bool
    module: nn.Module


class Step:
    """One operator at work on one batch: `forward` computes and remembers, `adjoint` sends G back.

    `reads` are the positions of the arguments that may depend on the radiograph; `adjoint` returns one G for each of
    them, in order (a list of tensors counts as its members). `forward` often runs without a graph, so it remembers
    parameters themselves and leaves it to `adjoint` to compute with them.
    """

    reads: ClassVar[tuple[int, ...]] = (0,)
    scale: Tensor | None = None

    def __init__(self, setting: Setting) -> None:
        self.setting = setting

    def forward(self, *arguments: Any, **named: Any) -> Tensor:
        """The operator's value, as the network itself would compute it."""
        raise NotImplementedError

    def adjoint(self, g: Tensor) -> Sequence[Tensor]:
        """G of the inputs from G of the output."""
        raise NotImplementedError


class Convolution(Step):
    """Back through the transposed convolution, with the output padding that restores the input's exact size.

    `scale` is set when a batch norm follows: its factor per channel joins the weights, which are smaller than maps.
    """

    def forward(
        self,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Sequence[int] = (1,),
        padding: Sequence[int] | str = (0,),
        dilation: Sequence[int] = (1,),
        groups: int = 1,
    ) -> Tensor:
        """Convolution in one, two or three dimensions."""
        n = x.ndim - 2
        self.weight, self.size, self.groups = weight, x.shape[2:], groups
        self.stride, self.dilation = _each(stride, n), _each(dilation, n)
        reach = [d * (k - 1) for d, k in zip(self.dilation, weight.shape[2:], strict=True)]
        if isinstance(padding, str):
            self.padding = [r // 2 if padding == "same" else 0 for r in reach]
        else:
            self.padding = _each(padding, n)
        self.reach = reach
        # "same" with an even kernel pads one more at the end, which only PyTorch's own word for it expresses.
        given = padding if isinstance(padding, str) else self.padding
        return CONVOLUTIONS[n](x, weight, bias, self.stride, given, self.dilation, groups)

    def adjoint(self, g: Tensor) -> Sequence[Tensor]:
        """Transposed convolution with the same weights."""
        n = g.ndim - 2
        weight = self.weight if self.scale is None else self.weight * self.scale.view(-1, *[1] * (n + 1))
        missing = [
            size - ((out - 1) * s - 2 * p + r + 1)
            for size, out, s, p, r in zip(self.size, g.shape[2:], self.stride, self.padding, self.reach, strict=True)
        ]
        extra = [max(m, 0) for m in missing]
        transposed = CONVOLUTIONS_TRANSPOSED[n]
        g = transposed(g, weight, None, self.stride, self.padding, extra, self.groups, self.dilation)
        for axis, size in enumerate(self.size):
            if g.shape[axis + 2] > size:
                g = g.narrow(axis + 2, 0, size)
        return (g,)


class Linear(Step):
    """x Wᵀ + b, back as G W."""

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """Fully connected layer."""
        self.weight = weight
        return F.linear(x, weight, bias)

    def adjoint(self, g: Tensor) -> Sequence[Tensor]:
        """G W."""
        return (g @ self.weight,)


class AddMatrixProduct(Step):
    """torch.addmm: β b + α x W."""

    reads = (1,)

    def forward(self, bias: Tensor, x: Tensor, matrix: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
        """Fully connected layer as a matrix product."""
        self.matrix, self.alpha = matrix, alpha
        return torch.addmm(bias, x, matrix, beta=beta, alpha=alpha)

    def adjoint(self, g: Tensor) -> Sequence[Tensor]:
        """α G Wᵀ."""
        return (g @ self.matrix.t() * self.alpha,)


class BatchNorm(Step):
    """Back as G γ / σ. The statistics are constants of the heatmap: no gradient runs through σ there.

    In train mode the forward normalises by the batch and moves the running statistics once, as the network's own
    forward does; the heatmap then uses the batch's σ.
    """

    def forward(
        self,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        mean: Tensor | None,
        variance: Tensor | None,
        always_batch: bool,
        momentum: float,
        eps: float,
        *_: Any,
    ) -> Tensor:
        """Batch normalisation, by the batch's or the running statistics."""
        module = self.setting.module
        if always_batch or module.training:
            factor = _momentum(module, momentum) if mean is not None else momentum
            y, _mean, inverse = torch.native_batch_norm(x, weight, bias, mean, variance, True, factor, eps)
        else:
            assert variance is not None
            y = F.batch_norm(x, mean, variance, weight, bias, False, momentum, eps)
            inverse = (variance + eps).rsqrt()
        self.weight, self.inverse = weight, inverse.detach()
        return y

    def factor(self) -> Tensor:
        """γ / σ per channel."""
        return self.inverse if self.weight is None else self.weight * self.inverse

    def adjoint(self, g: Tensor) -> Sequence[Tensor]:
        """G γ / σ."""
        return (g * self.factor().view(1, -1, *[1] * (g.ndim - 2)),)


class Relu(Step):
    """Back as G a / (a + ε); at ε = 0 the mask a > 0. In-place ReLUs are computed out of place."""

    def forward(self, x: Tensor) -> Tensor:
        """max(x, 0)."""
        self.a = torch.relu(x)
        return self.a

    def adjoint(self, g: Tensor) -> Sequence[Tensor]:
        """G a / (a + ε)."""
        epsilon = self.setting.epsilon
        if epsilon is None:
            return (torch.ops.aten.threshold_backward(g, self.a.detach(), 0),)
        a = self.a if self.setting.exact else self.a.detach()
        if epsilon.ndim:
            epsilon = epsilon.view(-1, *[1] * (a.ndim - 1))
        # 1 - ε/(a+ε), not a/(a+ε): exactly 0 at a = 0, and its derivative has no cancellation where ε is small.
        return (torch.addcmul(g, g, epsilon / (a + epsilon), value=-1),)


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
            window_2d = (_each(kernel, n), _each(stride, n), _each(padding, n))
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


class Mean(Step):
    """Mean over dimensions, back in equal parts."""

    def forward(self, x: Tensor, dim: Sequence[int], keepdim: bool = False) -> Tensor:
        """Mean over `dim`."""
        self.shape, self.dims, self.keepdim = x.shape, sorted(d % x.ndim for d in dim), keepdim
        return x.mean(dim=self.dims, keepdim=keepdim)

    def adjoint(self, g: Tensor) -> Sequence[Tensor]:
        """G over the number of averaged values."""
        if not self.keepdim:
            for d in self.dims:
                g = g.unsqueeze(d)
        return ((g / math.prod(self.shape[d] for d in self.dims)).expand(self.shape),)


class Add(Step):
    """x + α y: both get G (a residual connection)."""

    reads = (0, 1)
    sign = 1

    def forward(self, x: Tensor, y: Tensor | float, *, alpha: float = 1) -> Tensor:
        """Sum, computed out of place even when the network adds in place."""
        self.alpha = self.sign * alpha
        self.shapes = x.shape, getattr(y, "shape", None)
        return torch.add(x, y, alpha=self.alpha)

    def adjoint(self, g: Tensor) -> Sequence[Tensor]:
        """G, and α G, summed over what was broadcast."""
        first, second = self.shapes
        scaled = g if self.alpha == 1 else g * self.alpha
        return g.sum_to_size(first), g if second is None else scaled.sum_to_size(second)


class Subtract(Add):
    """x - α y."""

    sign = -1


class Multiply(Step):
    """x times something that does not depend on the radiograph. A product of two activations has no rule."""

    def forward(self, x: Tensor, factor: Tensor | float) -> Tensor:
        """Product."""
        self.factor, self.shape = factor, x.shape
        return x * factor

    def adjoint(self, g: Tensor) -> Sequence[Tensor]:
        """G times the factor."""
        return ((g * self.factor).sum_to_size(self.shape),)


class Divide(Multiply):
    """x over something that does not depend on the radiograph."""

    def forward(self, x: Tensor, divisor: Tensor | float) -> Tensor:
        """Quotient."""
        self.divisor, self.shape = divisor, x.shape
        return x / divisor

    def adjoint(self, g: Tensor) -> Sequence[Tensor]:
        """G over the divisor."""
        return ((g / self.divisor).sum_to_size(self.shape),)


class Concatenate(Step):
    """Tensors side by side: each gets its own part of G."""

    def forward(self, tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
        """Concatenation along `dim`."""
        self.dim, self.sizes = dim, [t.shape[dim] for t in tensors]
        return torch.cat(tuple(tensors), dim)

    def adjoint(self, g: Tensor) -> Sequence[Tensor]:
        """G, cut where the tensors met."""
        return torch.split_with_sizes(g, self.sizes, self.dim)


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


class Pad(Step):
    """A constant border, which takes its part of G away."""

    def forward(self, x: Tensor, border: Sequence[int], mode: str = "constant", value: float | None = None) -> Tensor:
        """F.pad with zeros or another constant."""
        if mode != "constant":
            raise NotImplementedError(mode)
        self.border = list(border)
        return F.pad(x, self.border, value=value or 0.0)

    def adjoint(self, g: Tensor) -> Sequence[Tensor]:
        """G without the border."""
        return (F.pad(g, [-b for b in self.border]),)


class Same(Step):
    """Hands its input on: clone, contiguous, identity."""

    def forward(self, x: Tensor, *_: Any, **__: Any) -> Tensor:
        """The input."""
        return x

    def adjoint(self, g: Tensor) -> Sequence[Tensor]:
        """G unchanged."""
        return (g,)


class Dropout(Step):
    """The drawn mask in train mode, both ways; the identity otherwise."""

    per_channel = False

    def forward(self, x: Tensor, probability: float, always: bool) -> Tensor:
        """Dropout with the mask the network's own forward would draw from the same generator state."""
        self.mask: Tensor | None = None
        if not (always or self.setting.module.training):
            return x
        module = self.setting.module
        probability = module.p if isinstance(module, nn.modules.dropout._DropoutNd) else probability
        if self.per_channel:
            ones = x.new_ones(*x.shape[:2], *[1] * (x.ndim - 2))
            self.mask = torch.feature_dropout(ones, probability, True)
        else:
            self.mask = F.dropout(torch.ones_like(x), probability, True)
        return x * self.mask

    def adjoint(self, g: Tensor) -> Sequence[Tensor]:
        """G through the same mask."""
        return (g if self.mask is None else g * self.mask,)


class ChannelDropout(Dropout):
    """Dropout of whole channels."""

    per_channel = True


def _each(value: Sequence[int], n: int) -> list[int]:
    """One number for each of n spatial dimensions."""
    return list(value) if len(value) == n else [value[0]] * n


def _momentum(module: nn.Module, traced: float) -> float:
    """Share of the batch in the running statistics; counts the batch as nn.BatchNorm's forward does."""
    if not isinstance(module, nn.modules.batchnorm._BatchNorm):
        return traced
    if module.num_batches_tracked is not None:
        module.num_batches_tracked.add_(1)
    if module.momentum is None:
        assert module.num_batches_tracked is not None
        return 1.0 / float(module.num_batches_tracked)
    return module.momentum


# Takes the values, item 0, of an adaptive max pool's (values, positions).
GETITEM = "<built-in function getitem>"

RULES: dict[str, type[Step]] = {
    "aten.conv1d.default": Convolution,
    "aten.conv1d.padding": Convolution,
    "aten.conv2d.default": Convolution,
    "aten.conv2d.padding": Convolution,
    "aten.conv3d.default": Convolution,
    "aten.conv3d.padding": Convolution,
    "aten.linear.default": Linear,
    "aten.addmm.default": AddMatrixProduct,
    "aten.batch_norm.default": BatchNorm,
    "aten.relu.default": Relu,
    "aten.relu_.default": Relu,
    "aten.max_pool1d.default": MaxPool,
    "aten.max_pool2d.default": MaxPool,
    "aten.max_pool3d.default": MaxPool,
    "aten.adaptive_max_pool1d.default": AdaptiveMaxPool,
    "aten.adaptive_max_pool2d.default": AdaptiveMaxPool,
    "aten.adaptive_max_pool3d.default": AdaptiveMaxPool,
    "aten.avg_pool1d.default": AveragePool,
    "aten.avg_pool2d.default": AveragePool,
    "aten.avg_pool3d.default": AveragePool,
    "aten.adaptive_avg_pool1d.default": AdaptiveAveragePool,
    "aten.adaptive_avg_pool2d.default": AdaptiveAveragePool,
    "aten.adaptive_avg_pool3d.default": AdaptiveAveragePool,
    "aten.mean.dim": Mean,
    "aten.add.Tensor": Add,
    "aten.add_.Tensor": Add,
    "aten.sub.Tensor": Subtract,
    "aten.sub_.Tensor": Subtract,
    "aten.mul.Tensor": Multiply,
    "aten.mul_.Tensor": Multiply,
    "aten.div.Tensor": Divide,
    "aten.div_.Tensor": Divide,
    "aten.cat.default": Concatenate,
    "aten.view.default": Reshape,
    "aten.reshape.default": Reshape,
    "aten.flatten.using_ints": Flatten,
    "aten.squeeze.dim": Squeeze,
    "aten.squeeze.dims": Squeeze,
    "aten.unsqueeze.default": Unsqueeze,
    "aten.permute.default": Permute,
    "aten.transpose.int": Transpose,
    "aten.pad.default": Pad,
    "aten.constant_pad_nd.default": Pad,
    GETITEM: Same,
    "aten.clone.default": Same,
    "aten.contiguous.default": Same,
    "aten.alias.default": Same,
    "aten.dropout.default": Dropout,
    "aten.dropout_.default": Dropout,
    "aten.feature_dropout.default": ChannelDropout,
    "aten.feature_dropout_.default": ChannelDropout,
}
