"""The numbers per method and hospital of a file of predictions, of whatever system they are."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from medtea.core.errors import DataError
from medtea.core.names import IndexArtefact, ScoresArtefact
from medtea.core.pseudonyms import pseudonyms
from medtea.core.settings import expand
from medtea.core.work import Work, digest_of, digest_of_file, write_csv
from medtea.data.acquisition import write_acquisition
from medtea.data.index import write_index
from medtea.evaluate import scores_file
from medtea.evaluate.cards import UNKNOWN
from medtea.evaluate.scores import COLUMNS
from medtea.evaluate.scores_file import Given, read_scores
from medtea.evaluate.stage import Settings, leave

FLOW = ("hospital", "role", "found", "refused", "accepted", "labelled", "positive", "patients")


def run(work: Work, settings: Settings, given: scores_file.Settings) -> tuple[IndexArtefact, ScoresArtefact]:
    """Leave who was scored, as an index without images, and scores.csv and metrics.json as for our own networks.

    Raises:
        DataError: the file is not as docs/scores.md says.
    """
    names = pseudonyms()
    path = Path(expand(given.path))
    try:
        source = digest_of([digest_of_file(path), names.key_digest])
    except OSError as error:
        raise DataError(f"scores: the file cannot be read ({type(error).__name__}); give its path.") from None
    # A path is of one machine and may name somebody: neither the record nor a message has it.
    cohort = work.stage("cohort", given.model_copy(update={"path": ""}), source=source)
    index = IndexArtefact(cohort.folder)
    found = None
    if not cohort.is_finished:
        found = read_scores(given, path, names)
        _leave_cohort(index, found)
        beside = ", ".join(found.read) or "none"
        work.say(f"cohort: {len(found.index)} radiographs; columns read beside the needed ones: {beside}")
        cohort.finish()
    stage = work.stage("evaluate", settings, [index])
    artefact = ScoresArtefact(stage.folder)
    if not stage.is_finished:
        found = found or read_scores(given, path, names)
        cards = dict.fromkeys(found.scores["method"], UNKNOWN)
        leave(work, settings, stage, artefact, index, found.scores[list(COLUMNS)], cards)
    return index, artefact


def _leave_cohort(index: IndexArtefact, found: Given) -> None:
    write_index(index.index, found.index)
    write_acquisition(index.acquisition, found.index["radiograph"], found.acquisition)
    write_csv(index.refused, [], ("file", "hospital", "reason"))
    write_csv(index.flow, [_flow(str(name), part) for name, part in found.index.groupby("hospital")], FLOW)


def _flow(hospital: str, part: pd.DataFrame) -> dict[str, object]:
    """As ingest counts: a row of the file that cannot be used ends the command, so none is refused."""
    counts: dict[str, object] = dict.fromkeys(("found", "accepted", "labelled"), len(part))
    role, positive, patients = part["role"].iloc[0], int(part["label"].sum()), part["patient"].nunique()
    return {"hospital": hospital, "role": role, "refused": 0, "positive": positive, "patients": patients, **counts}
