"""Linear probes: linear layers on a network's pooled activations, which say what can be read off each of its layers."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn
from torch.nn.utils import skip_init


def pooled(activation: Tensor) -> Tensor:
    """The mean over places of (batch, channels, height, width): (batch, channels)."""
    return activation.flatten(2).mean(2)


def linear_probes(layers: Iterable[Tensor], logits: int) -> nn.ModuleList:
    """One probe an activation, from its channels to the logits, on its device. All weights are 0; nothing is drawn."""
    made = nn.ModuleList()
    for layer in layers:
        probe: nn.Linear = skip_init(nn.Linear, layer.shape[1], logits)  # type: ignore[no-untyped-call]
        nn.init.zeros_(probe.weight)
        nn.init.zeros_(probe.bias)
        made.append(probe.to(layer))
    return made
