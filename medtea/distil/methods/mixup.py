"""Mixup (Zhang et al. 2018): trained on weighted means of two radiographs, with the same weights on their labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from pydantic import Field as Bound
from torch import Tensor

from medtea.core.names import Field
from medtea.core.settings import StrictSettings
from medtea.data.loader import Batch
from medtea.distil.methods import method
from medtea.training.outputs import cross_entropy


class Settings(StrictSettings):
    """Settings of mixup.

    Attributes:
        alpha: α of the Beta distribution; near 0 a radiograph is hardly mixed, at 1 every share is as likely.
    """

    alpha: float = Bound(0.2, gt=0)


class Method(method.Method[Settings]):
    """CE of x' = λ x_i + (1 - λ) x_j against y' = λ y_i + (1 - λ) y_j, with λ ~ Beta(α, α).

    arXiv 1710.09412, section 2; α = 0.2 is the paper's for ImageNet and DomainBed's, 1 the authors' code's for CIFAR.
    As in that code a batch has one λ, and j is i's place in one permutation of it. In validation nothing is mixed, so
    that the epoch is selected by plain cross-entropy.
    """

    sees: ClassVar[frozenset[Field]] = frozenset({Field.RADIOGRAPH, Field.LABEL})
    search: ClassVar[Mapping[str, Sequence[Any]]] = {"alpha": (0.1, 0.2, 0.4, 1.0)}

    def loss(self, batch: Batch) -> Tensor:
        """The mean over the batch."""
        radiograph, labels = batch.radiograph, batch[Field.LABEL]
        if not self.network.training:
            return cross_entropy(self.network(radiograph), labels).mean()
        share, other = drawn_share(self.settings.alpha), torch.randperm(len(batch))
        logits = self.network(share * radiograph + (1 - share) * radiograph[other])
        return mixed_loss(logits, labels, labels[other], share)


def drawn_share(alpha: float) -> float:
    """λ ~ Beta(α, α), from torch's global generator."""
    return float(torch.distributions.Beta(alpha, alpha).sample())


def mixed_loss(logits: Tensor, labels: Tensor, others: Tensor, share: float) -> Tensor:
    """λ CE(label) + (1 - λ) CE(other label), which is the CE against the mixed label: the mean over the batch."""
    return (share * cross_entropy(logits, labels) + (1 - share) * cross_entropy(logits, others)).mean()
