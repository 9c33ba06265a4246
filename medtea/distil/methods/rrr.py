"""RRR (Ross et al. 2017): cross-entropy, and input gradients outside the lungs are made small."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from pydantic import Field as Bound
from torch import Tensor

from medtea.core.names import INPUT, Field
from medtea.core.settings import StrictSettings
from medtea.data.loader import Batch
from medtea.distil.methods import method
from medtea.training.activations import gradients
from medtea.training.outputs import cross_entropy, log_probabilities


class Settings(StrictSettings):
    """Settings of RRR.

    Attributes:
        penalty: λ. The authors choose it so that both terms have the same order of magnitude.
    """

    penalty: float = Bound(1000.0, ge=0)


class Method(method.Method[Settings]):
    """CE + λ ||A * d/dx sum_k log p_k||², A = 1 outside the lungs; the mean over the batch.

    "Right for the right reasons" (arXiv 1703.03717, equation 2); λ = 1000 is the default of the authors' code, which
    has half the square. Their weight decay is a setting of the loop here. The penalty's own factor vanishes where all
    classes are as probable: of one logit, whose classes are two, d/dz sum_k log p_k = 1 - 2p. The double backward runs
    through the batch's statistics in a training step.
    """

    sees: ClassVar[frozenset[Field]] = frozenset({Field.RADIOGRAPH, Field.LABEL, Field.LUNG_MASK})
    search: ClassVar[Mapping[str, Sequence[Any]]] = {"penalty": (1.0, 10.0, 100.0, 1000.0)}

    def loss(self, batch: Batch) -> Tensor:
        """The mean over the batch."""
        labels = batch[Field.LABEL]
        found = gradients(
            self.network,
            batch.radiograph,
            lambda logits: self.explained(logits, labels),
            create_graph=torch.is_grad_enabled(),
        )
        outside = found.slopes[INPUT] * (1 - self.allowed(batch))
        return cross_entropy(found.logits, labels).mean() + self.settings.penalty * self.size(outside).mean()

    def explained(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The number whose gradient is to be small, (batch,)."""
        del labels
        return log_probabilities(logits).sum(1)

    def allowed(self, batch: Batch) -> Tensor:
        """Where a gradient may be, (batch, 1, height, width) in [0, 1]."""
        return batch[Field.LUNG_MASK]

    def size(self, outside: Tensor) -> Tensor:
        """How large the gradient is that should not be there, (batch,)."""
        return outside.square().sum((1, 2, 3))
