"""What a network computes on its way from the radiograph to its logits, and the logits' plain gradient there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from medtea.core.names import INPUT


@dataclass(frozen=True)
class Activations:
    """One forward pass.

    Attributes:
        logits: (batch, K).
        layers: Output of each layer asked for, (batch, channels, height, width).
        features: What the last linear layer is given, (batch, features).
    """

    logits: Tensor
    layers: dict[str, Tensor]
    features: Tensor


@dataclass(frozen=True)
class Gradients:
    """One forward and one backward pass.

    Attributes:
        logits: (batch, K).
        values: The radiograph under INPUT, unless it was left out, and the output of each layer asked for.
        slopes: The gradient of what is explained with respect to each of them, same shapes.
    """

    logits: Tensor
    values: dict[str, Tensor]
    slopes: dict[str, Tensor]


def activations(network: nn.Module, head: nn.Linear, radiograph: Tensor, layers: Sequence[str] = ()) -> Activations:
    """Run `network` on a (batch, channels, height, width) radiograph and keep the outputs of `layers`.

    Args:
        network: In the mode it is in; gradients flow as they would anyway.
        head: Its last linear layer.
        radiograph: What it is shown.
        layers: Module paths, for instance `backbone(name).layers`.
    """
    kept: dict[str, Tensor] = {}
    features: list[Tensor] = []
    with (
        _kept(network, layers, kept),
        _handle(head.register_forward_pre_hook(lambda _, inputs: features.append(inputs[0]))),
    ):
        logits = network(radiograph)
    return Activations(logits, kept, features[-1].flatten(1))


def gradients(
    network: nn.Module,
    radiograph: Tensor,
    explained: Tensor | Callable[[Tensor], Tensor],
    *,
    layers: Sequence[str] = (),
    at_input: bool = True,
    create_graph: bool = False,
) -> Gradients:
    """The gradient of a number per radiograph with respect to the radiograph and the outputs of `layers`.

    Works where no gradient is wanted otherwise (validation). With `create_graph` the slopes can be trained through.

    Args:
        network: In the mode it is in.
        radiograph: (batch, channels, height, width).
        explained: Makes the number, (batch,), of the logits, (batch, K); or a cotangent, (batch, K), for
            <cotangent, logits>.
        layers: Module paths.
        at_input: Whether the radiograph's gradient is wanted; where it is not, the way back ends at the layers.
        create_graph: Keep what a second backward pass needs.
    """
    kept: dict[str, Tensor] = {}
    with torch.enable_grad(), _kept(network, layers, kept):
        shown = radiograph.detach().requires_grad_(at_input)
        logits = network(shown)
        values = {INPUT: shown, **kept} if at_input else kept
        number = explained(logits) if callable(explained) else explained * logits
        slopes = torch.autograd.grad(number.sum(), list(values.values()), create_graph=create_graph)
    if not create_graph:  # the graph is spent
        logits, values = logits.detach(), {layer: value.detach() for layer, value in values.items()}
    return Gradients(logits, values, dict(zip(values, slopes, strict=True)))


@contextmanager
def _kept(network: nn.Module, layers: Sequence[str], into: dict[str, Tensor]) -> Iterator[None]:
    handles = []
    for layer in layers:

        def keep(_: nn.Module, __: object, output: Tensor, layer: str = layer) -> None:
            into[layer] = output

        handles.append(network.get_submodule(layer).register_forward_hook(keep))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _handle(handle: torch.utils.hooks.RemovableHandle) -> Iterator[None]:
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def still_statistics(network: nn.Module) -> Iterator[None]:
    """Running statistics of batch norm do not move: for what is shown in training but never in use."""
    norms = [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
