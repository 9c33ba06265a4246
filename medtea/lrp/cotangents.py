"""Which logit, or which mix of logits, a heatmap explains: one (batch, K) cotangent per step whatever K is.

The teacher's map and the student's must be of the same cotangent.
"""

from __future__ import annotations

import torch
from torch import Tensor

from medtea.core.errors import UsageError


def one_logit(batch: int, classes: int, logit: int = 0) -> Tensor:
    """One-hot: the heatmap of one class.

    Raises:
        UsageError: no such logit.
    """
    if not 0 <= logit < classes:
        raise UsageError(f"logit is {logit}; the network has logits 0 to {classes - 1}.")
    cotangent = torch.zeros(batch, classes)
    cotangent[:, logit] = 1
    return cotangent


def every_logit(batch: int, classes: int) -> Tensor:
    """(classes, batch, classes): the heatmaps of all classes, from one forward; costs a way back for each."""
    return torch.eye(classes)[:, None].expand(classes, batch, classes)


def difference(batch: int) -> Tensor:
    """Second logit less the first: the log-odds of two classes."""
    return torch.tensor([-1.0, 1.0]).expand(batch, 2)


def log_odds_of_lowest(logits: Tensor) -> Tensor:
    """Slope of log p_c - log(1 - p_c), c the class with the lowest logit: 1 for c, less the others' shares of 1 - p_c.

    (batch, K), with the graph of the (batch, K) logits. Raising the lowest class is lowering all others at once, so
    that one map speaks of all classes. Of one logit z, whose classes are 0 and z, it is 1 or -1.

    References:
        Selective ISNet: Bassi et al., IEEE Access 12, 2024.
    """
    if logits.shape[1] == 1:
        return 1.0 - 2.0 * (logits > 0).to(logits.dtype)
    lowest = torch.nn.functional.one_hot(logits.argmin(1), logits.shape[1]).bool()
    others = logits.masked_fill(lowest, -torch.inf).softmax(1)
    return lowest.to(logits.dtype) - others


def random_mix(batch: int, classes: int, generator: torch.Generator) -> Tensor:
    """±1 at random for each radiograph and logit, for squared losses.

    The expectation of ||sum_k u_k (R_k - T_k)||² over u is sum_k ||R_k - T_k||²: all classes at the price of one. For
    two logits it is either their sum or their difference; where only the log-odds count, use `difference`.
    """
    return torch.randint(0, 2, (batch, classes), generator=generator) * 2.0 - 1.0


def teacher_or_other(teacher_logits: Tensor, generator: torch.Generator) -> Tensor:
    """One-hot, as published: half the time the teacher's highest logit, else one of the others at random.

    Args:
        teacher_logits: (batch, K), K at least 2.
        generator: Draws on the CPU.

    Raises:
        UsageError: there is one logit only.

    References:
        Bassi et al., Training with Explanations Alone, arXiv 2407.09788.
    """
    batch, classes = teacher_logits.shape
    if classes < 2:
        raise UsageError("With one logit there is no other to draw. Use one_logit.")
    highest = teacher_logits.argmax(1).cpu()
    steps = torch.randint(1, classes, (batch,), generator=generator)
    keeps = torch.randint(0, 2, (batch,), generator=generator).bool()
    chosen = torch.where(keeps, highest, (highest + steps) % classes)
    return torch.nn.functional.one_hot(chosen, classes).to(teacher_logits.dtype)
