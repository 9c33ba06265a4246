"""Two slow twins of medtea.lrp: LRP-ε written layer by layer with dense matrices, and autograd with swapped ReLUs."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn


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
