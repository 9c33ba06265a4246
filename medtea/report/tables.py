"""The report's tables, made once and shown in three places: the terminal (rich), Markdown and the page."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import pandas as pd
from rich.table import Table as RichTable
from rich.text import Text

from medtea.core.names import Field
from medtea.metrics.estimates import Estimate
from medtea.report.contents import RATES, Metrics, Outcome, Score, SegmenterRow

RELEVANCE_PROBE = "background_relevance"
NO_ANSWER = "no answer"
NOT_COMPUTED = "not computed"
ROLES = {"iid": "IID", "ood": "OOD"}
_RATES_IN_WORDS = {"ppv": "PPV", "npv": "NPV"}
_FIELDS = {str(field): place for place, field in enumerate(Field)}


@dataclass(frozen=True)
class Cell:
    """A number or word, with what belongs beside it in smaller type; bad marks what a reader must not overlook.

    Attributes:
        text: What is read.
        detail: Its interval, or another addition.
        bad: Shown as a warning.
        record: Where the number comes from: "evaluate/metrics.json#/scores/3/auroc".
        rests_on: Counts that it rests on, in words: "n 120, 60 positive, 100 patients".
        link: Anchor of the section that it leads to.
    """

    text: str
    detail: str = ""
    bad: bool = False
    record: str = ""
    rests_on: str = ""
    link: str = ""

    def __str__(self) -> str:
        """Both in one line, the detail in brackets."""
        return f"{self.text} ({self.detail})" if self.detail else self.text


@dataclass(frozen=True)
class Column:
    """A heading; tag is a short mark such as IID, note a line of small print; numbers are set flush right."""

    text: str
    tag: str = ""
    note: str = ""
    numeric: bool = False


@dataclass(frozen=True)
class Table:
    """A caption, columns and rows of cells; the first cell of a row names it."""

    kind: ClassVar[str] = "table"
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]


P_COLUMNS = (Column("p", numeric=True), Column("p, adjusted", note="Holm, over this table", numeric=True))


def main_table(metrics: Metrics, outcomes: Sequence[Outcome] = ()) -> Table:
    """One row per method: AUROC per group, relevance outside the lungs at the groups not seen, and what it saw."""
    groups = metrics.groups
    shown = _relevance_groups(metrics, outcomes)
    sees = {method.name: method.sees for method in metrics.methods}
    columns = [Column("method")]
    columns += [Column(group, tag(role), _counts(metrics, group), numeric=True) for group, role in groups.items()]
    columns += [
        Column("relevance outside the lungs", note=f"at {group}; area share {_share(outcomes, group)}", numeric=True)
        for group in shown
    ]
    columns.append(Column("saw"))
    rows = []
    for name in metrics.names:
        cells = [Cell(name)]
        cells += [_auroc(metrics.score(name, group)) for group in groups]
        cells += [_relevance(outcomes, name, group) for group in shown]
        cells.append(Cell(fields_in_words(sees.get(name, ()))))
        rows.append(tuple(cells))
    return Table("AUROC with its 95 % interval, per method and hospital", tuple(columns), tuple(rows))


def operating_table(metrics: Metrics) -> Table:
    """Each method and group: average precision beside the prevalence, and the rates at the carried-over threshold."""
    columns = [Column("method"), Column("group")]
    named = [name for name in RATES if any(getattr(score, name) is not None for score in metrics.scores)]
    heads = ["n", *(in_words(name) for name in named)]
    heads.insert(1 + ("average_precision" in named), "prevalence")
    columns += [Column(head, numeric=True) for head in heads]
    rows = []
    for group, role in metrics.groups.items():
        for name in metrics.names:
            score = metrics.score(name, group)
            if score is not None:
                made = [number(getattr(score, what), record=f"{score.record}/{what}") for what in named]
                share = Cell(_plain(score.prevalence), record=f"{score.record}/prevalence")
                made.insert(int("average_precision" in named), share)
                rows.append((Cell(name), Cell(group, tag(role)), Cell(str(score.auroc.n)), *made))
    return Table("Average precision and the rates at one threshold", tuple(columns), tuple(rows))


def gap_table(metrics: Metrics) -> Table:
    """Each method's fall in AUROC from the hospitals seen to those not seen."""
    names = (Column("method"), Column("from", "IID"), Column("to", "OOD"))
    columns = (*names, Column("n", numeric=True), Column("fall in AUROC", numeric=True), *P_COLUMNS)
    rows = tuple(
        (
            Cell(gap.method),
            Cell(listed(gap.iid)),
            Cell(listed(gap.ood)),
            Cell(str(gap.difference.n)),
            number(gap.difference, signed=True, record=f"{gap.record}/difference"),
            *p_cells(gap.p, gap.p_holm, gap.record),
        )
        for gap in metrics.gaps
    )
    return Table("Fall in AUROC from IID to OOD", columns, rows)


