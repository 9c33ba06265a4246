"""The index: one row per radiograph, row i of every array of the run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from medtea.core.errors import DataError, RecordError
from medtea.core.names import LungsArtefact, Role, Split
from medtea.core.work import write_atomically

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
"""Column name to pandas type. `label` is 1, 0 or missing; `file` is a digest of the path, never the path."""


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


def rows(where: pd.Series[bool]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Array rows of the radiographs for which `where` is true, ascending."""
    return np.flatnonzero(where.to_numpy())
