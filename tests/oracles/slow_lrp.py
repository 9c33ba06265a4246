"""Slow twins of medtea.lrp: LRP-ε layer by layer with dense matrices, and autograd with other functions in place."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode


def layerwise_lrp(network: nn.Sequential, radiograph: Tensor, logit: int, epsilon: float) -> Tensor:
    """LRP-ε as Bach et al. write it: R_j = sum_k a_j w_jk / (z_k + ε) R_k, with the bias in z_k.

    For one radiograph (1, ...). All layers between two ReLUs count as one linear layer with weights w, a max pool as
    the matrix that picks the winners. The output layer has no ε: there R_j = a_j w_j,logit.
    """
    layers: list[tuple[Tensor, Tensor, Tensor]] = []
    a = z = radiograph
    weights = torch.eye(a.numel(), dtype=a.dtype)
    for layer in network:
        if isinstance(layer, nn.ReLU):
            z = z.clamp_min(0)
            layers.append((weights, a, z))
            a, weights = z, torch.eye(z.numel(), dtype=z.dtype)
        else:
            weights = (_winners(layer, z) if isinstance(layer, nn.MaxPool2d) else _matrix(layer, z)) @ weights
            z = layer(z)
    relevance = a.flatten() * weights[logit]
    for weights, a, z in reversed(layers):
        before = torch.zeros_like(a).flatten()
        for k, z_k in enumerate(z.flatten()):
            if z_k > 0:
                before += a.flatten() * weights[k] / (z_k + epsilon) * relevance[k]
        relevance = before
    return relevance.view_as(radiograph)


def _matrix(layer: nn.Module, example: Tensor) -> Tensor:
    """Weights of an affine layer as a dense matrix (out, in), read off one unit input at a time."""
    zero = torch.zeros_like(example)
    columns = []
    for i in range(example.numel()):
        unit = zero.clone()
        unit.view(-1)[i] = 1
        columns.append((layer(unit) - layer(zero)).flatten())
    return torch.stack(columns, dim=1)


def _winners(layer: nn.MaxPool2d, a: Tensor) -> Tensor:
    """The max pool as a matrix that picks each window's winner (no padding)."""
    k, s = layer.kernel_size, layer.stride
    _, channels, height, width = a.shape
    rows = []
    for c in range(channels):
        for top in range(0, height - k + 1, s):
            for left in range(0, width - k + 1, s):
                window = a[0, c, top : top + k, left : left + k]
                winner = int(window.argmax())
                row = torch.zeros_like(a)
                row[0, c, top + winner // k, left + winner % k] = 1
                rows.append(row.flatten())
    return torch.stack(rows)


class _GatedRelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, epsilon):
        a = x.clamp_min(0)
        ctx.save_for_backward(a, epsilon)
        return a

    @staticmethod
    def backward(ctx, g):
        a, epsilon = ctx.saved_tensors
        gate = torch.where(a > 0, a / (a + epsilon.view(-1, *[1] * (a.ndim - 1))), 0.0)
        return g * gate, None


class _Gate(nn.Module):
    def __init__(self, epsilon: Tensor) -> None:
        super().__init__()
        self.epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        return _GatedRelu.apply(x, self.epsilon)


def modified_gradient(network: nn.Module, radiograph: Tensor, cotangent: Tensor, epsilon: Tensor | float) -> Tensor:
    """Radiograph times the gradient of <cotangent, logits>, each nn.ReLU's backward being a / (a + ε).

    `epsilon` is one number or (batch,). Right for values; autograd's second derivative of it would be wrong.
    """
    network = copy.deepcopy(network)
    epsilon = torch.as_tensor(epsilon, dtype=radiograph.dtype)
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.ReLU):
                setattr(parent, name, _Gate(epsilon))
    x = radiograph.clone().requires_grad_()
    (g,) = torch.autograd.grad((network(x) * cotangent).sum(), x)
    return (x * g).detach()