def difference_table(metrics: Metrics) -> Table:
    """Each method's AUROC less erm's on the same radiographs."""
    names = (Column("method"), Column("group"))
    columns = (*names, Column("n", numeric=True), Column("AUROC less that of erm", numeric=True), *P_COLUMNS)
    groups = metrics.groups
    rows = tuple(
        (
            Cell(row.method),
            Cell(row.group, tag(groups.get(row.group, ""))),
            Cell(str(row.difference.n)),
            number(row.difference, signed=True, record=f"{row.record}/difference"),
            *p_cells(row.p, row.p_holm, row.record),
        )
        for row in metrics.differences_to_erm
    )
    return Table("Difference to erm on the same radiographs", columns, rows)


def segmenter_table(rows: Sequence[SegmenterRow]) -> Table:
    """The segmenter per hospital."""
    columns = (
        Column("hospital"),
        Column("radiographs", numeric=True),
        Column("compared", note="given mask; not learnt from", numeric=True),
        *(Column(head, note=note, numeric=True) for head, note in MASK_MEASURES.values()),
        Column("no lung found", note="of the compared", numeric=True),
        Column("implausible masks", numeric=True),
        Column("why"),
    )
    made = tuple(
        (
            Cell(row.hospital),
            Cell(str(row.radiographs)),
            Cell(str(row.compared)),
            *_masks_compared(row, f"segment/metrics.json#/hospitals/{place}"),
            Cell(str(row.empty)),
            Cell(str(row.implausible)),
            Cell("; ".join(f"{reason}: {count}" for reason, count in row.reasons.items())),
        )
        for place, row in enumerate(rows)
    )
    return Table("Lung segmenter per hospital", columns, made)


MASK_MEASURES = {
    "dice": ("mean Dice", "n: compared"),
    "surface_dice": ("normalised surface distance", "share within the tolerance"),
    "surface_distance_px": ("mean surface distance", "pixels"),
    "hausdorff95_px": ("95 % Hausdorff distance", "pixels"),
}
"""What compares a mask with a given one: heading and small print."""


def _masks_compared(row: SegmenterRow, record: str) -> list[Cell]:
    # A run of an earlier version has means without intervals.
    plain = {"dice": row.dice, "surface_distance_px": row.surface_distance_px}
    return [
        number(row.estimates[name], record=f"{record}/estimates/{name}")
        if name in row.estimates
        else Cell(_plain(plain[name]) if name in plain else NOT_COMPUTED)
        for name in MASK_MEASURES
    ]


def flow_table(flow: pd.DataFrame) -> Table:
    """What became of every file, per hospital: flow.csv as ingest wrote it."""
    columns = tuple(Column(str(name), numeric=name != "hospital") for name in flow.columns)
    rows = tuple(tuple(Cell(str(value)) for value in row) for row in flow.itertuples(index=False))
    return Table("Files found, accepted and refused, per hospital", columns, rows)


def refused_table(refused: pd.DataFrame) -> Table:
    """How many files each hospital lost to each reason, from refused.csv."""
    if refused.empty:
        return Table("Refused files by reason", (Column("reason"),), ())
    pairs = zip(refused["reason"].astype(str), refused["hospital"].astype(str), strict=True)
    counts = Counter(pairs)
    hospitals = sorted({hospital for _, hospital in counts})
    columns = (Column("reason"), *(Column(hospital, numeric=True) for hospital in hospitals))
    rows = tuple(
        (Cell(reason), *(Cell(str(counts[reason, hospital])) for hospital in hospitals))
        for reason in sorted({reason for reason, _ in counts})
    )
    return Table("Refused files by reason", columns, rows)


