"""Train on a set of images with a known shortcut, and report where it is gone or turned round. No lungs, no audit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from medtea.core.names import Artefact
from medtea.core.work import Work
from medtea.distil.stage import run as distil
from medtea.evaluate.stage import run as evaluate
from medtea.scenes.stage import Settings as ScenesSettings
from medtea.scenes.stage import run as scenes
from medtea.teach.stage import run as teach

from .cross_hospital import Experiment


class Settings(Experiment):
    """One experiment."""

    pipeline: Literal["scenes"] = "scenes"
    scenes: ScenesSettings


def run(work: Work, settings: Settings) -> Iterator[Artefact]:
    """The method section."""
    index = scenes(work, settings.scenes)
    yield index
    teacher = teach(work, settings.teach, index)
    yield teacher
    students = []
    for student in settings.distil:
        students.append(distil(work, student, index, teacher))
        yield students[-1]
    yield evaluate(work, settings.evaluate, index, None, teacher, students)
