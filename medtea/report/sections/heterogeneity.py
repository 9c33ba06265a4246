"""How much hospitals differ, and what a new one may show."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from medtea.report.blocks import Alert, Block, Numbers, Plot, Points, Text
from medtea.report.contents import Contents
from medtea.report.curves import OVER, hospitals_plot, span
from medtea.report.tables import NO_ANSWER, Cell, Column, Table, tag

TITLE = "Between hospitals"
PLACE = 220
RECORD = "evaluate/metrics.json#/heterogeneity/entries"
FEW = 5
"""Hospitals below which the spread between them is hardly known."""
HOW = (
    "The mean is that of the law from which hospitals are thought to be drawn. τ: standard deviation between "
    "hospitals on the logit scale, beyond what chance among patients gives. I²: share of the spread that is "
    "beyond chance. Q: test of whether all are alike; with few hospitals it finds little. The interval for a new "
    "hospital is where the AUROC of one more hospital, drawn like these, is expected in about 95 % of cases. Over all "
    "hospitals it is too hopeful: those seen in training are among them."
)
COLUMNS = ("method", "over", "what", "role", "n", "n_positive", "auroc", "low", "high")


def blocks(contents: Contents) -> Sequence[Block]:
    """The warning that few hospitals say little, the forest with the interval for a new hospital, and the numbers."""
    found = contents.written.get("heterogeneity")
    if not found or not found["entries"]:
        return []
    entries = found["entries"]
    names = list(dict.fromkeys([*contents.metrics.names, *(entry["method"] for entry in entries)]))
    widest = [_widest([one for one in entries if one["method"] == name]) for name in names]
    drawn = [one for one in widest if one is not None]
    plot = Plot(
        "new_hospital",
        "AUROC per hospital with its 95 % interval (◆ their mean; last line: a new hospital).",
        hospitals_plot("new_hospital", drawn, names),
        Numbers(COLUMNS, tuple(_rows(drawn))),
    )
    said = [*_left_out(entries)]
    return [
        Alert(_how_many(entries)),
        plot,
        _table(entries),
        *([Points(tuple(said))] if said else []),
        Text(f"{HOW} Computed by {found['how']}.", small=True),
    ]


def _widest(of_method: Sequence[Any]) -> Any:
    """The hospitals not seen where two or more have an answer, else all."""
    return next((one for one in of_method if one["k"] > 1), of_method[-1] if of_method else None)


def _how_many(entries: Sequence[Any]) -> str:
    unseen = max([len(one["hospitals"]) for one in entries if one["over"] == "ood"], default=0)
    if unseen == 0:
        return "No hospital was left unseen in training: nothing here says how a method does at a new one."
    if unseen == 1:
        return (
            "One hospital was not seen in training. How hospitals differ cannot be known from one: another one may "
            "be better or worse than it by any amount."
        )
    if unseen == 2:
        return (
            "Two hospitals were not seen in training. Two say next to nothing about how hospitals differ: the interval "
            "of their mean is nearly useless, and there is none for a third hospital."
        )
    if unseen < FEW:
        return (
            f"{unseen} hospitals were not seen in training. So few say little about how hospitals differ: the interval "
            "for a new one is wide because so little is known, and may still be too short."
        )
    return f"{unseen} hospitals were not seen in training; a new one is expected within the interval below."


def _rows(entries: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
    for entry in entries:
        place = (entry["method"], OVER[entry["over"]])
        for one in entry["hospitals"]:
            counts = (one["n"], one["n_positive"])
            yield (*place, one["group"], tag(one["role"]), *counts, one["auroc"], one["low"], one["high"])
        n = sum(one["n"] for one in entry["hospitals"] if not one["reason"])
        positive = sum(one["n_positive"] for one in entry["hospitals"] if not one["reason"])
        yield (*place, "mean", "", n, positive, entry["mean"], entry["low"], entry["high"])
        yield (*place, "a new hospital", "", n, positive, None, entry["new_low"], entry["new_high"])


def _table(entries: Sequence[Any]) -> Table:
    heads = ("mean AUROC", "a new hospital", "τ (logit)", "I²", "Q")
    columns = [Column("method"), Column("over"), Column("hospitals", numeric=True), Column("n", numeric=True)]
    columns += [Column(head, numeric=True) for head in heads]
    rows = []
    for place, entry in enumerate(entries):
        record = f"{RECORD}/{place}"
        n = sum(one["n"] for one in entry["hospitals"] if not one["reason"])
        rests = f"n {n}, {entry['k']} hospitals"
        cells = [Cell(entry["method"]), Cell(OVER[entry["over"]]), Cell(str(entry["k"])), Cell(str(n))]
        if entry["mean"] is None:
            cells += [Cell(NO_ANSWER, entry["reason"]), *[Cell(NO_ANSWER) for _ in heads[1:]]]
        else:
            mean = Cell(f"{entry['mean']:.2f}", span(entry["low"], entry["high"]), False, f"{record}/mean", rests)
            reason = entry["reason"] if entry["new_low"] is None else ""
            new = Cell(span(entry["new_low"], entry["new_high"]), reason, False, f"{record}/new_low", rests)
            cells += [mean, new, Cell(f"{entry['tau']:.2f}"), Cell(f"{entry['i_squared']:.0%}")]
            cells.append(Cell(f"{entry['q']:.1f}", f"p {entry['p']:.2g}"))
        rows.append(tuple(cells))
    return Table("The hospitals as a sample of hospitals", tuple(columns), tuple(rows))


def _left_out(entries: Sequence[Any]) -> Iterator[str]:
    said = {
        f"{entry['method']} at {one['group']} (n {one['n']}) has no part in this: {one['reason']}."
        for entry in entries
        for one in entry["hospitals"]
        if one["reason"]
    }
    yield from sorted(said)
