"""CDEP (Rieger et al. 2020): what lies outside the lungs is to have no part in the logits' contextual decomposition."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field as Bound
from torch import Tensor, nn

from medtea.core.errors import ConfigError
from medtea.core.names import Field
from medtea.core.settings import StrictSettings
from medtea.data.loader import Batch
from medtea.distil.methods import method
from medtea.distil.methods.method import Context
from medtea.lrp.decompose import ContextualDecomposition
from medtea.training.outputs import cross_entropy


class Settings(StrictSettings):
    """Settings of CDEP.

    Attributes:
        penalty: λ. With the published part the authors have 10 for skin lesions, and tried 1 to 10,000 on digits; the
            share takes less.
        part: "share": |r| / (|r| + |i|), in which a background that speaks against a class counts as much as one that
            speaks for it. "published": sigmoid(r - i), which needs a logit for every class.
    """

    penalty: float = Bound(0.3, ge=0)
    part: Literal["share", "published"] = "share"


class Method(method.Method[Settings]):
    """CE + λ mean over logits of the background's part; r what of a logit is due to it, i the rest.

    "Interpretations are useful" (arXiv 1909.13584, equation 5, with nothing as the wanted explanation). The authors'
    code takes the softmax of (r, i), which is 1/2 where there is no background and falls as the background speaks
    against every class, or the rest for every class: a corner that names the label can satisfy it, and with one logit
    it would reward a background that speaks against class 1. So the share is the default, and is ours. Logits and parts
    come from one pass; theirs decomposes in evaluation mode, and knows no batch norm.
    """

    sees: ClassVar[frozenset[Field]] = frozenset({Field.RADIOGRAPH, Field.LABEL, Field.LUNG_MASK})
    search: ClassVar[Mapping[str, Sequence[Any]]] = {
        "penalty": (0.1, 0.3, 1.0, 10.0),
        "part": ("share", "published"),
    }

    def __init__(self, network: nn.Module, head: nn.Linear, settings: Settings, context: Context) -> None:
        """Train `network`, whose last layer is `head`.

        Raises:
            ConfigError: the published form with one logit.
        """
        super().__init__(network, head, settings, context)
        if settings.part == "published" and head.out_features == 1:
            raise ConfigError("distil.cdep.options.part: 'published' needs a logit for every class; set 'share'.")
        self._decomposition: ContextualDecomposition | None = None

    def loss(self, batch: Batch) -> Tensor:
        """The mean over the batch."""
        radiograph = batch.radiograph
        self._decomposition = self._decomposition or ContextualDecomposition(self.network, radiograph)
        lungs, background = self._decomposition(radiograph, batch[Field.LUNG_MASK])
        if self.settings.part == "published":
            part = torch.sigmoid(background - lungs)
        else:
            size = background.abs()
            part = size / (size + lungs.abs() + torch.finfo(size.dtype).eps)
        return cross_entropy(lungs + background, batch[Field.LABEL]).mean() + self.settings.penalty * part.mean()

    def __getstate__(self) -> dict[str, Any]:
        """What is sent to another process: all but the trace, which is made anew there."""
        return vars(self) | {"_decomposition": None}
