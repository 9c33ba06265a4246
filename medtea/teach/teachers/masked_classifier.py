"""A classifier that is shown lungs only: outside the lung mask all is 0, inside the grey scale is the lungs' own.

LRP relevance of a zero pixel is exactly zero, so its heatmaps are background-free by construction.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from medtea.core.names import Field
from medtea.data.loader import Batch
from medtea.data.lungs import lungs_only


class Teacher:
    """Cross-entropy on the lungs alone (the teacher of TEA, arXiv 2407.09788; the lungs' grey scale is ours)."""

    sees: ClassVar[frozenset[Field]] = frozenset({Field.RADIOGRAPH, Field.LUNG_MASK, Field.LABEL})

    def __init__(self, network: nn.Module) -> None:
        """Teach `network`."""
        self.network = network

    def shown(self, batch: Batch) -> Tensor:
        """See lungs_only."""
        return lungs_only(batch.radiograph, batch[Field.LUNG_MASK])

    def loss(self, batch: Batch) -> Tensor:
        """Binary cross-entropy, the mean over the batch."""
        return binary_cross_entropy_with_logits(self.network(self.shown(batch))[:, 0], batch[Field.LABEL])
