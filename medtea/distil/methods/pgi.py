"""PGI (Ahmed et al. 2021): of one class, what is predicted at one hospital and at another is to be the same on average.

With one hospital nothing is compared: it is trained on the small unbiased subset as well, which is a hospital of its
own.
"""

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
from medtea.training.groups import mean_by_group
from medtea.training.outputs import cross_entropy, log_probabilities


class Settings(StrictSettings):
    """Settings of PGI.

    Attributes:
        penalty: λ, the weight of the divergence.
    """

    penalty: float = Bound(50.0, ge=0)


class Method(method.Method[Settings]):
    """mean_e R_e + λ sum over classes of KL(p_e || p_0), p the mean predicted distribution of a class at a hospital.

    Predictive group invariance (ICLR 2021). Hospital 0 is the one with the most radiographs in the batch, the majority
    group; a class that is at one hospital only is left out. As in the authors' code each risk counts the same, λ = 50
    is its value for coloured digits, and the divergence is a mean over the K predicted probabilities where the paper
    has the sum. The groups are given here; the paper infers them. More than two of them are ours: the mean over e.
    """

    sees: ClassVar[frozenset[Field]] = frozenset({Field.RADIOGRAPH, Field.LABEL, Field.HOSPITAL, Field.UNBIASED})
    search: ClassVar[Mapping[str, Sequence[Any]]] = {"penalty": (5.0, 50.0, 100.0)}

    def loss(self, batch: Batch) -> Tensor:
        """The mean over the hospitals in the batch."""
        logits, labels = self.network(batch.radiograph), batch[Field.LABEL]
        hospitals = batch[Field.HOSPITAL]
        risk = mean_by_group(cross_entropy(logits, labels), hospitals).mean()
        probabilities = log_probabilities(logits).exp()
        divergences = [
            divergence(probabilities[labels == label], hospitals[labels == label]) for label in torch.unique(labels)
        ]
        return risk + self.settings.penalty * torch.stack(divergences).sum()


def divergence(probabilities: Tensor, hospitals: Tensor) -> Tensor:
    """Mean over the other hospitals of KL(p_e || p_0) / K, for one class; 0 where there is no other."""
    numbers, counts = torch.unique(hospitals, return_counts=True)
    if len(numbers) < 2:
        return probabilities.new_zeros(())
    means = mean_by_group(probabilities, hospitals).clamp_min(1e-8)
    largest = int(counts.argmax())
    kl = (means * (means.log() - means[largest].log())).mean(1)
    return kl.sum() / (len(numbers) - 1)
