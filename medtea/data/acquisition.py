"""The tables beside the index: with what and how each radiograph was taken, and what was done as it was read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medtea.core.errors import RecordError
from medtea.core.work import write_atomically
from medtea.data.facts import Facts
from medtea.data.views import UNKNOWN

COLUMNS = {
    "radiograph": "str",
    "manufacturer": "str",
    "model": "str",
    "station": "str",
    "detector_type": "str",
    "detector": "str",
    "kvp": "float64",
    "exposure_mas": "float64",
    "exposure_index": "float64",
    "software": "str",
    "year": "Int16",
    "portable": "str",
    "age_years": "Int16",
    "sex": "str",
    "text_on_border": "str",
}
"""Column name to pandas type. A text that is not known is "unknown", a number that is not known is missing."""

DTYPES = {"str": "str", "bool": "bool", "int": "int64", "float": "float64"}
DTYPES |= {"str | None": "string", "bool | None": "boolean", "int | None": "Int64", "float | None": "Float64"}
"""pandas types of the facts' types; what is None is missing."""


def write_acquisition(path: Path, radiographs: Iterable[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the table as Parquet, atomically: row i is radiograph i of the index; what a row lacks is not known."""
    unknown = {name: UNKNOWN if kind == "str" else None for name, kind in COLUMNS.items()}
    table = pd.DataFrame({name: [row.get(name, missing) for row in rows] for name, missing in unknown.items()})
    typed = table.assign(radiograph=list(radiographs)).astype(COLUMNS)
    write_atomically(path, lambda file: typed.to_parquet(file, index=False))


def read_acquisition(path: Path) -> pd.DataFrame:
    """The table, row i for row i of the index.

    Raises:
        RecordError: missing, damaged, or not such a table.
    """
    try:
        return pd.read_parquet(path)[list(COLUMNS)].astype(COLUMNS)
    except (OSError, ValueError, KeyError) as error:
        raise RecordError(
            f"'{path.name}' is missing or damaged ({type(error).__name__}); remove the ingest folder and run again."
        ) from error


def read_grid_row_mm(path: Path) -> NDArray[np.float64]:
    """Height of a pixel of the run's grid, row i for row i of the index; NaN where the spacing is not known.

    Raises:
        RecordError: the table is damaged, or was written before the spacing was kept.
    """
    try:
        return pd.read_parquet(path, columns=["grid_row_mm"])["grid_row_mm"].to_numpy(dtype=np.float64, na_value=np.nan)
    except (OSError, ValueError, KeyError) as error:
        raise RecordError(
            f"'{path.name}' is damaged or of an earlier version ({type(error).__name__}); remove the ingest folder and "
            "run again."
        ) from error


def write_facts(path: Path, radiographs: Iterable[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Write `Facts.columns` of every radiograph as Parquet, atomically: row i is radiograph i of the index."""
    columns = {one.name: DTYPES[str(one.type)] for one in fields(Facts)}
    table = pd.DataFrame({name: [row[name] for row in rows] for name in columns}).astype(columns)
    table.insert(0, "radiograph", list(radiographs))
    write_atomically(path, lambda file: table.to_parquet(file, index=False))
