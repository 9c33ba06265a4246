"""Attention distillation (Zagoruyko and Komodakis 2017): where layers are active is made to match the teacher's.

An attention map here is the energy of a layer's channels by place, of unit length; no gradient and no logit is in it.
What the copied last layer makes of it is left to chance: alone it is the weakest of the explanations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from medtea.core.names import Field
from medtea.core.settings import StrictSettings
from medtea.data.loader import Batch
from medtea.distil.methods import method
from medtea.distil.methods.grad_cam import of_unit_length
from medtea.distil.methods.method import Context, copy_head, on_one_grid, paired_layers, teacher_activations
from medtea.training.activations import activations


class Settings(StrictSettings):
    """Settings of attention distillation.

    Attributes:
        layers: "all" of the teacher's hidden layers that have more than one place, or the "deepest" of them alone.
            What lies behind the last of them is not trained: choose images so large that this is nothing.
    """

    layers: Literal["all", "deepest"] = "all"


class Method(method.Method[Settings]):
    """Mean over layers and radiographs of ||Q_S/||Q_S|| - Q_T/||Q_T|| ||², Q = sum over channels of |a|².

    arXiv 1612.03928, equation 2 with p = 2, without the loss on the output that stands beside it there: TEA's paper
    compares explanations alone (arXiv 2407.09788). The paper has the norm, its code the square; this is the square,
    which is smooth at 0. The last layer, which no such map reaches, is always the teacher's.
    """

    sees: ClassVar[frozenset[Field]] = frozenset({Field.RADIOGRAPH, Field.TEACHER_FEATURES, Field.TEACHER_HEAD})
    search: ClassVar[Mapping[str, Sequence[Any]]] = {"layers": ("all", "deepest")}

    def __init__(self, network: nn.Module, head: nn.Linear, settings: Settings, context: Context) -> None:
        """Train `network`, whose last layer is `head`."""
        super().__init__(network, head, settings, context)
        copy_head(head, context)

    def loss(self, batch: Batch) -> Tensor:
        """The mean over the matched layers."""
        wanted = teacher_activations(batch, self.context).layers
        found = activations(self.network, self.head, batch.radiograph, self.context.layers).layers
        # of one place the map of unit length is 1, whatever the network does
        pairs = [(own, layer) for own, layer in paired_layers(found, wanted) if wanted[layer][0, 0].numel() > 1]
        losses = [
            _distance(*on_one_grid(_energy(found[own]), _energy(wanted[layer])))
            for own, layer in (pairs if self.settings.layers == "all" else pairs[-1:])
        ]
        return torch.stack(losses).mean()


def _energy(activation: Tensor) -> Tensor:
    return activation.square().sum(1, keepdim=True)


def _distance(found: Tensor, wanted: Tensor) -> Tensor:
    return (of_unit_length(found) - of_unit_length(wanted)).square().sum((1, 2, 3)).mean()
