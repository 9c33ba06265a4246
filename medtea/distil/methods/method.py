"""The contract of a method: its settings, what it may see, and its loss."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from medtea.core.errors import ConfigError, UsageError
from medtea.core.names import Field
from medtea.core.settings import StrictSettings
from medtea.data.loader import Batch, Loader
from medtea.lrp import random_mix
from medtea.training.activations import Activations, Gradients
from medtea.training.phases import Phase

S = TypeVar("S", bound=StrictSettings)


@dataclass(frozen=True)
class Context:
    """What a method knows before training, besides what the loader hands over per radiograph.

    Attributes:
        layers: The student's layers, from the radiograph to the logit; without the input.
        hospitals: How many there are among the radiographs trained on; Field.HOSPITAL counts from 0.
        rows: How many rows the index has; a batch's `rows` are below.
        teacher_head: The teacher's last linear layer; None unless the method declares TEACHER_HEAD.
        teacher_layers: What of the teacher is stored as heatmaps: the input, its layers, and the biases.
        relative: Whether ε of the stored heatmaps counts in means of |a| of each layer.
        look: The teacher's activations of a batch, frozen and without gradient, at `teacher_layers` but the input and
            the biases; None unless the method declares TEACHER_FEATURES.
        slopes: The teacher's gradient of <cotangent, logits> for a batch and a (batch, K) cotangent, at the input and
            the same layers; None unless the method declares TEACHER_GRADIENT. "The input" is what the teacher is shown.
    """

    layers: Sequence[str] = ()
    hospitals: int = 1
    rows: int = 0
    teacher_head: nn.Linear | None = None
    teacher_layers: Sequence[str] = ()
    relative: bool = False
    look: Callable[[Batch], Activations] | None = field(default=None, repr=False)
    slopes: Callable[[Batch, Tensor], Gradients] | None = field(default=None, repr=False)


class Method(ABC, Generic[S]):
    """Every file of this bay has a `Settings` and a class `Method` that extends this one.

    Attributes:
        sees: All that the method may see by default; the loader and the context hand over nothing else.
        search: For each setting worth tuning the values to try, defaults included; selection is on IID validation.
        looks_at: What the student is shown, also at inference: the whole radiograph, so that it needs no segmenter;
            with the mask among it the lungs alone (see data/shown.py). The card says it, and whoever runs the student
            keeps to it.
        network: The student, a plain backbone: what remains.
        head: Its last linear layer.
        assistant: Trained and checkpointed beside the network and thrown away in the end: a second head, a second
            network; as buffers, whatever is counted. Whatever tensor a method keeps is kept here.
        settings: The method's own.
        context: See Context.
    """

    sees: ClassVar[frozenset[Field]]
    looks_at: ClassVar[frozenset[Field]] = frozenset({Field.RADIOGRAPH})
    search: ClassVar[Mapping[str, Sequence[Any]]] = {}

    def __init__(self, network: nn.Module, head: nn.Linear, settings: S, context: Context) -> None:
        """Train `network`, whose last linear layer is `head`. Draws only from torch's global generator."""
        self.network = network
        self.head = head
        self.settings = settings
        self.context = context
        self.assistant = nn.Module()

    @classmethod
    def sees_with(cls, settings: S) -> frozenset[Field]:
        """All that the method may see with these settings: `sees`, and without `copy_head` not the teacher's head."""
        return cls.sees if getattr(settings, "copy_head", True) else cls.sees - {Field.TEACHER_HEAD}

    @abstractmethod
    def loss(self, batch: Batch) -> Tensor:
        """The mean loss of a batch, with a graph to every weight that is to be trained."""

    def selection_loss(self, batch: Batch) -> Tensor:
        """What the epoch is selected by, on IID validation radiographs: the loss itself unless the method says else."""
        return self.loss(batch)

    def phases(self, seen: Callable[[], Loader]) -> Iterator[Phase]:
        """The trainings that make the student, in order; the last has no name and trains `network`.

        Args:
            seen: A loader of the training radiographs in order, each once and not augmented, for what is to be found
                out between two phases.
        """
        del seen
        yield Phase(self)


