"""ISNet's two losses on a heatmap and a mask: no relevance in the background, and enough of it in the foreground.

From Bassi et al., Nature Communications 15:291, 2024; the hybrid form from the same, IEEE Access 12, 2024.
"""

from __future__ import annotations

import torch
from torch import Tensor


def background_loss(heatmap: Tensor, inside: Tensor, *, decay: float, scale: float) -> Tensor:
    """log(1 + g / E), g the rank-weighted mean of |H| outside over the mean of |H| inside; (...), mean over channels.

    -log(1 - g / (g + E)) in the paper. Global weighted rank pooling: values in descending order, weights d^i.

    Args:
        heatmap: (..., batch, channels, height, width).
        inside: (batch, 1, height, width), 0 or 1.
        decay: d.
        scale: E.
    """
    size = heatmap.abs()
    area = inside.sum((-3, -2, -1)) * heatmap.shape[-3] + 1e-10
    mean_inside = (size * inside).sum((-3, -2, -1)) / area + 1e-10
    outside = (size / mean_inside[..., None, None, None] * (1 - inside)).flatten(-2)
    weights = decay ** torch.arange(outside.shape[-1], device=outside.device, dtype=outside.dtype)
    g = outside.sort(-1, descending=True).values @ weights / weights.sum()
    return torch.log1p(g / scale).mean(-1)


def foreground_loss(total: Tensor, least: float, most: float, *, is_hybrid: bool) -> Tensor:
    """Squared distance of the sum of |H| inside the lungs from [C1, C2] in units of C1; 0 between them.

    The hybrid form goes on from C1 + C2, where the square is 1, with slope 1 in the sum itself.

    Args:
        total: The sums, any shape.
        least: C1.
        most: C2.
        is_hybrid: Linear beyond C1 + C2.
    """
    below = (1 - total / least).clamp_min(0).square()
    above = ((total - most) / least).clamp_min(0).square()
    if is_hybrid:
        above = torch.where(total > least + most, 1 + total - (least + most), above)
    return below + above
