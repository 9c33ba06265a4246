"""The two-network answer: a classifier that is shown lungs only, also at inference, where it needs the segmenter.

What a student without a segmenter is measured against. It looks at the same picture as the teacher `masked_classifier`
and differs from it in its initial weights and its loop's settings alone; next to another teacher it is the control.
Where the shortcut lies in the lungs, or moves the segmenter's mask, it is caught as well.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from medtea.core.names import Field
from medtea.core.settings import StrictSettings
from medtea.data.loader import Batch
from medtea.data.shown import shown
from medtea.distil.methods import method
from medtea.training.outputs import cross_entropy


class Settings(StrictSettings):
    """It has none."""


class Method(method.Method[Settings]):
    """Cross-entropy on the lungs alone: outside the mask all is 0 (the paper's teacher, arXiv 2407.09788).

    Inside, the grey scale is the lungs' own (`lungs_only`), which is ours.
    """

    sees: ClassVar[frozenset[Field]] = frozenset({Field.RADIOGRAPH, Field.LUNG_MASK, Field.LABEL})
    looks_at: ClassVar[frozenset[Field]] = frozenset({Field.RADIOGRAPH, Field.LUNG_MASK})

    def loss(self, batch: Batch) -> Tensor:
        """The mean over the batch."""
        logits = self.network(shown(batch.only(self.looks_at)))
        return cross_entropy(logits, batch[Field.LABEL]).mean()