def copy_head(student: nn.Linear, context: Context) -> None:
    """Copy the teacher's last linear layer, weight and bias, into the student and freeze it (TEA, method section).

    A heatmap of the raw logit gives the last bias no gradient; with the teacher's own last layer the student needs
    none. Every distillation baseline gets the same layer, so that no method is ahead by it.

    Raises:
        UsageError: the method did not declare that it sees the teacher's head.
        ConfigError: the layers' shapes differ.
    """
    given = context.teacher_head
    if given is None:
        raise UsageError(f"The teacher's last layer was not handed over; declare '{Field.TEACHER_HEAD}' in `sees`.")
    if student.weight.shape != given.weight.shape:
        raise ConfigError(
            f"distil.network: the student's last layer is {tuple(student.weight.shape)} and the teacher's "
            f"{tuple(given.weight.shape)}. Choose the teacher's backbone, or set options.copy_head: false."
        )
    with torch.no_grad():
        student.weight.copy_(given.weight)
        if student.bias is not None and given.bias is not None:
            student.bias.copy_(given.bias)
    for parameter in student.parameters():
        parameter.requires_grad_(False)


def teacher_activations(batch: Batch, context: Context) -> Activations:
    """The teacher's activations and logits of the batch.

    Raises:
        UsageError: the method did not declare that it sees them.
    """
    if context.look is None:
        raise UsageError(f"The teacher's activations were not handed over; declare '{Field.TEACHER_FEATURES}'.")
    return context.look(batch)


def teacher_gradients(batch: Batch, cotangent: Tensor, context: Context) -> Gradients:
    """The teacher's values and plain gradients of <cotangent, logits> for the batch.

    Raises:
        UsageError: the method did not declare that it sees them.
    """
    if context.slopes is None:
        raise UsageError(f"The teacher's gradients were not handed over; declare '{Field.TEACHER_GRADIENT}'.")
    return context.slopes(batch, cotangent)


def drawn_mix(of: Method[Any], batch: int) -> Tensor:
    """A ±1 mix of the logits for each radiograph, (batch, K); in validation always the same, +1 and -1 by turns."""
    logits = of.head.out_features
    if of.network.training:
        return random_mix(batch, logits, torch.default_generator)
    return (1.0 - 2.0 * (torch.arange(logits) % 2)).expand(batch, logits)


def paired_layers(student: Mapping[str, Tensor], teacher: Mapping[str, Tensor]) -> list[tuple[str, str]]:
    """For each of the teacher's layers, from the radiograph on, the student's that answers to it.

    Networks of one architecture have the same layers. Of two architectures it is the layer whose side is nearest in
    ratio; of two as near, the deeper one.

    Args:
        student: By layer its map or activation, (batch, channels, height, width), from the radiograph on.
        teacher: The same of the teacher.
    """
    if list(student) == list(teacher):
        return [(layer, layer) for layer in teacher]
    pairs = []
    for layer, wanted in teacher.items():
        ratios = {own: abs(math.log(found.shape[-1] / wanted.shape[-1])) for own, found in student.items()}
        pairs.append((min(reversed(list(ratios)), key=ratios.__getitem__), layer))
    return pairs


def on_one_grid(first: Tensor, second: Tensor, *, conserved: bool = False) -> tuple[Tensor, Tensor]:
    """Two maps (batch, channels, height, width), the finer one pooled to the coarser one's grid.

    Args:
        first: A map.
        second: Another.
        conserved: Pool by sums, as relevance is conserved, instead of by means.
    """
    sides = min(first.shape[-2], second.shape[-2]), min(first.shape[-1], second.shape[-1])

    def pooled(one: Tensor) -> Tensor:
        if one.shape[-2:] == sides:
            return one
        area = one.shape[-2] * one.shape[-1] / (sides[0] * sides[1]) if conserved else 1.0
        return area * adaptive_avg_pool2d(one, sides)

    return pooled(first), pooled(second)
