"""What became of every file, per hospital: found, readable, frontal, labelled, used; and the reasons of the rest."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from medtea.core.names import Role
from medtea.report.blocks import Block, Text
from medtea.report.contents import Contents, is_audit_alone
from medtea.report.hospitals import TAGS, learned_from, tested_on
from medtea.report.tables import Cell, Column, Table, flow_table, refused_table

TITLE = "Flow: from files to radiographs in a number"
PLACE = 100
NOT_FRONTAL = ("frontal", "lateral")  # words in a reason of refusal that speak of the view


def blocks(contents: Contents) -> Sequence[Block]:
    """The steps, and the reasons; nothing where the run does not say."""
    if contents.metrics.are_given:
        return [given_table(contents)]
    refused = refused_table(contents.refused)
    if contents.flow.empty and not refused.rows:
        return []
    counts_steps = len(contents.table) and not is_audit_alone(contents)
    steps = steps_table(contents) if counts_steps else flow_table(contents.flow)
    reasons: list[Block] = [refused] if refused.rows else [Text("No file was refused.", small=True)]
    return [
        steps,
        *reasons,
        *[
            Text(f"{row.n} radiographs of {row.group} are tested on and in no number: {row.reason}.", small=True)
            for row in contents.metrics.left_out
            if row.n
        ],
    ]


def steps_table(contents: Contents) -> Table:
    """A row per hospital, each column a part of the one before it; the last two share what is used between them."""
    heads = ("found", "readable", "frontal", "labelled", "plausible lung mask", "learnt from", "in results")
    columns = [Column("hospital"), *(Column(head, numeric=True) for head in heads), Column("patients", numeric=True)]
    rows = tuple(_row(contents, place) for place in range(len(contents.flow)))
    return Table("Radiographs per hospital and step; patients of those labelled", tuple(columns), rows)


def given_table(contents: Contents) -> Table:
    """Of predictions made elsewhere: no image was read, and a wrong row of the file has ended the command."""
    heads = ("radiographs in the file", "of training or validation", "in results", "patients")
    rows = []
    for place, flow in contents.flow.reset_index(drop=True).iterrows():
        part = contents.table[contents.table["hospital"].eq(str(flow["hospital"]))]
        counts = (int(learned_from(part).sum()), int(tested_on(part).sum()), part["patient"].nunique())
        found = Cell(f"{int(str(flow['found'])):,}", record=f"cohort/flow.csv#/{place}/found")
        rows.append((Cell(str(flow["hospital"]), _tag(part)), found, *(Cell(f"{count:,}") for count in counts)))
    columns = (Column("hospital"), *(Column(head, numeric=True) for head in heads))
    return Table("Radiographs and patients per hospital", columns, tuple(rows))


def _row(contents: Contents, place: int) -> tuple[Cell, ...]:
    flow = contents.flow.iloc[place]
    name = str(flow["hospital"])
    part = contents.table[contents.table["hospital"].eq(name)]
    labelled = part[part["label"].notna()]
    masked = labelled[labelled["plausible"]] if "plausible" in part else labelled
    refused = contents.refused
    reasons = list(refused.loc[refused["hospital"].astype(str).eq(name), "reason"].astype(str)) if len(refused) else []
    lateral = sum(any(word in reason for word in NOT_FRONTAL) for reason in reasons)
    found, accepted = (int(str(flow[what])) for what in ("found", "accepted"))
    counts = (found, accepted + lateral, accepted, len(labelled), len(masked))
    used = (int((learned_from(masked)).sum()), int(tested_on(masked).sum()))
    records = {0: "found", 2: "accepted", 3: "labelled"}
    cells = [
        Cell(f"{count:,}", record=f"ingest/flow.csv#/{place}/{records[step]}" if step in records else "")
        for step, count in enumerate(counts)
    ]
    cells += [Cell(f"{count:,}") for count in used]
    return (Cell(name, _tag(part)), *cells, Cell(f"{labelled['patient'].nunique():,}"))


def _tag(part: pd.DataFrame) -> str:
    return TAGS.get(Role(part["role"].iloc[0]), "") if len(part) else ""
