"""Gradient x input distillation: the student's input times its logit's gradient is made to match the teacher's.

TEA's own control (Bassi et al., arXiv 2407.09788). It is TEA at the input with ε = 0, by autograd's double backward in
the place of the heatmap pass, and with a new mix of the logits at every step. Both maps are summed over channels: the
teacher may see white where the student sees a colour.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from medtea.core.names import INPUT, Field
from medtea.core.settings import StrictSettings
from medtea.data.loader import Batch
from medtea.distil.methods import method
from medtea.distil.methods.method import Context, copy_head, drawn_mix, teacher_gradients
from medtea.lrp import DISTANCES, over_channels
from medtea.training.activations import Gradients, gradients


class Settings(StrictSettings):
    """Settings of gradient x input distillation.

    Attributes:
        distance: "energy": squared error over the batch's teacher energy. "published": TEA's multi-scale L1. "cosine".
        copy_head: Give the student the teacher's last layer, frozen, as TEA has it.
    """

    distance: Literal["energy", "published", "cosine"] = "energy"
    copy_head: bool = True


class Method(method.Method[Settings]):
    """Distance between x * d<u, z>/dx of student and teacher, u a ±1 mix of the logits z.

    In a training step autograd differentiates through the batch's statistics as well, so that a radiograph's map
    depends on its batch mates; in TEA's pass they are constants.
    """

    sees: ClassVar[frozenset[Field]] = frozenset({Field.RADIOGRAPH, Field.TEACHER_GRADIENT, Field.TEACHER_HEAD})
    search: ClassVar[Mapping[str, Sequence[Any]]] = {"distance": ("energy", "published", "cosine")}

    def __init__(self, network: nn.Module, head: nn.Linear, settings: Settings, context: Context) -> None:
        """Train `network`, whose last layer is `head`."""
        super().__init__(network, head, settings, context)
        if settings.copy_head:
            copy_head(head, context)

    def loss(self, batch: Batch) -> Tensor:
        """The distance of the two maps; in validation of the teacher's logit as it is, so that nothing is drawn."""
        mix = drawn_mix(self, len(batch)).to(batch.radiograph)
        wanted = self.explanation(teacher_gradients(batch, mix, self.context))
        with torch.enable_grad():
            found = self.explanation(gradients(self.network, batch.radiograph, mix, create_graph=True))
        return DISTANCES[self.settings.distance](found, wanted)

    @staticmethod
    def explanation(of: Gradients) -> Tensor:
        """The map, (batch, 1, height, width)."""
        return over_channels(of.values[INPUT] * of.slopes[INPUT])
