"""Products. By a constant or a gate, G goes through; between two activations each gets half of the relevance.

The half is AttnLRP's uniform rule (Achtibat et al. 2024, proposition 3.3): R shared equally by the factors, which
conserves it. A gate, a sigmoid that scales an activation, gets none: the signal takes all (Arras et al. 2019).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medtea.core.errors import UsageError
from medtea.lrp.rules.step import Step


class Product(Step):
    """What all products share: which factors count as constants."""

    reads: ClassVar[tuple[int, ...]] = (0, 1)

    @classmethod
    def bends(cls, flowing: int) -> bool:
        """The way back to one activation depends on the other."""
        return flowing > 1

    def remember(self, x: Tensor, y: Tensor) -> None:
        """Keep both factors; a parameter keeps its gradient always, an activation only if `exact`."""
        one_constant = sum(self.setting.flows) == 1 and not self.setting.gated
        self.factors = (x, y) if one_constant else (self.setting.seen(x), self.setting.seen(y))
        self.share = 0.5 if all(self.setting.flows) else 1.0


class Multiply(Product):
    """x y, value by value."""

    def forward(self, x: Tensor, y: Tensor | float) -> Tensor:
        """Product, computed out of place."""
        self.remember(x, y if isinstance(y, Tensor) else torch.as_tensor(y, dtype=x.dtype, device=x.device))
        self.shapes = [factor.shape for factor in self.factors]
        return x * y

    def adjoint(self, g: Tensor) -> Sequence[Tensor]:
        """G times the other factor, half of it where both are activations."""
        return [
            (self.share * g * other).sum_to_size(shape) if flows else g
            for flows, other, shape in zip(self.setting.flows, reversed(self.factors), self.shapes, strict=True)
        ]


class Divide(Step):
    """x over something that does not depend on the radiograph."""

    def forward(self, x: Tensor, divisor: Tensor | float) -> Tensor:
        """Quotient."""
        self.divisor, self.shape = divisor, x.shape
        return x / divisor

    def adjoint(self, g: Tensor) -> Sequence[Tensor]:
        """G over the divisor."""
        return ((g / self.divisor).sum_to_size(self.shape),)


class MatrixProduct(Product):
    """A B over the last two dimensions, as in torch.matmul and torch.bmm."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Matrix product."""
        if x.ndim < 2 or y.ndim < 2:
            raise UsageError(
                "A matrix product with a vector has no relevance rule. Give the vector a second dimension."
            )
        self.remember(x, y)
        return x @ y

    def adjoint(self, g: Tensor) -> Sequence[Tensor]:
        """G Bᵀ and Aᵀ G, half of each where both are activations."""
        x, y = self.factors
        g = self.share * g
        return (g @ y.mT).sum_to_size(x.shape), (x.mT @ g).sum_to_size(y.shape)


class Einsum(Product):
    """torch.einsum of two tensors in which every index of one is in the other or in the result."""

    reads = (1,)

    def forward(self, equation: str, tensors: Sequence[Tensor], **_: object) -> Tensor:
        """The sum over products."""
        terms, _arrow, result = equation.replace(" ", "").partition("->")
        parts = terms.split(",")
        plain = len(parts) == 2 and "." not in equation and all(len(set(part)) == len(part) for part in parts)
        if not plain or not result or not (set(parts[0]) ^ set(parts[1])) <= set(result):
            raise UsageError(f"The sum over products '{equation}' has no relevance rule. Write it as a matrix product.")
        self.first, self.second, self.result = parts[0], parts[1], result
        self.remember(tensors[0], tensors[1])
        return torch.einsum(equation, *tensors)

    def adjoint(self, g: Tensor) -> Sequence[Tensor]:
        """The same sum with G in the place of one factor."""
        g = self.share * g
        return (
            torch.einsum(f"{self.result},{self.second}->{self.first}", g, self.factors[1]),
            torch.einsum(f"{self.first},{self.result}->{self.second}", self.factors[0], g),
        )


class Attention(Step):
    """softmax(q kᵀ / √d) v in one operator: the rules of its parts, one after the other."""

    reads = (0, 1, 2)

    @classmethod
    def bends(cls, flowing: int) -> bool:
        """By every part of it."""
        del flowing
        return True

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Tensor | None = None,
        dropout: float = 0.0,
        causal: bool = False,
        *,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:
        """Scaled dot-product attention, written out."""
        if enable_gqa:
            raise UsageError("Attention with grouped queries has no relevance rule. Repeat keys and values.")
        seen = self.setting.seen
        self.scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
        scores = self.scale * (query @ key.mT)
        if causal:
            mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
        hidden, self.added = _mask(mask)
        scores = scores if self.added is None else scores + self.added
        weights = torch.softmax(scores if hidden is None else scores.masked_fill(hidden, -torch.inf), -1)
        module = self.setting.module
        # The trace is of eval mode, where PyTorch's own attention module asks for no dropout.
        dropout = module.dropout if isinstance(module, nn.MultiheadAttention) else dropout
        drops = F.dropout(torch.ones_like(weights), dropout, True) if dropout and module.training else None
        self.scores = seen(scores if hidden is None else scores.masked_fill(hidden, 0.0))
        self.weights, self.drops = seen(weights), drops
        self.query, self.key, self.value = seen(query), seen(key), seen(value)
        return (weights if drops is None else weights * drops) @ value

    def adjoint(self, g: Tensor) -> Sequence[Tensor]:
        """G of query, key and value."""
        g = 0.5 * g
        dropped = self.weights if self.drops is None else self.weights * self.drops
        g_weights = g @ self.value.mT
        self.shared = self.weights * (g_weights if self.drops is None else g_weights * self.drops)
        self.g_scores = self.shared - self.weights * self.shared.sum(-1, keepdim=True)
        g_product = 0.5 * self.scale * self.g_scores
        return g_product @ self.key, g_product.mT @ self.query, dropped.mT @ g

    def absorbed(self, g: Tensor, parts: Sequence[Tensor]) -> Tensor:
        """What the softmax sends to nobody, and what a mask of numbers takes."""
        del g, parts
        passed = self.scores if self.added is None else self.scores - self.added
        return self.shared - self.g_scores * passed


def _mask(mask: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    """A mask of attention as the positions it hides and the numbers it adds."""
    if mask is None:
        return None, None
    if mask.dtype == torch.bool:
        return ~mask, None
    hidden = mask.isneginf()
    return hidden, mask.masked_fill(hidden, 0.0)


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
