"""Several runs of one config with different seeds as one Markdown table.

Usage: python docs/results/summary.py RUN [RUN ...]

A cell is the mean AUROC over the runs with each run's value behind it: with few seeds the values say more than a
standard deviation. A value without an answer is shown as a dash and is left out of the mean, which then says so.
"""

from __future__ import annotations

import sys
from pathlib import Path

from medtea.core.work import read_json


def summary(runs: list[Path]) -> str:
    """The table, a row per method and a column per group."""
    values: dict[tuple[str, str], list[float | None]] = {}
    groups: dict[str, str] = {}
    for run in runs:
        for row in read_json(run / "evaluate" / "metrics.json")["scores"]:
            groups[row["group"]] = row["role"].upper()
            values.setdefault((row["method"], row["group"]), []).append(row["auroc"]["value"])
    ordered = sorted(groups, key=lambda group: (groups[group] == "OOD", group))
    methods = list(dict.fromkeys(method for method, _ in values))
    lines = ["| method | " + " | ".join(f"{group} [{groups[group]}]" for group in ordered) + " |"]
    lines.append("| --- |" + " ---: |" * len(ordered))
    for method in methods:
        cells = [_cell(values.get((method, group), []), len(runs)) for group in ordered]
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    seeds = ", ".join(str(read_json(run / "evaluate" / "record.json")["seed"]) for run in runs)
    return "\n".join(lines) + f"\n\nSeeds {seeds}, in this order within a cell.\n"


def _cell(found: list[float | None], runs: int) -> str:
    answered = [value for value in found if value is not None]
    if not answered:
        return "no answer"
    each = ", ".join("–" if value is None else f"{value:.3f}" for value in found)
    of = "" if len(answered) == runs else f" of {len(answered)}"
    return f"**{sum(answered) / len(answered):.3f}**{of} ({each})"


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("Usage: python docs/results/summary.py RUN [RUN ...], the run folders of one config.")
    sys.stdout.write(summary([Path(name) for name in sys.argv[1:]]))
