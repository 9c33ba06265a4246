"""Whether a pooled AUROC is the recognition of hospitals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from medtea.metrics.estimates import Estimate
from medtea.report.blocks import Block, Points, Text
from medtea.report.contents import Contents
from medtea.report.tables import Cell, Column, Table, number

TITLE = "The hospital as the answer"
PLACE = 230
RECORD = "evaluate/metrics.json#/sites/sets"
OVER = {"iid": "the hospitals seen in training", "all": "all hospitals"}
HOW = (
    "Hospital alone: everyone is scored by the share of positives at their hospital, without a look at the "
    "radiograph; 0.50 means that the hospital says nothing. Within: positives are compared with negatives of the "
    "same hospital only, so that telling hospitals apart earns nothing. Where the pooled AUROC is above the one "
    "within, hospitals were told apart by somebody: report the one within."
)


def blocks(contents: Contents) -> Sequence[Block]:
    """A table for the hospitals seen, and one for all."""
    found = contents.written.get("sites")
    if not found or not found["sets"]:
        return []
    tables = [_table(one, place) for place, one in enumerate(found["sets"])]
    return [*tables, Points(tuple(_sentence(one) for one in found["sets"])), Text(HOW, small=True)]


def _table(found: Any, place: int) -> Table:
    alone = Estimate.from_json(found["hospital_only"])
    columns = (
        Column("method"),
        Column("n", numeric=True),
        Column("AUROC, all pooled", numeric=True),
        Column("within hospitals", numeric=True),
        Column("pooled less within", numeric=True),
    )
    record = f"{RECORD}/{place}"
    first = (Cell("hospital alone"), Cell(str(alone.n)), number(alone, record=f"{record}/hospital_only"))
    rows: list[tuple[Cell, ...]] = [(*first, Cell("0.50", "by construction"), Cell(""))]
    for row, one in enumerate(found["methods"]):
        numbers = [Estimate.from_json(one[name]) for name in ("pooled", "within", "pooled_less_within")]
        records = [f"{record}/methods/{row}/{name}" for name in ("pooled", "within", "pooled_less_within")]
        cells = [
            number(estimate, signed=signed, record=at)
            for estimate, signed, at in zip(numbers, (False, False, True), records, strict=True)
        ]
        rows.append((Cell(one["method"]), Cell(str(numbers[0].n)), *cells))
    return Table(f"Pooled and within hospitals, {OVER[found['over']]}", columns, tuple(rows))


def _sentence(found: Any) -> str:
    shares = ", ".join(f"{one['group']} {one['prevalence']:.0%} (n {one['n']})" for one in found["hospitals"])
    alone = Estimate.from_json(found["hospital_only"])
    return (
        f"Over {OVER[found['over']]} the hospital alone has an AUROC of {alone.text()}; its score is the "
        f"{found['prevalence_is']}: {shares}."
    )
