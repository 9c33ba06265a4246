"""Grad-CAM distillation: the class activation map of the student's deepest layer is made to match the teacher's.

Grad-CAM is positive and coarse, and its scale says nothing: here it has unit length. So neither the logit's sign nor
its size is pinned but through the copied last layer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from medtea.core.names import INPUT, Field
from medtea.core.settings import StrictSettings
from medtea.data.loader import Batch
from medtea.distil.methods import method
from medtea.distil.methods.method import Context, copy_head, drawn_mix, on_one_grid, teacher_gradients
from medtea.training.activations import Gradients, gradients


class Settings(StrictSettings):
    """Settings of Grad-CAM distillation.

    Attributes:
        copy_head: Give the student the teacher's last layer, frozen, as TEA has it.
    """

    copy_head: bool = True


class Method(method.Method[Settings]):
    """Squared distance of the two unit-length maps relu(sum_c mean(d<u, z>/da_c) a_c), mean over the batch.

    Selvaraju et al. 2017, equations 1 and 2, with u a ±1 mix of the logits z, so that all classes are explained. TEA's
    paper compares with it (arXiv 2407.09788) and says no more; unit length is ours.
    """

    sees: ClassVar[frozenset[Field]] = frozenset({Field.RADIOGRAPH, Field.TEACHER_GRADIENT, Field.TEACHER_HEAD})
    search: ClassVar[Mapping[str, Sequence[Any]]] = {"copy_head": (True, False)}

    def __init__(self, network: nn.Module, head: nn.Linear, settings: Settings, context: Context) -> None:
        """Train `network`, whose last layer is `head`."""
        super().__init__(network, head, settings, context)
        if settings.copy_head:
            copy_head(head, context)

    def loss(self, batch: Batch) -> Tensor:
        """In validation of the teacher's logit as it is, so that nothing is drawn."""
        mix = drawn_mix(self, len(batch)).to(batch.radiograph)
        wanted = grad_cam(teacher_gradients(batch, mix, self.context))
        with torch.enable_grad():
            found = grad_cam(
                gradients(self.network, batch.radiograph, mix, layers=self.context.layers, create_graph=True)
            )
        found, wanted = on_one_grid(found, wanted)
        return (of_unit_length(found) - of_unit_length(wanted)).square().sum((1, 2, 3)).mean()


def grad_cam(of: Gradients) -> Tensor:
    """The class activation map of the deepest layer that has more than one pixel, (batch, 1, height, width)."""
    layer = [name for name, value in of.values.items() if name != INPUT and value[0, 0].numel() > 1][-1]
    weights = of.slopes[layer].mean((2, 3), keepdim=True)
    return (weights * of.values[layer]).sum(1, keepdim=True).relu()


def of_unit_length(maps: Tensor) -> Tensor:
    """Each map over its Euclidean norm; a map that is faint beside its batch mates is left faint, one of zeros zero."""
    norms = maps.flatten(1).norm(dim=1)
    least = 1e-3 * norms.detach().mean() + torch.finfo(maps.dtype).tiny
    return maps / torch.maximum(norms, least)[:, None, None, None]
