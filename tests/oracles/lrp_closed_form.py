"""A network and radiographs whose numbers are made by a formula: recorded values need no weights beside them."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def waves(size: int, phase: float) -> Tensor:
    """sin(1.7 i + phase), i from 0 to size - 1, in float64."""
    return torch.sin(1.7 * torch.arange(size, dtype=torch.float64) + phase)


def closed_form_network(*, biased_convolutions: bool = True) -> nn.Sequential:
    """Two convolutions and two linear layers with ReLU and one max pool, for radiographs of (1, 8, 8)."""
    network = nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(),
        nn.Linear(16, 5), nn.ReLU(), nn.Linear(5, 2),
    ).double().eval()  # fmt: skip
    with torch.no_grad():
        for k, parameter in enumerate(network.parameters()):
            values = waves(parameter.numel(), 0.3 * k).view_as(parameter)
            parameter.copy_(values * (0.5 if parameter.ndim > 1 else 0.2))
        if not biased_convolutions:
            network[0].bias.zero_()
            network[3].bias.zero_()
    return network


def closed_form_radiographs() -> Tensor:
    """Two, (2, 1, 8, 8), values in [-1, 1]."""
    return waves(128, 0.7).view(2, 1, 8, 8)
