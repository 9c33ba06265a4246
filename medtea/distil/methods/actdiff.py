"""ActDiff (Viviano et al. 2021): with and without what is outside the lungs, the network is to be active alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field as Bound
from torch import Tensor

from medtea.core.names import Field
from medtea.core.settings import StrictSettings
from medtea.data.loader import Batch
from medtea.distil.methods import method
from medtea.training.activations import activations, still_statistics
from medtea.training.outputs import cross_entropy


class Settings(StrictSettings):
    """Settings of ActDiff.

    Attributes:
        penalty: λ, the weight of the difference.
        outside: "shuffled": the pixels outside the lungs change places, so that only their arrangement is lost.
            "removed": they are 0, as the masked teacher sees it.
        layers: "features": what the last layer is given. "all": the hidden layers as well.
    """

    penalty: float = Bound(1.0, ge=0)
    outside: Literal["shuffled", "removed"] = "shuffled"
    layers: Literal["features", "all"] = "features"


class Method(method.Method[Settings]):
    """CE of the whole radiograph + λ mean over layers of ||a(x) - a(x masked)||, the mean over the batch.

    "Saliency is a possible red herring when diagnosing poor generalization" (ICLR 2021). Shuffling, λ = 1 and the
    features alone are those of the authors' code; the paper adds up layers. Its norm is over all of a layer here, where
    the code's is over the last axis alone. Validation has the penalty too, with one shuffling for all.
    Running statistics are those of whole radiographs.
    """

    sees: ClassVar[frozenset[Field]] = frozenset({Field.RADIOGRAPH, Field.LABEL, Field.LUNG_MASK})
    search: ClassVar[Mapping[str, Sequence[Any]]] = {
        "penalty": (0.01, 0.1, 1.0, 10.0),
        "outside": ("shuffled", "removed"),
        "layers": ("features", "all"),
    }

    def loss(self, batch: Batch) -> Tensor:
        """The mean over the batch."""
        layers = self.context.layers if self.settings.layers == "all" else ()
        with still_statistics(self.network):
            masked = activations(self.network, self.head, self.masked(batch), layers)
        whole = activations(self.network, self.head, batch.radiograph, layers)
        pairs = [(whole.features, masked.features), *((whole.layers[one], masked.layers[one]) for one in layers)]
        differences = [torch.linalg.vector_norm((a - b).flatten(1), dim=1) for a, b in pairs]
        penalty = self.settings.penalty * torch.stack(differences).mean()
        return cross_entropy(whole.logits, batch[Field.LABEL]).mean() + penalty

    def masked(self, batch: Batch) -> Tensor:
        """The radiograph with nothing, or nothing in its place, outside the lungs."""
        radiograph, mask = batch.radiograph, batch[Field.LUNG_MASK]
        if self.settings.outside == "removed":
            return radiograph * mask
        pixels = mask[0].numel()
        if self.network.training:
            keys = torch.rand(len(batch), pixels)
        else:
            keys = torch.rand(pixels, generator=torch.Generator().manual_seed(0)).expand(len(batch), pixels)
        return shuffled_outside(radiograph, mask, keys.to(radiograph))


def shuffled_outside(radiograph: Tensor, mask: Tensor, keys: Tensor) -> Tensor:
    """The radiograph with its pixels outside the mask in the order of their keys; all channels move together.

    Args:
        radiograph: (batch, channels, height, width).
        mask: (batch, 1, height, width), 0 or 1.
        keys: (batch, height * width) in [0, 1).
    """
    inside = mask.flatten(1)
    places = torch.argsort(inside, dim=1, stable=True)[:, None].expand_as(radiograph.flatten(2))
    sources = torch.argsort(keys + 2 * inside, dim=1)[:, None].expand_as(places)
    flat = radiograph.flatten(2)
    moved = flat.scatter(2, places, flat.gather(2, sources)).view_as(radiograph)
    return torch.where(mask > 0, radiograph, moved)
