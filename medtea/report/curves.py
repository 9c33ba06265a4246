"""Figures of curves and distributions: calibration, net benefit, scores, and hospitals with what a new one may show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medtea.report.drawing import COLOUR, MARKERS, SERIES, WIDTH, Axes, Figure, axes_of, sheet, to_svg
from medtea.report.tables import tag

Written = Mapping[str, Any]
STATES = {"before": "as given", "after": "recalibrated"}
SIDES = ((0.12, 0.5), (0.58, 0.96))  # where the two panels begin and end, as shares of the width
FOREST = (0.32, 0.7)
LEGEND = 0.2  # inches for a line of it


def calibration_plot(name: str, group: str, entries: Sequence[Written], names: Sequence[str]) -> str:
    """The smooth share of positives against the score, before and after recalibration, a line and band per method."""
    legend = LEGEND * ((len(entries) + 1) // 2)
    with sheet(WIDTH, 2.75 + legend) as figure:
        for (left, right), (state, title) in zip(SIDES, STATES.items(), strict=True):
            axes = axes_of(figure, left=left, right=right, bottom=0.45, top=0.35 + legend)
            axes.plot([0, 1], [0, 1], color=COLOUR["muted"], linewidth=0.8, dashes=(3, 3))
            curves = [(entry["method"], (entry[state] or {}).get("curve")) for entry in entries]
            for method, curve in curves:
                if curve is not None:
                    _line(axes, curve["score"], curve["observed"], curve, method, names)
            if not any(curve for _, curve in curves):
                axes.text(0.5, 0.5, "no answer", ha="center", va="bottom", rotation=45, color=COLOUR["muted"])
            axes.set_title(title, fontsize=9, color=COLOUR["ink"])
            axes.set_xlim(0, 1)
            axes.set_ylim(0, 1)
            axes.set_xlabel("score")
        figure.axes[0].set_ylabel("share of positives")
        _legend(figure, [entry["method"] for entry in entries], names)
        about = f"Calibration at {group}: share of positives at each score, as given and recalibrated"
        return to_svg(figure, name, about, _calibration_in_words(entries))


def decision_plot(
    name: str, group: str, at: Sequence[float], entries: Sequence[Written], everyone: Written, names: Sequence[str]
) -> str:
    """Net benefit against the threshold, per method, beside acting on everyone and on no one."""
    legend = LEGEND * ((len(entries) + 1) // 2)
    with sheet(WIDTH, 2.9 + legend) as figure:
        axes = axes_of(figure, left=0.14, right=0.96, bottom=0.45, top=0.15 + legend)
        axes.axhline(0, color=COLOUR["ink"], linewidth=1)
        axes.plot(at, _floats(everyone["net_benefit"]), color=COLOUR["muted"], linewidth=1.2, dashes=(4, 2))
        axes.text(at[-1], 0, "no one", va="bottom", ha="right", fontsize=8, color=COLOUR["ink"])
        highest = [0.05, *[value for one in (everyone, *entries) for value in one["net_benefit"] or () if value]]
        for entry in entries:
            if entry["net_benefit"] is not None:
                _line(axes, at, entry["net_benefit"], entry, entry["method"], names)
        axes.text(at[0], everyone["net_benefit"][0], " everyone", va="bottom", fontsize=8, color=COLOUR["muted"])
        axes.set_ylim(-0.35 * max(highest), 1.12 * max(highest))
        axes.set_xlim(at[0], at[-1])
        axes.set_xlabel("threshold: act where the score is at least this")
        axes.set_ylabel("net benefit")
        _legend(figure, [entry["method"] for entry in entries], names)
        return to_svg(figure, name, f"Net benefit at {group}", _decision_in_words(at, entries))


def distribution_plot(name: str, group: str, entries: Sequence[Written]) -> str:
    """How the scores of positives (up) and negatives (down) lie, as shares of each, a strip per method."""
    with sheet(WIDTH, 0.5 + 0.85 * len(entries)) as figure:
        height = figure.get_figheight()
        for place, entry in enumerate(entries):
            low = height - 0.1 - 0.85 * (place + 1) + 0.28
            axes = figure.add_axes((0.24, low / height, 0.72, 0.57 / height))
            edges = np.array(entry["edges"])
            for kind, colour, way in (("positive", "series-1", 1), ("negative", "series-0", -1)):
                shares = np.array(entry[kind]["counts"]) / max(entry[kind]["n"], 1)
                axes.stairs(way * shares, edges, fill=True, color=COLOUR[colour], linewidth=0)
            axes.axhline(0, color=COLOUR["ink"], linewidth=0.6)
            axes.set_yticks([])
            axes.spines["left"].set_visible(False)
            axes.tick_params(axis="x", labelsize=7)
            axes.locator_params(axis="x", nbins=3)
            axes.text(-0.33, 0.5, entry["method"], transform=axes.transAxes, va="center", weight="bold")
        figure.axes[-1].set_xlabel("score (each method has its own scale)")
        return to_svg(figure, name, f"Scores of positives and negatives at {group}", _scores_in_words(entries))


def hospitals_plot(name: str, entries: Sequence[Written], names: Sequence[str]) -> str:
    """Per method each hospital's AUROC, their mean, and the interval for a new hospital."""
    rows = sum(len(entry["hospitals"]) + 3.4 for entry in entries)
    with sheet(WIDTH, 0.55 + 0.2 * rows) as figure:
        axes = axes_of(figure, left=FOREST[0], right=FOREST[1], bottom=0.42, top=0.05)
        axes.axvline(0.5, color=COLOUR["muted"], linewidth=0.8, dashes=(3, 3))
        height = 0.0
        for entry in entries:
            colour = COLOUR[f"series-{names.index(entry['method']) % len(SERIES)}"]
            _beside(axes, height, f"{entry['method']}: {OVER[entry['over']]}", "", weight="bold")
            for hospital in entry["hospitals"]:
                height += 1
                _hospital_row(axes, height, hospital, colour)
            _pooled_row(axes, height + 1, "mean", (entry["mean"], entry["low"], entry["high"]), colour, width=2.6)
            _pooled_row(
                axes, height + 2, "a new hospital", (None, entry["new_low"], entry["new_high"]), colour, width=1
            )
            height += 3.4
        axes.set_ylim(height - 0.9, -0.7)
        axes.set_xlim(0, 1.02)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.set_xlabel("AUROC (dashed: chance)")
        return to_svg(figure, name, "AUROC per hospital, their mean and a new hospital", _hospitals_in_words(entries))


