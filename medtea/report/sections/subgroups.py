"""AUROC and share of positives in parts of each hospital's patients."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from medtea.metrics.estimates import Estimate
from medtea.report.blocks import Block, Fold, Points, Text
from medtea.report.contents import Contents
from medtea.report.tables import NOT_COMPUTED, Cell, Column, Table, number, tag

TITLE = "Subgroups"
PLACE = 400
RECORD = "evaluate/metrics.json#/subgroups"


def blocks(contents: Contents) -> Sequence[Block]:
    """The worst part of each method, prevalence shifts, what is not known or hidden, and all parts."""
    found = contents.written.get("subgroups")
    if not found or not (found["parts"] or found["unknown"]):
        return []
    said = [*_worst(found), *_shifts(found), *_hidden(found), *_unknown(found)]
    more = [_table(found), _shares(found)] if found["parts"] else []
    return [Points(tuple(said)), *[Fold(table.caption, (table,)) for table in more], Text(_how(found), small=True)]


def _how(found: Any) -> str:
    return (
        f"A part of fewer than {found['smallest']} radiographs, or fewer than {found['fewest_of_a_label']} of either "
        "label, is not shown. “Others” are the radiographs of the same hospital of which the attribute is known. A "
        "difference goes together with the attribute; nothing here says that it comes from it. The lowest of many "
        "numbers is low in part by chance."
    )


def _table(found: Any) -> Table:
    names = list(dict.fromkeys(one["method"] for part in found["parts"] for one in part["methods"]))
    columns = [Column("part"), Column("group"), Column("n", numeric=True)]
    columns += [Column(name, note="AUROC, and that less the others'", numeric=True) for name in names]
    rows = []
    for place, part in enumerate(found["parts"]):
        by_method = {one["method"]: (row, one) for row, one in enumerate(part["methods"])}
        cells = [Cell(_name(part)), Cell(part["group"], tag(part["role"])), Cell(str(part["n"]))]
        for name in names:
            if name not in by_method:
                cells.append(Cell(NOT_COMPUTED))
                continue
            row, one = by_method[name]
            own, less = (Estimate.from_json(one[key]) for key in ("auroc", "auroc_less_others"))
            cell = number(own, record=f"{RECORD}/parts/{place}/methods/{row}/auroc")
            beside = f"{cell.detail}; less the others {less.text(signed=True)}"
            cells.append(Cell(cell.text, beside, less.excludes(0) and less.value < 0, cell.record, cell.rests_on))
        rows.append(tuple(cells))
    return Table("AUROC of every part that is shown", tuple(columns), tuple(rows))


def _shares(found: Any) -> Table:
    columns = (
        Column("part"),
        Column("group"),
        Column("n", numeric=True),
        Column("positive", numeric=True),
        Column("prevalence", numeric=True),
        Column("less that of the others", numeric=True),
    )
    rows = []
    for place, part in enumerate(found["parts"]):
        record = f"{RECORD}/parts/{place}"
        own, less = (Estimate.from_json(part[key]) for key in ("prevalence", "prevalence_less_others"))
        rows.append(
            (
                Cell(_name(part)),
                Cell(part["group"], tag(part["role"])),
                Cell(str(part["n"])),
                Cell(str(part["n_positive"])),
                number(own, record=f"{record}/prevalence"),
                number(less, signed=True, record=f"{record}/prevalence_less_others"),
            )
        )
    return Table("Share of positives in every part that is shown", columns, tuple(rows))


def _name(part: Any) -> str:
    return f"{part['attribute']}: {part['part']}"


def _worst(found: Any) -> Iterator[str]:
    # the lowest of one says nothing
    for one in (one for one in found["worst"] if one["among"] > 1):
        auroc = Estimate.from_json(one["auroc"])
        yield (
            f"{one['method']} is lowest at {one['group']} ({tag(one['role'])}), {_name(one)}: AUROC {auroc.text()}, "
            f"n {auroc.n}; the lowest of {one['among']} parts."
        )


def _shifts(found: Any) -> Iterator[str]:
    for part in found["parts"]:
        less = Estimate.from_json(part["prevalence_less_others"])
        if less.excludes(0):
            yield (
                f"Prevalence differs at {part['group']}, {_name(part)}: {part['prevalence']['value']:.0%} of "
                f"{part['n']} are positive, {less.text(signed=True)} beside the {part['n_others']} others. Average "
                "precision, predictive values and calibration of the two cannot be compared as they stand."
            )


def _hidden(found: Any) -> Iterator[str]:
    for attribute in dict.fromkeys(one["attribute"] for one in found["hidden"]):
        rows = [one for one in found["hidden"] if one["attribute"] == attribute]
        parts = sum(one["parts"] for one in rows)
        counted = "1 part is" if parts == 1 else f"{parts} parts are"
        yield f"By {attribute}, {counted} too small to be shown ({', '.join(one['group'] for one in rows)})."


def _unknown(found: Any) -> Iterator[str]:
    for attribute in dict.fromkeys(one["attribute"] for one in found["unknown"]):
        rows = [one for one in found["unknown"] if one["attribute"] == attribute]
        unknown, n = sum(one["unknown"] for one in rows), sum(one["n"] for one in rows)
        if unknown == n:
            yield f"{attribute} is not known of any of the {n} test radiographs."
        elif unknown:
            yield f"{attribute} is not known of {unknown} of the {n} test radiographs; they are in no part of it."
