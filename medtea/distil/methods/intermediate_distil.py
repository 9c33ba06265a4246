"""Intermediate-layer distillation: linear probes along the student are made to say what the teacher's probes say.

After Boland, Tsaftaris and Dahdouh (MELBA 2025:020, arXiv 2511.17421), whose teacher is the `specialist`: shortcuts
spread over the image and those of one place show at different depths, so that they are met there. We could not read the
paper's equations. Its abstract and its summaries tell of a KL divergence per image at several intermediate probes and
of one more at the last layer; the form below, the pooling, how the probes are trained and every default are ours.
Which layers were used stands in the options on the student's card; "all" are the `layers` on the teacher's card.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field as Bound
from pydantic import NonNegativeFloat
from torch import Tensor, nn
from torch.nn.functional import kl_div

from medtea.core.errors import ConfigError, nearest
from medtea.core.names import BIASES, INPUT, Field
from medtea.core.settings import StrictSettings
from medtea.data.loader import Batch, Loader
from medtea.distil.methods import method
from medtea.distil.methods.method import Context, copy_head, paired_layers, teacher_activations
from medtea.lrp.trace import evaluating
from medtea.training.activations import activations
from medtea.training.linear_probes import linear_probes, pooled
from medtea.training.outputs import cross_entropy, log_probabilities
from medtea.training.phases import Phase


class Settings(StrictSettings):
    """Settings of intermediate-layer distillation.

    Attributes:
        layers: "all" of the teacher's hidden layers, or a list of them.
        weights: w_l of each layer, from the radiograph on; 1 each when empty.
        temperature: T, by which all logits are divided in the divergences.
        final_weight: w_f of the divergence at the logits; 0 leaves it out.
        probes: What the teacher's probes are trained on. "unbiased": the small unbiased subset alone, so that they
            cannot find the shortcut again that the teacher's early layers still hold. "training": all training
            radiographs, the biased ones among them; for a teacher that is not shown the shortcut (lungs alone, a twin).
        probe_epochs: Of that first training.
        copy_head: Give the student the teacher's last layer, frozen, as the other distillation methods do; not in the
            paper.
    """

    layers: Literal["all"] | tuple[str, ...] = "all"
    weights: tuple[NonNegativeFloat, ...] = ()
    temperature: float = Bound(3.0, gt=0)
    final_weight: float = Bound(1.0, ge=0)
    probes: Literal["unbiased", "training"] = "unbiased"
    probe_epochs: int = Bound(10, ge=1)
    copy_head: bool = True


class Method(method.Method[Settings]):
    """CE + T² (sum_l w_l KL(p_l^T || p_l^S) + w_f KL(p^T || p^S)), p_l the softmax of a linear probe over T.

    A probe is a linear layer on the mean of a layer's activation over places; it starts at 0. First the teacher's are
    trained, alone, by cross-entropy on the frozen teacher's activations, and frozen; then the student with its own,
    which learn from the divergence only. T² keeps the gradient's size (Hinton et al., arXiv 1503.02531). A student of
    another architecture is probed at its layer of the nearest resolution.

    Since it declares the unbiased subset the student is trained on it as well, as by every method that declares it.
    """

    sees: ClassVar[frozenset[Field]] = frozenset(
        {Field.RADIOGRAPH, Field.LABEL, Field.TEACHER_FEATURES, Field.TEACHER_HEAD, Field.UNBIASED}
    )
    search: ClassVar[Mapping[str, Sequence[Any]]] = {"temperature": (1.0, 3.0, 10.0), "final_weight": (0.0, 1.0)}

    def __init__(self, network: nn.Module, head: nn.Linear, settings: Settings, context: Context) -> None:
        """Train `network`, whose last layer is `head`.

        Raises:
            ConfigError: the teacher has no such layer, or there are more or fewer weights than layers.
        """
        super().__init__(network, head, settings, context)
        if settings.copy_head:
            copy_head(head, context)
        self._pairs: list[tuple[str, str]] = []
        self._layers = _chosen(settings, [one for one in context.teacher_layers if one not in (INPUT, BIASES)])

    @classmethod
    def sees_with(cls, settings: Settings) -> frozenset[Field]:
        """Without the unbiased subset where the probes are trained on all, nor the head where it is not copied."""
        return super().sees_with(settings) - ({Field.UNBIASED} if settings.probes == "training" else set())

    def phases(self, seen: Callable[[], Loader]) -> Iterator[Phase]:
        """The teacher's probes first, then the student with its own."""
        self._begin(next(iter(seen())))
        teachers = self.assistant.get_submodule("teachers")
        epochs = {"epochs": self.settings.probe_epochs}
        task = _Probing(teachers, self.context, self._layers)
        yield Phase(task, "probes", epochs, unbiased_only=self.settings.probes == "unbiased")
        teachers.requires_grad_(False)
        yield Phase(self)

    def loss(self, batch: Batch) -> Tensor:
        """Mean over the batch."""
        if not self._pairs:
            self._begin(batch)
        wanted = teacher_activations(batch, self.context)
        found = activations(self.network, self.head, batch.radiograph, self._own_layers())
        loss = cross_entropy(found.logits, batch[Field.LABEL]).mean()
        loss = loss + self.settings.final_weight * self._divergence(found.logits, wanted.logits)
        probes = zip(self._probes("teachers"), self._probes("students"), strict=True)
        weights = self.settings.weights or [1.0] * len(self._pairs)
        for (own, layer), (theirs, mine), weight in zip(self._pairs, probes, weights, strict=True):
            says = self._divergence(mine(pooled(found.layers[own])), theirs(pooled(wanted.layers[layer])))
            loss = loss + weight * says
        return loss

    def _divergence(self, found: Tensor, wanted: Tensor) -> Tensor:
        """T² KL(wanted || found) of the softmax over T, the mean over the batch."""
        t = self.settings.temperature
        student, teacher = log_probabilities(found / t), log_probabilities(wanted / t)
        return t**2 * kl_div(student, teacher.detach(), reduction="batchmean", log_target=True)

    @torch.no_grad()
    def _begin(self, batch: Batch) -> None:
        """Probes of both networks' layers, which show on a batch how many channels they have."""
        theirs = _of_teacher(batch, self.context, self._layers)
        with evaluating(self.network):
            mine = activations(self.network, self.head, batch.radiograph, self._own_layers()).layers
        self._pairs = paired_layers(mine, theirs)
        logits = self.head.out_features
        self.assistant.teachers = linear_probes([theirs[layer] for _, layer in self._pairs], logits)
        self.assistant.students = linear_probes([mine[own] for own, _ in self._pairs], logits)

    def _own_layers(self) -> list[str]:
        """The student's layers that may be probed: of the teacher's architecture the chosen ones, else all."""
        return self._layers if set(self._layers) <= set(self.context.layers) else list(self.context.layers)

    def _probes(self, whose: str) -> Iterator[nn.Module]:
        return self.assistant.get_submodule(whose).children()


