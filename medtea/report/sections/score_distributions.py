"""How scores of positives and negatives lie at each hospital."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from medtea.report.blocks import Beside, Block, Numbers, Plot, Text
from medtea.report.contents import Contents
from medtea.report.curves import distribution_plot
from medtea.report.tables import tag

TITLE = "Scores of positives and negatives"
PLACE = 320
COLUMNS = ("group", "method", "label", "from", "to", "count", "n")
HOW = (
    "Orange, upwards: radiographs with the finding; blue, downwards: those without; each as shares of its own number. "
    "Where the whole distribution has moved between two hospitals, a threshold that was chosen at one does not fit the "
    "other, whatever the AUROCs say."
)


def blocks(contents: Contents) -> Sequence[Block]:
    """A figure per hospital."""
    found = contents.written.get("score_distributions")
    if not found or not found["entries"]:
        return []
    groups = list(dict.fromkeys(entry["group"] for entry in found["entries"]))
    plots = []
    for place, group in enumerate(groups):
        chosen = [entry for entry in found["entries"] if entry["group"] == group]
        name, first = f"scores_{place}", chosen[0]
        counted = f"{first['positive']['n']} positive, {first['negative']['n']} negative"
        caption = f"{group} ({tag(first['role'])}; {counted})."
        plots.append(
            Plot(name, caption, distribution_plot(name, group, chosen), Numbers(COLUMNS, tuple(_rows(chosen))))
        )
    return [Beside(tuple(plots)), Text(HOW, small=True)]


def _rows(entries: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
    for entry in entries:
        for label in ("positive", "negative"):
            bins = zip(entry["edges"][:-1], entry["edges"][1:], entry[label]["counts"], strict=True)
            yield from ((entry["group"], entry["method"], label, *one, entry[label]["n"]) for one in bins)
