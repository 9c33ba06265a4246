"""GradMask (Simpson et al. 2019): the contrast of two classes is to have no gradient outside the lungs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from pydantic import Field as Bound
from torch import Tensor

from medtea.distil.methods import rrr
from medtea.training.outputs import class_logits


class Settings(rrr.Settings):
    """Settings of GradMask.

    Attributes:
        penalty: λ.
    """

    penalty: float = Bound(1.0, ge=0)


class Method(rrr.Method):
    """CE + λ sum |A * d(z_y - z_o)/dx|, A = 1 outside the lungs, o the other class; the mean over the batch.

    arXiv 1904.07478, its "contrast" of two classes; more classes are ours: the highest other one. It differs from RRR
    in that a radiograph of which the network is not sure counts as much. λ = 1 and the sum of absolute values are those
    of the authors' later code (Viviano et al., ICLR 2021), which adds up over the batch where this is a mean; the paper
    has a norm.
    """

    search: ClassVar[Mapping[str, Sequence[Any]]] = {"penalty": (0.01, 0.1, 1.0, 10.0)}

    def explained(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The label's logit less the highest other one, (batch,). Of one logit z it is z or -z."""
        of_classes = class_logits(logits)
        is_label = torch.nn.functional.one_hot(labels.long(), of_classes.shape[1]).bool()
        return of_classes[is_label] - of_classes.masked_fill(is_label, -torch.inf).amax(1)

    def size(self, outside: Tensor) -> Tensor:
        """The sum of absolute values, (batch,)."""
        return outside.abs().sum((1, 2, 3))
