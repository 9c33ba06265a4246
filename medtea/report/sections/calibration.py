"""Whether scores are probabilities at each hospital, as given and after recalibration on IID validation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from medtea.metrics.estimates import Estimate
from medtea.report.blocks import Beside, Block, Fold, Numbers, Plot, Points, Text
from medtea.report.contents import Contents
from medtea.report.curves import STATES, calibration_plot
from medtea.report.tables import NO_ANSWER, Cell, Column, Table, counts, number, tag

TITLE = "Calibration"
PLACE = 300
RECORD = "evaluate/metrics.json#/calibration"
WHAT = {
    "intercept": "calibration intercept",
    "slope": "calibration slope",
    "brier": "Brier score",
    "scaled_brier": "scaled Brier",
    "smooth_ece": "smooth ECE",
}
HOW = (
    "Intercept (calibration in the large): what must be added to each logit for the expected positives to be the "
    "observed ones; 0 is right, above 0 scores are too low. Slope: 1 is right, below 1 scores are too extreme, above 1 "
    "too timid. Brier score: mean squared error, 0 is perfect. Scaled Brier: 1 is perfect, 0 no better than giving "
    "everyone the prevalence, below 0 worse. Smooth ECE: how far scores lie from the shares of positives, 0 is right; "
    "chance: what probabilities that are exactly right stay below in 95 % of samples of this size."
)
RECALIBRATED = (
    "Recalibrated: the logit times a slope plus an offset, fitted by Platt's scaling on validation radiographs of the "
    "hospitals seen in training, and on nothing else. The intervals do not hold the uncertainty of that fit."
)
LOGITS = (
    "A student that is trained on heatmaps alone learns no probability: its logit has an offset and a scale that no "
    "loss has fixed. “As given” shows exactly that; only “recalibrated” says how well it can be used as a probability."
)
SHARE = (
    "A hospital whose share of positives differs from that of the validation radiographs has an intercept other than 0 "
    "even if the network works there as well as at home."
)


def blocks(contents: Contents) -> Sequence[Block]:
    """A figure per hospital, and the numbers."""
    found = contents.written.get("calibration")
    if not found or not found["entries"]:
        return []
    groups = list(dict.fromkeys(entry["group"] for entry in found["entries"]))
    plots = tuple(_plot(contents, found["entries"], group, place) for place, group in enumerate(groups))
    tables = [_table(found["entries"], state) for state in STATES]
    said = [*_reasons(found), *_moves(found)]
    return [
        *([] if contents.metrics.are_given else [Text(LOGITS)]),
        Beside(plots),
        *tables,
        *([Points(tuple(said))] if said else []),
        Fold(
            "How to read these numbers",
            (Text(HOW, small=True), Text(RECALIBRATED, small=True), Text(SHARE, small=True)),
        ),
    ]


def _plot(contents: Contents, entries: Sequence[Any], group: str, place: int) -> Plot:
    chosen = [entry for entry in entries if entry["group"] == group]
    name = f"calibration_{place}"
    svg = calibration_plot(name, group, chosen, _names(contents, entries))
    n = f"n {chosen[0]['n']}, {chosen[0]['n_positive']} positive"
    caption = f"{group} ({tag(chosen[0]['role'])}; {n}): share of positives at each score, with a 95 % band by patient."
    return Plot(name, caption, svg, Numbers(COLUMNS, tuple(_points(chosen)) or (_nothing(chosen[0]),)))


COLUMNS = ("group", "method", "state", "score", "observed", "low", "high")


def _points(entries: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
    for entry in entries:
        for state, words in STATES.items():
            curve = (entry[state] or {}).get("curve")
            if curve:
                lines = zip(*(curve[name] for name in COLUMNS[3:]), strict=True)
                yield from ((entry["group"], entry["method"], words, *line) for line in lines)


def _nothing(entry: Any) -> tuple[Any, ...]:
    return (entry["group"], entry["method"], "as given", None, None, None, None)


def _names(contents: Contents, entries: Sequence[Any]) -> list[str]:
    return list(dict.fromkeys([*contents.metrics.names, *(entry["method"] for entry in entries)]))


def _table(entries: Sequence[Any], state: str) -> Table:
    columns = [Column("method"), Column("group"), Column("n", numeric=True)]
    columns += [Column(what, numeric=True) for what in WHAT.values()]
    rows = []
    for place, entry in enumerate(entries):
        found = entry[state]
        cells = [Cell(entry["method"]), Cell(entry["group"], tag(entry["role"])), Cell(str(entry["n"]))]
        for name in WHAT:
            cells.append(_cell(found, name, f"{RECORD}/entries/{place}/{state}/{name}"))
        rows.append(tuple(cells))
    return Table(f"Calibration, scores {STATES[state]}", tuple(columns), tuple(rows))


def _cell(found: Any, name: str, record: str) -> Cell:
    if found is None:
        return Cell(NO_ANSWER)
    estimate = Estimate.from_json(found[name])
    if name != "smooth_ece":
        return number(estimate, signed=name in ("intercept", "scaled_brier"), record=record)
    cell = number(estimate, record=record)
    return Cell(
        cell.text, f"{cell.detail}; chance {found['smooth_ece_by_chance']:.2f}", False, record, counts(estimate)
    )


def _reasons(found: Any) -> Iterator[str]:
    for entry in found["entries"]:
        if entry["reason"]:
            yield f"{entry['method']} at {entry['group']} has no slope and no curve: {entry['reason']}."
    for name in found["not_probabilities"]:
        yield f"{name} gives scores outside 0 to 1, which are no probabilities: it has no calibration."


def _moves(found: Any) -> Iterator[str]:
    for move in found["recalibration"]:
        if move["slope"] is None:
            yield f"{move['method']} is not recalibrated: {move['reason']} (n {move['n']})."
        else:
            turned = " Its ranking is turned round on validation." if move["slope"] < 0 else ""
            yield (
                f"Recalibration of {move['method']}: {move['intercept']:+.2f} {move['slope']:+.2f} × logit, from "
                f"{move['n']} validation radiographs ({move['n_positive']} positive).{turned}"
            )
