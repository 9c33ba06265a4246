"""Input gradient distillation: the gradient of the student's logit at the radiograph is made to match the teacher's.

Explanation matching without the factor of the input (TEA's control, arXiv 2407.09788; the double backward is that of
Ross and Doshi-Velez 2018). A gradient does not vanish where the teacher's input is zero, so that it says less about
what the teacher used.
"""

from __future__ import annotations

from torch import Tensor

from medtea.core.names import INPUT
from medtea.distil.methods import gradient_input
from medtea.lrp import over_channels
from medtea.training.activations import Gradients


class Settings(gradient_input.Settings):
    """Settings of input gradient distillation: those of gradient x input."""


class Method(gradient_input.Method):
    """Distance between d<u, z>/dx of student and teacher, summed over channels, u a ±1 mix of the logits z."""

    @staticmethod
    def explanation(of: Gradients) -> Tensor:
        """The map, (batch, 1, height, width)."""
        return over_channels(of.slopes[INPUT])
