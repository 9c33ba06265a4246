"""How far a student's heatmap is from its teacher's."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from medtea.core.errors import DataError

SMALLEST_SIDE = 8  # the published loss pools while the side stays at least this long
PUBLISHED_FLOOR = 1e-10


def heatmap_energy_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Squared error over the teacher's energy in the batch: sum ||S - T||² / sum ||T||², one number.

    0 when equal, 1 when the student's map is zero everywhere. The scale is the batch's, so a radiograph whose teacher
    map is faint weighs little instead of exploding.

    Args:
        student: Signed heatmaps, (batch, ...).
        teacher: Same shape; gets no gradient.

    Raises:
        DataError: shapes differ.
    """
    _check(student, teacher)
    teacher = teacher.detach()
    return (student - teacher).square().sum() / (teacher.square().sum() + torch.finfo(teacher.dtype).tiny)


def published_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """TEA's published loss: L1 at several scales, over the geometric mean of both maps' mean absolute values.

    Maps are average-pooled by 1, 2, 4, ... while the shorter side stays at least 8. Per scale and radiograph
    g = sqrt(mean|S|) sqrt(mean|T|) + 1e-10, the teacher's part without gradient, and mean|S/g - T/g|; the result is
    the mean over scales and radiographs. For S = c T it is |c - 1| / sqrt(c): scale is matched, not normalised away.

    Args:
        student: Signed heatmaps, (batch, channels, height, width).
        teacher: Same shape; gets no gradient.

    Raises:
        DataError: shapes differ or are not four-dimensional.

    References:
        Bassi et al., Training with Explanations Alone, arXiv 2407.09788.
    """
    _check(student, teacher)
    if student.ndim != 4:
        raise DataError(f"Heatmaps have {student.ndim} dimensions; they must be (batch, channels, height, width).")
    teacher = teacher.detach()
    window, losses = 1, []
    while window == 1 or min(student.shape[2:]) // window >= SMALLEST_SIDE:
        s, t = F.avg_pool2d(student, window), F.avg_pool2d(teacher, window)
        # The square root has no finite slope at 0, where a student that has learnt nothing yet may stand.
        own = s.abs().mean((1, 2, 3), keepdim=True).clamp_min(PUBLISHED_FLOOR**2)
        g = own.sqrt() * t.abs().mean((1, 2, 3), keepdim=True).sqrt() + PUBLISHED_FLOOR
        losses.append(((s - t) / g).abs().mean())
        window *= 2
    return torch.stack(losses).mean()


def cosine_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """1 - cosine similarity per radiograph, the mean over the batch: 0 for S = c T with any c > 0, 2 for c < 0.

    Scale is left free, and with it how sure the student is. The student's norm counts as at least a thousandth of the
    teacher's, so that the slope at a map of zeros is finite; there, and where the teacher's is zero, the distance is 1.

    Args:
        student: Signed heatmaps, (batch, ...).
        teacher: Same shape; gets no gradient.

    Raises:
        DataError: shapes differ.
    """
    _check(student, teacher)
    s, t = student.flatten(1), teacher.detach().flatten(1)
    own, given = s.norm(dim=1), t.norm(dim=1)
    norms = torch.maximum(own, 1e-3 * given) * given
    cosine: Tensor = (s * t).sum(1) / (norms + torch.finfo(t.dtype).tiny)
    return (1 - cosine).mean()


DISTANCES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "energy": heatmap_energy_distance,
    "published": published_distance,
    "cosine": cosine_distance,
}
"""By the name that settings have for them."""


def over_channels(heatmap: Tensor) -> Tensor:
    """The heatmap summed over channels, (batch, 1, height, width): where relevance lies, whatever colour it is on.

    A student sees a red digit where its teacher sees a white one; channel by channel their maps cannot agree.
    """
    return heatmap if heatmap.shape[1] == 1 else heatmap.sum(1, keepdim=True)


def map_correlation(student: Tensor, teacher: Tensor) -> Tensor:
    """Pearson correlation of the two heatmaps, per radiograph: (batch,) in [-1, 1].

    NaN where one of the two is constant: such a radiograph has no answer. Count it; do not average it.

    Args:
        student: Signed heatmaps, (batch, ...).
        teacher: Same shape.

    Raises:
        DataError: shapes differ.
    """
    _check(student, teacher)
    s, t = student.flatten(1), teacher.flatten(1)
    constant = (s == s[:, :1]).all(1) | (t == t[:, :1]).all(1)
    s, t = s - s.mean(1, keepdim=True), t - t.mean(1, keepdim=True)
    correlation = F.cosine_similarity(s, t, dim=1, eps=0.0).clamp(-1, 1)
    return torch.where(constant, torch.nan, correlation)


def _check(student: Tensor, teacher: Tensor) -> None:
    if student.shape != teacher.shape or student.ndim < 2:
        raise DataError(
            f"The student's heatmaps are {tuple(student.shape)} and the teacher's {tuple(teacher.shape)}; both must "
            "be (batch, ...) of one shape."
        )
