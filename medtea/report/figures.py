"""The figures of a run's report, drawn from its numbers."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medtea.metrics.estimates import Estimate
from medtea.metrics.heatmaps import relevance_outside
from medtea.report.contents import Exhibit, Metrics, Picture, Score
from medtea.report.drawing import (
    COLOUR,
    MARKERS,
    SERIES,
    WIDTH,
    Axes,
    axes_of,
    contour_path,
    picture_uri,
    sheet,
    to_svg,
)
from medtea.report.tables import NOT_COMPUTED, tag

FOREST = (0.24, 0.67)  # where the forest's axis begins and ends, as shares of the width; words on either side
# Relevance beyond this quantile of |R| has the full colour, so that one pixel does not bleach the rest.
FULL_COLOUR = 0.995
SIDE = 140
"""Of a panel in a montage's file, in its own units."""


def forest_plot(metrics: Metrics) -> str:
    """AUROC with interval of every method, group by group, as SVG. What has no answer says so in its place."""
    groups, names = metrics.groups, metrics.names
    rows = len(groups) * (len(names) + 1.6)
    with sheet(WIDTH, 0.55 + 0.21 * rows) as figure:
        axes = axes_of(figure, left=FOREST[0], right=FOREST[1], bottom=0.42, top=0.05)
        axes.set_xlim(_lowest(metrics.scores), 1.02)
        axes.axvline(0.5, color=COLOUR["muted"], linewidth=0.8, dashes=(3, 3))
        height = 0.0
        for group, role in groups.items():
            _beside(axes, height, group, tag(role), weight="bold")
            for place, name in enumerate(names):
                height += 1
                _forest_row(axes, metrics.score(name, group), name, place, height)
            height += 1.6
        axes.set_ylim(height - 0.9, -0.7)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.set_xlabel("AUROC (dashed: chance)")
        return to_svg(figure, "forest", "AUROC with its 95 % interval, per group and method", _in_words(metrics))


def slope_plot(metrics: Metrics) -> str:
    """AUROC of every method from the groups seen in training to those not seen, as SVG; a line per method."""
    groups, names = list(metrics.groups), metrics.names
    with sheet(WIDTH, 3.3) as figure:
        axes = axes_of(figure, left=0.1, right=0.7, bottom=0.62, top=0.12)
        ends = []
        for place, name in enumerate(names):
            found = [metrics.score(name, group) for group in groups]
            xs = np.arange(len(groups)) + 0.07 * (place - (len(names) - 1) / 2)
            values = np.array([score.auroc.value if score else np.nan for score in found])
            colour = COLOUR[f"series-{place % len(SERIES)}"]
            marker = MARKERS[place % len(MARKERS)]
            axes.plot(xs, values, color=colour, marker=marker, markersize=5, linewidth=1.6, clip_on=False)
            for x, score in zip(xs, found, strict=True):
                if score is not None and score.auroc.has_interval:
                    axes.plot([x, x], [score.auroc.low, score.auroc.high], color=colour, linewidth=1.1, alpha=0.55)
            if not np.isnan(values).all():
                # A name stands at the height where its line ends.
                ends.append((float(values[~np.isnan(values)][-1]), name, colour))
        lowest = _lowest(metrics.scores)
        axes.set_ylim(lowest, 1.02)
        axes.set_xlim(-0.35, len(groups) - 1 + 0.35)
        axes.axhline(0.5, color=COLOUR["muted"], linewidth=0.8, dashes=(3, 3))
        for x, group in enumerate(groups):
            if not any(score.auroc.answered for score in metrics.scores if score.group == group):
                axes.text(x, 0.53, "no answer", rotation=90, ha="center", va="bottom", color=COLOUR["muted"])
        axes.set_xticks(range(len(groups)))
        below = [f"{_folded(group)}\n{tag(metrics.groups[group])}" for group in groups]
        axes.set_xticklabels(below, color=COLOUR["ink"])
        axes.set_ylabel("AUROC (dashed: chance)")
        for height, (_, name, colour) in zip(_spread([end[0] for end in ends], lowest), ends, strict=True):
            axes.text(
                1.03, height, name, color=colour, transform=axes.get_yaxis_transform(), va="center", weight="bold"
            )
        title = "AUROC from hospitals seen in training to hospitals not seen"
        return to_svg(figure, "slope", title, _in_words(metrics))