def outcome_table(probe: str, outcomes: Sequence[Outcome]) -> Table:
    """All outcomes of one probe: a row per method, a column per group with its reference."""
    mine = [outcome for outcome in outcomes if outcome.probe == probe]
    groups = list(dict.fromkeys(outcome.group for outcome in mine))
    columns = [Column("method")]
    for group in groups:
        known = {f"{o.reference:.2f}" for o in mine if o.group == group and not math.isnan(o.reference)}
        rests = {o.estimate.n for o in mine if o.group == group}
        note = f"n {rests.pop()}" if len(rests) == 1 else "n differs by method"
        note += f"; reference {' or '.join(sorted(known))}" if known else ""
        columns.append(Column(group, note=note, numeric=True))
    found = {(outcome.method, outcome.group): _with_control(outcome) for outcome in mine}
    rows = tuple(
        (Cell(method), *(found.get((method, group), Cell(NOT_COMPUTED)) for group in groups))
        for method in dict.fromkeys(outcome.method for outcome in mine)
    )
    return Table(_words(probe), tuple(columns), rows)


def method_table(metrics: Metrics) -> Table:
    """What each method was allowed to see, its network, its cost and how its checkpoint was chosen."""
    columns = (
        Column("method"),
        Column("saw in training"),
        Column("needs at inference"),
        Column("network"),
        Column("parameters", numeric=True),
        Column("training time", numeric=True),
        Column("checkpoint chosen by"),
    )
    rows = tuple(
        (
            Cell(method.name),
            Cell(fields_in_words(method.sees)),
            Cell(fields_in_words(method.sees_at_inference)),
            Cell(method.network or "not stated"),
            Cell("not stated" if method.parameters is None else f"{method.parameters:,}"),
            Cell("not stated" if method.seconds is None else f"{method.seconds:,.0f} s"),
            Cell(method.selection or "not stated"),
        )
        for method in metrics.methods
    )
    return Table("What each method saw in training, and needs at inference", columns, rows)


def to_terminal(table: Table) -> RichTable:
    """The table for the terminal. Names are shown as they are: neither markup nor control codes take effect."""
    made = RichTable(title=_printable(table.caption), title_justify="left", header_style="bold", show_lines=True)
    for column in table.columns:
        heading = "\n".join(part for part in (column.text, column.tag, column.note) if part)
        made.add_column(Text(_printable(heading)), justify="right" if column.numeric else "left", overflow="fold")
    for row in table.rows:
        # An interval goes below its number: three hospitals fit into 100 columns that way.
        lines = [f"{cell.text}\n{cell.detail}" if cell.detail else cell.text for cell in row]
        made.add_row(
            *(Text(_printable(line), style="red" if cell.bad else "") for line, cell in zip(lines, row, strict=True))
        )
    return made


def to_markdown(table: Table) -> str:
    """The table as GitHub Markdown; what would end a cell or open a tag is escaped."""
    heads = [" ".join(filter(None, (c.text, c.tag and f"[{c.tag}]", c.note and f"({c.note})"))) for c in table.columns]
    lines = [heads, ["---:" if column.numeric else "---" for column in table.columns]]
    lines += [[str(cell) for cell in row] for row in table.rows]
    kept = [lines[1] if i == 1 else [escaped(cell) for cell in line] for i, line in enumerate(lines)]
    return "".join(f"| {' | '.join(line)} |\n" for line in kept)


def tag(role: str) -> str:
    """The role of a group as it is printed beside it."""
    return ROLES.get(role, role)


def number(
    found: Estimate | None, *, signed: bool = False, missing: str = NOT_COMPUTED, record: str = "", bad: bool = False
) -> Cell:
    """An estimate as a cell: the number, its interval as the detail, what it rests on, and where it is recorded."""
    if found is None:
        return Cell(missing)
    value, _, rest = found.text(signed=signed).partition(" (")
    return Cell(value, rest.removesuffix(")"), bad, record, counts(found))


def counts(found: Estimate) -> str:
    """What an estimate and its interval rest on: "n 120, 60 positive, 100 patients; interval: Wilson"."""
    positive = "" if found.n_positive is None else f", {found.n_positive} positive"
    return f"n {found.n}{positive}, {found.n_patients} patients; interval: {found.interval}"


def p_cells(p: float, p_holm: float, record: str) -> tuple[Cell, Cell]:
    """A p-value and the adjusted one, below P_COLUMNS."""
    return Cell(_p(p), record=f"{record}/p"), Cell(_p(p_holm), record=f"{record}/p_holm")


def _p(value: float) -> str:
    if math.isnan(value):
        return NO_ANSWER
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def listed(names: Sequence[str]) -> str:
    """Names as in a sentence: "A", "A and B", "A, B and C"."""
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def _auroc(score: Score | None) -> Cell:
    if score is None:
        return Cell(NOT_COMPUTED)
    # An interval wholly below one half: the ranking is turned round.
    turned = score.auroc.has_interval and score.auroc.high < 0.5
    return number(score.auroc, record=f"{score.record}/auroc", bad=turned)


