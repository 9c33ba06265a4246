"""The heatmap of one logit of any network with known operators, in one call."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from medtea.core.errors import UsageError
from medtea.lrp.adjoint import HeatmapPass


def relevance(network: nn.Module, radiograph: Tensor, logit: int = 0, *, epsilon: float = 0.0) -> Tensor:
    """Signed relevance of one logit on the radiograph's grid, with the network in eval mode; its mode is put back.

    LRP-ε as the modified gradient times the input (LRP-Flex); ε = 0 is gradient × input. Exactly 0 where the
    radiograph is 0. Traces the network at every call; build a HeatmapPass to do that once.

    Args:
        network: Returns (batch, K) raw logits.
        radiograph: (batch, channels, height, width).
        logit: Which of the K logits.
        epsilon: ε of every ReLU, at least 0. There is none at the output layer.

    Returns:
        The radiograph's shape, without a graph.

    Raises:
        UsageError: no such logit, or an operator of the network has no rule.

    References:
        LRP-ε: Bach et al., PLoS ONE 10(7), 2015. LRP-Flex: Bassi et al., IEEE Access 12, 2024.
    """
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        heatmap_pass = HeatmapPass(network, radiograph)
        if not 0 <= logit < heatmap_pass.classes:
            raise UsageError(f"logit is {logit}; the network has logits 0 to {heatmap_pass.classes - 1}.")
        cotangent = radiograph.new_zeros(len(radiograph), heatmap_pass.classes)
        cotangent[:, logit] = 1
        with torch.no_grad():
            heatmap: Tensor = heatmap_pass(radiograph, cotangent, epsilon=epsilon).maps["input"]
        return heatmap
    finally:
        for module, mode in modes.items():
            module.training = mode
