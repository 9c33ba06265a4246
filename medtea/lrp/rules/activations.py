"""Activations: ReLU by its gate a / (a + ε), other shapes by the identity rule, sigmoid and softmax by their slope."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from medtea.lrp.rules.step import Step, least


class Relu(Step):
    """Back as G a / (a + ε); at ε = 0 the mask a > 0. In-place ReLUs are computed out of place."""

    has_epsilon = True

    def forward(self, x: Tensor) -> Tensor:
        """max(x, 0)."""
        self.a = torch.relu(x)
        y = self.a
        if self.setting.epsilon is None and not torch.is_grad_enabled():
            self.a = y > 0  # where nothing else keeps a, its sign is a quarter of the memory
        return y

    def adjoint(self, g: Tensor) -> Sequence[Tensor]:
        """G a / (a + ε)."""
        setting = self.setting
        if setting.epsilon is None:
            masked = self.a.dtype == torch.bool
            return (g * self.a if masked else torch.ops.aten.threshold_backward(g, self.a.detach(), 0),)
        a = setting.seen(self.a)
        if setting.relative:
            return (setting.kept_share(a, g),)
        gated: Tensor = _Gate.apply(g, a, setting.epsilon.view(-1, *[1] * (a.ndim - 1)))  # type: ignore[no-untyped-call]
        return (gated,)

    def absorbed(self, g: Tensor, parts: Sequence[Tensor]) -> Tensor | None:
        """What ε takes."""
        return None if self.setting.epsilon is None else self.setting.seen(self.a) * (g - parts[0])


class _Gate(torch.autograd.Function):
    """G a / (a + ε) for a ≥ 0, keeping for its backward the result alone, which the next operator keeps anyway.

    Written out for autograd, an exact step holds a third more memory or more, and is no faster. The slope in a is left
    at 0 where a is 0: there ReLU's own slope is 0.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(g: Tensor, a: Tensor, epsilon: Tensor) -> Tensor:
        return g * (a + epsilon).reciprocal_().mul_(a)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
        _g, a, epsilon = inputs
        ctx.save_for_backward(output, a, epsilon)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        y, a, epsilon = ctx.saved_tensors
        shared = slope * (a + epsilon).reciprocal_()
        to_g = shared * a if ctx.needs_input_grad[0] else None
        # d/da G a / (a + ε) = G ε / (a + ε)² = y / a · ε / (a + ε)
        to_a = shared * y * epsilon / a.clamp_min(least(a)) if ctx.needs_input_grad[1] else None
        return to_g, to_a, None


class IdentityRule(Step):
    """An activation f with f(0) = 0 hands R on as it is (AttnLRP, Achtibat et al. 2024): G goes back as G f(z) / z.

    With ε also times |z| / (|z| + ε), which makes ReLU a case of it.
    """

    has_epsilon = True

    @classmethod
    def bends(cls, flowing: int) -> bool:
        """By f(z) / z, unless that is a mask."""
        del flowing
        return True

    def forward(self, x: Tensor, *options: Any, **named: Any) -> Tensor:
        """f(z), out of place."""
        self.z, self.options, self.named = x, options, named
        return self.value(x)

    def value(self, z: Tensor) -> Tensor:
        """f(z)."""
        return z * self.ratio(z)

    def ratio(self, z: Tensor) -> Tensor:
        """f(z) / z, and its limit at 0."""
        raise NotImplementedError

    def adjoint(self, g: Tensor) -> Sequence[Tensor]:
        """G f(z) / z, less what ε takes."""
        z = self.setting.seen(self.z)
        return (self.setting.kept_share(z, g) * self.ratio(z),)

    def absorbed(self, g: Tensor, parts: Sequence[Tensor]) -> Tensor | None:
        """What ε takes."""
        if self.setting.epsilon is None:
            return None
        z = self.setting.seen(self.z)
        return z * (g * self.ratio(z) - parts[0])


class Silu(IdentityRule):
    """z σ(z): the ratio is σ(z)."""

    def value(self, z: Tensor) -> Tensor:
        """PyTorch's own SiLU."""
        return F.silu(z)

    def ratio(self, z: Tensor) -> Tensor:
        """σ(z)."""
        return torch.sigmoid(z)


class Gelu(IdentityRule):
    """z Φ(z): the ratio is Φ(z), or its tanh approximation."""

    def value(self, z: Tensor) -> Tensor:
        """PyTorch's own GELU."""
        return F.gelu(z, **self.named)

    def ratio(self, z: Tensor) -> Tensor:
        """Φ(z)."""
        if self.named.get("approximate") == "tanh":
            inner = torch.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z.pow(3)))
            return (1 + inner) / 2
        ratio: Tensor = torch.special.ndtr(z)
        return ratio


