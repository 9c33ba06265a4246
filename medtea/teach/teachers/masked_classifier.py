"""A classifier that is shown lungs only: outside the lung mask all is 0, inside the grey scale is the lungs' own.

LRP relevance of a zero pixel is exactly zero, so its heatmaps are background-free by construction.
"""

from __future__ import annotations

from typing import ClassVar

from medtea.core.names import Field
from medtea.core.settings import StrictSettings
from medtea.teach.teachers import teacher


class Settings(StrictSettings):
    """It has none."""


class Teacher(teacher.Teacher[Settings]):
    """Cross-entropy on the lungs alone (the teacher of TEA, arXiv 2407.09788; the grey scale of lungs_only is ours)."""

    sees: ClassVar[frozenset[Field]] = frozenset({Field.RADIOGRAPH, Field.LUNG_MASK, Field.LABEL})
    looks_at: ClassVar[frozenset[Field]] = frozenset({Field.RADIOGRAPH, Field.LUNG_MASK})
