"""LRP and captum's explainers through one door, for looking and for audits; none of captum's is trained through.

from medtea.explain import explain
heatmap = explain(network, radiographs, by="integrated_gradients")     # signed, on the radiograph's grid
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from captum.attr import IntegratedGradients, LayerAttribution, LayerGradCam, Occlusion, Saliency
from torch import Tensor, nn

from medtea.core.errors import UsageError, nearest
from medtea.lrp import relevance
from medtea.lrp.trace import evaluating


def explain(network: nn.Module, radiograph: Tensor, *, by: str = "lrp", logit: int = 0, **options: Any) -> Tensor:
    """Signed heatmap of one logit on the radiograph's grid; the network is in evaluation mode meanwhile.

    Args:
        network: Radiographs to (batch, K) logits.
        radiograph: (batch, channels, height, width).
        by: "lrp", "integrated_gradients", "saliency", "occlusion" or "grad_cam".
        logit: Which one.
        options: "lrp": epsilon. "integrated_gradients": n_steps (the baseline is black). "occlusion": window, in
            pixels. "grad_cam": layer, a module path.

    Returns:
        The radiograph's shape. Saliency is the plain gradient, with its sign; Grad-CAM has one map, repeated over the
        channels, resized to the radiograph and not cut at 0, so its size means something.

    Raises:
        UsageError: the explainer or the layer is not known, or an option is missing.

    References:
        LRP: Bach et al. 2015. Integrated gradients: Sundararajan et al. 2017. Saliency: Simonyan et al. 2014.
        Occlusion: Zeiler and Fergus 2014. Grad-CAM: Selvaraju et al. 2017; all but LRP by captum.
    """
    if by not in EXPLAINERS:
        raise UsageError(f"by: '{by}' is not known. {nearest(by, EXPLAINERS)}")
    with evaluating(network):
        return EXPLAINERS[by](network, radiograph, logit, options).detach()


def _lrp(network: nn.Module, radiograph: Tensor, logit: int, options: dict[str, Any]) -> Tensor:
    return relevance(network, radiograph, logit, **options)


def _integrated_gradients(network: nn.Module, radiograph: Tensor, logit: int, options: dict[str, Any]) -> Tensor:
    found: Tensor = IntegratedGradients(network).attribute(radiograph, target=logit, **options)
    return found


def _saliency(network: nn.Module, radiograph: Tensor, logit: int, options: dict[str, Any]) -> Tensor:
    found: Tensor = Saliency(network).attribute(radiograph.clone().requires_grad_(), target=logit, abs=False, **options)
    return found


def _occlusion(network: nn.Module, radiograph: Tensor, logit: int, options: dict[str, Any]) -> Tensor:
    window = int(options.pop("window", max(radiograph.shape[-1] // 8, 1)))
    with torch.no_grad():
        found: Tensor = Occlusion(network).attribute(
            radiograph,
            target=logit,
            sliding_window_shapes=(radiograph.shape[1], window, window),
            strides=(radiograph.shape[1], max(window // 2, 1), max(window // 2, 1)),
            **options,
        )
    return found


def _grad_cam(network: nn.Module, radiograph: Tensor, logit: int, options: dict[str, Any]) -> Tensor:
    named = dict(network.named_modules())
    layer = options.pop("layer", None)
    if layer not in named:
        raise UsageError(f"grad_cam needs layer=, a module of the network. {nearest(str(layer), filter(None, named))}")
    coarse = LayerGradCam(network, named[layer]).attribute(radiograph, target=logit, **options)
    found: Tensor = LayerAttribution.interpolate(coarse, tuple(radiograph.shape[-2:]), "bilinear")
    return found.expand_as(radiograph)


EXPLAINERS: dict[str, Callable[[nn.Module, Tensor, int, dict[str, Any]], Tensor]] = {
    "lrp": _lrp,
    "integrated_gradients": _integrated_gradients,
    "saliency": _saliency,
    "occlusion": _occlusion,
    "grad_cam": _grad_cam,
}
