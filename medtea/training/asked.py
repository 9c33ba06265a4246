"""A trained teacher that is asked on the way: its activations and plain gradients of the batch at hand."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from medtea.core.errors import UsageError
from medtea.data.loader import Batch
from medtea.data.shown import shown
from medtea.training.activations import Activations, Gradients, activations, gradients


class AskedTeacher:
    """The teacher in evaluation mode, always, and frozen. It is shown its own part of the batch (`for_teacher`)."""

    def __init__(self, network: nn.Module, head: nn.Linear, layers: Sequence[str]) -> None:
        """Ask `network` for its outputs at `layers`."""
        self._network = network.eval().requires_grad_(False)
        self._head = head
        self._layers = list(layers)

    @torch.no_grad()
    def look(self, batch: Batch) -> Activations:
        """Its activations and logits."""
        x = self._shown(batch)
        return activations(self._network, self._head, x, self._layers)

    def slopes(self, batch: Batch, cotangent: Tensor) -> Gradients:
        """Its gradient of <cotangent, logits>, without a graph."""
        x = self._shown(batch)
        return gradients(self._network, x, cotangent, layers=self._layers)

    def _shown(self, batch: Batch) -> Tensor:
        if batch.for_teacher is None:
            raise UsageError("This batch was loaded without what the teacher is shown.")
        x = shown(batch.for_teacher)
        self._network.to(x.device)  # sent to another process, it came without a device of its own
        return x
