"""A classifier of whole radiographs that is trained on the small unbiased subset alone: there no shortcut helps it.

It needs no segmenter and no twin, but radiographs in which the shortcut is known to say nothing: few, and so it knows
less than a teacher of all. The students train on the large biased set; the bank holds that set's copies and the
specialist's heatmaps of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

from pydantic import Field as Bound

from medtea.core.names import Field
from medtea.core.settings import StrictSettings
from medtea.teach.teachers import teacher
from medtea.training.phases import Phase


class Settings(StrictSettings):
    """Settings of the specialist.

    Attributes:
        pretrain: "none": it starts from random weights and never sees a biased radiograph. "biased": it is trained on
            all training radiographs first, the biased ones among them, and fine-tuned on the subset; what it learnt of
            the shortcut is then forgotten only as far as fine-tuning goes, so compare the two. The card says both.
        pretrain_epochs: Of the first training.
    """

    pretrain: Literal["none", "biased"] = "none"
    pretrain_epochs: int = Bound(20, ge=1)


class Teacher(teacher.Teacher[Settings]):
    """Cross-entropy on the unbiased subset (Boland et al., MELBA 2025:020, arXiv 2511.17421).

    The paper's teacher is a network fine-tuned on a small task-relevant subset; what it was trained on before is not in
    its abstract. Starting from random weights is ours, and the default, since nothing biased can come in by it. Its
    epoch is selected on the subset's own validation radiographs.
    """

    sees: ClassVar[frozenset[Field]] = frozenset({Field.RADIOGRAPH, Field.LABEL, Field.UNBIASED})
    looks_at: ClassVar[frozenset[Field]] = frozenset({Field.RADIOGRAPH})

    def phases(self) -> Iterator[Phase]:
        """On all training radiographs first if asked for, then on the unbiased subset."""
        if self.settings.pretrain == "biased":
            yield Phase(self, "pretrain", {"epochs": self.settings.pretrain_epochs})
        yield Phase(self, unbiased_only=True)
