"""Score the test radiographs with every network, then the numbers per method and hospital."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import pandas as pd
from pydantic import Field as Bound
from pydantic import field_validator

from medtea.core.names import (
    IndexArtefact,
    LungsArtefact,
    ScoresArtefact,
    Split,
    StudentArtefact,
    TeacherArtefact,
)
from medtea.core.settings import StrictSettings
from medtea.core.work import Stage, Work, read_json, write_atomically, write_json
from medtea.data.index import read_index
from medtea.evaluate.by_hospital import CONTROL, differences_to, gaps, headline, left_out, no_answers, scores_by_group
from medtea.evaluate.calibration import probabilities
from medtea.evaluate.distributions import score_distributions
from medtea.evaluate.heterogeneity import heterogeneity
from medtea.evaluate.scores import score_all
from medtea.evaluate.sites import site_baseline
from medtea.evaluate.subgroups import read_parts, subgroups

OPERATING_POINT = "largest Youden index on IID validation radiographs, carried over"
NO_OPERATING_POINT = "no answer: there are no validation radiographs of hospitals trained at, to choose a threshold on"

Threshold = Annotated[float, Bound(gt=0, lt=1)]


class Settings(StrictSettings):
    """How results are counted.

    Attributes:
        replicates: Bootstrap draws of patients for every 95 % interval.
        thresholds: Of the decision curves, the lowest and the highest probability from which somebody might act.
    """

    replicates: int = Bound(2000, ge=100)
    thresholds: tuple[Threshold, Threshold] = (0.05, 0.95)

    @field_validator("thresholds")
    @classmethod
    def _rising(cls, thresholds: tuple[float, float]) -> tuple[float, float]:
        if thresholds[0] >= thresholds[1]:
            raise ValueError("the first threshold is the lower one, for instance [0.05, 0.5]")
        return thresholds


def run(
    work: Work,
    settings: Settings,
    index: IndexArtefact,
    lungs: LungsArtefact | None,
    teacher: TeacherArtefact,
    students: Sequence[StudentArtefact],
) -> ScoresArtefact:
    """Leave scores.csv and metrics.json.

    AUROCs are logged as auroc/iid/<hospital> and auroc/ood/<hospital>; of several classes accuracy/iid/... and so on.
    """
    stage = work.stage("evaluate", settings, [index, *([lungs] if lungs else []), teacher, *students])
    artefact = ScoresArtefact(stage.folder)
    if stage.is_finished:
        return artefact
    scores = score_all(index, lungs, teacher, students, work.device)
    cards = {"teacher": _card(teacher)} | {read_json(one.card)["name"]: _card(one) for one in students}
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
    entries = scores_by_group(scores, **draws)
    write_json(
        artefact.metrics,
        {
            "headline": headline(scores),
            "methods": dict(cards),
            "scores": entries,
            "gaps": gaps(scores, **draws),
            "differences_to_erm": differences_to(CONTROL, scores, **draws),
            "left_out": left_out(scores),
            "no_answer": no_answers(entries),
            "interval": f"95 %, percentile bootstrap of patients, {settings.replicates} draws",
            "operating_point": OPERATING_POINT if scores["split"].eq(Split.VALIDATION).any() else NO_OPERATING_POINT,
            **probabilities(scores, thresholds=settings.thresholds, **draws),
            "score_distributions": score_distributions(scores),
            "heterogeneity": heterogeneity(scores),
            "sites": site_baseline(scores, read_index(index.index), **draws),
            "subgroups": subgroups(scores, read_parts(index), **draws),
        },
    )
    for method in {entry["method"]: None for entry in entries}:
        with work.tracker.child(method, {}) as tracked:
            tracked.metrics(_logged([entry for entry in entries if entry["method"] == method], headline(scores)))
    work.tracker.artefact(artefact.metrics)
    stage.finish(no_answer=no_answers(entries))


def _card(artefact: TeacherArtefact | StudentArtefact) -> dict[str, Any]:
    """What the report says of a network."""
    card = read_json(artefact.card)
    record = read_json(artefact.folder / "record.json")
    return {
        "sees": card["sees"],
        "sees_at_inference": card["sees_at_inference"],
        "network": card["network"],
        "parameters": card["parameters"],
        "seconds": record["seconds"],
        "selection": card["selection"],
        "options": card.get("options", {}),
    }


def _logged(entries: Sequence[dict[str, Any]], headline: str) -> dict[str, float | None]:
    numbers: dict[str, float | None] = {}
    for entry in entries:
        place = f"{entry['role']}/{entry['group']}"
        numbers[f"{headline}/{place}"] = entry[headline]["value"]
        numbers[f"{headline}_low/{place}"] = entry[headline]["low"]
        numbers[f"{headline}_high/{place}"] = entry[headline]["high"]
    return numbers
