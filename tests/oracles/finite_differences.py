"""The gradient of a method's loss in the student's weights, beside central differences of the loss."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from medtea.data.loader import Batch


def gradients_and_differences(
    method: Any, batch: Batch, *, each: int = 2, step: float = 1e-6
) -> tuple[list[float], list[float]]:
    """Some places of every trained parameter: the gradient that backward gives, and the central difference.

    In float64 a step of 1e-6 leaves about 1e-16 / 1e-6 = 1e-10 of the loss as error.
    """
    method.network.zero_grad()
    method.loss(batch).backward()
    generator = np.random.default_rng(0)
    found, wanted = [], []
    for parameter in (p for p in method.network.parameters() if p.requires_grad):
        flat = parameter.data.view(-1)
        gradient = torch.zeros_like(flat) if parameter.grad is None else parameter.grad.view(-1)
        for place in generator.choice(flat.numel(), size=min(each, flat.numel()), replace=False):
            kept = flat[place].item()
            values = []
            for moved in (kept + step, kept - step):
                flat[place] = moved
                with torch.no_grad():
                    values.append(method.loss(batch).item())
            flat[place] = kept
            wanted.append((values[0] - values[1]) / (2 * step))
            found.append(gradient[place].item())
    return found, wanted
