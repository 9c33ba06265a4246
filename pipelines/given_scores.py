"""Report on predictions that any system made: no image is read and nothing is trained."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from medtea.core.names import Artefact
from medtea.core.settings import StrictSettings
from medtea.core.work import Work
from medtea.evaluate.scores_file import Settings as ScoresSettings
from medtea.evaluate.scores_stage import run as evaluate_scores
from medtea.evaluate.stage import Settings as EvaluateSettings
from medtea.report.stage import Settings as ReportSettings
from medtea.report.stage import run as report


class Settings(StrictSettings):
    """One file of predictions.

    Attributes:
        seed: Of the draws.
        seeds: None: nothing is trained.
        device: No network is run.
        scores: The file, and what its hospitals are for.
        evaluate: How results are counted.
        report: What the page says about itself.
    """

    pipeline: Literal["given_scores"] = "given_scores"
    seed: int = 0
    seeds: tuple[()] = ()
    device: Literal["cpu"] = "cpu"
    scores: ScoresSettings
    evaluate: EvaluateSettings = EvaluateSettings()
    report: ReportSettings = ReportSettings(title="Validation of given predictions")


def run(work: Work, settings: Settings) -> Iterator[Artefact]:
    """The method section."""
    index, scores = evaluate_scores(work, settings.evaluate, settings.scores)
    yield index
    yield scores
    yield report(
        work,
        settings.report,
        index=index,
        scores=scores,
        settings_of_run=settings.model_dump(mode="json", exclude={"scores": {"path"}}),
    )
