"""Who the patients are, per hospital, and how far the hospitals not seen in training differ from those seen."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from medtea.core.names import Role
from medtea.metrics.standardised import difference_of_means, difference_of_shares
from medtea.report.blocks import Block, Text
from medtea.report.contents import Contents
from medtea.report.hospitals import hospital_columns, roles_of
from medtea.report.tables import Cell, Column, Table

TITLE = "Cohort"
PLACE = 110
APART = 0.1
"""A standardised difference from which on groups are usually called different (Austin 2009)."""
SHARES = (
    ("label", "disease present", {"1": "present"}),
    ("sex", "female", {"F": "female"}),
    ("view", "AP view", {"AP": "AP"}),
    ("portable", "portable", {"yes": "portable"}),
)
PER_PATIENT = {"sex", "age_years"}
UNKNOWN = {"unknown", "", "<NA>", "nan", "None"}
MOST = 3  # makers that are named; the others are counted together


def blocks(contents: Contents) -> Sequence[Block]:
    """A table with a row per characteristic and a column per hospital; nothing without an index."""
    roles = roles_of(contents.table)
    table = contents.table[contents.table["label"].notna()] if roles else contents.table
    if table.empty:
        return []
    parts = {name: table[table["hospital"].eq(name)] for name in roles}
    seen = table[table["role"].eq(Role.TRAIN)]
    rows = [_counts("labelled radiographs", {name: len(part) for name, part in parts.items()})]
    rows.append(_counts("patients", {name: part["patient"].nunique() for name, part in parts.items()}))
    rows += [_shares(column, words, parts, seen, roles) for column, words, _ in SHARES if column in table]
    if "age_years" in table:
        rows.append(_ages(parts, seen, roles))
    rows += [_makers(parts, seen, roles)] if "manufacturer" in table else []
    columns = (Column("characteristic"), *hospital_columns(roles))
    return [
        Table("Labelled radiographs and their patients, per hospital", columns, tuple(rows)),
        Text(
            "SMD: standardised mean difference from all hospitals seen in training together, in units of the spread "
            f"within them; from {APART} on (marked) groups are usually called different. It does not depend on n. Sex "
            "and age count each patient once, as known; everything else counts radiographs. Age: median, and the "
            "range of the middle half.",
            small=True,
        ),
    ]


def _counts(words: str, counts: dict[str, int]) -> tuple[Cell, ...]:
    return (Cell(words), *(Cell(f"{count:,}") for count in counts.values()))


def _people(part: pd.DataFrame, column: str) -> pd.DataFrame:
    return part.drop_duplicates("patient") if column in PER_PATIENT else part


def _known(part: pd.DataFrame, column: str) -> pd.Series[str]:
    words = _people(part, column)[column].astype("string").fillna("unknown")
    return words[~words.isin(UNKNOWN)]


def _shares(
    column: str, words: str, parts: dict[str, pd.DataFrame], seen: pd.DataFrame, roles: dict[str, str]
) -> tuple[Cell, ...]:
    value = next(iter({name: shown for name, _, shown in SHARES}[column]))
    reference = _known(seen, column).eq(value)
    cells = []
    for name, part in parts.items():
        found = _known(part, column).eq(value)
        counts = [[(~one).sum(), one.sum()] for one in (found, reference)]
        unknown = len(_people(part, column)) - len(found)
        text = f"{found.mean():.0%}" if len(found) else "not known"
        cells.append(_cell(text, difference_of_shares(*counts), roles[name], unknown if len(found) else 0))
    return (Cell(words), *cells)


def _ages(parts: dict[str, pd.DataFrame], seen: pd.DataFrame, roles: dict[str, str]) -> tuple[Cell, ...]:
    def ages(part: pd.DataFrame) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        return _people(part, "age_years")["age_years"].to_numpy(dtype=np.float64, na_value=np.nan)

    reference = ages(seen)
    cells = []
    for name, part in parts.items():
        found = ages(part)
        known = found[~np.isnan(found)]
        low, middle, high = np.quantile(known, (0.25, 0.5, 0.75)) if len(known) else (0, 0, 0)
        text = f"{middle:.0f} ({low:.0f} to {high:.0f})" if len(known) else "not known"
        unknown = len(found) - len(known) if len(known) else 0
        cells.append(_cell(text, difference_of_means(known, reference), roles[name], unknown))
    return (Cell("age, years"), *cells)


def _makers(parts: dict[str, pd.DataFrame], seen: pd.DataFrame, roles: dict[str, str]) -> tuple[Cell, ...]:
    reference = _known(seen, "manufacturer").value_counts()
    cells = []
    for name, part in parts.items():
        counts = _known(part, "manufacturer").value_counts()
        shown = [f"{maker} {count / counts.sum():.0%}" for maker, count in counts.head(MOST).items()]
        shown += [f"{len(counts) - MOST} more"] if len(counts) > MOST else []
        both = counts.index.union(reference.index)
        apart = difference_of_shares(counts.reindex(both, fill_value=0), reference.reindex(both, fill_value=0))
        unknown = len(part) - int(counts.sum()) if len(counts) else 0
        cells.append(_cell(", ".join(shown) or "not known", apart, roles[name], unknown))
    return (Cell("manufacturer"), *cells)


def _cell(text: str, apart: float, role: str, unknown: int) -> Cell:
    details = [f"{unknown:,} not known"] if unknown else []
    compared = role == Role.EXTERNAL and not math.isnan(apart)
    if compared:
        details.append("SMD " + ("∞: nothing in common" if math.isinf(apart) else f"{apart:.2f}"))
    return Cell(text, "; ".join(details), bad=compared and abs(apart) >= APART)
