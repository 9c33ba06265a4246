"""IRM (Arjovsky et al. 2019): one classifier on top of the features is to be the best one at every hospital at once.

With one hospital there is nothing to be invariant over: it is trained on the small unbiased subset as well, which is a
hospital of its own.
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
from medtea.training.groups import mean_by_group
from medtea.training.outputs import class_logits, cross_entropy


class Settings(StrictSettings):
    """Settings of IRM.

    Attributes:
        penalty: λ, the weight of the penalty.
        anneal_steps: Until then λ is 1.
    """

    penalty: float = Bound(100.0, ge=0)
    anneal_steps: int = Bound(500, ge=0)


class Method(method.Method[Settings]):
    """Mean over hospitals of R_e + λ (d R_e(w z) / dw at w = 1)², over λ where that is above 1.

    arXiv 1907.02893, IRMv1 (equation 5 and appendix D); λ and the steps are DomainBed's defaults (arXiv 2007.01434).
    The slope is written out: the mean of sum_k (p_k - y_k) z_k. The loss is divided by λ > 1 as in the authors' code,
    so that the gradient keeps its size. DomainBed instead begins Adam anew when λ rises.
    """

    sees: ClassVar[frozenset[Field]] = frozenset({Field.RADIOGRAPH, Field.LABEL, Field.HOSPITAL, Field.UNBIASED})
    search: ClassVar[Mapping[str, Sequence[Any]]] = {"penalty": (1.0, 100.0, 10000.0), "anneal_steps": (0, 500)}

    def __init__(self, network: nn.Module, head: nn.Linear, settings: Settings, context: Context) -> None:
        """Train `network`."""
        super().__init__(network, head, settings, context)
        self.assistant.register_buffer("steps", torch.zeros(()))

    def loss(self, batch: Batch) -> Tensor:
        """The mean over the hospitals in the batch."""
        logits, labels = self.network(batch.radiograph), batch[Field.LABEL]
        hospitals = batch[Field.HOSPITAL]
        risks = mean_by_group(cross_entropy(logits, labels), hospitals)
        slopes = mean_by_group(slope_of_scale(logits, labels), hospitals)
        steps: Tensor = self.assistant.get_buffer("steps")
        penalty = self.settings.penalty if steps.item() >= self.settings.anneal_steps else 1.0
        if self.network.training:
            steps.add_(1)
        return (risks + penalty * slopes.square()).mean() / max(penalty, 1.0)


def slope_of_scale(logits: Tensor, labels: Tensor) -> Tensor:
    """D CE(w z, y) / dw at w = 1 per radiograph, (batch,): sum_k (p_k - y_k) z_k."""
    of_classes = class_logits(logits)
    wanted = nn.functional.one_hot(labels.long(), of_classes.shape[1])
    return ((of_classes.softmax(1) - wanted) * of_classes).sum(1)
