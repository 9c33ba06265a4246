"""The heatmap pass: forward through the network's operators, then back through their rules, written as one forward.

Because the way back is itself ordinary operators, a loss on heatmaps is trained by a plain first-order backward. In
units of one forward pass the training step costs 1 + 3 when only the input's map is asked for at ε = 0 in a ReLU
network, and 3 + 3 with hidden layers, exact ε > 0 or smooth activations; an ordinary training step costs 3.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from medtea.core.errors import DataError, UsageError, nearest
from medtea.core.names import INPUT
from medtea.lrp.rules import Setting, Step
from medtea.lrp.rules.linear import Affine, Convolution
from medtea.lrp.rules.norms import BatchNorm
from medtea.lrp.rules.step import least
from medtea.lrp.trace import Operator, fill, place, trace

TOTAL = "all biases"


@dataclass(frozen=True)
class Heatmaps:
    """What a heatmap pass returns. With several cotangents, all but `logits` have a leading dimension for them.

    Attributes:
        logits: (batch, K).
        maps: `maps["input"]` is the radiograph times its G, (batch, channels, height, width), signed. `maps[layer]` is
            the layer's activation times its G, summed over channels: (batch, 1, height, width), or (batch, 1) for a
            layer of vectors, (batch, tokens) for one of tokens.
        biases: Relevance that went to no pixel, by the module that kept it: biases, batch-norm shifts, positional
            embeddings, what ε and softmax take. (batch, 1, height, width) summed over channels, or (batch, 1). Empty
            unless asked for. The input's map and all of these add up to <cotangent, logits>: the full-gradient
            decomposition (Srinivas and Fleuret, NeurIPS 2019), for LRP.
        absorbed: The sum of all biases per radiograph, (batch, 1); None unless asked for.
    """

    logits: Tensor
    maps: dict[str, Tensor]
    biases: dict[str, Tensor] = field(default_factory=dict)
    absorbed: Tensor | None = None


class HeatmapPass(nn.Module):
    """A network and the way back through it; traced once, called for every batch.

    Parameters are the network's own, live. Batch norm and dropout follow the network's train or eval mode, and in
    train mode the running statistics move exactly once per call. Forward hooks of the network do not run, and what its
    own code does in train mode alone (stochastic depth) is not seen.

    Args:
        network: Returns (batch, K) raw logits from (batch, channels, height, width), alone or beside tensors of other
            shapes.
        example: A radiograph, or a batch of any size, of the shape, precision and device to be used.
        layers: Module paths ("stem", "features.denseblock1") whose maps are wanted besides the input's. The map is
            taken where the module's last operator ends.
        convolutions: "epsilon": the rule of all else. "z_plus": z+ at every convolution (a batch norm behind one is
            merged into it), ε elsewhere. z+ is no rule to minimise background relevance by (Bassi et al. 2024).
        input_box: Least and largest value a radiograph can have: the first layer then follows z^B (Montavon et al.
            2017), whose map is not 0 where the radiograph is.
        statistics: What batch norm normalises by in train mode. "batch": the batch, as in ordinary training, as
            constants of the map; a radiograph's map then depends on its batch mates. "running": the running
            statistics before this batch; every map is the radiograph's own.
        biases: Return the relevance that biases and ε absorb, too.

    Raises:
        UsageError: an operator has no rule, a layer is unknown, or the network cannot be traced.
    """

    def __init__(
        self,
        network: nn.Module,
        example: Tensor,
        layers: Sequence[str] = (),
        *,
        convolutions: Literal["epsilon", "z_plus"] = "epsilon",
        input_box: tuple[float, float] | None = None,
        statistics: Literal["batch", "running"] = "batch",
        biases: bool = False,
    ) -> None:
        super().__init__()
        if convolutions not in {"epsilon", "z_plus"}:
            raise UsageError(f"convolutions is '{convolutions}'; it must be 'epsilon' or 'z_plus'.")
        if statistics not in {"batch", "running"}:
            raise UsageError(f"statistics is '{statistics}'; it must be 'batch' or 'running'.")
        if input_box is not None and not input_box[0] < input_box[1]:
            raise UsageError(f"input_box is {input_box}; it must be (least, largest) value of a radiograph.")
        self.network = network
        self.trace = trace(network, _plain(example))
        known = self.trace.layers()
        for layer in layers:
            if layer not in known:
                raise UsageError(f"Layer {layer!r} is not a module the radiograph passes. {nearest(layer, known)}")
        self.layers = {layer: known[layer] for layer in layers}
        self.folded = _folded(self.trace.operators, set(self.layers.values()))
        self.biases = biases
        turned = [op for op in self.trace.operators if op.step is not None and not op.by_radiograph]
        self._turned = [op for op in turned if op.step is not None and op.step.has_epsilon]
        if biases:
            _refuse_turned([op for op in turned if op.step is not None and op.step.absorbed is not Step.absorbed])
        self._boxed = -1 if input_box is None else self._first_layer()
        z_plus = convolutions == "z_plus"
        self._settings = [
            Setting(
                module=op.module,
                flows=tuple(name is not None for name in op.inputs),
                gated=op.gated,
                running=statistics == "running",
                z_plus=z_plus and op.step is Convolution,
                keeps_value=z_plus or (input_box is not None and self.folded.get(i) == self._boxed),
                box=input_box if i == self._boxed else None,
            )
            for i, op in enumerate(self.trace.operators)
        ]
        self._bends = z_plus or input_box is not None or any(op.bends for op in self.trace.operators)

    @property
    def classes(self) -> int:
        """Number of logits, K."""
        return self.trace.classes

    def forward(
        self,
        radiograph: Tensor,
        cotangent: Tensor | Callable[[Tensor], Tensor],
        *,
        epsilon: float | Tensor = 0.0,
        relative: bool = False,
        exact: bool = True,
        logits_graph: bool = False,
    ) -> Heatmaps:
        """Logits and signed heatmaps of the logits' combination sum_k cotangent_k logit_k, per radiograph.

        Differentiable in the network's parameters by a first-order backward. The graph of the forward is kept only
        where a gradient needs it: hidden layers, `logits_graph`, and with `exact` where ε > 0 or a rule that is no
        mask (SiLU, attention, z+) makes the way back depend on activations. Otherwise `logits` carry no graph.

        Args:
            radiograph: (batch, channels, height, width), as in `example` but for the batch size.
            cotangent: (batch, K), or (maps, batch, K) for several maps of one forward; or what makes it of the logits,
                which carry a graph if this pass keeps one. See cotangents.py.
            epsilon: ε of every activation, at least 0; one number, or (batch,) for one per radiograph.
            relative: ε counts in means of |a| of each layer, per radiograph: rescaling a layer changes no map.
            exact: Let gradients flow through a in a / (a + ε), and through all else that rules take from activations.
                False is cheaper, and no longer the loss's gradient.
            logits_graph: Keep the forward's graph so that a loss may use the logits too.

        Raises:
            DataError: shapes do not fit, or ε is negative.
        """
        x = _plain(radiograph)
        self._check(x)
        given = cotangent if callable(cotangent) else self._fitting(x, cotangent)
        if relative or (isinstance(epsilon, Tensor) and epsilon.ndim):
            _refuse_turned(self._turned)
        stabiliser = _epsilon(epsilon, x)
        keep = logits_graph or bool(self.layers) or (exact and (stabiliser is not None or self._bends))
        with _all_bits(x.device):
            kept, steps = self._there(x, keep, stabiliser, relative=relative, exact=exact)
            wanted = self._fitting(x, given(kept[self.trace.logits])) if callable(given) else given
            if wanted.ndim == 2:
                maps, biases = self._back(x, wanted, kept, steps)
            else:
                maps, biases = torch.vmap(lambda u: self._back(x, u, kept, steps))(wanted)
        absorbed = biases.pop(TOTAL) if self.biases else None
        return Heatmaps(kept[self.trace.logits], maps, biases, absorbed)

    def _there(
        self, x: Tensor, keep: bool, epsilon: Tensor | None, *, relative: bool, exact: bool
    ) -> tuple[dict[str, Any], list[Step | None]]:
        """Forward through all operators; returns the values to keep and what each operator remembers."""
        graph = torch.is_grad_enabled()
        values = {**self.trace.values(), self.trace.radiograph: x}
        wanted = {*self.layers.values(), self.trace.logits}
        steps: list[Step | None] = []
        for op, setting in zip(self.trace.operators, self._settings, strict=True):
            arguments, named = fill(op.arguments, values), {k: fill(v, values) for k, v in op.named.items()}
            if op.step is None:
                steps.append(None)
                values[op.name] = op.target(*arguments, **named)
            else:
                step = op.step(replace(setting, epsilon=epsilon, relative=relative, exact=exact))
                steps.append(step)
                try:
                    with torch.set_grad_enabled(graph and keep):
                        values[op.name] = step.forward(*arguments, **named)
                except UsageError as error:
                    raise UsageError(f"In {place(op.paths)}: {error}") from None
            for name in op.finished:
                if name not in wanted:
                    del values[name]
        return {name: values[name] for name in wanted}, steps

    def _back(
        self, x: Tensor, cotangent: Tensor, kept: dict[str, Any], steps: list[Step | None]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Backward through all operators, as ordinary computation; returns the maps and what was absorbed."""
        g_of: dict[str, Tensor] = {self.trace.logits: cotangent}
        g_layers: dict[str, Tensor] = {}
        biases: dict[str, Tensor] = {}
        wanted = set(self.layers.values())
        boxed: Tensor | None = None
        for i in reversed(range(len(steps))):
            op, step = self.trace.operators[i], steps[i]
            g = g_of.pop(op.name, None)
            if step is None or g is None:
                continue
            if op.name in wanted:
                g_layers[op.name] = g
            if i in self.folded:
                convolution = steps[self.folded[i]]
                assert isinstance(convolution, Affine)
                assert isinstance(step, BatchNorm)
                convolution.merged = step
                parts: Sequence[Tensor] = (g,)
            elif i == self._boxed:
                assert isinstance(step, Affine)
                boxed, parts = step.relevance_in_box(g), (g,)
            else:
                parts = step.adjoint(g)
            if self.biases and i not in self.folded:
                _add(biases, op, step.absorbed(g, parts))
            for name, part in zip(op.inputs, parts, strict=True):
                if name is not None:
                    g_of[name] = g_of[name] + part if name in g_of else part
            steps[i] = None
        if self.biases:
            sums = [found.flatten(1).sum(1, keepdim=True) for found in biases.values()]
            biases[TOTAL] = torch.stack(sums).sum(0) if sums else x.new_zeros(len(x), 1)
        maps = {INPUT: x * g_of.get(self.trace.radiograph, torch.zeros_like(x)) if boxed is None else boxed}
        for layer, name in self.layers.items():
            a = kept[name]
            # Channels are the second dimension; the last where a radiograph has become a row of tokens.
            channels = 2 if a.ndim == 3 and x.ndim > 3 else 1
            relevance = (a * g_layers.get(name, torch.zeros_like(a))).sum(channels, keepdim=channels == 1)
            maps[layer] = relevance
        return maps, biases

    def _first_layer(self) -> int:
        readers = [i for i, op in enumerate(self.trace.operators) if self.trace.radiograph in op.inputs]
        step = self.trace.operators[readers[0]].step if len(readers) == 1 else None
        if step is None or not issubclass(step, Affine):
            raise UsageError(
                "input_box is for a network whose radiograph goes into one convolution or linear layer, as it is."
            )
        return readers[0]

    def _check(self, x: Tensor) -> None:
        if tuple(x.shape[1:]) != self.trace.shape:
            raise DataError(
                f"Radiographs are {tuple(x.shape[1:])}; this pass was traced for {self.trace.shape}. "
                "Build another HeatmapPass for another size."
            )

    def _fitting(self, x: Tensor, cotangent: Tensor) -> Tensor:
        if cotangent.ndim not in {2, 3} or cotangent.shape[-2:] != (len(x), self.classes):
            raise DataError(
                f"cotangent is {tuple(cotangent.shape)}; it must be {(len(x), self.classes)}, or several such."
            )
        return _plain(cotangent).to(x)


