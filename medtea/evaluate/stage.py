"""Score the test radiographs with every network, then the numbers per method and hospital."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import pandas as pd
from pydantic import Field as Bound
from pydantic import field_validator

from medtea.core.errors import ConfigError
from medtea.core.names import (
    IndexArtefact,
    LungsArtefact,
    ScoresArtefact,
    Split,
    StudentArtefact,
    TeacherArtefact,
)
from medtea.core.settings import StrictSettings
from medtea.core.work import Stage, Work, digest_of, read_json, write_atomically, write_json
from medtea.data.index import read_index
from medtea.evaluate.by_hospital import OperatingPoint, headline, left_out, no_answers, scores_by_group
from medtea.evaluate.calibration import probabilities
from medtea.evaluate.cards import card_of, card_of_given
from medtea.evaluate.datasets import datasets_of
from medtea.evaluate.differences import CONTROL, between_hospitals, differences_to, gaps
from medtea.evaluate.distributions import score_distributions
from medtea.evaluate.heterogeneity import heterogeneity
from medtea.evaluate.logged import metrics_of
from medtea.evaluate.scores import score_all
from medtea.evaluate.sites import site_baseline
from medtea.evaluate.subgroups import read_parts, subgroups
from medtea.training.given.model import Settings as GivenModel
from medtea.training.score_given import digest_of_given

NO_OPERATING_POINT = "no answer: there are no validation radiographs of hospitals trained at, to choose a threshold on"

Threshold = Annotated[float, Bound(gt=0, lt=1)]


class Settings(StrictSettings):
    """How results are counted.

    Attributes:
        replicates: Bootstrap draws of patients for the 95 % interval of a number that has no closed form.
        operating_point: How the threshold of binary rates is chosen on IID validation radiographs: "youden", or a
            least "sensitivity" or "specificity" there.
        target: That least sensitivity or specificity.
        thresholds: Of the decision curves, the lowest and the highest probability from which somebody might act.
        models: Networks that others trained, to be scored beside ours (see docs/given_models.md).
    """

    replicates: int = Bound(2000, ge=100)
    operating_point: Literal["youden", "sensitivity", "specificity"] = "youden"
    target: float = Bound(0.9, gt=0, lt=1)
    thresholds: tuple[Threshold, Threshold] = (0.05, 0.95)
    models: tuple[GivenModel, ...] = ()

    @field_validator("thresholds")
    @classmethod
    def _rising(cls, thresholds: tuple[float, float]) -> tuple[float, float]:
        if thresholds[0] >= thresholds[1]:
            raise ValueError("the first threshold is the lower one, for instance [0.05, 0.5]")
        return thresholds

    @field_validator("models")
    @classmethod
    def _distinct_names(cls, models: tuple[GivenModel, ...]) -> tuple[GivenModel, ...]:
        names = [model.name for model in models]
        if len(set(names)) < len(names):
            raise ValueError("two models have one name; give each its own `name`")
        return models

    def without_places(self) -> Settings:
        """The same without the models' paths: a path is of one machine, and a record names a model by its digest."""
        return self.model_copy(update={"models": tuple(one.model_copy(update={"path": ""}) for one in self.models)})


def run(
    work: Work,
    settings: Settings,
    index: IndexArtefact,
    lungs: LungsArtefact | None,
    teacher: TeacherArtefact,
    students: Sequence[StudentArtefact],
) -> ScoresArtefact:
    """Leave scores.csv and metrics.json.

    Every estimate is tracked by method and hospital, as auroc/ood/montgomery (see docs/tracking.md).

    Raises:
        ConfigError: a given model has the name of one of ours, cannot be opened, or does not fit.
    """
    cards = {"teacher": card_of(teacher)} | {read_json(one.card)["name"]: card_of(one) for one in students}
    twice = next((model.name for model in settings.models if model.name in cards), None)
    if twice is not None:
        raise ConfigError(f"evaluate.models: '{twice}' is the name of a network of this run. Give it another `name`.")
    inputs = [index, *([lungs] if lungs else []), teacher, *students]
    source = digest_of([digest_of_given(model) for model in settings.models]) if settings.models else ""
    stage = work.stage("evaluate", settings.without_places(), inputs, source=source)
    artefact = ScoresArtefact(stage.folder)
    if stage.is_finished:
        return artefact
    scores = score_all(index, lungs, teacher, students, work.device, settings.models)
    cards |= {model.name: card_of_given(model) for model in settings.models}
    leave(work, settings, stage, artefact, index, scores, cards)
    return artefact


def leave(
    work: Work,
    settings: Settings,
    stage: Stage,
    artefact: ScoresArtefact,
    index: IndexArtefact,
    scores: pd.DataFrame,
    cards: Mapping[str, Mapping[str, Any]],
) -> None:
    """Write the scores and all numbers that follow from them, log them, and finish the stage.

    Args:
        work: The run.
        settings: How results are counted.
        stage: At work.
        artefact: Its folder.
        index: Whose radiographs they are.
        scores: One row per method and radiograph of validation and test (columns: medtea.evaluate.scores).
        cards: What is known of each method, by its name.
    """
    write_atomically(artefact.scores, lambda file: file.write(scores.to_csv(index=False).encode()))
    draws = {"replicates": settings.replicates, "seed": work.seed}
    point = OperatingPoint(settings.operating_point, settings.target)
    entries = scores_by_group(scores, **draws, point=point)
    table = read_index(index.index)
    written = {
        "headline": headline(scores),
        "methods": dict(cards),
        "scores": entries,
        "gaps": gaps(scores),
        "differences_to_erm": differences_to(CONTROL, scores),
        "differences_between_hospitals": between_hospitals(scores),
        "left_out": left_out(scores),
        "no_answer": no_answers(entries),
        "interval": f"95 % by patient; each number says which; a bootstrap has {settings.replicates} draws",
        "operating_point": point.words if scores["split"].eq(Split.VALIDATION).any() else NO_OPERATING_POINT,
        **probabilities(scores, thresholds=settings.thresholds, **draws),
        "score_distributions": score_distributions(scores),
        "heterogeneity": heterogeneity(scores),
        "sites": site_baseline(scores, table, **draws),
        "subgroups": subgroups(scores, read_parts(index), **draws),
    }
    write_json(artefact.metrics, written)
    datasets = datasets_of(table)
    work.tracker.datasets(datasets)
    for method in {entry["method"]: None for entry in entries}:
        with work.tracker.child(method, {}) as tracked:
            tracked.metrics(metrics_of(method, written))
            tracked.datasets(datasets)
    work.tracker.artefact(artefact.metrics)
    stage.finish(no_answer=no_answers(entries))