class Hardswish(IdentityRule):
    """z relu6(z + 3) / 6."""

    def ratio(self, z: Tensor) -> Tensor:
        """relu6(z + 3) / 6."""
        return F.relu6(z + 3) / 6


class Tanh(IdentityRule):
    """tanh(z) / z, 1 at 0."""

    def value(self, z: Tensor) -> Tensor:
        """PyTorch's own hyperbolic tangent."""
        return torch.tanh(z)

    def ratio(self, z: Tensor) -> Tensor:
        """tanh(z) / z, with its limit near 0."""
        near = z.abs() < least(z)
        return torch.where(near, 1.0, torch.tanh(z) / torch.where(near, 1.0, z))


class LeakyRelu(IdentityRule):
    """Slope 1 above 0 and a smaller one below; the ratio is a mask."""

    @classmethod
    def bends(cls, flowing: int) -> bool:
        """The ratio does not change with z on either side."""
        del flowing
        return False

    def ratio(self, z: Tensor) -> Tensor:
        """1 or the slope."""
        slope = self.options[0] if self.options else 0.01
        return torch.where(z > 0, 1.0, z.new_tensor(slope))


class ParametricRelu(LeakyRelu):
    """PReLU: the slope below 0 is a parameter, one or one a channel."""

    def ratio(self, z: Tensor) -> Tensor:
        """1 or the slope."""
        slope: Tensor = self.options[0]
        slope = slope if slope.numel() == 1 else slope.view(-1, *[1] * (z.ndim - 2))
        return torch.where(z > 0, torch.ones_like(z), slope)


class Clamp(IdentityRule):
    """Hardtanh with bounds around 0, ReLU6 among them."""

    def ratio(self, z: Tensor) -> Tensor:
        """clamp(z) / z: 1 between the bounds."""
        low, high = self.options if self.options else (-1.0, 1.0)
        inside = (z > low) & (z < high)
        return torch.where(inside, 1.0, z.clamp(low, high) / torch.where(inside | (z == 0), 1.0, z))


class Relu6(Clamp):
    """Hardtanh between 0 and 6."""

    def forward(self, x: Tensor, *_: Any, **named: Any) -> Tensor:
        """min(max(z, 0), 6)."""
        return super().forward(x, 0.0, 6.0, **named)


class Slope(Step):
    """Sigmoid: not 0 at 0, so it has no identity rule; G goes back times the slope, the rest is absorbed.

    That is AttnLRP's softmax rule for the two classes (z, 0). As a gate, a factor of an activation, a sigmoid gets
    no relevance at all: the signal takes all (Arras et al. 2019).
    """

    is_gate = True

    @classmethod
    def bends(cls, flowing: int) -> bool:
        """By the slope."""
        del flowing
        return True

    def forward(self, x: Tensor) -> Tensor:
        """σ(z)."""
        self.z = x
        self.y = torch.sigmoid(x)
        return self.y

    def adjoint(self, g: Tensor) -> Sequence[Tensor]:
        """G σ (1 - σ)."""
        y = self.setting.seen(self.y)
        return (g * y * (1 - y),)

    def absorbed(self, g: Tensor, parts: Sequence[Tensor]) -> Tensor:
        """R less what was sent on."""
        seen = self.setting.seen
        return g * seen(self.y) - parts[0] * seen(self.z)


class Hardsigmoid(Slope):
    """relu6(z + 3) / 6, the gate of MobileNetV3."""

    def forward(self, x: Tensor) -> Tensor:
        """relu6(z + 3) / 6."""
        self.z = x
        self.y = F.hardsigmoid(x)
        return self.y

    def adjoint(self, g: Tensor) -> Sequence[Tensor]:
        """G / 6 on the slope."""
        return (g * ((self.z > -3) & (self.z < 3)) / 6,)


class Softmax(Slope):
    """AttnLRP's rule (Achtibat et al. 2024, proposition 3.1): R_i = z_i (R'_i - s_i sum_j R'_j), R' = s G.

    As G that is the softmax's own derivative, s_i (G_i - sum_j s_j G_j); its bias term is absorbed.
    """

    is_gate = False

    def forward(self, x: Tensor, dim: int = -1, *_: object) -> Tensor:
        """Softmax along `dim`."""
        self.z, self.dim = x, dim
        self.y = torch.softmax(x, dim)
        return self.y

    def adjoint(self, g: Tensor) -> Sequence[Tensor]:
        """S (G - sum s G)."""
        shared = g * self.setting.seen(self.y)
        return (shared - self.setting.seen(self.y) * shared.sum(self.dim, keepdim=True),)
