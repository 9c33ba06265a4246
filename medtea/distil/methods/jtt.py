"""JTT (Liu et al. 2021): train once by ERM, for a short time; train anew, and weigh what it got wrong the more."""

from __future__ import annotations

import copy
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
from medtea.training.outputs import cross_entropy, predicted
from medtea.training.phases import Phase


class Settings(StrictSettings):
    """Settings of JTT.

    Attributes:
        identify_epochs: T, the epochs of the first training, which is to be short.
        upweight: λ_up, the weight of a radiograph in the error set; 1 elsewhere.
    """

    identify_epochs: int = Bound(5, ge=1)
    upweight: float = Bound(50.0, ge=1)


class Method(method.Method[Settings]):
    """λ_up times the sum of CE over the error set and the sum of CE over the rest, over the sum of the weights.

    Just Train Twice, arXiv 2107.09044, algorithm 1. The error set is what a network of the
    same initial weights gets wrong after T epochs of ERM (the last of them, none selected); the student then starts
    from its initial weights again. The authors' code repeats the error set λ_up times in an epoch; here it is weighted,
    which is the same on average with fewer steps and more spread between batches. Their T is 60 of 300 epochs and λ_up
    100 for Waterbirds, 1 of 50 and 50 for CelebA; T = 5 is ours. They tune both, and select the epoch, by the worst
    group's accuracy in validation, for which groups must be known: here it is cross-entropy there, without weights.
    Their small learning rate and strong weight decay are the loop's to set.
    """

    sees: ClassVar[frozenset[Field]] = frozenset({Field.RADIOGRAPH, Field.LABEL})
    search: ClassVar[Mapping[str, Sequence[Any]]] = {
        "identify_epochs": (1, 2, 5, 10),
        "upweight": (5.0, 20.0, 50.0, 100.0),
    }

    def __init__(self, network: nn.Module, head: nn.Linear, settings: Settings, context: Context) -> None:
        """Train `network`; before the error set is known every index row weighs 1."""
        super().__init__(network, head, settings, context)
        self.assistant.register_buffer("weights", torch.ones(context.rows))

    def phases(self, seen: Callable[[], Loader]) -> Iterator[Phase]:
        """ERM on a copy of the student, then the student."""
        network, head = copy.deepcopy((self.network, self.head))
        short = {"epochs": self.settings.identify_epochs, "select": "last", "patience": 0}
        yield Phase(erm.Method(network, head, erm.Settings(), self.context), name="identify", loop=short)
        self._weigh(network, seen())
        yield Phase(self)

    def loss(self, batch: Batch) -> Tensor:
        """The weighted mean over the batch; over all training radiographs the mean weight is 1."""
        losses = cross_entropy(self.network(batch.radiograph), batch[Field.LABEL])
        weights: Tensor = self.assistant.get_buffer("weights")
        return (weights[torch.from_numpy(batch.rows).to(weights.device)] * losses).mean()

    @torch.no_grad()
    def _weigh(self, network: nn.Module, seen: Loader) -> None:
        """Note the weight of each training radiograph by whether `network` is wrong about it."""
        rows, weights = [], []
        for batch in seen:
            is_error = predicted(network(batch.radiograph)) != batch[Field.LABEL]
            weights.append(torch.where(is_error, self.settings.upweight, 1.0))
            rows.append(torch.from_numpy(batch.rows))
        found, kept = torch.cat(weights), self.assistant.get_buffer("weights")
        kept[torch.cat(rows).to(kept.device)] = (found / found.mean()).to(kept)