OVER = {"ood": "hospitals not seen in training", "all": "all hospitals"}


def span(low: float | None, high: float | None) -> str:
    """An interval in words."""
    return "no answer" if low is None or high is None else f"{low:.2f} to {high:.2f}"


def _hospital_row(axes: Axes, height: float, hospital: Written, colour: str) -> None:
    value, low, high = hospital["auroc"], hospital["low"], hospital["high"]
    words = "no answer" if value is None else f"{value:.2f} ({span(low, high) if low is not None else 'no interval'})"
    _beside(axes, height, f"{hospital['group']} {tag(hospital['role'])}", words)
    if low is not None and high is not None:
        axes.plot([low, high], [height, height], color=colour, linewidth=1.2)
    if value is not None:
        axes.plot([value], [height], color=colour, marker="s", markersize=4)


def _pooled_row(
    axes: Axes, height: float, what: str, numbers: tuple[float | None, ...], colour: str, *, width: float
) -> None:
    value, low, high = numbers
    words = span(low, high) if value is None else f"{value:.2f} ({span(low, high)})"
    _beside(axes, height, what, words)
    if low is not None and high is not None:
        axes.plot([low, high], [height, height], color=colour, linewidth=width, solid_capstyle="butt")
        axes.plot([low, high], [height, height], color=colour, marker="|", markersize=7, linewidth=0)
    if value is not None:
        axes.plot([value], [height], color=colour, marker="D", markersize=6)


def _line(axes: Axes, x: Sequence[float], y: Any, band: Written, method: str, names: Sequence[str]) -> None:
    place = names.index(method)
    colour, marker = COLOUR[f"series-{place % len(SERIES)}"], MARKERS[place % len(MARKERS)]
    low, high = _floats(band["low"]), _floats(band["high"])
    axes.fill_between(x, low, high, color=colour, alpha=0.13, linewidth=0)
    axes.plot(x, _floats(y), color=colour, linewidth=1.5, marker=marker, markersize=3.5, markevery=(2 * place % 8, 8))


def _legend(figure: Figure, methods: Sequence[str], names: Sequence[str]) -> None:
    # Markers and names above the axes, two in a line.
    height = figure.get_figheight()
    for place, method in enumerate(methods):
        number = names.index(method)
        x, y = 0.13 + 0.42 * (place % 2), 1 - (0.12 + LEGEND * (place // 2)) / height
        colour, marker = COLOUR[f"series-{number % len(SERIES)}"], MARKERS[number % len(MARKERS)]
        figure.text(x + 0.025, y, method, va="center", color=colour, weight="bold", fontsize=8)
        spot = figure.add_axes((x, y - 0.05 / height, 0.02, 0.1 / height))
        spot.axis("off")
        spot.plot([0], [0], color=colour, marker=marker, markersize=4.5, clip_on=False)


def _beside(axes: Axes, height: float, left: str, right: str, weight: str = "normal") -> None:
    width = FOREST[1] - FOREST[0]
    across = axes.get_yaxis_transform()
    axes.text(-FOREST[0] / width, height, left, transform=across, va="center", weight=weight, fontsize=8)
    axes.text((1 - FOREST[0]) / width, height, right, transform=across, va="center", ha="right", fontsize=8)


def _floats(values: Sequence[float | None]) -> np.ndarray[Any, Any]:
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def _number(estimate: Written) -> str:
    return "no answer" if estimate["value"] is None else f"{estimate['value']:.2f}"


def _calibration_in_words(entries: Sequence[Written]) -> str:
    said = []
    for entry in entries:
        for state, words in STATES.items():
            found = entry[state]
            about = "no answer" if found is None else f"intercept {_number(found['intercept'])}, slope "
            said.append(f"{entry['method']} {words}: {about}{'' if found is None else _number(found['slope'])}")
    return "; ".join(said)


def _decision_in_words(at: Sequence[float], entries: Sequence[Written]) -> str:
    middle = len(at) // 2
    return "; ".join(
        f"{entry['method']}: "
        + ("no answer" if not entry["net_benefit"] else f"{entry['net_benefit'][middle]:.3f} at {at[middle]:.2f}")
        for entry in entries
    )


def _scores_in_words(entries: Sequence[Written]) -> str:
    said = []
    for entry in entries:
        for kind in ("positive", "negative"):
            quantiles = entry[kind]["quantiles"]
            middle = "none" if quantiles is None else f"median {quantiles[2]:.3g}"
            said.append(f"{entry['method']}, {entry[kind]['n']} {kind}: {middle}")
    return "; ".join(said)


def _hospitals_in_words(entries: Sequence[Written]) -> str:
    return "; ".join(
        f"{entry['method']}, {OVER[entry['over']]}: mean {span(entry['low'], entry['high'])}, "
        f"a new hospital {span(entry['new_low'], entry['new_high'])}"
        for entry in entries
    )
