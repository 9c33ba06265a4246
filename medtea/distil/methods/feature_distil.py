"""Feature distillation: what the last layer is given is made to match what the teacher's is. A strong control.

It sees no label and no heatmap. With the teacher's last layer copied and frozen, equal features are equal logits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from medtea.core.names import Field
from medtea.core.settings import StrictSettings
from medtea.data.loader import Batch
from medtea.distil.methods import method
from medtea.distil.methods.method import Context, copy_head, teacher_activations
from medtea.lrp import heatmap_energy_distance
from medtea.training.activations import activations


class Settings(StrictSettings):
    """Settings of feature distillation.

    Attributes:
        copy_head: Give the student the teacher's last layer, frozen. Without it the student's own last layer learns
            from the teacher's logits, and where the teacher's features are more or fewer, a linear layer that is
            thrown away in the end brings the student's to their number (FitNets' regressor).
    """

    copy_head: bool = True


class Method(method.Method[Settings]):
    """Squared error of the features over the teacher's energy in the batch; without `copy_head`, of the logits as well.

    The regression of FitNets (Romero et al. 2015, equation 3) at the last features, as TEA's paper compares it
    (arXiv 2407.09788). The scale, the batch's energy, is ours: the loss of a student that gives 0 is 1.
    """

    sees: ClassVar[frozenset[Field]] = frozenset({Field.RADIOGRAPH, Field.TEACHER_FEATURES, Field.TEACHER_HEAD})
    search: ClassVar[Mapping[str, Sequence[Any]]] = {"copy_head": (True, False)}

    def __init__(self, network: nn.Module, head: nn.Linear, settings: Settings, context: Context) -> None:
        """Train `network`, whose last layer is `head`."""
        super().__init__(network, head, settings, context)
        given = context.teacher_head
        if settings.copy_head or given is None:
            copy_head(head, context)
        elif given.in_features != head.in_features:
            self.assistant.regressor = nn.Linear(head.in_features, given.in_features)

    @classmethod
    def sees_with(cls, settings: Settings) -> frozenset[Field]:
        """Always the teacher's head: without `copy_head` its width is what the regressor is for."""
        del settings
        return cls.sees

    def loss(self, batch: Batch) -> Tensor:
        """Mean over the batch."""
        wanted = teacher_activations(batch, self.context)
        found = activations(self.network, self.head, batch.radiograph)
        features = getattr(self.assistant, "regressor", nn.Identity())(found.features)
        loss = heatmap_energy_distance(features, wanted.features)
        return loss if self.settings.copy_head else loss + heatmap_energy_distance(found.logits, wanted.logits)
