"""LfF (Nam et al. 2020): learns from the failures of a second network that is made to take the easy way."""

from __future__ import annotations

import copy
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
    """Settings of LfF.

    Attributes:
        q: Of the generalised cross-entropy; near 0 it is cross-entropy, and the larger, the less what is hard counts.
        decay: Of each radiograph's moving average of its losses.
    """

    q: float = Bound(0.7, gt=0, le=1)
    decay: float = Bound(0.7, ge=0, lt=1)


class Method(method.Method[Settings]):
    """GCE of the biased network + W CE of the student, with W = CE_b / (CE_b + CE_s), the relative difficulty.

    Learning from Failure, arXiv 2007.02561, algorithm 1; GCE = (1 - p^q) / q of the label's probability p (Zhang and
    Sabuncu 2018), q = 0.7. As in the authors' code, and not in the paper's equations, either CE in W is the
    radiograph's moving average (decay 0.7, its first loss at first) over the largest average of its class. The gradient
    of their GCE is q times the paper's, which is here. Both networks start from the same weights here, and share the
    loop's optimiser and clipping. In validation averages are taken, not kept, and the epoch is selected by the
    student's cross-entropy. Of several processes the averages of the first are the ones kept.
    """

    sees: ClassVar[frozenset[Field]] = frozenset({Field.RADIOGRAPH, Field.LABEL})
    search: ClassVar[Mapping[str, Sequence[Any]]] = {"q": (0.5, 0.7, 0.9), "decay": (0.0, 0.7, 0.9)}

    def __init__(self, network: nn.Module, head: nn.Linear, settings: Settings, context: Context) -> None:
        """Train `network` beside a biased copy of it; no average is known yet, which is written as -1."""
        super().__init__(network, head, settings, context)
        self.assistant.biased = copy.deepcopy(network)
        for name in ("of_biased", "of_student"):
            unknown = torch.full((count_classes(head.out_features), context.rows), -1.0)
            self.assistant.register_buffer(name, unknown)

    def loss(self, batch: Batch) -> Tensor:
        """The mean over the batch, of both networks."""
        radiograph, labels = batch.radiograph, batch[Field.LABEL]
        biased = cross_entropy(self.assistant.get_submodule("biased")(radiograph), labels)
        student = cross_entropy(self.network(radiograph), labels)
        places = labels.long(), torch.from_numpy(batch.rows).to(labels.device)
        hard_for_biased = self._averages("of_biased", biased.detach(), places)
        hard_for_student = self._averages("of_student", student.detach(), places)
        weights = hard_for_biased / (hard_for_biased + hard_for_student + 1e-8)
        return (generalised(biased, self.settings.q) + weights * student).mean()

    def selection_loss(self, batch: Batch) -> Tensor:
        """The student's cross-entropy."""
        return cross_entropy(self.network(batch.radiograph), batch[Field.LABEL]).mean()

    def _averages(self, name: str, losses: Tensor, places: tuple[Tensor, Tensor]) -> Tensor:
        """Each radiograph's average with this loss in it, over the largest of its class: (batch,) in [0, 1]."""
        kept = self.assistant.get_buffer(name)
        averages = kept if self.network.training else kept.clone()
        before, decay = averages[places], self.settings.decay
        after = torch.where(before < 0, losses, decay * before + (1 - decay) * losses)
        averages[places] = after
        return after / averages.amax(1)[places[0]].clamp_min(1e-8)


def generalised(losses: Tensor, q: float) -> Tensor:
    """(1 - p^q) / q of cross-entropies -log p."""
    return -torch.expm1(-q * losses) / q
