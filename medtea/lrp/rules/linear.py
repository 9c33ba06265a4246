"""Convolution and fully connected layers: ε by the transpose, z+ and z^B (Montavon et al. 2017) by split weights."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from medtea.lrp.rules.norms import BatchNorm
from medtea.lrp.rules.step import Step, each, per_channel

CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
CONVOLUTIONS_TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


class Affine(Step):
    """y = W x + b. G goes back as Wᵀ G; the bias keeps b G to itself.

    Where z+ or z^B is asked for, R_k = y_k G_k is shared out instead by
        z+:   R_j = sum_k (x⁺ w⁺ + x⁻ w⁻)_jk / z_k R_k
        z^B:  R_j = sum_k (x w - l w⁺ - h w⁻)_jk / z_k R_k,   l and h the least and largest value x can have,
    z_k the sum of the numerators over j, without bias. An R_k whose z_k is 0 has nobody to go to and is absorbed.

    `merged` is the batch norm that follows a convolution: its factor joins the weights, which are smaller than maps,
    and the two count as one linear layer.
    """

    weight: Tensor
    bias: Tensor | None
    merged: BatchNorm | None = None

    def apply(self, x: Tensor, weight: Tensor) -> Tensor:
        """W x for other weights."""
        raise NotImplementedError

    def back(self, g: Tensor, weight: Tensor) -> Tensor:
        """Wᵀ G for other weights."""
        raise NotImplementedError

    @property
    def splits(self) -> bool:
        """Whether relevance is shared out by z+ or z^B here."""
        return self.setting.z_plus or self.setting.box is not None

    def remember(self, x: Tensor, weight: Tensor, bias: Tensor | None, y: Tensor) -> Tensor:
        """Keep what the way back needs."""
        self.weight, self.bias = weight, bias
        if self.splits:
            self.x, self.y = self.setting.seen(x), self.setting.seen(y)
        return y

    def weights(self) -> Tensor:
        """W, the merged batch norm's factor included."""
        if self.merged is None:
            return self.weight
        return self.weight * self.merged.factor().view(-1, *[1] * (self.weight.ndim - 1))

    def adjoint(self, g: Tensor) -> Sequence[Tensor]:
        """Wᵀ G, or by z+."""
        if not self.splits:
            return (self.back(g, self.weights()),)
        weight = self.weights()
        # Where x is 0 neither part has a share, so G is free there; 0 keeps the map's slope finite.
        plus, minus = self.x.clamp_min(0), self.x.clamp_max(0)
        positive, negative = weight.clamp_min(0), weight.clamp_max(0)
        share = self._share(g, self.apply(plus, positive) + self.apply(minus, negative))
        return (self.back(share, positive) * (self.x > 0) + self.back(share, negative) * (self.x < 0),)

    def relevance_in_box(self, g: Tensor) -> Tensor:
        """R of the input by z^B; not a multiple of the input, so it is R and not G."""
        assert self.setting.box is not None
        weight, (low, high) = self.weights(), self.setting.box
        positive, negative = weight.clamp_min(0), weight.clamp_max(0)
        least, most = torch.full_like(self.x, low), torch.full_like(self.x, high)
        z = self.apply(self.x, weight) - self.apply(least, positive) - self.apply(most, negative)
        share = self._share(g, z)
        return (
            self.x * self.back(share, weight) - least * self.back(share, positive) - most * self.back(share, negative)
        )

    def _share(self, g: Tensor, z: Tensor) -> Tensor:
        """R / z, 0 where z is 0."""
        self.nobody = z == 0
        return torch.where(self.nobody, 0.0, self._value() * g / torch.where(self.nobody, 1.0, z))

    def _value(self) -> Tensor:
        """y, of the merged batch norm if there is one."""
        return self.y if self.merged is None else self.setting.seen(self.merged.y)

    def absorbed(self, g: Tensor, parts: Sequence[Tensor]) -> Tensor | None:
        """The bias's part, b G; by z+ and z^B only what nobody could be paid."""
        del parts
        if self.splits:
            return torch.where(self.nobody, self._value() * g, 0.0)
        bias = self.bias
        if self.merged is not None:
            shift = self.merged.shift()
            bias = shift if bias is None else bias * self.merged.factor() + shift
        return None if bias is None else g * self.along(bias, g.ndim)

    def along(self, bias: Tensor, ndim: int) -> Tensor:
        """The bias so that it broadcasts over the output."""
        return per_channel(bias, ndim)


class Convolution(Affine):
    """Back through the transposed convolution, with the output padding that restores the input's exact size."""

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
        self.size, self.groups = x.shape[2:], groups
        self.stride, self.dilation = each(stride, n), each(dilation, n)
        self.reach = [d * (k - 1) for d, k in zip(self.dilation, weight.shape[2:], strict=True)]
        if isinstance(padding, str):
            self.padding = [r // 2 if padding == "same" else 0 for r in self.reach]
        else:
            self.padding = each(padding, n)
        # "same" with an even kernel pads one more at the end, which only PyTorch's own word for it expresses.
        self.given = padding if isinstance(padding, str) else self.padding
        y = CONVOLUTIONS[n](x, weight, bias, self.stride, self.given, self.dilation, groups)
        return self.remember(x, weight, bias, y)

    def apply(self, x: Tensor, weight: Tensor) -> Tensor:
        """The convolution without its bias."""
        return CONVOLUTIONS[x.ndim - 2](x, weight, None, self.stride, self.given, self.dilation, self.groups)

    def back(self, g: Tensor, weight: Tensor) -> Tensor:
        """Transposed convolution."""
        missing = [
            size - ((out - 1) * s - 2 * p + r + 1)
            for size, out, s, p, r in zip(self.size, g.shape[2:], self.stride, self.padding, self.reach, strict=True)
        ]
        extra = [max(m, 0) for m in missing]
        transposed = CONVOLUTIONS_TRANSPOSED[g.ndim - 2]
        g = transposed(g, weight, None, self.stride, self.padding, extra, self.groups, self.dilation)
        for axis, size in enumerate(self.size):
            if g.shape[axis + 2] > size:
                g = g.narrow(axis + 2, 0, size)
        return g


class Linear(Affine):
    """x Wᵀ + b over the last dimension, back as G W."""

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """Fully connected layer."""
        return self.remember(x, weight, bias, F.linear(x, weight, bias))

    def apply(self, x: Tensor, weight: Tensor) -> Tensor:
        """The layer without its bias."""
        return F.linear(x, weight)

    def back(self, g: Tensor, weight: Tensor) -> Tensor:
        """G W."""
        return g @ weight

    def along(self, bias: Tensor, ndim: int) -> Tensor:
        """The last dimension is the layer's."""
        del ndim
        return bias


class AddMatrixProduct(Affine):
    """torch.addmm: β b + α x W."""

    reads = (1,)

    def forward(self, bias: Tensor, x: Tensor, matrix: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
        """Fully connected layer as a matrix product."""
        self.beta, self.alpha = beta, alpha
        return self.remember(x, matrix, bias, torch.addmm(bias, x, matrix, beta=beta, alpha=alpha))

    def apply(self, x: Tensor, weight: Tensor) -> Tensor:
        """α x W."""
        return self.alpha * (x @ weight)

    def back(self, g: Tensor, weight: Tensor) -> Tensor:
        """α G Wᵀ."""
        return self.alpha * (g @ weight.t())

    def along(self, bias: Tensor, ndim: int) -> Tensor:
        """β b."""
        del ndim
        return self.beta * bias
