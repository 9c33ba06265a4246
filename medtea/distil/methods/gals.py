"""GALS (Petryk et al. 2022): the loss is to have no input gradient outside of where another's attention lies.

The guide is the lung mask, or the teacher's heatmaps: those of a vision-language teacher are what the paper is about.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field as Bound
from torch import Tensor
from torch.nn.functional import interpolate

from medtea.core.errors import ConfigError, nearest
from medtea.core.names import Field
from medtea.data.loader import Batch
from medtea.distil.methods import rrr
from medtea.training.outputs import cross_entropy


class Settings(rrr.Settings):
    """Settings of GALS.

    Attributes:
        penalty: λ. The published 10,000 stands beside a gradient of the mean over a batch of 96; that is 100 here.
        guide: "lung_mask" or "teacher_heatmap".
        layer: Which of the teacher's heatmaps: "deepest", as coarse as the Grad-CAM of the paper, or a stored layer.
    """

    penalty: float = Bound(100.0, ge=0)
    guide: Literal["lung_mask", "teacher_heatmap"] = "lung_mask"
    layer: str = "deepest"


class Method(rrr.Method):
    """CE + λ mean |(1 - A) * d CE/dx|, A the guide in [0, 1]; means over the batch, channels and pixels.

    arXiv 2203.10180 (CVPR 2022), with the L1 of the authors' code for Waterbirds. A heatmap is |R| over its maximum,
    brought to the radiograph's grid; as in the code, a radiograph whose map is zero everywhere has no penalty.
    """

    settings: Settings
    search: ClassVar[Mapping[str, Sequence[Any]]] = {"penalty": (1.0, 10.0, 100.0, 1000.0)}

    @classmethod
    def sees_with(cls, settings: rrr.Settings) -> frozenset[Field]:
        """The guide is the mask or the teacher's heatmap, never both."""
        is_mask = isinstance(settings, Settings) and settings.guide == "lung_mask"
        return (cls.sees - {Field.LUNG_MASK}) | {Field.LUNG_MASK if is_mask else Field.TEACHER_HEATMAP}

    def explained(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The cross-entropy, (batch,)."""
        return cross_entropy(logits, labels)

    def allowed(self, batch: Batch) -> Tensor:
        """The guide, (batch, 1, height, width) in [0, 1]."""
        if self.settings.guide == "lung_mask":
            return batch[Field.LUNG_MASK]
        maps = {layer: found for layer, found in batch.teacher_heatmaps.items() if found[0, 0].numel() > 1}
        layer = list(maps)[-1] if self.settings.layer == "deepest" else self.settings.layer
        if layer not in maps:
            raise ConfigError(f"distil.gals.options.layer: no map of '{layer}' is stored. {nearest(layer, maps)}")
        return attention(maps[layer], batch.radiograph.shape[-2:])

    def size(self, outside: Tensor) -> Tensor:
        """The mean of absolute values, (batch,)."""
        return outside.abs().mean((1, 2, 3))


def attention(heatmap: Tensor, size: Sequence[int]) -> Tensor:
    """|R| over its maximum on a grid of that size, (batch, 1, height, width); 1 everywhere where R is 0 everywhere."""
    strength = interpolate(heatmap.abs().sum(1, keepdim=True), list(size), mode="bilinear", align_corners=False)
    most = strength.amax((1, 2, 3), keepdim=True)
    return (strength / most).where(most > 0, 1.0)
