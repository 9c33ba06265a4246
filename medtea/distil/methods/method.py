"""The contract of a method: its settings, what it may see, and its loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from pydantic import BaseModel
from torch import Tensor, nn

from medtea.core.errors import ConfigError, UsageError
from medtea.core.names import Field
from medtea.data.loader import Batch


@dataclass(frozen=True)
class TeacherView:
    """What a method gets of the teacher before training, besides what the loader hands over per radiograph.

    Attributes:
        head: The teacher's last linear layer; None unless the method declares TEACHER_HEAD.
        layers: Layers whose heatmaps are stored.
        relative: Whether ε of the stored heatmaps counts in means of |a| of each layer.
    """

    head: nn.Linear | None
    layers: Sequence[str]
    relative: bool


class Method(Protocol):
    """Every file of this bay has a `Settings` and a class `Method` of this form.

    Attributes:
        sees: All that the method may see; the loader hands over nothing else.
        network: The student, a plain backbone.
    """

    sees: ClassVar[frozenset[Field]]
    network: nn.Module

    def __init__(self, network: nn.Module, head: nn.Linear, settings: BaseModel, teacher: TeacherView) -> None:
        """Train `network`, whose last linear layer is `head`."""

    def loss(self, batch: Batch) -> Tensor:
        """The mean loss of a batch."""


def copy_head(student: nn.Linear, teacher: TeacherView) -> None:
    """Copy the teacher's last linear layer, weight and bias, into the student and freeze it (TEA, method section).

    A heatmap of the raw logit gives the last bias no gradient; with the teacher's own last layer the student needs
    none. Every distillation baseline gets the same layer, so that no method is ahead by it.

    Raises:
        UsageError: the method did not declare that it sees the teacher's head.
        ConfigError: the layers' shapes differ.
    """
    if teacher.head is None:
        raise UsageError(f"The teacher's last layer was not handed over; declare '{Field.TEACHER_HEAD}' in `sees`.")
    if student.weight.shape != teacher.head.weight.shape:
        raise ConfigError(
            f"distil.network: the student's last layer is {tuple(student.weight.shape)} and the teacher's "
            f"{tuple(teacher.head.weight.shape)}. Choose the teacher's backbone, or set options.copy_head: false."
        )
    with torch.no_grad():
        student.weight.copy_(teacher.head.weight)
        if student.bias is not None and teacher.head.bias is not None:
            student.bias.copy_(teacher.head.bias)
    for parameter in student.parameters():
        parameter.requires_grad_(False)
