"""The contract of a teacher: what it may see, what of it the network is shown, and its loss."""

from __future__ import annotations

from typing import ClassVar, Protocol

from torch import Tensor, nn

from medtea.core.names import Field
from medtea.data.loader import Batch


class Teacher(Protocol):
    """Every file of this bay has a class `Teacher` of this form.

    Attributes:
        sees: The fields that the loader hands over, in training and when heatmaps are made.
        network: The classifier inside; its heatmaps teach the students.
    """

    sees: ClassVar[frozenset[Field]]
    network: nn.Module

    def shown(self, batch: Batch) -> Tensor:
        """What the network is shown of each radiograph, (batch, 1, size, size); relevance is zero where it is zero."""

    def loss(self, batch: Batch) -> Tensor:
        """The mean training loss."""
