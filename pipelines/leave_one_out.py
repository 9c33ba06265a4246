"""Each hospital in turn is left out of training and selection, and reported on; one page of all of them.

The folds are ordinary runs of cross_hospital up to their evaluation, below the run folder: `medtea run` goes on where
it was. Every number of the page is of networks that never saw the hospital it is of.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import model_validator

from medtea.core.names import Artefact, IndexArtefact, ScoresArtefact
from medtea.core.tracking import NullTracker
from medtea.core.work import Work
from medtea.evaluate.folds import Fold
from medtea.evaluate.folds import run as evaluate_folds
from medtea.report.stage import run as report

from . import cross_hospital

NOTE = (
    "Each hospital was left out of training and selection in turn: the numbers of a method are of another network at "
    "each hospital, trained on the others. They say how the method does, and not how one network does."
)


class Settings(cross_hospital.Wings):
    """One experiment; `ingest.train` lists the hospitals that are left out in turn, and `ingest.external` none."""

    pipeline: Literal["leave_one_out"] = "leave_one_out"
    seeds: tuple[()] = ()

    @model_validator(mode="after")
    def _all_in_turn(self) -> Settings:
        if self.ingest.external:
            raise ValueError(
                "leave_one_out makes each hospital of ingest.train external in turn; empty ingest.external"
            )
        if len(self.ingest.train) < 3:
            raise ValueError("leave_one_out needs three hospitals or more in ingest.train, to learn from two at least")
        return self


def run(work: Work, settings: Settings) -> Iterator[Artefact]:
    """The method section."""
    folds = []
    for place, hospital in enumerate(settings.ingest.train):
        work.say(f"fold {place + 1} of {len(settings.ingest.train)}: {hospital} is left out")
        folds.append(_fold(work, settings, place))
    index, scores = evaluate_folds(work, settings.evaluate, folds)
    yield index
    yield scores
    said = settings.report.model_copy(update={"notes": (*settings.report.notes, NOTE)})
    yield report(
        work, said, index=index, scores=scores, settings_of_run=settings.model_dump(mode="json", exclude=NOT_SHOWN)
    )


NOT_SHOWN = {"evaluate": {"models": {"__all__": {"path"}}}}
"""Where on this machine a model lies."""


def _fold(work: Work, settings: Settings, place: int) -> Fold:
    """The run without one hospital, up to its evaluation."""
    hospitals = settings.ingest.train
    others = (*hospitals[:place], *hospitals[place + 1 :])
    ingest = settings.ingest.model_copy(update={"train": others, "external": (hospitals[place],)})
    own = cross_hospital.Settings(
        **{name: getattr(settings, name) for name in cross_hospital.Wings.model_fields if name != "ingest"},
        ingest=ingest,
    )
    fold = Work(work.folder / f"fold_{place}", work.seed, NullTracker(), say=work.say, device=work.device)
    for artefact in cross_hospital.run(fold, own):
        if isinstance(artefact, ScoresArtefact):
            break
    return IndexArtefact(fold.folder / "ingest"), ScoresArtefact(fold.folder / "evaluate")
