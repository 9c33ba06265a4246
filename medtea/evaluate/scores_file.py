"""A CSV of predictions of any system: read, checked, and with pseudonyms before anything of it is written.

docs/scores.md names the columns. Of the file's own words only the names of hospitals and methods stay; what else is
text becomes a word of a list, a number or a keyed code. No message quotes a value: it names the line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from medtea.core.errors import DataError, nearest
from medtea.core.names import Role, Split
from medtea.core.pseudonyms import Pseudonyms
from medtea.core.settings import StrictSettings
from medtea.evaluate.scores_table import (
    LINE,
    ONLY_METHOD,
    OPTIONAL,
    ROLES,
    SPLITS,
    TAKEN,
    Row,
    each,
    known_facts,
    label_of,
    probabilities,
    read_rows,
    said_lines,
    taken_of,
)


class Settings(StrictSettings):
    """Where the predictions are, and what the hospitals are for.

    Attributes:
        path: The CSV (see docs/scores.md); ${NAME} is an environment variable.
        train: Hospitals that a model was trained or selected at; their test rows are IID. Not needed where the file has
            a column `role`.
        external: Hospitals that no training or selection step saw; their rows are OOD.
        scale: What a score is: "probability" in [0, 1], "percent" in [0, 100], "logit" any finite number. Scores
            are turned into probabilities; numbers that rank are the same, calibration is that of the probability.
        patient_ids: "shared": the same number at two hospitals is one patient. "per_hospital": it is two.
    """

    path: str
    train: tuple[str, ...] = ()
    external: tuple[str, ...] = ()
    scale: Literal["probability", "percent", "logit"] = "probability"
    patient_ids: Literal["shared", "per_hospital"] = "shared"


@dataclass(frozen=True)
class Given:
    """What a file of predictions says.

    Attributes:
        scores: One row per method and radiograph, without the training rows, columns of medtea.evaluate.scores.
        index: One row per radiograph, columns of medtea.data.index.
        acquisition: What is known of each, row i for row i of the index.
        read: The optional columns that were there.
    """

    scores: pd.DataFrame
    index: pd.DataFrame
    acquisition: Sequence[Mapping[str, Any]]
    read: tuple[str, ...]


def read_scores(settings: Settings, path: Path, names: Pseudonyms) -> Given:
    """The predictions of the file at `path`, checked; `settings.path` is not looked at.

    Raises:
        DataError: the file cannot be read or is empty; a column is missing; a value is not allowed; a hospital has no
            role; a patient is selected on and tested on; a method has a radiograph twice, or methods have different
            ones.
    """
    rows, columns = read_rows(path)
    table = pd.DataFrame(
        {
            LINE: [row[LINE] for row in rows],
            "hospital": [row["hospital"] for row in rows],
            "method": [row.get("method") or ONLY_METHOD for row in rows],
            "label": each(rows, "label", label_of, "0 or 1"),
            "score": probabilities(rows, settings.scale),
            "split": each(rows, "split", lambda text: SPLITS.get(text.lower()), "train, val or test"),
        }
    )
    for column, what in (("hospital", "a name"), ("patient", "a patient's number")):
        each(rows, column, lambda text: text or None, what)
    table["role"] = _roles(settings, rows, columns, table)
    own = settings.patient_ids == "per_hospital"
    whose = table["hospital"] if own else [""] * len(rows)
    patients = [names.patient(row["patient"], hospital=at) for row, at in zip(rows, whose, strict=True)]
    table["patient"] = patients
    table["radiograph"] = _radiographs(table, rows, names, is_named="radiograph" in columns)
    _refuse_selected_on(table)
    _refuse_different_rows(table)
    taken = pd.DataFrame([taken_of(row) for row in rows])
    of_first = table["method"].eq(table["method"].iloc[0]).to_numpy()
    one = table[of_first]
    index = one.assign(study=one["patient"], view=taken["view"][of_first], device=taken["manufacturer"][of_first])
    index = index.assign(has_mask=False, group=one["hospital"], file=one["radiograph"], digest="")
    rest = table[table["split"].ne(Split.TRAIN)]
    scores = rest.assign(group=rest["hospital"], plausible_mask=True, predicted=np.nan)
    return Given(
        scores=scores.reset_index(drop=True),
        index=index.reset_index(drop=True),
        acquisition=[known_facts(row) for row in taken[of_first].to_dict("records")],
        read=tuple(name for name in (*OPTIONAL, *TAKEN) if name in columns),
    )


def _roles(settings: Settings, rows: Sequence[Row], columns: set[str], table: pd.DataFrame) -> list[Role]:
    """What each row's hospital is for, from --train and --external, else from the column `role`."""
    hospitals = sorted(set(table["hospital"]))
    both = set(settings.train) & set(settings.external)
    for name in (*settings.train, *settings.external):
        if name not in hospitals:
            raise DataError(f"scores: the file has no hospital '{name}'. {nearest(name, hospitals)}")
        if name in both:
            raise DataError(f"scores: the hospital '{name}' is named as trained at and as external; name it once.")
    if settings.train or settings.external:
        asked = dict.fromkeys(settings.train, Role.TRAIN) | dict.fromkeys(settings.external, Role.EXTERNAL)
    elif "role" in columns:
        given = each(rows, "role", lambda text: ROLES.get(text.lower()), "train or external (or iid or ood)")
        asked = dict(zip(table["hospital"], given, strict=True))
        several = next((at for at, role in zip(table["hospital"], given, strict=True) if asked[at] != role), None)
        if several is not None:
            raise DataError(f"scores: the hospital '{several}' has more than one role; a hospital has one.")
    else:
        asked = {}
    missing = [name for name in hospitals if name not in asked]
    if missing:
        raise DataError(
            f"scores: nothing says what {', '.join(missing)} is for. Name each hospital by --train (the model was "
            "trained or selected there) or --external (no training or selection step saw it), or give a column 'role'."
        )
    return [asked[name] for name in table["hospital"]]


