"""Contextual decomposition: what of each logit is due to a part of the radiograph, in one pass forward.

Every value of the network is followed as the sum of a relevant part r and an irrelevant part i. The rules are those of
Singh et al. 2019 (arXiv 1806.05337) for images:

    linear, convolution     W r and W i, and the bias is shared as |W r| to |W i|
    batch norm              likewise, with the statistics of r + i as constants
    activation f, f(0) = 0  f(r) and f(r + i) - f(r)
    max pool                both where r + i is largest
    pools, sums, shapes     the operator itself, of both

A bias where neither part has anything, which the authors' code drops, is shared as in the radiograph's layer as a
whole; so the parts always add up to the logit. An operator without a rule is refused by name.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from medtea.core.errors import UsageError
from medtea.lrp.rules import Setting, Step
from medtea.lrp.rules.activations import IdentityRule, Relu
from medtea.lrp.rules.linear import Convolution, Linear
from medtea.lrp.rules.norms import BatchNorm
from medtea.lrp.rules.pools import AdaptiveAveragePool, AveragePool, MaxPool, Sum
from medtea.lrp.rules.products import Divide, Dropout, Multiply
from medtea.lrp.rules.shapes import Expand, Permute, Reshape, Same, Select, Slice, Transpose
from medtea.lrp.rules.step import per_channel
from medtea.lrp.rules.sums import Add, Concatenate, Pad
from medtea.lrp.trace import Operator, fill, place, trace

NOTHING = 1e-12  # |W r| + |W i| below it is nothing: the square of it, by which a slope is divided, is still a number
SHAPES = (Reshape, Permute, Transpose, Same, Expand, Select, Slice)
LINEAR = (*SHAPES, AveragePool, AdaptiveAveragePool, Sum, Divide, Multiply, Add, Concatenate, Pad)
COVERED = (*LINEAR, Convolution, Linear, BatchNorm, Relu, IdentityRule, MaxPool, Dropout)


class ContextualDecomposition:
    """A network and how a part of the radiograph goes through it; traced once, called for every batch.

    Parameters are the network's own, live; batch norm and dropout follow its mode, and running statistics move once a
    call. The logits that come out are the network's own, so that no other pass is needed.

    Raises:
        UsageError: an operator has no rule, or the network cannot be traced.
    """

    def __init__(self, network: nn.Module, example: Tensor) -> None:
        """Trace `network` for radiographs shaped as `example`."""
        self.trace = trace(network, example.as_subclass(Tensor))
        for op in self.trace.operators:
            if op.step is not None and not _is_covered(op, op.step):
                raise UsageError(
                    f"Operator {str(op.target)!r} in {place(op.paths)} has no rule of contextual decomposition. "
                    "Choose another network or another method."
                )

    def __call__(self, radiograph: Tensor, part: Tensor) -> tuple[Tensor, Tensor]:
        """What of each logit is due to the part, and what to the rest, (batch, K) each; their sum is the logits.

        Args:
            radiograph: (batch, channels, height, width).
            part: 1 on the part, else 0; broadcasts over the radiograph.
        """
        x, part = radiograph.as_subclass(Tensor), part.as_subclass(Tensor)
        values: dict[str, Any] = {**self.trace.values(), self.trace.radiograph: x}
        relevant, irrelevant = {self.trace.radiograph: x * part}, {self.trace.radiograph: x * (1 - part)}
        for op in self.trace.operators:
            named = {key: fill(value, values) for key, value in op.named.items()}
            of_both, of_r, of_i = (fill(op.arguments, values | part) for part in ({}, relevant, irrelevant))
            if op.step is None:
                values[op.name] = op.target(*of_both, **named)
            else:
                step = op.step(Setting(module=op.module, flows=tuple(name is not None for name in op.inputs)))
                r, i = _followed(step, of_both, of_r, of_i, named)
                relevant[op.name], irrelevant[op.name], values[op.name] = r, i, r + i
            for name in set(op.finished) - {self.trace.logits}:
                for found in (values, relevant, irrelevant):
                    found.pop(name, None)
        return relevant[self.trace.logits], irrelevant[self.trace.logits]


def _is_covered(op: Operator, step: type[Step]) -> bool:
    flowing = sum(name is not None for name in op.inputs)
    if issubclass(step, Multiply | Divide):
        return flowing == 1 and not op.gated
    if issubclass(step, Pad) and len(op.arguments) > 3 and op.arguments[3]:
        return False
    return issubclass(step, COVERED) and flowing == len(op.inputs)


Arguments = Sequence[Any]


def _followed(
    step: Step, of_both: Arguments, of_r: Arguments, of_i: Arguments, named: dict[str, Any]
) -> tuple[Tensor, Tensor]:
    """The two parts of an operator's value, from its arguments with r + i, r and i in them."""
    if isinstance(step, Convolution | Linear):
        _, weight, *rest = of_r
        bias = rest[0] if rest else named.get("bias")
        r = step.forward(of_r[0], weight, None, *rest[1:])
        i = step.apply(of_i[0], weight)
        return (r, i) if bias is None else _with_bias(r, i, step.along(bias, r.ndim))
    if isinstance(step, BatchNorm):
        whole, factor = step.forward(*of_both, **named), per_channel(step.factor(), of_both[0].ndim)
        r, i = _with_bias(of_r[0] * factor, of_i[0] * factor, per_channel(step.shift(), of_both[0].ndim))
        # The statistics are constants of the parts, but not of the logits: their gradient goes with the rest.
        gap = whole - r - i
        return r, i + (gap - gap.detach())
    if isinstance(step, Relu | IdentityRule):
        whole = step.forward(*of_both, **named)
        r = type(step)(step.setting).forward(*of_r, **named)
        return r, whole - r
    if isinstance(step, MaxPool):
        whole = step.forward(*of_both, **named)
        r, i = (part[0].flatten(2).gather(2, step.kept.flatten(2)).view_as(whole) for part in (of_r, of_i))
        return r, i
    if isinstance(step, Dropout):
        step.forward(*of_both, **named)
        r, i = step.adjoint(of_r[0])[0], step.adjoint(of_i[0])[0]
        return r, i
    return step.forward(*of_r, **named), type(step)(step.setting).forward(*of_i, **named)


def _with_bias(r: Tensor, i: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Both parts with their shares of a bias, as their absolute values are."""
    size, other = r.abs(), i.abs()
    both = size + other
    dims = tuple(range(1, r.ndim))
    of_all = both.sum(dims, keepdim=True)
    overall = torch.where(of_all > NOTHING, size.sum(dims, keepdim=True) / of_all.clamp_min(NOTHING), 0.5)
    share = torch.where(both > NOTHING, size / both.clamp_min(NOTHING), overall)
    return r + share * bias, i + (1 - share) * bias
