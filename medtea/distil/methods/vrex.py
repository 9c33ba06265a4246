"""V-REx (Krueger et al. 2021): the risks at the hospitals are to be alike, by a penalty on their variance.

With one hospital the variance is 0: it is trained on the small unbiased subset as well, which is a hospital of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from pydantic import Field as Bound
from torch import Tensor, nn

from medtea.core.names import Field
from medtea.core.settings import StrictSettings
from medtea.data.loader import Batch
from medtea.distil.methods import method
from medtea.distil.methods.method import Context
from medtea.training.groups import mean_by_group
from medtea.training.outputs import cross_entropy


class Settings(StrictSettings):
    """Settings of V-REx.

    Attributes:
        penalty: β, the weight of the variance.
        anneal_steps: Until then β is 1.
    """

    penalty: float = Bound(10.0, ge=0)
    anneal_steps: int = Bound(500, ge=0)


class Method(method.Method[Settings]):
    """mean_e R_e + β var_e R_e over the hospitals in the batch.

    arXiv 2003.00688, equation 8 with the mean in the place of the sum; β and the steps are DomainBed's defaults (arXiv
    2007.01434). The paper's own β is 10000 for its coloured digits, after a time without.
    """

    sees: ClassVar[frozenset[Field]] = frozenset({Field.RADIOGRAPH, Field.LABEL, Field.HOSPITAL, Field.UNBIASED})
    search: ClassVar[Mapping[str, Sequence[Any]]] = {"penalty": (1.0, 10.0, 100.0), "anneal_steps": (0, 500)}

    def __init__(self, network: nn.Module, head: nn.Linear, settings: Settings, context: Context) -> None:
        """Train `network`."""
        super().__init__(network, head, settings, context)
        self.assistant.register_buffer("steps", torch.zeros(()))

    def loss(self, batch: Batch) -> Tensor:
        """Mean and variance over the hospitals in the batch."""
        losses = cross_entropy(self.network(batch.radiograph), batch[Field.LABEL])
        risks = mean_by_group(losses, batch[Field.HOSPITAL])
        steps: Tensor = self.assistant.get_buffer("steps")
        penalty = self.settings.penalty if steps.item() >= self.settings.anneal_steps else 1.0
        if self.network.training:
            steps.add_(1)
        return risks.mean() + penalty * risks.var(correction=0)