def _radiographs(table: pd.DataFrame, rows: Sequence[Row], names: Pseudonyms, *, is_named: bool) -> list[str]:
    """Our own id of each row's radiograph.

    Where the file names none, a patient's only row of a method stands for their radiograph; of one method alone the
    rows are told apart by their order.
    """
    if is_named:
        images = each(rows, "radiograph", lambda text: text or None, "a name of the image")
        ids = [names.radiograph(image, hospital=at) for image, at in zip(images, table["hospital"], strict=True)]
        twice = table[LINE][table.assign(radiograph=ids).duplicated(["method", "radiograph"])]
        if len(twice):
            where = said_lines(twice.tolist())
            raise DataError(f"scores: a method has a radiograph a second time in {where}; keep one row of each.")
        return ids
    place = table.groupby(["method", "hospital", "patient"]).cumcount()
    if place.any() and table["method"].nunique() > 1:
        raise DataError(
            "scores: there are several methods and patients with more than one row, so nothing says which rows are "
            "of one image. Give a column 'radiograph' that names it, alike for every method."
        )
    keys = zip(table["hospital"], table["patient"], place, strict=True)
    return [names.radiograph(f"{patient}/{number}", hospital=at) for at, patient, number in keys]


def _refuse_selected_on(table: pd.DataFrame) -> None:
    """Refuse patients on both sides, and selection at a hospital that is external."""
    external = table["role"].eq(Role.EXTERNAL)
    seen = table["split"].ne(Split.TEST)
    if (external & seen).any():
        name = table.loc[external & seen, "hospital"].iloc[0]
        raise DataError(
            f"scores: '{name}' is external and has rows of training or validation; what a selection step saw is not "
            "external. Name it by --train, or leave these rows out."
        )
    both = sorted(set(table.loc[seen, "patient"]) & set(table.loc[~seen, "patient"]))
    if both:
        where = ", ".join(sorted(set(table.loc[table["patient"].eq(both[0]), "hospital"])))
        raise DataError(
            f"scores: patient {both[0]} (and {len(both) - 1} more) is in training or validation and in a test set "
            f"({where}). Leave one side out, or, if the hospitals number their patients independently, set "
            "scores.patient_ids: per_hospital."
        )
    if seen.all():
        raise DataError("scores: there is no row of a test split; leave 'split' out or write 'test'.")


def _refuse_different_rows(table: pd.DataFrame) -> None:
    """Refuse methods that are not on the same radiographs with the same facts: nothing could be compared."""
    facts = ["radiograph", "patient", "label", "split"]
    by_method = table[[*facts, "method"]].groupby("method", sort=False)
    (control, reference), *others = ((str(name), part.set_index("radiograph")) for name, part in by_method)
    for name, part in others:
        missing = len(set(reference.index) ^ set(part.index))
        if missing:
            raise DataError(
                f"scores: '{control}' and '{name}' differ in {missing} radiographs; every method needs a row for each "
                "radiograph. Leave out those that one of them lacks, and say so in report.notes."
            )
        if not part.loc[reference.index, facts[1:]].equals(reference[facts[1:]]):
            raise DataError(f"scores: '{control}' and '{name}' differ in a patient, label or split of one radiograph.")
