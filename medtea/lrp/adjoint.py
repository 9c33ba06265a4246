"""The heatmap pass: forward through the network's operators, then back through their rules, written as one forward.

Because the way back is itself ordinary operators, a loss on heatmaps is trained by a plain first-order backward. In
units of one forward pass the training step costs 1 + 3 when only the input's map is asked for at ε = 0, and 3 + 3
with hidden layers or exact ε > 0; an ordinary training step costs 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from medtea.core.errors import DataError, UsageError, nearest
from medtea.lrp.rules import BatchNorm, Convolution, Setting, Step
from medtea.lrp.trace import Operator, Ref, trace


@dataclass(frozen=True)
class Heatmaps:
    """What a heatmap pass returns.

    `logits` is (batch, K). `maps["input"]` is the radiograph times its G, (batch, channels, height, width), signed.
    `maps[layer]` is the layer's activation times its G, summed over channels: (batch, 1, height, width), or (batch, 1)
    for a layer of vectors.
    """

    logits: Tensor
    maps: dict[str, Tensor]


class HeatmapPass(nn.Module):
    """A network and the way back through it; traced once, called for every batch.

    Parameters are the network's own, live. Batch norm and dropout follow the network's train or eval mode, and in
    train mode the running statistics move exactly once per call. Forward hooks of the network do not run.

    Args:
        network: Returns (batch, K) raw logits from (batch, channels, height, width).
        example: A radiograph, or a batch of any size, of the shape, precision and device to be used.
        layers: Module paths ("stem", "features.denseblock1") whose maps are wanted besides the input's. The map is
            taken where the module's last operator ends.

    Raises:
        UsageError: an operator has no rule, a layer is unknown, or the network cannot be traced.
    """

    def __init__(self, network: nn.Module, example: Tensor, layers: Sequence[str] = ()) -> None:
        super().__init__()
        self.network = network
        self.trace = trace(network, _plain(example))
        known = self.trace.layers()
        for layer in layers:
            if layer not in known:
                raise UsageError(f"Layer {layer!r} is not a module the radiograph passes. {nearest(layer, known)}")
        self.layers = {layer: known[layer] for layer in layers}
        self.folded = _folded(self.trace.operators, set(self.layers.values()))

    @property
    def classes(self) -> int:
        """Number of logits, K."""
        return self.trace.classes

    def forward(
        self,
        radiograph: Tensor,
        cotangent: Tensor,
        *,
        epsilon: float | Tensor = 0.0,
        exact: bool = True,
        logits_graph: bool = False,
    ) -> Heatmaps:
        """Logits and signed heatmaps of the logits' combination sum_k cotangent_k logit_k, per radiograph.

        Differentiable in the network's parameters by a first-order backward. The graph of the forward is kept only
        where a gradient needs it: hidden layers, exact ε > 0, or `logits_graph`. Otherwise `logits` carry no graph.

        Args:
            radiograph: (batch, channels, height, width), as in `example` but for the batch size.
            cotangent: (batch, K). One-hot for one logit; a difference of two; ±1 at random mixes all logits.
            epsilon: ε of every ReLU, at least 0; one number, or (batch,) for one per radiograph.
            exact: Let gradients flow through a in a / (a + ε). False is cheaper, and no longer the loss's gradient.
            logits_graph: Keep the forward's graph so that a loss may use the logits too.

        Raises:
            DataError: shapes do not fit, or ε is negative.
        """
        x, cotangent = _plain(radiograph), _plain(cotangent)
        self._check(x, cotangent)
        stabiliser = _epsilon(epsilon, x)
        keep = logits_graph or bool(self.layers) or (stabiliser is not None and exact)
        with torch.autocast(x.device.type, enabled=False):  # half precision ruins relevance
            kept, steps = self._there(x, stabiliser, exact, keep)
            maps = self._back(x, cotangent, kept, steps)
        return Heatmaps(kept[self.trace.logits], maps)

    def _there(
        self, x: Tensor, epsilon: Tensor | None, exact: bool, keep: bool
    ) -> tuple[dict[str, Any], list[Step | None]]:
        """Forward through all operators; returns the values to keep and what each operator remembers."""
        graph = torch.is_grad_enabled()
        values = {**self.trace.values(), self.trace.radiograph: x}
        wanted = {*self.layers.values(), self.trace.logits}
        steps: list[Step | None] = []
        for op in self.trace.operators:
            arguments, named = _fill(op.arguments, values), {k: _fill(v, values) for k, v in op.named.items()}
            if op.step is None:
                steps.append(None)
                values[op.name] = op.target(*arguments, **named)
            else:
                step = op.step(Setting(epsilon, exact, op.module))
                steps.append(step)
                with torch.set_grad_enabled(graph and keep):
                    values[op.name] = step.forward(*arguments, **named)
            for name in op.finished:
                if name not in wanted:
                    del values[name]
        return {name: values[name] for name in wanted}, steps

    def _back(self, x: Tensor, cotangent: Tensor, kept: dict[str, Any], steps: list[Step | None]) -> dict[str, Tensor]:
        """Backward through all operators, as ordinary computation; returns the maps."""
        g_of: dict[str, Tensor] = {self.trace.logits: cotangent.to(x.dtype)}
        g_layers: dict[str, Tensor] = {}
        wanted = set(self.layers.values())
        for i in reversed(range(len(steps))):
            op, step = self.trace.operators[i], steps[i]
            g = g_of.pop(op.name, None)
            if step is None or g is None:
                continue
            if op.name in wanted:
                g_layers[op.name] = g
            if i in self.folded:
                convolution = steps[self.folded[i]]
                assert convolution is not None
                assert isinstance(step, BatchNorm)
                convolution.scale = step.factor()
                parts: Sequence[Tensor] = (g,)
            else:
                parts = step.adjoint(g)
            for name, part in zip(op.inputs, parts, strict=True):
                if name is not None:
                    g_of[name] = g_of[name] + part if name in g_of else part
            steps[i] = None
        maps = {"input": x * g_of.get(self.trace.radiograph, torch.zeros_like(x))}
        for layer, name in self.layers.items():
            a = kept[name]
            maps[layer] = (a * g_layers.get(name, torch.zeros_like(a))).sum(1, keepdim=True)
        return maps

    def _check(self, x: Tensor, cotangent: Tensor) -> None:
        if tuple(x.shape[1:]) != self.trace.shape:
            raise DataError(
                f"Radiographs are {tuple(x.shape[1:])}; this pass was traced for {self.trace.shape}. "
                "Build another HeatmapPass for another size."
            )
        if cotangent.shape != (len(x), self.classes):
            raise DataError(f"cotangent is {tuple(cotangent.shape)}; it must be {(len(x), self.classes)}.")


def _epsilon(epsilon: float | Tensor, x: Tensor) -> Tensor | None:
    """ε as a tensor, None for the number 0. A zero in a tensor becomes the least that leaves a / (a + ε) alone."""
    if isinstance(epsilon, Tensor):
        if epsilon.shape not in {(), (len(x),)}:
            raise DataError(f"epsilon is {tuple(epsilon.shape)}; it must be one number or ({len(x)},).")
        if bool((epsilon < 0).any()):
            raise DataError("epsilon has negative values; ε must be at least 0.")
        # Its square must not underflow: the derivative divides by (a + ε)².
        return epsilon.to(x).clamp_min(10 * torch.finfo(x.dtype).tiny ** 0.5)
    if not epsilon >= 0:
        raise DataError(f"epsilon is {epsilon!r}; ε must be at least 0.")
    return x.new_tensor(epsilon) if epsilon else None


def _folded(operators: Sequence[Operator], mapped: set[str]) -> dict[int, int]:
    """Batch norms whose factor can join the weights of the convolution before them: position -> its position."""
    position = {op.name: i for i, op in enumerate(operators)}
    readers: dict[str, int] = {}
    for op in operators:
        for name in op.inputs:
            if name is not None:
                readers[name] = readers.get(name, 0) + 1
    folded = {}
    for i, op in enumerate(operators):
        source = op.inputs[0] if op.step is BatchNorm else None
        if source in position and readers[source] == 1 and source not in mapped:
            before = position[source]
            if operators[before].step is Convolution:
                folded[i] = before
    return folded


def _fill(argument: Any, values: dict[str, Any]) -> Any:
    """An operator's argument with the values put in."""
    if isinstance(argument, Ref):
        return values[argument.name]
    if isinstance(argument, tuple):
        return [_fill(item, values) for item in argument]
    return argument


def _plain(tensor: Tensor) -> Tensor:
    """The tensor without its subclass: MONAI's MetaTensor would slow every operator down."""
    return tensor.as_subclass(Tensor)
