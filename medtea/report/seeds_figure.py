"""The figure of a sweep: every method's mean over seeds at every test group, with its interval and each seed's own."""

from __future__ import annotations

import functools
import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from medtea.report.drawing import COLOUR, Axes, Figure, axes_of, sheet, to_svg
from medtea.report.seeds_tables import HEADLINES, Record, how_many_seeds, in_digits, interval_text, shown_name
from medtea.report.tables import NO_ANSWER, tag

Method = Mapping[str, Any]
Cell = Mapping[str, Any]
# Widths in inches: names and one panel fill a telephone, names and four panels a page on a desk. A panel holds room for
# half a tick's number, its axis, the means in digits, and the way to the next.
NAMES, PANEL = 1.58, 2.15
TICK, DIGITS, GAP = 0.13, 0.4, 0.17
ROW, TOP, BOTTOM = 0.235, 0.45, 0.75  # heights, inches: of a row, of the groups' names, of ticks and key
LETTERS = 22  # of a name in one line; bold ones are wider
SEED = 0.27  # how far below its mean a seed's dot stands, rows
TEACHER, ERM = "teacher", "erm"
LOOKS = {TEACHER: ("ink", "D"), ERM: ("series-1", "s")}  # the two that others are measured by; colour and marker
OTHERS = ("series-0", "o")


def seeds_plot(record: Record, *, names: bool = True, panels: bool = True) -> str:
    """A row per method and a panel per test group, all on one axis, as SVG. What has no answer says so in its place.

    Args:
        record: Of the sweep.
        names: With the methods' names and the key. A page shows them as a figure of their own, which stays in place
            while the panels move past it.
        panels: With the panels.
    """
    methods, groups = ranked(record), record["groups"] if panels else []
    beside = NAMES if names else 0.0
    inside = PANEL - TICK - DIGITS - GAP
    width = beside + PANEL * len(groups)
    with sheet(width, TOP + ROW * len(methods) + BOTTOM) as figure:
        if names:
            _names(figure, record, methods, NAMES / width)
        for place, group in enumerate(groups):
            left = beside + place * PANEL + TICK
            axes = axes_of(figure, left=left / width, right=(left + inside) / width, bottom=BOTTOM, top=TOP)
            _panel(axes, record, methods, group, 1 + DIGITS / inside)
        if not panels:
            told = "; ".join(shown_name(method) for method in methods)
            return to_svg(figure, "seeds-names", "Methods, a row each", told)
        what = f"{HEADLINES[record['headline']]}: mean of {how_many_seeds(record)}, per method and test group"
        return to_svg(figure, "seeds", what, _in_words(record, methods))


def ranked(record: Record) -> list[Method]:
    """The teacher, then the others by their mean at the OOD group where it is lowest, the highest first.

    A group that no method has an answer for does not count; whoever lacks another's answer comes last. Without an OOD
    group the record's order stays.
    """
    values = {(cell["method"], cell["group"]): cell["value"] for cell in record["cells"]}
    known = {group for (_, group), value in values.items() if value is not None}
    ood = [group["group"] for group in record["groups"] if group["role"] == "ood" and group["group"] in known]

    def worst(method: Method) -> float:
        found = [values.get((method["method"], group)) for group in ood]
        return min((-math.inf if value is None else value for value in found), default=0.0)

    return sorted(record["methods"], key=lambda method: (method["method"] != TEACHER, -worst(method)))


def order_of(record: Record) -> str:
    """How the rows are sorted, in a sentence."""
    if not any(group["role"] == "ood" for group in record["groups"]):
        return "Methods stand in the order of the settings, the teacher first."
    return "The teacher stands first, then the others by their mean at the OOD group where it is lowest; gaps last."


def _panel(axes: Axes, record: Record, methods: Sequence[Method], group: Mapping[str, str], edge: float) -> None:
    """One group's; `edge` is where the means in digits end, in widths of the axes."""
    cells = {cell["method"]: cell for cell in record["cells"] if cell["group"] == group["group"]}
    _rows(axes, len(methods))
    axes.set_xlim(*_ends(record))
    axes.locator_params(axis="x", nbins=5, steps=[1, 2, 2.5, 5, 10])
    axes.set_xlabel(HEADLINES[record["headline"]], fontsize=8)
    above = 1 + 0.09 / (ROW * len(methods))
    axes.text(0, above, _folded(group["group"], LETTERS - 4), transform=axes.transAxes, va="bottom", weight="bold")
    axes.text(edge, above, tag(group["role"]), transform=axes.transAxes, va="bottom", ha="right", color=COLOUR["muted"])
    teacher = cells.get(TEACHER, {}).get("value")
    if teacher is not None:
        axes.axvline(_scaled(record, teacher), color=COLOUR["ink"], linewidth=0.9, dashes=(4, 3))
    if record["headline"] == "auroc":
        axes.axvline(0.5, color=COLOUR["muted"], linewidth=0.9, dashes=(1, 2))
    across = axes.get_yaxis_transform()
    for height, method in enumerate(methods):
        say = functools.partial(axes.text, edge, height, transform=across, va="center", ha="right", fontsize=8)
        cell = cells.get(method["method"])
        if cell is None or cell["value"] is None:
            ground = {"facecolor": COLOUR["paper"], "edgecolor": "none", "pad": 1}
            say(NO_ANSWER, color=COLOUR["muted"], bbox=ground)
        else:
            say(in_digits(record, cell["value"]))
            _dots(axes, record, cell, height)


