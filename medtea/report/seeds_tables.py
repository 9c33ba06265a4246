"""The tables of a sweep, made once from its record and shown in the terminal, as Markdown and as a page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medtea.core.names import Field
from medtea.metrics.estimates import Estimate
from medtea.report.tables import NO_ANSWER, Cell, Column, Table, fields_in_words, tag, to_markdown

Record = Mapping[str, Any]
TEACHERS = {Field.LUNG_MASK: "teacher (segment, then classify)", Field.TWIN: "teacher (debiased twin)"}
"""What a teacher is called that needs more than the radiograph at inference: the answer with two networks."""
HEADLINES = {"auroc": "AUROC", "accuracy": "Accuracy, %"}


def seeds_tables(record: Record) -> list[Table]:
    """The headline, paired differences and the fall from IID to OOD, and what each method saw."""
    tables = [headline_table(record), _macro(record), *(_differences(record, control) for control in _controls(record))]
    return [table for table in [*tables, _methods(record)] if table.rows]


def headline_table(record: Record) -> Table:
    """A row per method: mean over seeds ± their standard deviation per group, its interval below."""
    cells = {(cell["method"], cell["group"]): cell for cell in record["cells"]}
    columns = [Column("method"), *_group_columns(record), Column("saw")]
    rows = [
        (
            Cell(shown_name(method)),
            *(_number(record, cells[method["method"], group["group"]]) for group in record["groups"]),
            Cell(fields_in_words(method.get("sees", ()))),
        )
        for method in record["methods"]
    ]
    what = HEADLINES[record["headline"]]
    caption = f"{what}: mean of {how_many_seeds(record)} ± standard deviation (95 % interval by patient)"
    return Table(caption, tuple(columns), tuple(rows))


def _macro(record: Record) -> Table:
    """Of several classes a row per method: their mean AUROC against the rest, and the lowest class's."""
    cells = {(cell["method"], cell["group"]): cell for cell in record["cells"] if "macro_auroc" in cell}
    rows = []
    for method in record["methods"]:
        own = [cells.get((method["method"], group["group"])) for group in record["groups"]]
        if any(own):
            rows.append((Cell(shown_name(method)), *(_over_classes(cell) for cell in own)))
    caption = f"AUROC against the rest: mean of the classes over {how_many_seeds(record)} (95 % interval by patient)"
    return Table(caption, (Column("method"), *_group_columns(record)), tuple(rows))


def _over_classes(cell: Mapping[str, Any] | None) -> Cell:
    if cell is None or cell["macro_auroc"]["value"] is None:
        return Cell(NO_ANSWER)
    mean = Estimate.from_json(cell["macro_auroc"])
    known = {name: one for name, one in cell["auroc_by_class"].items() if one["value"] is not None}
    worst = min(known, key=lambda name: known[name]["value"])
    ends = f"{mean.low:.3f} to {mean.high:.3f}" if mean.has_interval else "no interval"
    return Cell(f"{mean.value:.3f}", f"{ends}; lowest: class {worst}, {Estimate.from_json(known[worst]).text()}")


def how_many_seeds(record: Record) -> str:
    """As in a caption: "3 seeds", "one seed"."""
    return f"{len(record['runs'])} seeds" if len(record["runs"]) > 1 else "one seed"


def markdown_of(record: Record) -> str:
    """All tables as one Markdown text, with what did not finish and how it was made."""
    parts = [f"**{table.caption}**\n\n{to_markdown(table)}" for table in seeds_tables(record)]
    if record["failed"]:
        listed = "".join(f"- {one['seed']}, {one['part']}: {one['reason']}\n" for one in record["failed"])
        parts.append(f"**Did not finish**\n\n{listed}")
    made = "".join(f"- {key}: {value}\n" for key, value in record["made_with"].items())
    return "\n".join([*parts, f"**Made with**\n\n- interval: {record['interval']}\n{made}"])


def _controls(record: Record) -> list[str]:
    return list(dict.fromkeys(row["control"] for row in record["differences"]))


def _differences(record: Record, control: str) -> Table:
    found = {(row["method"], row["group"]): row for row in record["differences"] if row["control"] == control}
    rows = []
    for method in record["methods"]:
        cells = [found.get((method["method"], group["group"])) for group in record["groups"]]
        if any(cells):
            rows.append((Cell(shown_name(method)), *(_signed(record, cell) for cell in cells)))
    what = HEADLINES[record["headline"]]
    caption = f"{what}: difference to {control} on the same images (95 % interval by patient)"
    return Table(caption, (Column("method"), *_group_columns(record)), tuple(rows))


def _methods(record: Record) -> Table:
    columns = ("method", "saw in training", "needs at inference", "network", "options", "checkpoint chosen by")
    rows = tuple(
        (
            Cell(shown_name(method)),
            Cell(fields_in_words(method.get("sees", ()))),
            Cell(fields_in_words(method.get("sees_at_inference", ()))),
            Cell(str(method.get("network", ""))),
            Cell(", ".join(f"{key} {value}" for key, value in method.get("options", {}).items())),
            Cell(str(method.get("selection", ""))),
        )
        for method in record["methods"]
    )
    return Table("What each method saw in training, and needs at inference", tuple(map(Column, columns)), rows)


def shown_name(method: Mapping[str, Any]) -> str:
    """A method's name; a teacher that needs more than the radiograph at inference says so in its own."""
    if method["method"] != "teacher":
        return str(method["method"])
    needs = set(method.get("sees_at_inference", ()))
    return next((name for field, name in TEACHERS.items() if field in needs), "teacher")


def _group_columns(record: Record) -> list[Column]:
    return [Column(group["group"], tag(group["role"]), numeric=True) for group in record["groups"]]


def _number(record: Record, cell: Mapping[str, Any]) -> Cell:
    if cell["value"] is None:
        return Cell(NO_ANSWER)
    deviation = "" if cell["sd"] is None else f" ± {in_digits(record, cell['sd'])}"
    missing = sum(value is None for value in cell["by_seed"])
    lost = f"; {missing} of {len(cell['by_seed'])} seeds missing" if missing else ""
    return Cell(in_digits(record, cell["value"]) + deviation, interval_text(record, cell["patients"]) + lost)


def _signed(record: Record, row: Mapping[str, Any] | None) -> Cell:
    if row is None or row["patients"]["value"] is None:
        return Cell(NO_ANSWER)
    found = row["patients"]
    return Cell(in_digits(record, found["value"], signed=True), interval_text(record, found, signed=True))


def interval_text(record: Record, found: Mapping[str, Any], *, signed: bool = False) -> str:
    """An interval's two ends in words, or that there is none."""
    if found["low"] is None:
        return "no interval"
    return f"{in_digits(record, found['low'], signed=signed)} to {in_digits(record, found['high'], signed=signed)}"


def in_digits(record: Record, value: float, *, signed: bool = False) -> str:
    """Accuracy in percent with two decimals, AUROC with three."""
    sign = "+" if signed else ""
    return f"{100 * value:{sign}.2f}" if record["headline"] == "accuracy" else f"{value:{sign}.3f}"
