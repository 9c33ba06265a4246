"""Background randomisation: ERM on each radiograph's lungs before the background of another one of the batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from pydantic import Field as Bound
from torch import Tensor

from medtea.core.names import Field
from medtea.core.settings import StrictSettings
from medtea.data.loader import Batch
from medtea.distil.methods import method
from medtea.training.outputs import cross_entropy


class Settings(StrictSettings):
    """Settings of background randomisation.

    Attributes:
        probability: Of a radiograph being given another background.
    """

    probability: float = Bound(1.0, ge=0, le=1)


class Method(method.Method[Settings]):
    """CE of the label on x' = m x_i + (1 - m) b_j, m the lung mask of i, b_j the background of another radiograph j.

    Mixed-Rand of Xiao et al. (arXiv 2006.09994), there a test set and a training set; BG_Random of Ryali et al. (arXiv
    2103.12719), who draw the other image from the batch, as here. They tile the other background from a rectangle free
    of its object; ours stays where it is, so that a marker keeps its place, and the hole where the other's lungs were
    is filled with the mean grey of that background. What is left of the hole's outline is another patient's, drawn
    without regard to the label. A radiograph with an empty lung mask is neither changed nor given to another. In
    validation nothing is changed: the epoch is selected by cross-entropy on the whole radiograph.
    """

    sees: ClassVar[frozenset[Field]] = frozenset({Field.RADIOGRAPH, Field.LABEL, Field.LUNG_MASK})
    search: ClassVar[Mapping[str, Sequence[Any]]] = {"probability": (0.5, 1.0)}

    def loss(self, batch: Batch) -> Tensor:
        """The mean over the batch."""
        radiograph, labels = batch.radiograph, batch[Field.LABEL]
        if self.network.training:
            other = torch.randperm(len(batch))
            is_kept = torch.rand(len(batch)) >= self.settings.probability
            other[is_kept] = torch.arange(len(batch))[is_kept]
            radiograph = on_background_of(other, radiograph, batch[Field.LUNG_MASK])
        return cross_entropy(self.network(radiograph), labels).mean()


def on_background_of(other: Tensor, radiograph: Tensor, lung_mask: Tensor) -> Tensor:
    """Each radiograph's lungs before the background of another.

    Args:
        other: (batch,) place of the one whose background it gets; its own place leaves it as it is.
        radiograph: (batch, channels, height, width).
        lung_mask: (batch, 1, height, width), 0 or 1.
    """
    lungs = lung_mask > 0
    outside = (~lungs).to(radiograph.dtype)
    mean = (radiograph * outside).sum((2, 3), keepdim=True) / outside.sum((2, 3), keepdim=True).clamp_min(1)
    background = torch.where(lungs, mean, radiograph)[other]
    has_lungs = lungs.flatten(1).any(1)
    is_own = other == torch.arange(len(other))
    is_changed = has_lungs & has_lungs[other] & ~is_own.to(has_lungs.device)
    return torch.where(lungs | ~is_changed[:, None, None, None], radiograph, background)