def difference_plot(rows: Sequence[tuple[str, str, str, Estimate]]) -> str:
    """Differences with intervals, a line each, as SVG: method, group, its tag, estimate. What has no answer says so."""
    with sheet(WIDTH, 0.55 + 0.21 * (len(rows) + 1.6 * len({group for _, group, _, _ in rows}))) as figure:
        axes = axes_of(figure, left=FOREST[0], right=FOREST[1] - 0.06, bottom=0.42, top=0.05)
        ends = [abs(end) for *_, one in rows for end in (one.low, one.high, one.value) if not math.isnan(end)]
        reach = 1.1 * max([0.05, *ends])
        axes.set_xlim(-reach, reach)
        axes.axvline(0, color=COLOUR["muted"], linewidth=0.8, dashes=(3, 3))
        height, told = -1.6, ""
        for name, group, role, found in rows:
            if group != told:
                height, told = height + 1.6, group
                _beside(axes, height, group, role, weight="bold")
            height += 1
            _beside(axes, height, name, found.text(signed=True))
            if found.has_interval:
                axes.plot([found.low, found.high], [height, height], color=COLOUR["series-0"], linewidth=1.8)
            if found.answered:
                axes.plot([found.value], [height], color=COLOUR["series-0"], marker="o", markersize=5.5)
        axes.set_ylim(height + 0.7, -0.9)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.set_xlabel("difference in AUROC")
        words = "; ".join(f"{name} at {group}: {found.text(signed=True)}" for name, group, _, found in rows)
        return to_svg(figure, "differences", "Difference in AUROC with its 95 % interval", words)


@dataclass(frozen=True)
class Panel:
    """One picture of the montage: pixels as a data URI, the lung's outline as an SVG path, and its words."""

    title: str
    uri: str
    width: int
    height: int
    outline: str
    note: str
    alt: str


@dataclass(frozen=True)
class PanelRow:
    """A radiograph and its heatmaps."""

    title: str
    panels: tuple[Panel, ...]


def montage(pictures: Sequence[Picture]) -> tuple[PanelRow, ...]:
    """For each picture the radiograph, then each heatmap over it: red speaks for the finding, blue against it.

    Every map has its own colour scale, which its note states together with the share of relevance outside the lungs:
    logits of different networks have no common unit.
    """
    rows = []
    for picture in pictures:
        named = f"{picture.case} {picture.radiograph}".strip() if picture.case != "mean" else ""
        about = f"{picture.group}, {picture.label}" + (f", {named}" if named else "")
        outline = contour_path(picture.lung_mask)
        size = picture.image.shape[1], picture.image.shape[0]
        panels = [Panel("radiograph", picture_uri(_grey(picture.image)), *size, outline, "", f"Radiograph, {about}")]
        for name, heatmap in picture.maps.items():
            limit = _limit(heatmap)
            words = f"full colour at ±{limit:.2g}" if limit > 0 else "zero everywhere"
            share = _share_outside(heatmap, picture.lung_mask)
            if share is not None:
                words = f"{share:.0%} outside the lungs; {words}"
            uri = picture_uri(overlay(picture.image, heatmap, limit))
            panels.append(Panel(name, uri, *size, outline, words, f"Heatmap of {name}, {about}: {words}"))
        rows.append(PanelRow(about, tuple(panels)))
    return tuple(rows)


def exhibition(exhibits: Sequence[Exhibit]) -> tuple[PanelRow, ...]:
    """A row per network and group: the radiographs on which an answer shows most, each followed by what was shown."""
    rows = []
    for (method, group), some in itertools.groupby(exhibits, key=lambda one: (one.method, one.group)):
        panels: list[Panel] = []
        for one in some:
            panels += _panels_of(one)
        rows.append(PanelRow(f"{method} at {group}", tuple(panels)))
    return tuple(rows)


def _panels_of(one: Exhibit) -> list[Panel]:
    size, outline = (one.image.shape[1], one.image.shape[0]), contour_path(one.lung_mask)
    name = one.radiographs[0] if one.radiographs else "radiograph"
    about = f"{one.method} at {one.group}, {name}: {one.note}"
    if one.heatmap is not None:
        uri = picture_uri(overlay(one.image, one.heatmap, _limit(one.heatmap)))
        return [Panel(name, uri, *size, outline, one.note, f"Heatmap of {about}")]
    before = _grey(one.image)
    if one.marked is not None:
        colour, opacity = np.array([1.0, 0.33, 0.1]), 0.6 * (one.marked > 0)[..., None]
        before = (1 - opacity) * before + opacity * colour
    panels = [Panel(name, picture_uri(before), *size, outline, "as it is", f"Radiograph, {about}")]
    if one.changed is not None:
        panels.append(Panel("changed", picture_uri(_grey(one.changed)), *size, outline, one.note, f"Changed, {about}"))
    return panels


def strip(title: str, pictures: Sequence[Picture]) -> PanelRow:
    """Radiographs side by side, each under its label and id."""
    panels = []
    for one in pictures:
        size = one.image.shape[1], one.image.shape[0]
        alt = f"Radiograph {one.radiograph}, {one.group}, {one.label}"
        panels.append(Panel(one.label, picture_uri(_grey(one.image)), *size, "", one.radiograph, alt))
    return PanelRow(title, tuple(panels))


def montage_svg(pictures: Sequence[Picture]) -> str:
    """The montage as one SVG file, for the figures folder and for tracking."""
    return panels_svg(montage(pictures))