class _Probing:
    """The teacher's probes at their training: the sum over layers of their cross-entropies."""

    def __init__(self, network: nn.Module, context: Context, layers: Sequence[str]) -> None:
        self.network, self._context, self._layers = network, context, layers

    def loss(self, batch: Batch) -> Tensor:
        layers = _of_teacher(batch, self._context, self._layers).values()
        losses = [
            cross_entropy(probe(pooled(layer)), batch[Field.LABEL]).mean()
            for probe, layer in zip(self.network.children(), layers, strict=True)
        ]
        return torch.stack(losses).sum()


def _of_teacher(batch: Batch, context: Context, layers: Sequence[str]) -> dict[str, Tensor]:
    """The teacher's activations at the probed layers."""
    found = teacher_activations(batch, context).layers
    return {layer: found[layer] for layer in layers}


def _chosen(settings: Settings, hidden: list[str]) -> list[str]:
    """The teacher's layers that are probed, from the radiograph on."""
    for layer in () if settings.layers == "all" else settings.layers:
        if layer not in hidden:
            where = "distil.intermediate_distil.options.layers"
            raise ConfigError(f"{where}: the teacher has no layer '{layer}'. {nearest(layer, hidden)}")
    chosen = [layer for layer in hidden if settings.layers == "all" or layer in settings.layers]
    if settings.weights and len(settings.weights) != len(chosen):
        raise ConfigError(
            f"distil.intermediate_distil.options.weights: {len(settings.weights)} weights for {len(chosen)} layers, "
            f"which are {', '.join(chosen)}."
        )
    return chosen
