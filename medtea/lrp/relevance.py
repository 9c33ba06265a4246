"""The heatmap of one logit of any network with known operators, in one call."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from medtea.core.names import INPUT
from medtea.lrp.adjoint import HeatmapPass
from medtea.lrp.cotangents import one_logit
from medtea.lrp.trace import evaluating


def relevance(
    network: nn.Module,
    radiograph: Tensor,
    logit: int = 0,
    *,
    epsilon: float = 0.0,
    relative: bool = False,
    convolutions: Literal["epsilon", "z_plus"] = "epsilon",
    input_box: tuple[float, float] | None = None,
) -> Tensor:
    """Signed relevance of one logit on the radiograph's grid, with the network in eval mode; its mode is put back.

    LRP-ε as the modified gradient times the input (LRP-Flex); ε = 0 is gradient × input. Exactly 0 where the
    radiograph is 0, unless `input_box` is given. Traces the network at every call; build a HeatmapPass to do that once.

    Args:
        network: Returns (batch, K) raw logits.
        radiograph: (batch, channels, height, width).
        logit: Which of the K logits.
        epsilon: ε of every activation, at least 0. There is none at the output layer.
        relative: ε counts in means of |a| of each layer.
        convolutions: "z_plus" follows z+ there (see HeatmapPass).
        input_box: Least and largest value of a radiograph, for z^B at the first layer.

    Returns:
        The radiograph's shape, without a graph.

    Raises:
        UsageError: no such logit, or an operator of the network has no rule.

    References:
        LRP-ε: Bach et al., PLoS ONE 10(7), 2015. LRP-Flex: Bassi et al., IEEE Access 12, 2024.
    """
    with evaluating(network), torch.no_grad():
        heatmap_pass = HeatmapPass(network, radiograph, convolutions=convolutions, input_box=input_box)
        cotangent = one_logit(len(radiograph), heatmap_pass.classes, logit).to(radiograph)
        heatmap: Tensor = heatmap_pass(radiograph, cotangent, epsilon=epsilon, relative=relative).maps[INPUT]
        return heatmap
