"""Output distillation: the student's logits are made to match the teacher's. A strong control that sees no heatmap."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn
from torch.nn.functional import mse_loss

from medtea.core.names import Field
from medtea.core.settings import StrictSettings
from medtea.data.loader import Batch
from medtea.distil.methods import method
from medtea.distil.methods.method import Context, copy_head


class Settings(StrictSettings):
    """Settings of output distillation.

    Attributes:
        copy_head: Give the student the teacher's last layer, frozen, as TEA has it.
    """

    copy_head: bool = True


class Method(method.Method[Settings]):
    """Squared error between logits: the limit of Hinton et al. (2015) for high temperature."""

    sees: ClassVar[frozenset[Field]] = frozenset({Field.RADIOGRAPH, Field.TEACHER_LOGIT, Field.TEACHER_HEAD})

    def __init__(self, network: nn.Module, head: nn.Linear, settings: Settings, context: Context) -> None:
        """Train `network`, whose last layer is `head`."""
        super().__init__(network, head, settings, context)
        if settings.copy_head:
            copy_head(head, context)

    def loss(self, batch: Batch) -> Tensor:
        """The mean squared difference of the logits."""
        return mse_loss(self.network(batch.radiograph), batch[Field.TEACHER_LOGIT])
