"""Layer-wise relevance propagation that can be trained on: LRP-ε heatmaps, at the input and at hidden layers.

    from medtea.lrp import relevance
    heatmap = relevance(network, radiographs, logit=0)          # signed, (batch, channels, height, width)

To train on heatmaps, trace once and call per batch:

    heatmap_pass = HeatmapPass(student, radiographs, layers=["layer1", "layer2"])
    heatmaps = heatmap_pass(radiographs, cotangent)             # cotangent (batch, K): which logit, or which mix
    loss = heatmap_energy_distance(heatmaps.maps["input"], teacher_heatmap)
    loss.backward()                                             # first order; reaches the student's parameters

The files, in the order of the work: trace.py (network -> operators), rules/ (one rule per operator), adjoint.py
(there and back), cotangents.py (which logits), relevance.py (in one call), compare.py (distances between two maps),
background.py (ISNet's losses). decompose.py is no relevance: contextual decomposition, forward along the same trace.
An operator without a rule is refused by name; nothing is passed silently. Covered: convolutional networks of MONAI in
one to three dimensions (ResNet, DenseNet, SENet, EfficientNet, U-Net encoders) and vision transformers; their rules
are those of LRP-ε, z+, z^B (Montavon et al. 2017) and AttnLRP (Achtibat et al. 2024).

LRP is patented and free for research use; gradient × input (ε = 0) is the default here.
"""

from __future__ import annotations

from medtea.lrp.adjoint import HeatmapPass, Heatmaps
from medtea.lrp.compare import (
    DISTANCES,
    cosine_distance,
    heatmap_energy_distance,
    map_correlation,
    over_channels,
    published_distance,
)
from medtea.lrp.cotangents import difference, every_logit, log_odds_of_lowest, one_logit, random_mix, teacher_or_other
from medtea.lrp.relevance import relevance

__all__ = [
    "DISTANCES",
    "HeatmapPass",
    "Heatmaps",
    "cosine_distance",
    "difference",
    "every_logit",
    "heatmap_energy_distance",
    "log_odds_of_lowest",
    "map_correlation",
    "one_logit",
    "over_channels",
    "published_distance",
    "random_mix",
    "relevance",
    "teacher_or_other",
]
