"""The index: one row per radiograph, row i of every array of the run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from medtea.core.errors import DataError, RecordError
from medtea.core.names import Field, LungsArtefact, Role, Split
from medtea.core.work import write_atomically

Array = np.ndarray[Any, Any]

COLUMNS = {
    "radiograph": "str",
    "hospital": "str",
    "patient": "str",
    "study": "str",
    "view": "str",
    "device": "str",
    "label": "Int8",
    "has_mask": "bool",
    "role": "str",
    "split": "str",
    "group": "str",
    "file": "str",
    "digest": "str",
}
"""Column name to pandas type. `label` is a class's number from 0 on, or missing; `file` is a digest of the path."""


def write_index(path: Path, index: pd.DataFrame) -> None:
    """Write the index as Parquet, atomically, with exactly the known columns.

    Raises:
        DataError: a column is missing, or a radiograph's id stands twice.
    """
    missing = [column for column in COLUMNS if column not in index.columns]
    if missing:
        raise DataError(f"The index lacks the columns {', '.join(missing)}.")
    if index["radiograph"].duplicated().any():
        raise DataError("A radiograph's id stands twice in the index.")
    refuse_leaks(index)
    table = index[list(COLUMNS)].astype(COLUMNS).reset_index(drop=True)
    write_atomically(path, lambda file: table.to_parquet(file, index=False))


def read_index(path: Path) -> pd.DataFrame:
    """The index, row i for row i of the arrays.

    Raises:
        RecordError: missing, damaged, or not an index.
    """
    try:
        return pd.read_parquet(path)[list(COLUMNS)].astype(COLUMNS)
    except (OSError, ValueError, KeyError) as error:
        raise RecordError(
            f"'{path.name}' is missing or damaged ({type(error).__name__}); remove the ingest folder and run again."
        ) from error


def read_plausible(lungs: LungsArtefact) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Which radiographs have a plausible lung mask, on the index's rows."""
    return pd.read_csv(lungs.masks, keep_default_na=False)["plausible"].astype(str).eq("True").to_numpy()


def refuse_leaks(index: pd.DataFrame) -> None:
    """Check that no patient is seen in training or selection and tested on as well, within or across hospitals.

    Raises:
        DataError: names the pseudonym of the first such patient and the mend.
    """
    seen = index["role"].ne(Role.EXTERNAL) & index["split"].ne(Split.TEST)
    leaked = sorted(set(index.loc[seen, "patient"]) & set(index.loc[~seen, "patient"]))
    if leaked:
        hospitals = sorted(set(index.loc[index["patient"] == leaked[0], "hospital"]))
        raise DataError(
            f"Patient {leaked[0]} (and {len(leaked) - 1} more) is in a training and in a test set "
            f"({', '.join(hospitals)}). Exclude one, or, if the hospitals number their patients independently, "
            "set ingest.patient_ids: per_hospital."
        )


def learners(table: pd.DataFrame, *, sees_unbiased: bool) -> pd.Series[bool]:
    """Which rows a network may be trained or selected on: the training hospitals', and the unbiased subset if seen."""
    return table["role"].isin([Role.TRAIN, Role.UNBIASED] if sees_unbiased else [Role.TRAIN])


@dataclass(frozen=True)
class Parts:
    """Which entries of a bank a network is trained and selected on.

    Attributes:
        splits: The split of each entry.
        of_training: Whether an entry is of a training hospital.
        of_unbiased: Whether it is of the unbiased subset.
        sees_unbiased: Whether the network may see that subset.
    """

    splits: Array
    of_training: Array
    of_unbiased: Array
    sees_unbiased: bool

    @classmethod
    def of(cls, table: pd.DataFrame, entries: Array, *, sees_unbiased: bool) -> Parts:
        """Of the index's rows that are the bank's entries."""
        part = table.iloc[entries]
        roles = part["role"].to_numpy()
        return cls(part["split"].to_numpy(), roles == Role.TRAIN, roles == Role.UNBIASED, sees_unbiased)

    def training(self, unbiased_only: bool = False) -> Array:
        """Entries to train on: of the training hospitals, and the unbiased subset if it is seen; or that alone."""
        wanted = self.of_unbiased if unbiased_only else self.of_training | (self.of_unbiased & self.sees_unbiased)
        return np.flatnonzero(wanted & (self.splits == Split.TRAIN))

    def validation(self, unbiased_only: bool = False) -> Array:
        """Entries to select on: of the training hospitals, for every method; or the unbiased subset's own."""
        wanted = self.of_unbiased if unbiased_only else self.of_training
        return np.flatnonzero(wanted & (self.splits == Split.VALIDATION))


def label_fields(table: pd.DataFrame, entries: Array) -> dict[Field, Array]:
    """What the index says of a bank's entries: label, number of the hospital among them, whether unbiased."""
    part = table.iloc[entries]
    return {
        Field.LABEL: part["label"].to_numpy(dtype=np.float32, na_value=np.nan),
        Field.HOSPITAL: part["hospital"].astype("category").cat.codes.to_numpy(dtype=np.float32),
        Field.UNBIASED: part["role"].eq(Role.UNBIASED).to_numpy(dtype=np.float32),
    }


def count_logits(table: pd.DataFrame) -> int:
    """Logits that a classifier of these labels needs: one for two classes, else one for each class."""
    highest = table["label"].max()
    return 1 if pd.isna(highest) or highest < 2 else int(highest) + 1


def rows(where: pd.Series[bool]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Array rows of the radiographs for which `where` is true, ascending."""
    return np.flatnonzero(where.to_numpy())
