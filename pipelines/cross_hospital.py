"""Train at some hospitals, report at a hospital that no training or selection step saw.

Each artefact is yielded as soon as it is finished, so that a caller may stop after any stage.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import Field, field_validator

from medtea.audit.stage import Settings as AuditSettings
from medtea.audit.stage import run as audit
from medtea.core.names import Artefact, IndexArtefact
from medtea.core.settings import StrictSettings
from medtea.core.work import Work
from medtea.distil.stage import Settings as DistilSettings
from medtea.distil.stage import run as distil
from medtea.evaluate.stage import Settings as EvaluateSettings
from medtea.evaluate.stage import run as evaluate
from medtea.ingest.stage import Settings as IngestSettings
from medtea.ingest.stage import run as ingest
from medtea.report.stage import Settings as ReportSettings
from medtea.report.stage import run as report
from medtea.segment.stage import Settings as SegmentSettings
from medtea.segment.stage import run as segment
from medtea.teach.stage import Settings as TeachSettings
from medtea.teach.stage import run as teach

OTHER_NETWORKS = ("teacher", "segmenter")
"""What no student may be called: the names in results and in tracking are one per network."""


class Experiment(StrictSettings):
    """The sections that every pipeline here has.

    Attributes:
        seed: Of all that is drawn.
        seeds: If there are any, the whole experiment is run with each of them and comes out as one table.
        processes: Of a sweep over seeds: how many networks are trained at a time.
        device: "auto": a GPU where there is one.
        teach: The teacher.
        distil: The students.
        evaluate: How results are counted.
    """

    seed: int = 0
    seeds: tuple[int, ...] = ()
    processes: int = Field(1, ge=1)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    teach: TeachSettings = TeachSettings()
    distil: tuple[DistilSettings, ...] = Field(
        (DistilSettings(method="tea"), DistilSettings(method="erm"), DistilSettings(method="logit_distil")),
        min_length=1,
    )
    evaluate: EvaluateSettings = EvaluateSettings()

    @field_validator("distil")
    @classmethod
    def _distinct_names(cls, students: tuple[DistilSettings, ...]) -> tuple[DistilSettings, ...]:
        names = [student.name for student in students]
        if len({*names, *OTHER_NETWORKS}) < len(names) + len(OTHER_NETWORKS):
            raise ValueError("two networks have one name (or 'teacher', 'segmenter'); give each student its own `name`")
        return students


class Wings(Experiment):
    """The sections of a pipeline on radiographs of several hospitals."""

    ingest: IngestSettings
    segment: SegmentSettings = SegmentSettings()
    audit: AuditSettings = AuditSettings()
    report: ReportSettings = ReportSettings()


class Settings(Wings):
    """One experiment."""

    pipeline: Literal["cross_hospital"] = "cross_hospital"


def run(work: Work, settings: Settings) -> Iterator[Artefact]:
    """The method section."""
    index = ingest(work, settings.ingest)
    yield index
    yield from from_index(work, settings, index)


def from_index(work: Work, settings: Wings, index: IndexArtefact) -> Iterator[Artefact]:
    """All that follows once there is an index."""
    lungs = segment(work, settings.segment, index)
    yield lungs
    teacher = teach(work, settings.teach, index, lungs)
    yield teacher
    students = []
    for student in settings.distil:
        students.append(distil(work, student, index, teacher))
        yield students[-1]
    scores = evaluate(work, settings.evaluate, index, lungs, teacher, students)
    yield scores
    outcomes = audit(work, settings.audit, index, lungs, teacher, students, settings.evaluate.models)
    yield outcomes
    yield report(
        work,
        settings.report,
        index=index,
        lungs=lungs,
        scores=scores,
        outcomes=outcomes,
        settings_of_run=settings.model_dump(mode="json", exclude={"evaluate": {"models": {"__all__": {"path"}}}}),
    )
