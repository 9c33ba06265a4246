"""DANN (Ganin et al. 2016): the features are to tell the label, and nothing of the hospital they come from.

With one hospital there is nothing to tell: it is trained on the small unbiased subset as well, which is a hospital of
its own.
"""

from __future__ import annotations

import math
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
from medtea.training.activations import activations
from medtea.training.groups import mean_by_group
from medtea.training.outputs import cross_entropy


class Settings(StrictSettings):
    """Settings of DANN.

    Attributes:
        penalty: Times λ, which goes from 0 to 1.
        ramp_steps: Training steps until λ is 1; 0: it is from the start.
        hidden: Units of the discriminator's hidden layer.
    """

    penalty: float = Bound(1.0, ge=0)
    ramp_steps: int = Bound(1000, ge=0)
    hidden: int = Bound(100, ge=1)


class Method(method.Method[Settings]):
    """CE of the label + CE of the hospital by a discriminator, whose gradient reaches the features times -λ.

    arXiv 1505.07818, section 4.2. λ = 2 / (1 + exp(-10 p)) - 1, p the share of the training that is done: here of
    `ramp_steps`, since a method does not know how long it trains. As in the paper λ acts on the features alone, and the
    discriminator learns at full speed; it is the paper's smallest, one hidden layer of 100 units. There half of a batch
    is of either domain; here each hospital in the batch counts the same in the discriminator's loss. The paper has no
    labels of its target; here every hospital has, as in DomainBed. Their SGD and its falling rate are left to the loop.
    The epoch is selected by the label's cross-entropy: of the hospital's, lower is not better.
    """

    sees: ClassVar[frozenset[Field]] = frozenset({Field.RADIOGRAPH, Field.LABEL, Field.HOSPITAL, Field.UNBIASED})
    search: ClassVar[Mapping[str, Sequence[Any]]] = {"penalty": (0.1, 1.0, 10.0), "ramp_steps": (0, 1000)}

    def __init__(self, network: nn.Module, head: nn.Linear, settings: Settings, context: Context) -> None:
        """Train `network` against a discriminator on what `head` is given."""
        super().__init__(network, head, settings, context)
        self.assistant.discriminator = nn.Sequential(
            nn.Linear(head.in_features, settings.hidden), nn.ReLU(), nn.Linear(settings.hidden, context.hospitals)
        )
        self.assistant.register_buffer("steps", torch.zeros(()))

    def loss(self, batch: Batch) -> Tensor:
        """Label's and hospital's cross-entropy, whose sum the discriminator makes small and the features cannot."""
        found = activations(self.network, self.head, batch.radiograph)
        hospitals = batch[Field.HOSPITAL]
        told = self.assistant.get_submodule("discriminator")(reversed_gradient(found.features, self._reversal()))
        of_hospital = mean_by_group(nn.functional.cross_entropy(told, hospitals.long(), reduction="none"), hospitals)
        return cross_entropy(found.logits, batch[Field.LABEL]).mean() + of_hospital.mean()

    def selection_loss(self, batch: Batch) -> Tensor:
        """The label's cross-entropy alone."""
        return cross_entropy(self.network(batch.radiograph), batch[Field.LABEL]).mean()

    def _reversal(self) -> float:
        """λ at this step, which is counted in training."""
        steps: Tensor = self.assistant.get_buffer("steps")
        share = min(steps.item() / self.settings.ramp_steps, 1.0) if self.settings.ramp_steps else 1.0
        if self.network.training:
            steps.add_(1)
        return self.settings.penalty * (2 / (1 + math.exp(-10 * share)) - 1)


def reversed_gradient(features: Tensor, strength: float) -> Tensor:
    """The features as they are, with a gradient of -`strength` in the place of 1."""
    constant = features.detach()
    return constant + strength * (constant - features)