@contextmanager
def _all_bits(device: torch.device) -> Iterator[None]:
    """No autocast, and no TF32, which PyTorch's convolutions use on a GPU unless told not to.

    Fewer bits ruin relevance: on a DenseNet-121 of random weights at ε = 0 the cosine to float64 is 1.0000 in float32,
    .97 with TF32's mantissa and .78 with bfloat16's (both rounded on a CPU).
    """
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.allow_tf32, matmul.allow_tf32
    cudnn.allow_tf32 = matmul.allow_tf32 = False
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        cudnn.allow_tf32, matmul.allow_tf32 = before


def _add(biases: dict[str, Tensor], op: Operator, absorbed: Tensor | None) -> None:
    """Enter what an operator absorbed under its module; a second operator of that module adds to it if it can."""
    if absorbed is None:
        return
    absorbed = absorbed.sum(1, keepdim=True) if absorbed.ndim > 3 else absorbed.flatten(1).sum(1, keepdim=True)
    path = op.paths[-1] if op.paths else ""
    if path in biases and biases[path].shape != absorbed.shape:
        path = f"{path} ({op.name})"
    biases[path] = biases[path] + absorbed if path in biases else absorbed


def _refuse_turned(operators: Sequence[Operator]) -> None:
    """Refuse what is counted per radiograph where a value's first dimension counts something else."""
    if operators:
        raise UsageError(
            f"In {place(operators[0].paths)}, {operators[0].target} works on a value whose first dimension is not the "
            "radiographs (tokens first, say). Biases, relative ε and an ε per radiograph need it to be; one ε for all, "
            "and maps without biases, do not."
        )


def _epsilon(epsilon: float | Tensor, x: Tensor) -> Tensor | None:
    """ε as a tensor, None for the number 0. A zero in a tensor becomes the least that leaves a / (a + ε) alone."""
    if isinstance(epsilon, Tensor):
        if epsilon.shape not in {(), (len(x),)}:
            raise DataError(f"epsilon is {tuple(epsilon.shape)}; it must be one number or ({len(x)},).")
        if bool((epsilon < 0).any()):
            raise DataError("epsilon has negative values; ε must be at least 0.")
        # Its square must not underflow: the derivative divides by (a + ε)².
        return epsilon.to(x).clamp_min(least(x))
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


def _plain(tensor: Tensor) -> Tensor:
    """The tensor without its subclass: MONAI's MetaTensor would slow every operator down."""
    return tensor.as_subclass(Tensor)
