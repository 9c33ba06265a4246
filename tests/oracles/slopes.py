"""Central finite differences of a loss in a network's parameters."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


def assert_gradient_is_the_slope(
    network: nn.Module, loss: Callable[[], Tensor], *, tensors: int = 4, seed: int = 0, step: float = 1e-6
) -> float:
    """The loss's gradient equals its slope, along random directions in single parameter tensors and in all at once.

    Float64 with a step of 1e-6 leaves about 1e-8 relative rounding and 1e-12 curvature; 2e-5 allows for cancellation
    between many parameters. A shorter step, which fewer ReLUs cross, leaves more rounding.

    Args:
        network: In float64, and in a mode in which the loss is the same each time. Of a method that trains an assistant
            too, nn.ModuleList([method.network, method.assistant]).
        loss: Computes the loss anew, with a graph where a gradient is wanted; draws nothing.
        tensors: So many parameter tensors are tried one by one, drawn at random.
        seed: Of these draws.
        step: Along the direction, either way.

    Returns:
        The steepest slope, so that a test can tell that it is not 0 everywhere.
    """
    generator = torch.Generator().manual_seed(seed)
    parameters = [p for p in network.parameters() if p.requires_grad]
    gradients = torch.autograd.grad(loss(), parameters, allow_unused=True)
    picked = torch.randperm(len(parameters), generator=generator)[:tensors].tolist()
    steepest = 0.0
    for chosen in [*([i] for i in picked), range(len(parameters))]:
        directions = {i: torch.randn(parameters[i].shape, generator=generator, dtype=torch.float64) for i in chosen}
        claimed = sum(float((gradients[i] * d).sum()) for i, d in directions.items() if gradients[i] is not None)
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                for i, d in directions.items():
                    parameters[i].add_(d, alpha=sign * step)
                values.append(float(loss()))
                for i, d in directions.items():
                    parameters[i].sub_(d, alpha=sign * step)
        slope = (values[0] - values[1]) / (2 * step)
        rounding = 64 * 2.2e-16 * abs(values[0]) / step
        allowed = 2e-5 * max(abs(slope), abs(claimed)) + max(1e-8, rounding)
        assert abs(claimed - slope) <= allowed, (chosen, claimed, slope)
        steepest = max(steepest, abs(slope))
    return steepest
