"""Empirical risk minimisation: cross-entropy on the label, whole radiograph. The control that shortcuts catch."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from medtea.core.names import Field
from medtea.core.settings import StrictSettings
from medtea.data.loader import Batch
from medtea.distil.methods.method import TeacherView


class Settings(StrictSettings):
    """ERM has none."""


class Method:
    """Vapnik 1998: the mean loss over the training set, and nothing else."""

    sees: ClassVar[frozenset[Field]] = frozenset({Field.RADIOGRAPH, Field.LABEL})

    def __init__(self, network: nn.Module, head: nn.Linear, settings: Settings, teacher: TeacherView) -> None:
        """Train `network`; the teacher is not looked at."""
        del head, settings, teacher
        self.network = network

    def loss(self, batch: Batch) -> Tensor:
        """Binary cross-entropy, the mean over the batch."""
        return binary_cross_entropy_with_logits(self.network(batch.radiograph)[:, 0], batch[Field.LABEL])
