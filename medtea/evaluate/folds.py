"""Hospitals that were left out in turn, each judged by networks that never saw it, counted as one set of hospitals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from medtea.core.errors import DataError
from medtea.core.names import IndexArtefact, Role, ScoresArtefact, Split
from medtea.core.settings import StrictSettings
from medtea.core.work import Work, read_json, write_csv
from medtea.data.acquisition import read_acquisition, write_acquisition
from medtea.data.index import read_index, write_index
from medtea.evaluate.stage import Settings, leave

Fold = tuple[IndexArtefact, ScoresArtefact]
FLOW = ("hospital", "role", "found", "refused", "accepted", "labelled", "patients")


class NoSettings(StrictSettings):
    """The cohort follows from the folds alone."""


def run(work: Work, settings: Settings, folds: Sequence[Fold]) -> Fold:
    """Leave the left-out hospitals' radiographs as one cohort, and all numbers of them.

    A method is another network at each hospital: what is pooled is the method and not one network. There are no
    validation radiographs of all folds alike, so there is neither an operating point nor a recalibration here: each
    fold's own metrics.json has them.

    Args:
        work: The run of all folds.
        settings: How results are counted.
        folds: Index and scores of each fold, with its external hospital.

    Raises:
        DataError: a hospital was left out in two folds, or in none.
    """
    # The folds' folders have the same names: their digests are what the cohort is made from.
    stage = work.stage("cohort", NoSettings(), source=" ".join(one.digest for fold in folds for one in fold))
    cohort = IndexArtefact(stage.folder)
    tables = [read_index(index.index) for index, _ in folds]
    if not stage.is_finished:
        _leave_cohort(cohort, folds, tables)
        stage.finish()
    stage = work.stage("evaluate", settings.without_places(), [cohort])
    artefact = ScoresArtefact(stage.folder)
    if not stage.is_finished:
        parts = [_left_out(pd.read_csv(scores.scores), place) for place, (_, scores) in enumerate(folds)]
        cards: dict[str, Mapping[str, Any]] = {}
        for _, scores in reversed(folds):
            cards |= read_json(scores.metrics)["methods"]
        leave(work, settings, stage, artefact, cohort, pd.concat(parts, ignore_index=True), cards)
    return cohort, artefact


def _left_out(table: pd.DataFrame, place: int) -> pd.DataFrame:
    """The rows of the hospital that was left out; ids are told apart by the fold, which may number anew."""
    rows = table[table["role"].eq(Role.EXTERNAL) & table["split"].eq(Split.TEST)]
    return rows.assign(radiograph=f"fold{place}-" + rows["radiograph"])


def _leave_cohort(cohort: IndexArtefact, folds: Sequence[Fold], tables: Sequence[pd.DataFrame]) -> None:
    parts = [_left_out(table, place) for place, table in enumerate(tables)]
    hospitals = [name for part in parts for name in part["hospital"].unique()]
    if len(set(hospitals)) < len(hospitals) or any(part.empty for part in parts):
        raise DataError("Each fold leaves one hospital out, and no hospital is left out twice; run the folds again.")
    index = pd.concat(parts, ignore_index=True).assign(has_mask=False)
    write_index(cohort.index, index)
    taken = [read_acquisition(fold.acquisition).iloc[part.index] for (fold, _), part in zip(folds, parts, strict=True)]
    rows = pd.concat(taken, ignore_index=True)
    write_acquisition(cohort.acquisition, index["radiograph"], [_known(row) for row in rows.to_dict("records")])
    write_csv(cohort.refused, [], ("file", "hospital", "reason"))
    write_csv(cohort.flow, [_flow(str(name), part) for name, part in index.groupby("hospital", sort=False)], FLOW)


def _known(row: Mapping[Any, Any]) -> dict[str, Any]:
    return {str(name): value for name, value in row.items() if not pd.isna(value)}


def _flow(hospital: str, part: pd.DataFrame) -> dict[str, object]:
    counts: dict[str, object] = dict.fromkeys(("found", "accepted"), len(part))
    labelled = int(part["label"].notna().sum())
    patients = part["patient"].nunique()
    return {
        "hospital": hospital,
        "role": Role.EXTERNAL,
        "refused": 0,
        "labelled": labelled,
        "patients": patients,
    } | counts
