"""Slow twins of the single rules: relevance messages R as the papers write them, with dense matrices, layer by layer.

z+ and z^B: Montavon et al., Pattern Recognition 65, 2017, with Bach et al., PLoS ONE 10(7), 2015. Attention: AttnLRP,
Achtibat et al., ICML 2024 (propositions 3.1 to 3.4). All for one radiograph, without a batch.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from oracles.slow_lrp import _matrix, _winners
from torch import Tensor, nn


class Message(NamedTuple):
    """One layer of the way there: its input, output, weights (out, in) and what sort of layer it is."""

    x: Tensor
    y: Tensor
    weights: Tensor
    sort: str


def share(x: Tensor, weights: Tensor, z: Tensor, relevance: Tensor) -> Tensor:
    """R_j = sum_k x_j w_jk / z_k R_k, the rule of Bach et al.; nothing from a z_k of 0."""
    per_output = torch.where(z == 0, 0.0, relevance / torch.where(z == 0, 1.0, z))
    return x * (weights.T @ per_output)


def share_z_plus(x: Tensor, weights: Tensor, relevance: Tensor) -> Tensor:
    """R_j = sum_k (x⁺ w⁺ + x⁻ w⁻)_jk / sum_j (x⁺ w⁺ + x⁻ w⁻)_jk R_k."""
    numerators = x.clamp_min(0) * weights.clamp_min(0) + x.clamp_max(0) * weights.clamp_max(0)
    total = numerators.sum(1, keepdim=True)
    return (torch.where(total == 0, 0.0, numerators / torch.where(total == 0, 1.0, total)) * relevance[:, None]).sum(0)


def share_in_box(x: Tensor, weights: Tensor, relevance: Tensor, low: float, high: float) -> Tensor:
    """R_j = sum_k (x_j w_jk - l w⁺ - h w⁻) / sum_j (...) R_k."""
    numerators = x * weights - low * weights.clamp_min(0) - high * weights.clamp_max(0)
    return (numerators / numerators.sum(1, keepdim=True) * relevance[:, None]).sum(0)


def plus_lrp(
    network: nn.Sequential,
    radiograph: Tensor,
    logit: int,
    *,
    epsilon: float = 0.0,
    z_plus: bool = True,
    box: tuple[float, float] | None = None,
) -> Tensor:
    """z+ (or ε) at every convolution, ε at linear layers and pools, z^B at the first layer if `box` is given.

    A batch norm is merged into the convolution before it. A ReLU lets a / (a + ε) of R through; there is no ε at the
    output layer.
    """
    messages: list[Message] = []
    a = radiograph
    layers = list(network)
    while layers:
        layer, x = layers.pop(0), a
        sort = "relu" if isinstance(layer, nn.ReLU) else "z+" if isinstance(layer, nn.Conv2d) and z_plus else "linear"
        weights = torch.zeros(0)
        if sort != "relu":
            weights = _winners(layer, x) if isinstance(layer, nn.MaxPool2d) else _matrix(layer, x)
        a = layer(a)
        if layers and isinstance(layers[0], nn.BatchNorm2d):
            norm = layers.pop(0)
            factor = norm.weight / (norm.running_var + norm.eps).sqrt()
            weights = weights * factor.repeat_interleave(a[0, 0].numel())[:, None]
            a = norm(a)
        messages.append(Message(x.flatten(), a.flatten(), weights, sort))
    relevance = torch.zeros_like(messages[-1].y)
    relevance[logit] = messages[-1].y[logit]
    for i, (x, y, weights, sort) in reversed(list(enumerate(messages))):
        if sort == "relu":
            relevance = torch.where(y > 0, y / (y + epsilon) * relevance, 0.0)
        elif i == 0 and box is not None:
            relevance = share_in_box(x, weights, relevance, *box)
        elif sort == "z+":
            relevance = share_z_plus(x, weights, relevance)
        else:
            relevance = share(x, weights, y, relevance)
    return relevance.view_as(radiograph)


class TinyTransformer(nn.Module):
    """One transformer block over the rows of the radiograph, one head; softmax, two bilinear products, GELU."""

    def __init__(self, width: int = 5, *, function: str = "matmul", activation: type[nn.Module] = nn.GELU) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.q, self.k, self.v = nn.Linear(width, 4), nn.Linear(width, 4), nn.Linear(width, 4)
        self.out = nn.Linear(4, width)
        self.wide, self.narrow = nn.Linear(width, 7), nn.Linear(7, width)
        self.act = activation()
        self.head = nn.Linear(width, 2)
        self.function = function

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        if self.function == "fused":
            return nn.functional.scaled_dot_product_attention(q, k, v)
        if self.function == "einsum":
            scores = torch.einsum("bxd,byd->bxy", q, k) / math.sqrt(4)
            return torch.einsum("bxy,byd->bxd", scores.softmax(-1), v)
        if self.function == "bmm":
            return torch.bmm(torch.softmax(torch.bmm(q, k.transpose(1, 2)) * 0.5, dim=2), v)
        return torch.softmax(q @ k.transpose(-2, -1) / math.sqrt(4), dim=-1) @ v

    def forward(self, x: Tensor) -> Tensor:
        x = x.squeeze(1)
        a = self.norm1(x)
        x = x + self.out(self.attend(self.q(a), self.k(a), self.v(a)))
        x = x + self.narrow(self.act(self.wide(self.norm2(x))))
        return self.head(x.mean(1))


def _linear(layer: nn.Linear, x: Tensor, relevance: Tensor) -> Tensor:
    return torch.stack([share(t, layer.weight, layer(t), r) for t, r in zip(x, relevance, strict=True)])


def _layer_norm(layer: nn.LayerNorm, x: Tensor, relevance: Tensor) -> Tensor:
    """Affine part, division by σ (identity, proposition 3.4) and the subtraction of the mean as a linear layer."""
    rows = []
    for t, r in zip(x, relevance, strict=True):
        scaled = layer.weight * (t - t.mean()) / (t.var(unbiased=False) + layer.eps).sqrt()
        r = scaled / (scaled + layer.bias) * r
        centring = torch.eye(len(t), dtype=t.dtype) - 1 / len(t)
        rows.append(share(t, centring, centring @ t, r))
    return torch.stack(rows)


def _product(a: Tensor, v: Tensor, relevance: Tensor) -> tuple[Tensor, Tensor]:
    """O_jp = sum_i A_ji V_ip: R_ji = sum_p A_ji V_ip R_jp / (2 O_jp), and R_ip alike (proposition 3.3)."""
    output = a @ v
    to_a, to_v = torch.zeros_like(a), torch.zeros_like(v)
    for j in range(a.shape[0]):
        for i in range(a.shape[1]):
            for p in range(v.shape[1]):
                part = a[j, i] * v[i, p] * relevance[j, p] / (2 * output[j, p])
                to_a[j, i] += part
                to_v[i, p] += part
    return to_a, to_v


def attn_lrp(network: TinyTransformer, radiograph: Tensor, logit: int) -> Tensor:
    """The relevance of one logit of a TinyTransformer, for one radiograph (1, 1, rows, width)."""
    n = network
    x0 = radiograph[0, 0]
    a = n.norm1(x0)
    q, k, v = n.q(a), n.k(a), n.v(a)
    scores = q @ k.T / 2
    weights = scores.softmax(-1)
    mixed = weights @ v
    attended = n.out(mixed)
    x1 = x0 + attended
    b = n.norm2(x1)
    wide = n.wide(b)
    bent = n.act(wide)
    thought = n.narrow(bent)
    x2 = x1 + thought
    mean = x2.mean(0)
    # R of the logit is the logit.
    r = torch.zeros(len(n.head.bias), dtype=mean.dtype)
    r[logit] = n.head(mean)[logit]
    r = share(mean, n.head.weight, n.head(mean), r)
    r = x2 / len(x2) / mean * r
    r_thought, r1 = thought / x2 * r, x1 / x2 * r
    r_bent = _linear(n.narrow, bent, r_thought)
    r_wide = r_bent  # identity rule, proposition 3.2
    r1 = r1 + _layer_norm(n.norm2, x1, _linear(n.wide, b, r_wide))
    r_attended, r0 = attended / x1 * r1, x0 / x1 * r1
    r_weights, r_v = _product(weights, v, _linear(n.out, mixed, r_attended))
    # softmax, proposition 3.1: R_i = x_i (R'_i - s_i sum_j R'_j)
    r_scores = scores * (r_weights - weights * r_weights.sum(-1, keepdim=True))
    r_q, r_k = _product(q, k.T, r_scores)
    r_a = _linear(n.q, a, r_q) + _linear(n.k, a, r_k.T) + _linear(n.v, a, r_v)
    return (r0 + _layer_norm(n.norm1, x0, r_a)).view_as(radiograph)


class SqueezeExcite(nn.Module):
    """A convolutional network with one squeeze-and-excitation gate, which can be frozen to what it was."""

    def __init__(self, *, gate_first: bool = False) -> None:
        super().__init__()
        self.conv, self.act = nn.Conv2d(1, 4, 3), nn.SiLU()
        self.squeeze, self.excite = nn.Linear(4, 2), nn.Linear(2, 4)
        self.again, self.head = nn.Conv2d(4, 3, 2), nn.Linear(3, 2)
        self.gate_first = gate_first
        self.frozen: Tensor | None = None

    def gate(self, x: Tensor) -> Tensor:
        gate = torch.sigmoid(self.excite(torch.relu(self.squeeze(x.mean((2, 3))))))
        return gate[:, :, None, None]

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        x = x * torch.sigmoid(x).detach() if self.frozen is not None else self.act(x)
        gate = self.gate(x) if self.frozen is None else self.frozen
        x = gate * x if self.gate_first else x * gate
        return self.head(self.again(x).relu().mean((2, 3)))


def freeze_gate(network: SqueezeExcite, radiograph: Tensor) -> None:
    """Make the gate a constant: the signal takes all (Arras et al. 2019)."""
    with torch.no_grad():
        network.frozen = network.gate(network.act(network.conv(radiograph)))
