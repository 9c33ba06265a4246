"""Proof of the split: no patient on both sides, near-copies, and how the label goes with the hospital."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from medtea.core.names import Split
from medtea.report.blocks import Alert, Block, Text
from medtea.report.contents import Contents, is_audit_alone
from medtea.report.hospitals import hospital_columns, learned_from, roles_of
from medtea.report.tables import Cell, Column, Table

TITLE = "Proof of the split"
PLACE = 120
SPLITS = {Split.TRAIN: "training", Split.VALIDATION: "validation", Split.TEST: "test"}


def blocks(contents: Contents) -> Sequence[Block]:
    """What was counted on this run's index; nothing without one."""
    if is_audit_alone(contents):
        return []
    table = contents.table
    roles = roles_of(table)
    if not roles:
        return []
    both = patients_on_both_sides(table)
    said: Block = Text(
        f"Patients of whom one radiograph is learnt from or selected on and another is tested on: {both}. Counted for "
        "this page on the run's own index, over all hospitals together, by pseudonym."
    )
    if both:
        said = Alert(f"{both} patients are on both sides of the split: no number of this report can be trusted.")
    return [said, _splits(table, roles), _labels(table, roles), *_duplicates(contents)]


def patients_on_both_sides(table: pd.DataFrame) -> int:
    """How many patients are both learnt from or selected on, and tested on."""
    learned = learned_from(table)
    tested = table["split"].eq(Split.TEST) & table["label"].notna()
    return len(set(table.loc[learned, "patient"]) & set(table.loc[tested, "patient"]))


def _splits(table: pd.DataFrame, roles: dict[str, str]) -> Table:
    rows = []
    labelled = table[table["label"].notna()]
    for split, words in SPLITS.items():
        cells = []
        for name in roles:
            part = labelled[labelled["hospital"].eq(name) & labelled["split"].eq(split)]
            cells.append(Cell(f"{len(part):,}", f"{part['patient'].nunique():,} patients" if len(part) else ""))
        rows.append((Cell(words), *cells))
    return Table("Labelled radiographs by split and hospital", (Column("split"), *hospital_columns(roles)), tuple(rows))


def _labels(table: pd.DataFrame, roles: dict[str, str]) -> Table:
    labelled = table[table["label"].notna()]
    rows = []
    for label in sorted(labelled["label"].unique()):
        cells = []
        for name in roles:
            part = labelled[labelled["hospital"].eq(name)]
            count = int(part["label"].eq(label).sum())
            cells.append(Cell(f"{count:,}", f"{count / len(part):.0%}" if len(part) else ""))
        rows.append((Cell(f"label {label}"), *cells))
    columns = (Column("label"), *hospital_columns(roles))
    return Table("Label by hospital: where shares differ, the hospital alone tells something", columns, tuple(rows))


def _duplicates(contents: Contents) -> list[Block]:
    pairs = contents.duplicates
    if contents.metrics.are_given:
        return [Text("No image was read, so nobody looked for radiographs that are nearly one picture.", small=True)]
    if pairs.empty:
        return [Text("No two radiographs are nearly one picture.", small=True)] if len(contents.table) else []
    true = {"True", "true", "1"}
    leaks = pairs["leak"].astype(str).isin(true)
    same = pairs["same_patient"].astype(str).isin(true)
    kept = leaks & pairs["done"].astype(str).eq("kept")
    rows = tuple(
        (Cell(words), Cell(f"{int(count):,}", record="ingest/duplicates.csv#/" + key))
        for words, count, key in (
            ("pairs that are nearly one picture", len(pairs), "radiograph"),
            ("of them of one patient", same.sum(), "same_patient"),
            ("with one learnt from and one tested on", leaks.sum(), "leak"),
            ("of these still in the run", kept.sum(), "done"),
        )
    )
    made: list[Block] = [Table("Near-copies", (Column("what"), Column("pairs", numeric=True)), rows)]
    if kept.any():
        made.append(Alert(f"{int(kept.sum())} radiographs that are tested on are nearly a copy of one learnt from."))
    return made