def _with_control(outcome: Outcome) -> Cell:
    cell = number(outcome.estimate, record=f"{outcome.record}/estimate")
    if outcome.control is None:
        return cell
    control = f"control {number(outcome.control).text}"
    return replace(cell, detail=f"{cell.detail}; {control}" if cell.detail else control)


def plan_table(
    costs: Mapping[str, tuple[float, Sequence[str]]],
    policy: Mapping[str, Any],
    *,
    networks: int,
    lacking: Mapping[str, str] | None = None,
) -> Table:
    """What an audit would ask, before it does: of each probe its cost, what it needs and its threshold.

    With `lacking`, why a need is not met, it says of each probe whether it can be asked; the sum is of those that can.
    """
    reasons = not_asked(costs, lacking or {})
    columns = (
        Column("probe"),
        Column("passes", note=f"for each radiograph, {networks} networks", numeric=True),
        Column("threshold", numeric=True),
        Column("needs") if lacking is None else Column("can be asked"),
    )
    rows = [
        (
            Cell(name),
            Cell(f"{cost * networks:g}"),
            Cell("not judged" if policy.get(name) is None else f"{policy[name]:g}"),
            Cell("; ".join(needs) if lacking is None else f"no: {reasons[name]}" if name in reasons else "yes"),
        )
        for name, (cost, needs) in costs.items()
    ]
    total = networks * sum(cost for name, (cost, _) in costs.items() if name not in reasons)
    rows.append((Cell("together"), Cell(f"{total:g}"), Cell(""), Cell("")))
    return Table("The audit's plan", columns, tuple(rows))


def not_asked(costs: Mapping[str, tuple[float, Sequence[str]]], lacking: Mapping[str, str]) -> dict[str, str]:
    """Of each probe the first reason why it cannot be asked; those that can are not named."""
    first = {name: next((lacking[need] for need in needs if need in lacking), "") for name, (_, needs) in costs.items()}
    return {name: reason for name, reason in first.items() if reason}


def verdict_table(outcomes: Sequence[Outcome], audited: Mapping[str, Any]) -> Table:
    """Whether each network passes: a row per method, its verdict, and a column per probe that the policy judges."""
    judged = [outcome for outcome in outcomes if outcome.verdict]
    probes = list(dict.fromkeys(outcome.probe for outcome in judged))
    policy = audited.get("policy", {})
    columns = [Column("method"), Column("verdict")]
    columns += [Column(_words(probe), note=f"at most {policy.get(probe)}; n judged") for probe in probes]
    rows = tuple(
        (
            Cell(method),
            _verdict_cell(verdict, f"audit/outcomes.json#/verdicts/{method}"),
            *(_judged(judged, method, probe) for probe in probes),
        )
        for method, verdict in audited.get("verdicts", {}).items()
    )
    return Table("Verdicts of the audit's policy", tuple(columns), rows)


def compared_table(audited: Mapping[str, Any]) -> Table:
    """Networks side by side: what is judged of a network less the same of another, a row per pair and group."""
    written = audited.get("comparisons", [])
    probes = list(dict.fromkeys(row["probe"] for row in written))
    columns = [Column("network less another"), Column("at"), Column("n", note="of the first", numeric=True)]
    columns += [Column(_words(probe), numeric=True) for probe in probes]
    found: dict[tuple[str, str, str], dict[str, Cell]] = {}
    counted: dict[tuple[str, str, str], int] = {}
    for place, row in enumerate(written):
        difference = Estimate.from_json(row["difference"])
        key = row["method"], row["other"], row["group"]
        counted.setdefault(key, difference.n)
        record = f"audit/outcomes.json#/comparisons/{place}/difference"
        worse = difference.has_interval and difference.low > 0
        found.setdefault(key, {})[row["probe"]] = number(difference, signed=True, record=record, bad=worse)
    rows = tuple(
        (
            Cell(f"{method} less {other}"),
            Cell(group),
            Cell(str(counted[method, other, group])),
            *(cells.get(probe, Cell(NOT_COMPUTED)) for probe in probes),
        )
        for (method, other, group), cells in found.items()
    )
    return Table("Networks on the same radiographs, in pairs", tuple(columns), rows)


