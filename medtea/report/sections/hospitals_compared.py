"""Hospitals with each other: is a number at one of them another than at the next, or may that be chance?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from medtea.metrics.estimates import Estimate
from medtea.report.blocks import Block, Text
from medtea.report.contents import METRICS, NAN, Contents
from medtea.report.tables import P_COLUMNS, Cell, Column, Table, number, p_cells, tag

TITLE = "Hospitals compared with each other"
PLACE = 215
KEY = "differences_between_hospitals"
ABOUT = (
    "AUROC (of several classes: accuracy) at the first hospital less that at the second. Their patients are others, so "
    "that a difference may lie in the patients, the machines or the labels: it does not say in which."
)


def blocks(contents: Contents) -> Sequence[Block]:
    """Each method at each pair of hospitals; nothing where there is one hospital."""
    rows = contents.written.get(KEY, ())
    if not rows:
        return []
    columns = (Column("method"), Column("at"), Column("less that at"), Column("n", numeric=True))
    made = tuple(_row(row, f"{METRICS}#/{KEY}/{place}", contents.metrics.groups) for place, row in enumerate(rows))
    table = Table("Differences between hospitals", (*columns, Column("difference", numeric=True), *P_COLUMNS), made)
    return [table, Text(ABOUT, small=True)]


def _row(row: Mapping[str, Any], record: str, roles: Mapping[str, str]) -> tuple[Cell, ...]:
    found = Estimate.from_json(row["difference"])
    p, adjusted = (NAN if row[name] is None else float(row[name]) for name in ("p", "p_holm"))
    return (
        Cell(row["method"]),
        *(Cell(group, tag(roles.get(group, ""))) for group in row["groups"]),
        Cell(str(found.n)),
        number(found, signed=True, record=f"{record}/difference"),
        *p_cells(p, adjusted, record),
    )
