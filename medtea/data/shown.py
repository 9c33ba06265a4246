"""What a network is shown of a batch, by what it looks at: the radiograph, its lungs alone, or its debiased twin."""

from __future__ import annotations

from torch import Tensor

from medtea.core.names import Field
from medtea.data.loader import Batch
from medtea.data.lungs import lungs_only


def shown(batch: Batch) -> Tensor:
    """(batch, channels, size, size): the twin if the batch has it, else the lungs alone, else the whole radiograph.

    The batch must have been asked for exactly what the network looks at.
    """
    if batch.has(Field.TWIN):
        return batch[Field.TWIN]
    return lungs_only(batch.radiograph, batch[Field.LUNG_MASK]) if batch.has(Field.LUNG_MASK) else batch.radiograph
