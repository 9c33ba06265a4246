"""GroupDRO (Sagawa et al. 2020): the groups with the highest loss weigh the most. A group is a label at a hospital.

With one hospital whose labels all go with the shortcut no group says that it does; so it is trained on the small
unbiased subset as well, which is a hospital of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from pydantic import Field as Bound
from torch import Tensor, nn

from medtea.core.names import Field
from medtea.core.settings import StrictSettings
from medtea.data.loader import Batch
from medtea.distil.methods import method
from medtea.distil.methods.method import Context
from medtea.training.outputs import count_classes, cross_entropy


class Settings(StrictSettings):
    """Settings of GroupDRO.

    Attributes:
        step_size: η, by which the weights of the groups move.
    """

    step_size: float = Bound(0.01, gt=0)


class Method(method.Method[Settings]):
    """sum_g q_g L_g, where each training step multiplies q_g by exp(η L_g) and brings the sum of q back to 1.

    arXiv 1911.08731, algorithm 1, with η = 0.01 as in the authors' code. As there, a group that is not in the batch
    has loss 0. Their strong weight decay and early stopping are settings of the loop here.
    """

    sees: ClassVar[frozenset[Field]] = frozenset({Field.RADIOGRAPH, Field.LABEL, Field.HOSPITAL, Field.UNBIASED})
    search: ClassVar[Mapping[str, Sequence[Any]]] = {"step_size": (0.001, 0.01, 0.1)}

    def __init__(self, network: nn.Module, head: nn.Linear, settings: Settings, context: Context) -> None:
        """Train `network`; its last layer says how many classes there are."""
        super().__init__(network, head, settings, context)
        self._classes = count_classes(head.out_features)
        groups = self._classes * context.hospitals
        self.assistant.register_buffer("weights", torch.full((groups,), 1 / groups))

    def loss(self, batch: Batch) -> Tensor:
        """The weighted sum; in validation over the groups that are there, by their share of the weights."""
        losses = cross_entropy(self.network(batch.radiograph), batch[Field.LABEL])
        groups = (batch[Field.HOSPITAL] * self._classes + batch[Field.LABEL]).long()
        weights: Tensor = self.assistant.get_buffer("weights")
        members = torch.nn.functional.one_hot(groups, len(weights)).to(losses.dtype)
        of_groups = (losses @ members) / members.sum(0).clamp_min(1)
        if self.network.training:
            weights.mul_(torch.exp(self.settings.step_size * of_groups.detach()))
            weights.div_(weights.sum())
            return (weights.clone() * of_groups).sum()
        there = weights * members.any(0)
        return (there * of_groups).sum() / there.sum()
