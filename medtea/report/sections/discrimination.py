"""How well the two classes are told apart: AUROC, its figure, average precision, and the rates at one threshold."""

from __future__ import annotations

import re
from collections.abc import Sequence

from medtea.report.blocks import Beside, Block, Fold, Numbers, Plot, Text
from medtea.report.contents import RATES, Contents, Metrics, is_audit_alone
from medtea.report.figures import forest_plot, slope_plot
from medtea.report.tables import difference_table, in_words, listed, operating_table

TITLE = "Discrimination"
PLACE = 200


def blocks(contents: Contents) -> Sequence[Block]:
    """The figures, paired differences, and the operating point."""
    if is_audit_alone(contents):
        return []
    metrics = contents.metrics
    numbers = _numbers(metrics)
    forest = Plot("forest", "AUROC with its 95 % interval, per group.", forest_plot(metrics), numbers)
    slope = Plot(
        "slope",
        "The same from hospitals seen (left) to hospitals not seen (right).",
        slope_plot(metrics),
        numbers,
    )
    operating = operating_table(metrics)
    differences = difference_table(metrics)
    return [
        Beside((forest, slope)),
        *([differences] if differences.rows else []),
        Fold(operating.caption, (operating, Text(_about(metrics), small=True))),
        Text(_how(metrics), small=True),
    ]


def _about(metrics: Metrics) -> str:
    coin = (
        "A coin toss has an average precision equal to the prevalence; compare it within a group, not between groups."
    )
    if not metrics.operating_point:
        return coin
    listed = ", ".join(f"{name} {value:.3f}" for name, value in metrics.thresholds.items())
    where = f" ({listed})" if listed else ""
    return f"{coin} Threshold of accuracy, sensitivity and specificity: {metrics.operating_point}{where}."


def _how(metrics: Metrics) -> str:
    """Which interval each kind of number has, as the numbers themselves say."""
    found: dict[str, list[str]] = {}
    for name in ("auroc", *RATES):
        estimates = [getattr(score, name) for score in metrics.scores]
        # What stands behind a semicolon or a count is of one number alone.
        ways = {re.sub(r"\d+ ", "", one.interval.partition(";")[0]) for one in estimates if one and one.has_interval}
        for way in sorted(ways):
            found.setdefault(way, []).append("AUROC" if name == "auroc" else in_words(name))
    told = "; ".join(f"{way}: {listed(names)}" for way, names in found.items())
    return f"95 % intervals by patient. {told}. Each number's own is in its record."


def _numbers(metrics: Metrics) -> Numbers:
    columns = ("group", "role", "method", "auroc", "low", "high", "n", "n_positive", "n_patients")
    rows = []
    for group in metrics.groups:
        for score in (score for score in metrics.scores if score.group == group):
            found = score.auroc.to_json()
            numbers = [found[name] for name in ("value", "low", "high", "n", "n_positive", "n_patients")]
            rows.append((group, score.role, score.method, *numbers))
    return Numbers(columns, tuple(rows))
