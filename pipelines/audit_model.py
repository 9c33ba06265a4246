"""Audit networks that others trained, on radiographs that nothing is trained on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import Field, field_validator

from medtea.audit.stage import Settings as AuditSettings
from medtea.audit.stage import run as audit
from medtea.core.names import Artefact, Role
from medtea.core.settings import StrictSettings
from medtea.core.work import Work
from medtea.ingest.stage import Settings as IngestSettings
from medtea.ingest.stage import run as ingest
from medtea.report.stage import Settings as ReportSettings
from medtea.report.stage import run as report
from medtea.segment.borrowed import run as find_lungs
from medtea.segment.stage import Settings as SegmentSettings
from medtea.training.given.model import Settings as GivenModel


class DataSettings(IngestSettings):
    """The radiographs; labels and hospitals need not be known.

    Attributes:
        positive: As in every ingest; without `positive` and `negative` nothing is labelled.
        negative: The same.
        train: Hospitals that the networks were trained at, of which the test split alone is asked about.
        external: Hospitals that they never saw. When both are empty, these are all.
    """

    positive: tuple[str, ...] = ()
    negative: tuple[str, ...] = ()
    train: tuple[str, ...] = ()
    external: tuple[str, ...] = ()

    def role(self, hospital: str) -> Role:
        """What a hospital is for."""
        return super().role(hospital) if self.train or self.external else Role.EXTERNAL


class Settings(StrictSettings):
    """An audit.

    Attributes:
        seed: Of all that is drawn.
        seeds: None: nothing but a segmenter is trained.
        device: "auto": a GPU where there is one.
        ingest: The radiographs.
        masks: Where lung masks come from, see medtea.segment.borrowed.
        segment: The segmenter, where one is learned.
        models: The networks.
        audit: What is asked.
        report: What the page says about itself.
    """

    pipeline: Literal["audit_model"] = "audit_model"
    seed: int = 0
    seeds: tuple[()] = ()
    device: Literal["auto", "cpu", "cuda"] = "auto"
    ingest: DataSettings
    masks: str = "auto"
    segment: SegmentSettings = SegmentSettings()
    models: tuple[GivenModel, ...] = Field(min_length=1)
    audit: AuditSettings = AuditSettings()
    report: ReportSettings = ReportSettings(title="Audit of a given model")

    @field_validator("models")
    @classmethod
    def _distinct_names(cls, models: tuple[GivenModel, ...]) -> tuple[GivenModel, ...]:
        names = [model.name for model in models]
        if len(set(names)) < len(names):
            raise ValueError("two models have one name; give each its own: NAME=PATH")
        return models


def run(work: Work, settings: Settings) -> Iterator[Artefact]:
    """The method section."""
    index = ingest(work, settings.ingest)
    yield index
    lungs = find_lungs(work, settings.segment, index, settings.masks)
    if lungs is not None:
        yield lungs
    outcomes = audit(work, settings.audit, index, lungs, models=settings.models)
    yield outcomes
    yield report(
        work,
        settings.report,
        index=index,
        lungs=lungs,
        outcomes=outcomes,
        settings_of_run=settings.model_dump(mode="json", exclude={"models": {"__all__": {"path"}}, "masks": True}),
    )
