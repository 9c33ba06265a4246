"""Layer-wise relevance propagation that can be trained on: LRP-ε heatmaps, at the input and at hidden layers.

    from medtea.lrp import relevance
    heatmap = relevance(network, radiographs, logit=0)          # signed, (batch, channels, height, width)

To train on heatmaps, trace once and call per batch:

    heatmap_pass = HeatmapPass(student, radiographs, layers=["layer1", "layer2"])
    heatmaps = heatmap_pass(radiographs, cotangent)             # cotangent (batch, K): which logit, or which mix
    loss = heatmap_energy_distance(heatmaps.maps["input"], teacher_heatmap)
    loss.backward()                                             # first order; reaches the student's parameters

The files, in the order of the work: trace.py (network -> operators), rules.py (one rule per operator), adjoint.py
(there and back), relevance.py (in one call), compare.py (distances between two maps). An operator without a rule is
refused by name; nothing is passed silently. Convolutional ReLU networks of MONAI (ResNet, DenseNet) and plain PyTorch
are covered; SiLU, GELU, softmax and layer norm are not.

LRP is patented and free for research use; gradient × input (ε = 0) is the default here.
"""

from __future__ import annotations

from medtea.lrp.adjoint import HeatmapPass, Heatmaps
from medtea.lrp.compare import heatmap_energy_distance, map_correlation, published_distance
from medtea.lrp.relevance import relevance

__all__ = [
    "HeatmapPass",
    "Heatmaps",
    "heatmap_energy_distance",
    "map_correlation",
    "published_distance",
    "relevance",
]
