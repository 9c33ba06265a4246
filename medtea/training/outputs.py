"""What a classifier's logits say, whether it has one logit (two classes) or one for each of several classes.

One logit z speaks for class 1: its probability is the sigmoid of z, and class 0 has logit 0 beside it. K > 1 logits go
through a softmax.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """-log of the label's probability, per radiograph: (batch,).

    Args:
        logits: (batch, K).
        labels: (batch,) 0 or 1 for K = 1, else 0 to K - 1; floats, as batches have them.
    """
    if logits.shape[1] == 1:
        return F.binary_cross_entropy_with_logits(logits[:, 0], labels, reduction="none")
    return F.cross_entropy(logits, labels.long(), reduction="none")


def log_probabilities(logits: Tensor) -> Tensor:
    """Log-probability of each class: (batch, K), or (batch, 2) of one logit."""
    return F.log_softmax(class_logits(logits), dim=1)


def class_logits(logits: Tensor) -> Tensor:
    """One logit a class: (batch, K) as it is, or of one logit (batch, 2), whose first is 0."""
    return torch.cat([torch.zeros_like(logits), logits], dim=1) if logits.shape[1] == 1 else logits


def count_classes(logits: int) -> int:
    """Classes that a network with so many logits tells apart."""
    return max(logits, 2)


def predicted(logits: Tensor) -> Tensor:
    """The most probable class of each radiograph, (batch,) integers; of equals, the first."""
    return class_logits(logits).argmax(1)
