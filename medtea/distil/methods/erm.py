"""Empirical risk minimisation: cross-entropy on the label, whole radiograph. The control that shortcuts catch."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from medtea.core.names import Field
from medtea.core.settings import StrictSettings
from medtea.data.loader import Batch
from medtea.distil.methods import method
from medtea.training.outputs import cross_entropy


class Settings(StrictSettings):
    """ERM has none."""


class Method(method.Method[Settings]):
    """Vapnik 1998: the mean loss over the training set, and nothing else."""

    sees: ClassVar[frozenset[Field]] = frozenset({Field.RADIOGRAPH, Field.LABEL})

    def loss(self, batch: Batch) -> Tensor:
        """Cross-entropy, the mean over the batch."""
        return cross_entropy(self.network(batch.radiograph), batch[Field.LABEL]).mean()
