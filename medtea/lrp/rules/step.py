"""What a rule is: one operator at work on one batch, forwards and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Setting:
    """What an operator has to know about the call it works in.

    Attributes:
        module: The module that owns the operator; says whether it trains.
        flows: For each input, whether G is wanted for it; not for what does not depend on the radiograph, nor for a
            gate.
        gated: One of two factors is a gate.
        epsilon: None for ε = 0, else a tensor that broadcasts over (batch,).
        relative: ε counts in means of |a| of the layer, per radiograph.
        exact: Gradients of the heatmap flow through all that its rules take from the activations.
        running: Batch norm normalises by its running statistics in train mode too.
        z_plus: This operator follows z+.
        keeps_value: The value this operator gives is asked for on the way back.
        box: Least and largest value of the radiograph, for the one operator that follows z^B.
    """

    module: nn.Module
    flows: tuple[bool, ...] = (True,)
    gated: bool = False
    epsilon: Tensor | None = None
    relative: bool = False
    exact: bool = True
    running: bool = False
    z_plus: bool = False
    keeps_value: bool = False
    box: tuple[float, float] | None = None

    def seen(self, a: Tensor) -> Tensor:
        """An activation as the way back sees it: with its gradient if `exact`."""
        return a if self.exact else a.detach()

    def kept_share(self, z: Tensor, g: Tensor) -> Tensor:
        """G |z| / (|z| + ε): what ε leaves of G."""
        if self.epsilon is None:
            return g
        size = z.abs()
        epsilon = self.epsilon.view(-1, *[1] * (z.ndim - 1)) if self.epsilon.ndim else self.epsilon
        if self.relative:
            epsilon = epsilon * size.flatten(1).mean(1).view(-1, *[1] * (z.ndim - 1))
            epsilon = epsilon.clamp_min(least(z))
        # 1 - ε/(a+ε), not a/(a+ε): exactly 0 at a = 0, and its derivative has no cancellation where ε is small.
        return torch.addcmul(g, g, epsilon / (size + epsilon), value=-1)


class Step:
    """One operator at work on one batch: `forward` computes and remembers, `adjoint` sends G back.

    `reads` are the positions of the arguments that may depend on the radiograph; `adjoint` returns one G for each of
    them, in order (a list of tensors counts as its members). `forward` often runs without a graph, so it remembers
    parameters themselves and leaves it to `adjoint` to compute with them.
    """

    reads: ClassVar[tuple[int, ...]] = (0,)
    is_gate: ClassVar[bool] = False
    """Whether an activation multiplied by this value keeps all the relevance."""
    has_epsilon: ClassVar[bool] = False
    """Whether ε has a part in the way back."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting

    @classmethod
    def bends(cls, flowing: int) -> bool:
        """Whether the way back depends on activations other than by a mask, also at ε = 0.

        `flowing` is the number of inputs that depend on the radiograph.
        """
        del flowing
        return False

    def forward(self, *arguments: Any, **named: Any) -> Tensor:
        """The operator's value, as the network itself would compute it."""
        raise NotImplementedError

    def adjoint(self, g: Tensor) -> Sequence[Tensor]:
        """G of the inputs from G of the output."""
        raise NotImplementedError

    def absorbed(self, g: Tensor, parts: Sequence[Tensor]) -> Tensor | None:
        """Relevance that came with G and went to no input, per value of the output; None where none is lost.

        `parts` is what `adjoint(g)` returned.
        """
        del g, parts
        return None


def least(z: Tensor) -> float:
    """The least ε that leaves a / (a + ε) alone: its square must not underflow, for the derivative divides by it."""
    return float(10 * torch.finfo(z.dtype).tiny ** 0.5)


def per_channel(value: Tensor, ndim: int) -> Tensor:
    """(channels,) so that it broadcasts over (batch, channels, ...)."""
    return value.view(1, -1, *[1] * (ndim - 2))


def each(value: Sequence[int], n: int) -> list[int]:
    """One number for each of n spatial dimensions."""
    return list(value) if len(value) == n else [value[0]] * n