def _dots(axes: Axes, record: Record, cell: Cell, height: float) -> None:
    name, marker = LOOKS.get(cell["method"], OTHERS)
    colour = COLOUR[name]
    seeds = [_scaled(record, value) for value in cell["by_seed"] if value is not None]
    axes.plot(seeds, [height + SEED] * len(seeds), "o", color=colour, markersize=2.4, alpha=0.7, clip_on=False)
    ends = [_scaled(record, end) for end in _interval(cell) if end is not None]
    axes.plot(ends, [height] * len(ends), color=colour, linewidth=1.8, clip_on=False)
    _mean(axes, _scaled(record, cell["value"]), height, colour, marker, hollow=None in cell["by_seed"])


def _mean(axes: Axes, x: float, y: float, colour: str, marker: str, *, hollow: bool) -> None:
    # Hollow, but not see-through: the interval's line ends at the marker's edge.
    inside = COLOUR["paper"] if hollow else colour
    size = 3.8 if marker == "D" else 4.5
    axes.plot([x], [y], marker, color=colour, markerfacecolor=inside, markersize=size, clip_on=False)


def _names(figure: Figure, record: Record, methods: Sequence[Method], share: float) -> None:
    """The names beside their rows, and what the marks mean below them."""
    axes = axes_of(figure, left=0, right=share, bottom=BOTTOM, top=TOP)
    _rows(axes, len(methods))
    axes.axis("off")
    for height, method in enumerate(methods):
        bold = method["method"] in LOOKS
        name = _folded(shown_name(method), LETTERS - 4 if bold else LETTERS)
        colour = COLOUR[LOOKS[method["method"]][0] if bold else "ink"]
        size, stands = (7.4, "center") if "\n" in name else (9, "center_baseline")
        shown = axes.text(0, height, name, va=stands, fontsize=size, color=colour, linespacing=0.95)
        shown.set_fontweight("bold" if bold else "normal")
    _key(figure, record, share)


def _key(figure: Figure, record: Record, share: float) -> None:
    axes = figure.add_axes((0, 0, share, BOTTOM / figure.get_figheight()))
    axes.set_xlim(0, NAMES)
    axes.set_ylim(BOTTOM, 0)
    axes.axis("off")
    muted, lines = COLOUR["muted"], [0.14 + 0.145 * line for line in range(4)]

    def say(words: str, line: int, x: float = 0.24) -> None:
        axes.text(x, lines[line], words, va="center", fontsize=7.4, color=muted)

    axes.plot([0, 0.18], [lines[0]] * 2, color=muted, linewidth=1.8)
    _mean(axes, 0.09, lines[0], muted, "o", hollow=False)
    say("mean, 95 % interval", 0)
    axes.plot([0.03, 0.09, 0.15], [lines[1]] * 3, "o", color=muted, markersize=2.4)
    say("each seed", 1)
    axes.plot([0.09] * 2, [lines[2] - 0.06, lines[2] + 0.06], color=COLOUR["ink"], linewidth=0.9, dashes=(3, 2))
    say("teacher", 2)
    lowest, highest = _ends(record)
    if record["headline"] == "auroc" and lowest < 0.5 < highest:
        axes.plot([0.85] * 2, [lines[2] - 0.06, lines[2] + 0.06], color=muted, linewidth=0.9, dashes=(1, 2))
        say("chance", 2, 0.95)
    if any(cell["value"] is not None and None in cell["by_seed"] for cell in record["cells"]):
        _mean(axes, 0.09, lines[3], muted, "o", hollow=True)
        say("seeds missing", 3)


def _rows(axes: Axes, n: int) -> None:
    axes.set_ylim(n - 0.5, -0.5)
    axes.set_yticks(range(n), [""] * n)
    axes.spines["left"].set_visible(False)


def _ends(record: Record) -> tuple[float, float]:
    """The axis of all panels: all that is shown, and a little more."""
    shown = [value for cell in record["cells"] for value in (cell["value"], *cell["by_seed"], *_interval(cell))]
    known = [_scaled(record, value) for value in shown if value is not None] or [0.0, _scaled(record, 1.0)]
    room = max(0.04 * (max(known) - min(known)), _scaled(record, 0.005))
    return min(known) - room, max(known) + room


def _interval(cell: Cell) -> list[float | None]:
    return [cell.get("patients", {}).get(end) for end in ("low", "high")]


def _scaled(record: Record, value: float) -> float:
    return 100 * value if record["headline"] == "accuracy" else value


def _folded(name: str, letters: int) -> str:
    return "\n".join(textwrap.wrap(name, letters, max_lines=2, placeholder=" …"))


def _in_words(record: Record, methods: Sequence[Method]) -> str:
    cells = {(cell["method"], cell["group"]): cell for cell in record["cells"]}
    said = []
    for group in record["groups"]:
        for method in methods:
            cell = cells.get((method["method"], group["group"]))
            where = f"{shown_name(method)} at {group['group']} ({tag(group['role'])})"
            if cell is None or cell["value"] is None:
                said.append(f"{where}: {NO_ANSWER}")
                continue
            seeds = ", ".join(NO_ANSWER if one is None else in_digits(record, one) for one in cell["by_seed"])
            mean = f"{in_digits(record, cell['value'])} ({interval_text(record, cell['patients'])})"
            said.append(f"{where}: {mean}, by seed {seeds}")
    return "; ".join(said)
