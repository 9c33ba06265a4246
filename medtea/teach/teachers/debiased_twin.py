"""A classifier that is shown each image's debiased twin: the same object without what biases it.

What the twin lacks (a digit's colour, the place behind a bird) can carry no relevance, so its heatmaps are of the
object alone. The student sees the biased image.
"""

from __future__ import annotations

from typing import ClassVar

from medtea.core.names import Field
from medtea.core.settings import StrictSettings
from medtea.teach.teachers import teacher


class Settings(StrictSettings):
    """It has none."""


class Teacher(teacher.Teacher[Settings]):
    """Cross-entropy on the twin (the teacher of TEA for COLOURED MNIST, arXiv 2407.09788)."""

    sees: ClassVar[frozenset[Field]] = frozenset({Field.TWIN, Field.LABEL})
    looks_at: ClassVar[frozenset[Field]] = frozenset({Field.TWIN})