def detail_table(probe: str, outcomes: Sequence[Outcome]) -> Table:
    """A probe's further numbers: a row per method and group, a column per number."""
    mine = [outcome for outcome in outcomes if outcome.probe == probe and outcome.details]
    names = list(dict.fromkeys(name for outcome in mine for name in outcome.details))
    columns = (Column("method"), Column("at"), Column("n", numeric=True), *(Column(n, numeric=True) for n in names))
    rows = tuple(
        (
            Cell(outcome.method),
            Cell(outcome.group),
            Cell(str(outcome.estimate.n)),
            *(
                number(outcome.details[name], record=f"{outcome.record}/details/{name}")
                if name in outcome.details
                else Cell(NOT_COMPUTED)
                for name in names
            ),
        )
        for outcome in mine
    )
    return Table(f"{_words(probe)}, in detail", columns, rows)


def skipped_table(audited: Mapping[str, Any]) -> Table:
    """Questions that could not be asked, and why."""
    columns = (Column("probe"), Column("method"), Column("at"), Column("why"))
    rows = tuple(
        (Cell(_words(row["probe"])), Cell(row["method"]), Cell(row["group"]), Cell(row["reason"]))
        for row in audited.get("skipped", ())
    )
    return Table("Questions that could not be asked", columns, rows)


def _verdict_cell(verdict: str, record: str) -> Cell:
    return Cell(verdict, bad=verdict == "fail", record=record)


def _judged(judged: Sequence[Outcome], method: str, probe: str) -> Cell:
    """The worst verdict of a probe's answers about a network, and how many of them there are."""
    mine = [outcome for outcome in judged if (outcome.method, outcome.probe) == (method, probe)]
    if not mine:
        return Cell(NOT_COMPUTED)
    worst = next((v for v in ("fail", "no answer") if any(o.verdict == v for o in mine)), "pass")
    at = ", ".join(o.group for o in mine if o.verdict == worst) if worst != "pass" else ""
    return Cell(worst, detail=f"{len(mine)} judged" + (f"; at {at}" if at else ""), bad=worst == "fail")


def _counts(metrics: Metrics, group: str) -> str:
    counts = {
        (score.auroc.n, score.auroc.n_positive, score.auroc.n_patients)
        for score in metrics.scores
        if score.group == group
    }
    if len(counts) != 1:
        return "n differs by method"
    n, positive, patients = counts.pop()
    return f"n {n}, {positive} positive" + ("" if patients == n else f"; {patients} patients")


def _relevance_groups(metrics: Metrics, outcomes: Sequence[Outcome]) -> list[str]:
    # The first group not seen in training; without one the first of all: the others stand in the audit's own table.
    measured = {outcome.group for outcome in outcomes if outcome.probe == RELEVANCE_PROBE}
    groups = [group for group in metrics.groups if group in measured]
    return ([group for group in groups if metrics.groups[group] == "ood"] or groups)[:1]


def _relevance(outcomes: Sequence[Outcome], method: str, group: str) -> Cell:
    wanted = (RELEVANCE_PROBE, method, group)
    mine = (o for o in outcomes if (o.probe, o.method, o.group) == wanted)
    return next((number(o.estimate, record=f"{o.record}/estimate") for o in mine), Cell(NOT_COMPUTED))


def _share(outcomes: Sequence[Outcome], group: str) -> str:
    shares = [o.reference for o in outcomes if (o.probe, o.group) == (RELEVANCE_PROBE, group)]
    known = [share for share in shares if not math.isnan(share)]
    return _plain(known[0]) if known else NO_ANSWER


def _plain(value: float, missing: str = NO_ANSWER) -> str:
    return missing if math.isnan(value) else f"{value:.2f}"


def fields_in_words(names: Sequence[str]) -> str:
    """What a method saw, in words."""
    # In the order in which core.names lists them, the radiograph first.
    return (
        ", ".join(_words(name) for name in sorted(names, key=lambda name: (_FIELDS.get(name, len(_FIELDS)), name)))
        or "not stated"
    )


def in_words(rate: str) -> str:
    """The name of a rate as it is printed."""
    return _RATES_IN_WORDS.get(rate, _words(rate))


def _words(name: str) -> str:
    return name.replace("_", " ")


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() or letter == "\n" else "\N{REPLACEMENT CHARACTER}" for letter in text)


def escaped(text: str) -> str:
    """One line of text for Markdown: what would open a tag, a link or a cell is shown as it is."""
    flat = _printable(text.replace("\n", " ")).replace("&", "&amp;").replace("<", "&lt;")
    for letter in "\\`*_[]|":
        flat = flat.replace(letter, f"\\{letter}")
    return flat