def panels_svg(rows: Sequence[PanelRow]) -> str:
    """Rows of panels as one SVG file of its own; SIDE units a panel, its row's words and its own above it."""
    wide, high = SIDE + 10, SIDE + 40
    parts = []
    for line, row in enumerate(rows):
        parts.append(f'<text x="0" y="{line * high + 12}" font-weight="bold">{escape(row.title)}</text>')
        for place, one in enumerate(row.panels):
            scale = SIDE / max(one.width, one.height)
            parts.append(f'<g transform="translate({place * wide} {line * high + 32})">')
            parts.append(f'<text y="-5">{escape(one.title)}</text><g transform="scale({scale:g})">')
            parts.append(f'<image href="{one.uri}" width="{one.width}" height="{one.height}"/>')
            parts.append(f'<path d="{one.outline}" fill="none" stroke="#ffe9a8" stroke-width="{1 / scale:g}"/></g></g>')
    width = wide * max((len(row.panels) for row in rows), default=1)
    told = escape("; ".join(row.title for row in rows) or "none")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {max(1, high * len(rows))}" role="img" '
        f'font-family="system-ui, sans-serif" font-size="11" fill="#1b2430">'
        f"<title>Radiographs with heatmaps</title><desc>{told}</desc>{''.join(parts)}</svg>"
    )


def overlay(image: NDArray[Any], heatmap: NDArray[Any], limit: float) -> NDArray[np.float64]:
    """Radiograph in grey with signed relevance over it, (height, width, 3) in [0, 1]; opaque where |R| >= limit."""
    strength = np.clip(np.nan_to_num(heatmap / limit), -1, 1) if limit > 0 else np.zeros_like(heatmap, dtype=np.float64)
    # Vermilion and blue, told apart by all common forms of colour vision. Dimmed, the radiograph lets both stand out.
    colour = np.where(strength[..., None] > 0, np.array([1.0, 0.33, 0.1]), np.array([0.2, 0.55, 1.0]))
    # The square root shows weak relevance as well; the order of strengths is kept.
    opacity = 0.9 * np.sqrt(np.abs(strength))[..., None]
    blended: NDArray[np.float64] = (1 - opacity) * 0.75 * _grey(image) + opacity * colour
    return blended


def _forest_row(axes: Axes, score: Score | None, name: str, place: int, height: float) -> None:
    colour = COLOUR[f"series-{place % len(SERIES)}"]
    _beside(axes, height, name, score.auroc.text() if score else NOT_COMPUTED)
    if score is None or not score.auroc.answered:
        return
    if score.auroc.has_interval:
        axes.plot([score.auroc.low, score.auroc.high], [height, height], color=colour, linewidth=1.8, clip_on=False)
    marker = MARKERS[place % len(MARKERS)]
    axes.plot([score.auroc.value], [height], color=colour, marker=marker, markersize=5.5, clip_on=False)


def _beside(axes: Axes, height: float, left: str, right: str, weight: str = "normal") -> None:
    # Words at the figure's left and right edge, in the axes' own coordinate across.
    width = FOREST[1] - FOREST[0]
    across = axes.get_yaxis_transform()
    axes.text(-FOREST[0] / width, height, left, transform=across, va="center", weight=weight)
    axes.text((1 - FOREST[0]) / width, height, right, transform=across, va="center", ha="right", weight=weight)


def _lowest(scores: Sequence[Score]) -> float:
    # The axis begins a tenth below what is shown, and never hides chance.
    shown = [
        score.auroc.low if score.auroc.has_interval else score.auroc.value for score in scores if score.auroc.answered
    ]
    return max(-0.02, min([0.45, *(math.floor(10 * value) / 10 - 0.02 for value in shown)]))


def _spread(heights: Sequence[float], lowest: float) -> list[float]:
    # Labels at least one line apart, in the order of their values.
    apart = (1.02 - lowest) / 15
    placed = list(heights)
    order = sorted(range(len(placed)), key=lambda i: placed[i])
    for below, above in itertools.pairwise(order):
        placed[above] = max(placed[above], placed[below] + apart)
    over = max([0.0, *(height - 1.0 for height in placed)])
    return [height - over for height in placed] if over else placed


def _folded(name: str) -> str:
    return name.replace(", ", ",\n")


def _in_words(metrics: Metrics) -> str:
    return "; ".join(
        f"{score.method} at {score.group} ({tag(score.role)}): {score.auroc.text()}" for score in metrics.scores
    )


def _limit(heatmap: NDArray[Any]) -> float:
    finite = np.abs(heatmap[np.isfinite(heatmap)])
    limit = float(np.quantile(finite, FULL_COLOUR)) if finite.size else 0.0
    return limit if limit > 0 else float(finite.max(initial=0.0))


def _share_outside(heatmap: NDArray[Any], lung_mask: NDArray[Any] | None) -> float | None:
    if lung_mask is None:
        return None
    share = float(relevance_outside(heatmap[None, None], lung_mask[None, None])[0])
    return None if np.isnan(share) else share


def _grey(image: NDArray[Any]) -> NDArray[np.float64]:
    return np.repeat(np.clip(np.nan_to_num(image.astype(np.float64)), 0, 1)[..., None], 3, axis=2)
