"""GAIN (Li et al. 2018): Grad-CAM maps are trained to cover what the class needs, and to fill the lungs alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from pydantic import Field as Bound
from torch import Tensor, nn
from torch.nn.functional import interpolate

from medtea.core.names import Field
from medtea.core.settings import StrictSettings
from medtea.data.loader import Batch
from medtea.distil.methods import method
from medtea.distil.methods.grad_cam import grad_cam
from medtea.distil.methods.method import Context
from medtea.lrp.trace import evaluating
from medtea.training.activations import activations, gradients, still_statistics
from medtea.training.outputs import cross_entropy, log_probabilities


class Settings(StrictSettings):
    """Settings of GAIN.

    Attributes:
        mining: α, the weight of attention mining.
        supervision: ω, the weight of the masks.
        threshold: σ, above which attention is erased from the radiograph.
        sharpness: How sharply it is.
    """

    mining: float = Bound(1.0, ge=0)
    supervision: float = Bound(10.0, ge=0)
    threshold: float = Bound(0.5, gt=0, lt=1)
    sharpness: float = Bound(10.0, gt=0)


class Method(method.Method[Settings]):
    """CE + α p_y(x less what A attends to) + ω mean (A - lung mask)², A the label's Grad-CAM in [0, 1].

    GAIN_ext (arXiv 1802.10171, equations 1 to 8): x is multiplied by 1 - sigmoid(sharpness (A - σ)). α = 1 and ω = 10
    are the paper's; σ, the sharpness, and that A is divided by its maximum are not in it, and as in code in
    circulation. The score s_y of the paper is taken for the probability, which is bounded. Every radiograph has a mask
    here; in the paper few have, of the class's object, where this is the organ. A is enlarged from the grid of the
    deepest layer that has a side of 4 or more, since fewer cannot fill two lungs. Class 0 of one logit z has the score
    -z. Running statistics are those of whole radiographs.
    """

    sees: ClassVar[frozenset[Field]] = frozenset({Field.RADIOGRAPH, Field.LABEL, Field.LUNG_MASK})
    search: ClassVar[Mapping[str, Sequence[Any]]] = {"mining": (0.1, 1.0), "supervision": (1.0, 10.0, 100.0)}

    def __init__(self, network: nn.Module, head: nn.Linear, settings: Settings, context: Context) -> None:
        """Train `network`, whose last layer is `head`."""
        super().__init__(network, head, settings, context)
        self._layer = ""

    def loss(self, batch: Batch) -> Tensor:
        """The mean over the batch."""
        settings, radiograph, labels = self.settings, batch.radiograph, batch[Field.LABEL]
        self._layer = self._layer or deepest(self.network, self.head, radiograph, self.context.layers)
        found = gradients(
            self.network,
            radiograph,
            lambda logits: score(logits, labels),
            layers=[self._layer],
            at_input=False,
            create_graph=torch.is_grad_enabled(),
        )
        size = list(radiograph.shape[-2:])
        seen = interpolate(over_maximum(grad_cam(found)), size, mode="bilinear", align_corners=False)
        rest = radiograph * torch.sigmoid(settings.sharpness * (settings.threshold - seen))
        with still_statistics(self.network):
            erased = self.network(rest)
        mined = log_probabilities(erased).exp().gather(1, labels.long()[:, None])[:, 0]
        outside = (seen - batch[Field.LUNG_MASK]).square().mean((1, 2, 3))
        classified = cross_entropy(found.logits, labels)
        return (classified + settings.mining * mined + settings.supervision * outside).mean()


@torch.no_grad()
def deepest(network: nn.Module, head: nn.Linear, radiograph: Tensor, layers: Sequence[str]) -> str:
    """The deepest of the layers whose map has a shorter side of 4 pixels or more; the first where none has."""
    with evaluating(network):
        found = activations(network, head, radiograph[:1], layers).layers
    return [layer for layer in layers if min(found[layer].shape[2:]) >= 4 or layer == layers[0]][-1]


def score(logits: Tensor, labels: Tensor) -> Tensor:
    """The label's logit, (batch,); of one logit z it is z or -z."""
    if logits.shape[1] == 1:
        return logits[:, 0] * (2 * labels - 1)
    return logits.gather(1, labels.long()[:, None])[:, 0]


def over_maximum(maps: Tensor) -> Tensor:
    """Maps that are not negative, each over its largest value; what is faint beside its batch mates is left faint."""
    most = maps.amax((1, 2, 3), keepdim=True)
    least = 1e-3 * most.detach().mean() + torch.finfo(maps.dtype).tiny
    return maps / torch.maximum(most, least)
