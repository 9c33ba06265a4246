"""DFR (Kirichenko et al. 2023): ERM's features, and a last layer trained anew on the small unbiased subset."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import torch
from pydantic import Field as Bound
from torch import Tensor, nn

from medtea.core.names import Field
from medtea.core.settings import StrictSettings
from medtea.data.loader import Batch, Loader
from medtea.distil.methods import erm, method
from medtea.distil.methods.method import Context
from medtea.training.outputs import count_classes, cross_entropy
from medtea.training.phases import Phase


class Settings(StrictSettings):
    """Settings of DFR.

    Attributes:
        last_layer_epochs: Of the last layer's training; the subset is small, so an epoch is short.
        l1: Weight of the sum of the last layer's absolute weights.
    """

    last_layer_epochs: int = Bound(100, ge=1)
    l1: float = Bound(0.001, ge=0)


class Method(method.Method[Settings]):
    """Last layer from 0 by class-balanced CE + λ |w|_1 on the unbiased subset; all below it is ERM's, and frozen.

    Deep Feature Reweighting, arXiv 2204.02937, with held-out data: ERM is not trained on the subset (its batch norms
    alone see it). The authors' last layer is scikit-learn's logistic regression with an l1 penalty on standardised
    features, a mean over fits to random subsets of as many radiographs of each group, and its C tuned. Here it is
    trained by the loop, on the features as they are, once on the whole subset with each class weighted to count the
    same: what is balanced is the class, since within the subset the shortcut is to say nothing of it. λ is about their
    1 / (C n). The epoch is selected by the same loss without λ on the subset's own validation radiographs.
    """

    sees: ClassVar[frozenset[Field]] = frozenset({Field.RADIOGRAPH, Field.LABEL, Field.UNBIASED})
    search: ClassVar[Mapping[str, Sequence[Any]]] = {
        "last_layer_epochs": (30, 100, 300),
        "l1": (0.0, 0.001, 0.01, 0.1),
    }

    def __init__(self, network: nn.Module, head: nn.Linear, settings: Settings, context: Context) -> None:
        """Train `network`, and then `head` alone; before the subset is counted every class weighs 1."""
        super().__init__(network, head, settings, context)
        self.assistant.register_buffer("weights", torch.ones(count_classes(head.out_features)))

    def phases(self, seen: Callable[[], Loader]) -> Iterator[Phase]:
        """ERM on the biased radiographs, then the last layer on the unbiased ones."""
        if self._balance(seen()):  # without a subset the loop refuses the last phase: then better at once
            yield Phase(_BiasedOnly(self.network, self.head, erm.Settings(), self.context), name="features")
        self.network.requires_grad_(False)
        for parameter in self.head.parameters():
            nn.init.zeros_(parameter.requires_grad_(True))
        yield Phase(self, loop={"epochs": self.settings.last_layer_epochs}, unbiased_only=True)

    def loss(self, batch: Batch) -> Tensor:
        """The class-weighted mean over the batch, and the penalty."""
        return self.selection_loss(batch) + self.settings.l1 * self.head.weight.abs().sum()

    def selection_loss(self, batch: Batch) -> Tensor:
        """The class-weighted mean cross-entropy over the batch."""
        training = self.network.training
        self.network.eval()  # frozen are the batch norms' statistics too
        logits = self.network(batch.radiograph)
        self.network.train(training)
        labels, weights = batch[Field.LABEL], self.assistant.get_buffer("weights")
        return (weights[labels.long()] * cross_entropy(logits, labels)).mean()

    def _balance(self, seen: Loader) -> bool:
        """Weigh the classes so that each counts the same in the unbiased subset; whether there is one."""
        weights = self.assistant.get_buffer("weights")
        counts = torch.zeros(len(weights))
        for batch in seen:
            labels = batch[Field.LABEL][batch[Field.UNBIASED] > 0].long().cpu()
            counts += torch.bincount(labels, minlength=len(counts))
        weights.copy_(counts.sum() / (counts.count_nonzero() * counts).clamp_min(1))
        return bool(counts.any())


class _BiasedOnly(erm.Method):
    """ERM that leaves the unbiased subset to the last layer."""

    def loss(self, batch: Batch) -> Tensor:
        """Cross-entropy, the mean over the radiographs that are not of the subset."""
        losses = cross_entropy(self.network(batch.radiograph), batch[Field.LABEL])
        is_biased = 1 - batch[Field.UNBIASED]
        return (losses * is_biased).sum() / is_biased.sum().clamp_min(1)
