"""Whether acting on a score does more good than acting on everyone or on no one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from medtea.report.blocks import Beside, Block, Numbers, Plot, Text
from medtea.report.contents import Contents
from medtea.report.curves import decision_plot
from medtea.report.tables import NO_ANSWER, NOT_COMPUTED, Cell, Column, Table, tag

TITLE = "Net benefit of acting on it"
PLACE = 310
HOW = (
    "Net benefit: true positives per person, less false positives weighed by threshold / (1 - threshold), the "
    "harm of a needless action in units of a missed one. The threshold is the probability from which somebody "
    "would act; which ones are sensible depends on the use, and is for you to say (setting evaluate.thresholds). "
    "Scores are recalibrated on validation radiographs of the hospitals seen in training. The share of positives "
    "is that of this set: where it is not that of the place of use, neither is the net benefit."
)


def blocks(contents: Contents) -> Sequence[Block]:
    """A figure per hospital, and where a method is better than both."""
    found = contents.written.get("decision_curves")
    if not found or not found["entries"]:
        return []
    names = list(dict.fromkeys([*contents.metrics.names, *(entry["method"] for entry in found["entries"])]))
    plots = tuple(_plot(found, everyone, place, names) for place, everyone in enumerate(found["treat_all"]))
    return [Beside(plots), _table(found), Text(HOW, small=True)]


def _table(found: Any) -> Table:
    """Where each method is better than acting on everyone and on no one, with its 95 % interval."""
    groups = {one["group"]: one for one in found["treat_all"]}
    columns = [Column("method")]
    columns += [Column(name, tag(one["role"]), f"n {one['n']}") for name, one in groups.items()]
    said = {(entry["method"], entry["group"]): _better(found["thresholds"], entry) for entry in found["entries"]}
    methods = dict.fromkeys(entry["method"] for entry in found["entries"])
    rows = [(Cell(name), *(said.get((name, group), Cell(NOT_COMPUTED)) for group in groups)) for name in methods]
    caption = "Thresholds at which it is surely better than acting on everyone and on no one"
    return Table(caption, tuple(columns), tuple(rows))


COLUMNS = ("group", "who", "threshold", "net_benefit", "low", "high")


def _plot(found: Any, everyone: Any, place: int, names: Sequence[str]) -> Plot:
    group, at = everyone["group"], found["thresholds"]
    chosen = [entry for entry in found["entries"] if entry["group"] == group]
    name = f"decision_{place}"
    svg = decision_plot(name, group, at, chosen, everyone, names)
    lines = [("act on everyone", everyone), *((entry["method"], entry) for entry in chosen)]
    rows = [
        (group, who, *point)
        for who, one in lines
        if one["net_benefit"] is not None
        for point in zip(at, one["net_benefit"], one["low"], one["high"], strict=True)
    ]
    n = f"n {everyone['n']}, {everyone['n_positive']} positive"
    return Plot(
        name,
        f"{group} ({tag(everyone['role'])}; {n}): net benefit with a 95 % band.",
        svg,
        Numbers(COLUMNS, tuple(rows)),
    )


def _better(at: Sequence[float], entry: Any) -> Cell:
    if entry["net_benefit"] is None:
        return Cell(NO_ANSWER, entry["reason"] or "its recalibration has the slope 0")
    return Cell(_ranges(at, entry["better_at"]) or "none")


def _ranges(at: Sequence[float], better: Sequence[float]) -> str:
    """Neighbouring thresholds as ranges: "0.10 to 0.30, 0.45"."""
    held = {round(one, 6) for one in better}
    ranges: list[list[float]] = []
    before = False
    for threshold in at:
        inside = round(threshold, 6) in held
        if inside and before:
            ranges[-1][1] = threshold
        elif inside:
            ranges.append([threshold, threshold])
        before = inside
    return ", ".join(f"{low:.3g}" if low == high else f"{low:.3g} to {high:.3g}" for low, high in ranges)
