"""Deep CORAL (Sun and Saenko 2016): the features' covariances are to be alike at every hospital.

With one hospital nothing is compared: it is trained on the small unbiased subset as well, which is a hospital of its
own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any, ClassVar

import torch
from pydantic import Field as Bound
from torch import Tensor

from medtea.core.names import Field
from medtea.core.settings import StrictSettings
from medtea.data.loader import Batch
from medtea.distil.methods import method
from medtea.training.activations import activations
from medtea.training.outputs import cross_entropy


class Settings(StrictSettings):
    """Settings of Deep CORAL.

    Attributes:
        penalty: λ, the weight of the distance.
        means: Compare the features' means as well, as DomainBed does.
    """

    penalty: float = Bound(1.0, ge=0)
    means: bool = False


class Method(method.Method[Settings]):
    """CE + λ ||C_a - C_b||² / (4 d²), the squared Frobenius norm, a mean over the pairs of hospitals in the batch.

    arXiv 1607.01719, equations 1 to 3 and 6; C the covariance of the d features over the n radiographs of a hospital,
    by n - 1. The paper aligns the last layer's outputs between a source with labels and a target without; here, as in
    DomainBed (arXiv 2007.01434), it is what the last layer is given, and every hospital has labels. DomainBed has no 4
    and adds the mean squared distance of the features' means (`means`). λ = 1 is DomainBed's; the paper sets it so that
    both terms end alike. A hospital with a single radiograph in the batch has no covariance and is left out.
    """

    sees: ClassVar[frozenset[Field]] = frozenset({Field.RADIOGRAPH, Field.LABEL, Field.HOSPITAL, Field.UNBIASED})
    search: ClassVar[Mapping[str, Sequence[Any]]] = {"penalty": (0.1, 1.0, 10.0, 100.0), "means": (False, True)}

    def loss(self, batch: Batch) -> Tensor:
        """The mean cross-entropy over the batch and the distance."""
        found = activations(self.network, self.head, batch.radiograph)
        distance = covariance_distance(found.features, batch[Field.HOSPITAL], means=self.settings.means)
        return cross_entropy(found.logits, batch[Field.LABEL]).mean() + self.settings.penalty * distance


def covariance_distance(features: Tensor, hospitals: Tensor, *, means: bool = False) -> Tensor:
    """Mean over pairs of hospitals of ||C_a - C_b||² / (4 d²), with ||m_a - m_b||² / d if `means`; 0 without a pair."""
    width = features.shape[1]
    groups = [features[hospitals == hospital] for hospital in torch.unique(hospitals)]
    moments = [(group.mean(0), covariance(group)) for group in groups if len(group) > 1]
    apart = [
        (one - other).square().sum() / (4 * width**2) + means * (mean - its).square().mean()
        for (mean, one), (its, other) in combinations(moments, 2)
    ]
    return torch.stack(apart).mean() if apart else features.new_zeros(())


def covariance(features: Tensor) -> Tensor:
    """(d, d) of (n, d), by n - 1."""
    centred = features - features.mean(0)
    return centred.T @ centred / (len(features) - 1)
