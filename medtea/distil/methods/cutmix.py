"""CutMix (Yun et al. 2019): a rectangle of each radiograph is another one's, and so is as much of its label."""

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
from medtea.distil.methods.mixup import drawn_share, mixed_loss
from medtea.training.outputs import cross_entropy

Box = tuple[slice, slice]


class Settings(StrictSettings):
    """Settings of CutMix.

    Attributes:
        alpha: α of the Beta distribution of λ, the share that stays; 1: every share is as likely.
        probability: Of a batch being cut and mixed at all.
    """

    alpha: float = Bound(1.0, gt=0)
    probability: float = Bound(1.0, ge=0, le=1)


class Method(method.Method[Settings]):
    """CE of x' = M x_i + (1 - M) x_j against y' = λ y_i + (1 - λ) y_j, M 0 in a rectangle of 1 - λ of the area.

    arXiv 1905.04899, equations 1 and 2: λ ~ Beta(α, α), sides sqrt(1 - λ) of the image's. As in the authors' code the
    drawn place is the rectangle's middle, what is beyond the border is cut off and λ counted again from what is left;
    a batch has one rectangle. The probability is 1 in their ImageNet runs and in the paper, 0.5 in their CIFAR runs.
    In validation nothing is mixed, so that the epoch is selected by plain cross-entropy.
    """

    sees: ClassVar[frozenset[Field]] = frozenset({Field.RADIOGRAPH, Field.LABEL})
    search: ClassVar[Mapping[str, Sequence[Any]]] = {"alpha": (0.2, 1.0), "probability": (0.5, 1.0)}

    def loss(self, batch: Batch) -> Tensor:
        """The mean over the batch."""
        radiograph, labels = batch.radiograph, batch[Field.LABEL]
        if not self.network.training or torch.rand(()).item() >= self.settings.probability:
            return cross_entropy(self.network(radiograph), labels).mean()
        box = drawn_box(radiograph.shape[-2], radiograph.shape[-1], drawn_share(self.settings.alpha))
        other = torch.randperm(len(batch))
        mixed, share = pasted(radiograph, radiograph[other], box)
        return mixed_loss(self.network(mixed), labels, labels[other], share)


def drawn_box(height: int, width: int, share: float) -> Box:
    """Rows and columns of a rectangle of 1 - `share` of the area, less what lies beyond the border."""
    box = []
    for side in (height, width):
        half = int(side * (1 - share) ** 0.5) // 2
        middle = int(torch.randint(side, ()))
        box.append(slice(max(middle - half, 0), min(middle + half, side)))
    return box[0], box[1]


def pasted(radiograph: Tensor, others: Tensor, box: Box) -> tuple[Tensor, float]:
    """The radiographs with the others' pixels in the box, and the share of the area that stayed."""
    mixed = radiograph.clone()
    mixed[..., box[0], box[1]] = others[..., box[0], box[1]]
    cut = (box[0].stop - box[0].start) * (box[1].stop - box[1].start)
    return mixed, 1 - cut / (radiograph.shape[-2] * radiograph.shape[-1])
