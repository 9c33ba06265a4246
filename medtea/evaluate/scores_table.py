"""The columns of a CSV of predictions, as numbers and words of lists; a message names the line and quotes no value."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from scipy.special import expit

from medtea.core.errors import DataError, nearest
from medtea.core.names import Role, Split
from medtea.data.makers import maker_of
from medtea.data.views import UNKNOWN, view_from_words

NEEDED = ("patient", "hospital", "label", "score")
OPTIONAL = ("split", "role", "method", "radiograph")
TAKEN = ("view", "sex", "age", "year", "portable", "manufacturer")
"""With what and how it was taken, for subgroups."""
ONLY_METHOD = "model"
"""What a system is called that the file gives no name."""
OLDEST = 90
"""Completed years that stand for all above, as in the acquisition table."""

SPLITS = {"train": Split.TRAIN, "training": Split.TRAIN, "test": Split.TEST, "testing": Split.TEST, "": Split.TEST}
SPLITS |= dict.fromkeys(("val", "valid", "validation", "tune", "tuning"), Split.VALIDATION)
ROLES = dict.fromkeys(("train", "iid", "internal"), Role.TRAIN) | dict.fromkeys(("external", "ood"), Role.EXTERNAL)
SEXES = {"m": "M", "male": "M", "f": "F", "female": "F", "o": "O", "other": "O"}
YES_NO = dict.fromkeys(("yes", "y", "true", "1"), "yes") | dict.fromkeys(("no", "n", "false", "0"), "no")

Row = dict[str, str]
LINE = "line"
"""Beside a row's own columns: the line in which it ends, as an editor counts."""


def read_rows(path: Path) -> tuple[list[Row], set[str]]:
    """The rows of the known columns, each with its line, and which of these columns there are.

    Raises:
        DataError: it cannot be read, has no row, or lacks a column.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, restval="", restkey="")
            reader.fieldnames = [(name or "").strip().lower() for name in reader.fieldnames or []]
            there = list(reader.fieldnames)
            for column in NEEDED:
                if column not in there:
                    raise DataError(f"scores: the file has no column '{column}'. {_columns(column, there)}")
            _refuse_twice(there)
            known = [name for name in (*NEEDED, *OPTIONAL, *TAKEN) if name in there]
            rows = [
                {name: (row[name] or "").strip() for name in known} | {LINE: str(reader.line_num)} for row in reader
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as problem:
        raise DataError(f"scores: the file cannot be read ({type(problem).__name__}); give a CSV in UTF-8.") from None
    if not rows:
        raise DataError("scores: the file has no row below its header; give one for each prediction.")
    return rows, set(known)


def _columns(column: str, there: Sequence[str]) -> str:
    close = nearest(column, there).partition("Did you mean ")[2].strip("?")
    mend = f"Rename {close}" if close else "Add it"
    return f"{mend}; needed are {', '.join(NEEDED)}, and {', '.join((*OPTIONAL, *TAKEN))} are read where they are."


def _refuse_twice(there: Sequence[str]) -> None:
    twice = next((name for name in (*NEEDED, *OPTIONAL, *TAKEN) if there.count(name) > 1), None)
    if twice:
        raise DataError(f"scores: the file has the column '{twice}' more than once; keep one of them.")


def each(rows: Sequence[Row], column: str, read: Callable[[str], Any], allowed: str) -> list[Any]:
    """The column's values as `read` makes them of the text.

    Raises:
        DataError: it makes None of some: names the first line.
    """
    values = [read(row.get(column, "")) for row in rows]
    wrong = [row[LINE] for row, value in zip(rows, values, strict=True) if value is None]
    if wrong:
        raise DataError(f"scores: '{column}' in {said_lines(wrong)} is not {allowed}. Mend it or leave the row out.")
    return values


def said_lines(lines: Sequence[str]) -> str:
    """The first line, and how many more."""
    return f"line {lines[0]}" + (f" (and {len(lines) - 1} more)" if len(lines) > 1 else "")


def label_of(text: str) -> int | None:
    """0 or 1."""
    number = _number(text)
    return int(number) if number in (0.0, 1.0) else None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def probabilities(rows: Sequence[Row], scale: str) -> list[float]:
    """The column `score` on [0, 1]."""
    if scale == "logit":
        return list(expit(each(rows, "score", lambda text: _within(text, -math.inf, math.inf), "a finite number")))
    highest = 100.0 if scale == "percent" else 1.0
    allowed = f"a number in [0, {highest:g}], which scores.scale: {scale} expects (probability, percent or logit)"
    return [number / highest for number in each(rows, "score", lambda text: _within(text, 0, highest), allowed)]


def _within(text: str, low: float, high: float) -> float | None:
    number = _number(text)
    return number if math.isfinite(number) and low <= number <= high else None


def taken_of(row: Row) -> dict[str, Any]:
    """With what and how it was taken, in controlled words; what is not understood is unknown."""
    age, year = _number(row.get("age", "")), _number(row.get("year", ""))
    return {
        "view": view_from_words(row.get("view", "")),
        "manufacturer": maker_of(row.get("manufacturer", "")),
        "sex": SEXES.get(row.get("sex", "").lower(), UNKNOWN),
        "portable": YES_NO.get(row.get("portable", "").lower(), UNKNOWN),
        "age_years": int(min(age, OLDEST)) if 0 <= age <= 130 else None,
        "year": int(year) if 1950 <= year <= 2100 else None,
    }


def known_facts(facts: Mapping[Any, Any]) -> dict[str, Any]:
    """What the acquisition table is told of it: a number that is missing is left out."""
    return {name: value for name, value in facts.items() if value is not None and value == value and name != "view"}
