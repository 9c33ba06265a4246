"""Normalisation layers. Their statistics are constants of the map: G goes back as through an affine layer."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medtea.core.errors import UsageError
from medtea.lrp.rules.step import Step, per_channel


class BatchNorm(Step):
    """Back as G γ / σ. The statistics are constants of the heatmap: no gradient runs through σ there.

    In train mode the forward normalises by the batch and moves the running statistics once, as the network's own
    forward does; the heatmap then uses the batch's σ. With `running` it normalises by the running statistics as they
    were before this batch, which makes every radiograph's map independent of its batch mates.
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
        *_: object,
    ) -> Tensor:
        """Batch normalisation, by the batch's or the running statistics."""
        module = self.setting.module
        training = always_batch or module.training
        if training and mean is not None and self.setting.running:
            before = mean.clone(), (variance if variance is not None else mean).clone()
            with torch.no_grad():
                torch.native_batch_norm(x, None, None, mean, variance, True, _momentum(module, momentum), eps)
            (mean, variance), training = before, False
        if training:
            factor = _momentum(module, momentum) if mean is not None else momentum
            y, used, inverse = torch.native_batch_norm(x, weight, bias, mean, variance, True, factor, eps)
        else:
            assert mean is not None
            assert variance is not None
            y = F.batch_norm(x, mean, variance, weight, bias, False, momentum, eps)
            used, inverse = mean, (variance + eps).rsqrt()
        self.weight, self.bias, self.inverse = weight, bias, inverse.detach()
        # The running mean moves in place after this call; a share of one number a channel is cheap to keep.
        self.mean = used.detach().clone()
        if self.setting.keeps_value:
            self.y = y
        return y

    def factor(self) -> Tensor:
        """γ / σ per channel."""
        return self.inverse if self.weight is None else self.weight * self.inverse

    def shift(self) -> Tensor:
        """β - μ γ / σ per channel: what the layer adds."""
        shift = -self.mean * self.factor()
        return shift if self.bias is None else self.bias + shift

    def adjoint(self, g: Tensor) -> Sequence[Tensor]:
        """G γ / σ."""
        return (g * per_channel(self.factor(), g.ndim),)

    def absorbed(self, g: Tensor, parts: Sequence[Tensor]) -> Tensor:
        """(β - μ γ / σ) G."""
        del parts
        return g * per_channel(self.shift(), g.ndim)


class Normalisation(Step):
    """Layer, group and instance norm by AttnLRP (Achtibat et al. 2024): σ is a constant of the map, the mean is not.

    G goes back as h - mean(h) with h = G γ / σ. σ depends on the radiograph, and so on the weights before it; with
    `exact` the gradient of a loss on maps runs through it.
    """

    @classmethod
    def bends(cls, flowing: int) -> bool:
        """By σ."""
        del flowing
        return True

    def remember(
        self, x: Tensor, grouped: Sequence[int], weight: Tensor | None, bias: Tensor | None, eps: float
    ) -> None:
        """Keep the affine part, and 1 / σ of each group: x in the shape `grouped` has one in its last dimension."""
        self.grouped, self.weight, self.bias = grouped, weight, bias
        variance = self.setting.seen(x).reshape(grouped).var(-1, unbiased=False, keepdim=True)
        self.inverse = (variance + eps).rsqrt()

    def adjoint(self, g: Tensor) -> Sequence[Tensor]:
        """What is left of h = G γ / σ without its mean."""
        scaled = g if self.weight is None else g * self.along(self.weight, g.ndim)
        h = scaled.reshape(self.grouped) * self.inverse
        return ((h - h.mean(-1, keepdim=True)).reshape(g.shape),)

    def absorbed(self, g: Tensor, parts: Sequence[Tensor]) -> Tensor | None:
        """β G."""
        del parts
        return None if self.bias is None else g * self.along(self.bias, g.ndim)

    def along(self, affine: Tensor, ndim: int) -> Tensor:
        """γ or β so that it broadcasts over the output."""
        return per_channel(affine, ndim)


class LayerNorm(Normalisation):
    """The last dimensions of each radiograph, or token, are one group."""

    def forward(
        self,
        x: Tensor,
        normalised: Sequence[int],
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        eps: float = 1e-5,
        *_: object,
    ) -> Tensor:
        """Layer normalisation."""
        before = x.shape[: x.ndim - len(normalised)]
        self.remember(x, (*before, math.prod(normalised)), weight, bias, eps)
        return F.layer_norm(x, list(normalised), weight, bias, eps)

    def along(self, affine: Tensor, ndim: int) -> Tensor:
        """γ and β are per value."""
        del ndim
        return affine


class RootMeanSquareNorm(Normalisation):
    """Over the root mean square of the last dimensions; no mean is taken away. A cosine is a scaled case of it."""

    def forward(
        self,
        x: Tensor,
        normalised: Sequence[int],
        weight: Tensor | None = None,
        eps: float | None = None,
    ) -> Tensor:
        """Root mean square normalisation (Zhang and Sennrich 2019)."""
        self.weight, self.bias = weight, None
        last = tuple(range(-len(normalised), 0))
        least = torch.finfo(x.dtype).eps if eps is None else eps  # PyTorch's own default
        self.inverse = (self.setting.seen(x).square().mean(last, keepdim=True) + least).rsqrt()
        return F.rms_norm(x, list(normalised), weight, eps)

    def adjoint(self, g: Tensor) -> Sequence[Tensor]:
        """G γ over the root mean square."""
        return ((g if self.weight is None else g * self.weight) * self.inverse,)


class GroupNorm(Normalisation):
    """Some channels of a radiograph are a group."""

    def forward(
        self,
        x: Tensor,
        groups: int,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        eps: float = 1e-5,
        *_: object,
    ) -> Tensor:
        """Group normalisation."""
        self.remember(x, (len(x), groups, math.prod(x.shape[1:]) // groups), weight, bias, eps)
        return F.group_norm(x, groups, weight, bias, eps)


class InstanceNorm(Normalisation):
    """Every channel of a radiograph is a group. With running statistics it has no rule."""

    def forward(
        self,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        mean: Tensor | None,
        variance: Tensor | None,
        use_input: bool,
        momentum: float,
        eps: float,
        *_: object,
    ) -> Tensor:
        """Instance normalisation."""
        if mean is not None or variance is not None:
            raise UsageError(
                "Instance norm with running statistics has no relevance rule. Set its track_running_stats to False."
            )
        self.remember(x, (len(x), x.shape[1], math.prod(x.shape[2:])), weight, bias, eps)
        return torch.instance_norm(x, weight, bias, None, None, use_input, momentum, eps, False)


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