class _Bent(TorchFunctionMode):
    """Every function that is not linear keeps its value and gets, as a derivative, the gate of its rule, held constant.

    A second derivative by autograd is then the gradient with `exact=False`.
    """

    def __init__(self, epsilon: float, relative: bool) -> None:
        super().__init__()
        self.epsilon, self.relative = epsilon, relative
        self.gates: list[Tensor] = []

    def kept(self, z: Tensor) -> Tensor:
        """|z| / (|z| + ε), 0 at 0."""
        size = z.detach().abs()
        epsilon = torch.full_like(size, self.epsilon)
        if self.relative:
            epsilon = epsilon * size.flatten(1).mean(1).view(-1, *[1] * (z.ndim - 1))
        return size / (size + epsilon).clamp_min(1e-300)

    def gated(self, z: Tensor, gate: Tensor, value: Tensor) -> Tensor:
        linear = z * gate.detach()
        return linear + (value - linear).detach()

    def __torch_function__(self, function: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(function, "__name__", "").strip("_")
        rule = getattr(self, f"rule_{name}", None)
        first = args[0] if args else None
        if rule is None or not isinstance(first, Tensor | str) or not torch.is_grad_enabled():
            return function(*args, **kwargs)
        with torch._C.DisableTorchFunction():
            return rule(function, *args, **kwargs)

    def rule_relu(self, function: Any, z: Tensor, inplace: bool = False) -> Tensor:
        value = z.clamp_min(0)
        return self.gated(z, torch.where(z > 0, self.kept(value), 0.0), value)

    def rule_silu(self, function: Any, z: Tensor, inplace: bool = False) -> Tensor:
        return self.gated(z, torch.sigmoid(z) * self.kept(z), z * torch.sigmoid(z))

    def rule_gelu(self, function: Any, z: Tensor, approximate: str = "none") -> Tensor:
        gate = 0.5 * (1 + torch.erf(z / math.sqrt(2)))
        return self.gated(z, gate * self.kept(z), z * gate)

    def rule_leaky_relu(self, function: Any, z: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
        gate = torch.where(z > 0, torch.ones_like(z), negative_slope)  # two numbers would make float32
        return self.gated(z, gate * self.kept(z), z * gate)

    def rule_prelu(self, function: Any, z: Tensor, weight: Tensor) -> Tensor:
        # The slope is a parameter and its gradient counts: only ε's share is held constant.
        slope = weight if weight.numel() == 1 else weight.view(-1, *[1] * (z.ndim - 2))
        value = z * torch.where(z > 0, torch.ones_like(z), slope)
        linear = value * self.kept(z)
        return linear + (value - linear).detach()

    def rule_layer_norm(
        self, function: Any, x: Tensor, shape: Any, weight: Tensor | None = None, bias: Tensor | None = None,
        eps: float = 1e-5,
    ) -> Tensor:  # fmt: skip
        dims = tuple(range(-len(shape), 0))
        variance = x.detach().var(dims, unbiased=False, keepdim=True)
        y = (x - x.mean(dims, keepdim=True)) / (variance + eps).sqrt()
        y = y if weight is None else y * weight
        return y if bias is None else y + bias

    def rule_instance_norm(
        self, function: Any, x: Tensor, running_mean: Any = None, running_var: Any = None, weight: Tensor | None = None,
        bias: Tensor | None = None, use_input_stats: bool = True, momentum: float = 0.1, eps: float = 1e-5,
    ) -> Tensor:  # fmt: skip
        y = self.rule_layer_norm(function, x, x.shape[2:], eps=eps)
        shape = (-1, *[1] * (x.ndim - 2))
        y = y if weight is None else y * weight.view(shape)
        return y if bias is None else y + bias.view(shape)

    def rule_softmax(self, function: Any, z: Tensor, dim: int = -1, **_: Any) -> Tensor:
        y = torch.softmax(z, dim)
        s = y.detach()
        linear = s * (z - (s * z).sum(dim, keepdim=True))
        return linear + (y - linear).detach()

    def rule_sigmoid(self, function: Any, z: Tensor) -> Tensor:
        y = torch.sigmoid(z)
        self.gates.append(self.gated(z, y * (1 - y), y))
        return self.gates[-1]

    def rule_mul(self, function: Any, a: Tensor, b: Tensor | float) -> Tensor:
        """A factor that shows the memory of a sigmoid is a gate, a constant."""
        if isinstance(b, Tensor):
            gates = {gate.data_ptr() for gate in self.gates}
            a, b = (t.detach() if t.data_ptr() in gates else t for t in (a, b))
        return function(a, b)

    def rule_einsum(self, function: Any, equation: str, a: Tensor, b: Tensor) -> Tensor:
        return (function(equation, a.detach(), b) + function(equation, a, b.detach())) / 2


def straight_through_map(
    network: nn.Module,
    radiograph: Tensor,
    cotangent: Tensor,
    epsilon: float = 0.0,
    *,
    relative: bool = False,
    create_graph: bool = False,
) -> Tensor:
    """Radiograph times the gradient of <cotangent, logits>, every function's derivative being its rule's gate.

    Knows ReLU, SiLU, GELU, LeakyReLU, PReLU, layer and instance norm, sigmoid as a gate, softmax and einsum. With
    `create_graph`, gradients of the map hold the gates constant.
    """
    x = radiograph.clone().requires_grad_()
    with _Bent(epsilon, relative):
        found = network(x)
    logits = found[0] if isinstance(found, tuple) else found
    (g,) = torch.autograd.grad((logits * cotangent).sum(), x, create_graph=create_graph)
    found = radiograph * g
    return found if create_graph else found.detach()
