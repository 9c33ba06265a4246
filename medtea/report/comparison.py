"""Two runs on the same radiographs and split, compared method by method and hospital by hospital."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from medtea.core.errors import RecordError, UsageError
from medtea.core.names import Artefact, IndexArtefact, ReportArtefact, Role, ScoresArtefact, Split
from medtea.core.settings import read_yaml
from medtea.core.work import read_json, write_json, write_text
from medtea.data.index import read_index
from medtea.metrics.delong import Comparison, difference, placed
from medtea.metrics.holm import holm
from medtea.report.as_json import json_of
from medtea.report.blocks import Block, Facts, Numbers, Plot, Section, Text, csv_of, figures_of
from medtea.report.figures import difference_plot
from medtea.report.markdown import markdown_of
from medtea.report.page import page
from medtea.report.tables import Cell, Column, Table, number, tag

SPLIT_BY = ["radiograph", "digest", "patient", "group", "role", "split", "label"]
"""Columns of the index that must be the same in both runs."""


@dataclass(frozen=True)
class Run:
    """What is read of a run folder."""

    folder: Path
    index: pd.DataFrame
    scores: pd.DataFrame
    settings: dict[str, Any]
    record: dict[str, Any]

    @property
    def split(self) -> str:
        """Digest of who is learnt from, selected on and tested on, with which label."""
        return hashlib.sha256(self.index[SPLIT_BY].to_csv(index=False).encode()).hexdigest()


@dataclass(frozen=True)
class Pair:
    """One method at one group in both runs; p_adjusted is Holm's over all pairs of the page."""

    method: str
    group: str
    role: str
    first: float
    second: float
    difference: Comparison
    p_adjusted: float


def compare(first: Path, second: Path, to: Path) -> ReportArtefact:
    """Leave report.html, report.md, report.json and figures/ in `to`.

    Raises:
        RecordError: a folder is no finished run.
        UsageError: the splits differ, or the runs have no method in common.
    """
    runs = [read_run(first), read_run(second)]
    pairs = compared_runs(*runs)
    title = f"{runs[1].folder.name} against {runs[0].folder.name}"
    sections = _sections(runs, pairs)
    artefact = ReportArtefact(to)
    write_text(artefact.page, page(title, "", sections))
    write_text(artefact.markdown, markdown_of(title, "", sections))
    write_json(artefact.json, json_of(title, "", sections))
    for figure in figures_of(sections):
        write_text(artefact.figures / f"{figure.name}.svg", figure.svg)
        write_text(artefact.figures / f"{figure.name}.csv", csv_of(figure.numbers))
    return artefact


def read_run(folder: Path) -> Run:
    """The scores and the index of a run folder.

    Raises:
        RecordError: it holds no finished evaluation of an index.
    """
    scores = ScoresArtefact(folder / "evaluate")
    if not scores.scores.is_file():
        raise RecordError(
            f"'{folder.name}' is no run folder with a finished evaluation: it has no evaluate/scores.csv. "
            "Give the folders that two runs were written to."
        )
    record = read_json(scores.folder / "record.json")
    places = [IndexArtefact(folder / name) for name in record["inputs"]]
    index = next((read_index(one.index) for one in places if one.index.is_file()), None)
    if index is None:
        raise RecordError(f"'{folder.name}' has no index of its radiographs any more; run it again.")
    settings = read_yaml(folder / "settings.yaml") if (folder / "settings.yaml").is_file() else {}
    return Run(folder.resolve(), index, pd.read_csv(scores.scores), settings, record)


def compared_runs(first: Run, second: Run) -> list[Pair]:
    """Every method that both have, at every test group: AUROC of the second less that of the first.

    Raises:
        UsageError: the splits differ, or the runs have no method in common.
    """
    if first.split != second.split:
        raise UsageError(
            f"'{first.folder.name}' and '{second.folder.name}' do not have the same radiographs, labels and split, so "
            "a difference between them could be one of patients. Compare runs of one index: the same data, "
            "`ingest` settings and seed."
        )
    tested = [one.scores[one.scores["split"].eq(Split.TEST) & one.scores["plausible_mask"]] for one in (first, second)]
    methods = [name for name in tested[0]["method"].unique() if name in set(tested[1]["method"])]
    if not methods:
        raise UsageError(
            f"'{first.folder.name}' and '{second.folder.name}' have no method of the same name; give each the same "
            "`distil.N.name`."
        )
    found = []
    for group, part in tested[0].groupby("group", sort=True):
        for method in methods:
            rows = [one[one["method"].eq(method) & one["group"].eq(group)].set_index("radiograph") for one in tested]
            both = rows[0].index.intersection(rows[1].index).sort_values()
            ends = [placed(one.loc[both, "patient"], one.loc[both, "label"], one.loc[both, "score"]) for one in rows]
            role = "ood" if part["role"].iloc[0] == Role.EXTERNAL else "iid"
            less = difference([ends[1]], [ends[0]])
            # paired: both ends are the same radiographs, which count once
            less = replace(less, estimate=replace(less.estimate, n=ends[0].n, n_positive=ends[0].n_positive))
            found.append((str(method), str(group), role, ends[0].value, ends[1].value, less))
    adjusted = holm([one[-1].p for one in found])
    pairs = [Pair(*one, p_adjusted) for one, p_adjusted in zip(found, adjusted, strict=True)]
    return sorted(pairs, key=lambda pair: (pair.role, pair.group))


def _sections(runs: Sequence[Run], pairs: Sequence[Pair]) -> list[Section]:
    return [
        Section("about", "What is compared", _about(runs)),
        Section("differences", "Differences on the same radiographs", _differences(pairs)),
        Section("settings", "What was set differently", _settings(runs)),
    ]


def _about(runs: Sequence[Run]) -> tuple[Block, ...]:
    facts = {}
    for name, run in zip(("first run", "second run"), runs, strict=True):
        made = run.record["made_with"]
        facts[name] = f"{run.folder.name}, {made['date']}, medtea {made['versions']['medtea']} ({made['commit']})"
        facts[f"digest of its evaluation ({name})"] = Artefact(run.folder / "evaluate").digest[:16]
    facts["digest of the split, the same in both"] = runs[0].split[:16]
    facts["seeds"] = " and ".join(str(run.record["seed"]) for run in runs)
    return (Text("AUROC of the second run less that of the first: above 0 the second is better."), Facts(facts))


def _differences(pairs: Sequence[Pair]) -> tuple[Block, ...]:
    columns = (
        Column("method"),
        Column("group"),
        Column("n", numeric=True),
        Column("AUROC, first", numeric=True),
        Column("AUROC, second", numeric=True),
        Column("difference", numeric=True),
        Column("p", note="adjusted by Holm", numeric=True),
    )
    rows = tuple(
        (
            Cell(pair.method),
            Cell(pair.group, tag(pair.role)),
            Cell(f"{pair.difference.estimate.n}"),
            *(Cell("no answer" if np.isnan(end) else f"{end:.2f}") for end in (pair.first, pair.second)),
            number(pair.difference.estimate, signed=True, record=f"figures/differences.csv#/{place}/difference"),
            Cell("no answer" if np.isnan(pair.p_adjusted) else f"{pair.p_adjusted:.3f}"),
        )
        for place, pair in enumerate(pairs)
    )
    estimates = [(pair.method, pair.group, tag(pair.role), pair.difference.estimate) for pair in pairs]
    numbers = Numbers(
        ("method", "group", "role", "auroc_first", "auroc_second", "difference", "low", "high", "p_adjusted"),
        tuple((pair.method, pair.group, pair.role, *_values(pair)) for pair in pairs),
    )
    caption = "Difference in AUROC with its 95 % interval; right of the dashed line the second run is better."
    return (
        Plot("differences", caption, difference_plot(estimates), numbers),
        Table("AUROC in both runs, on the same radiographs", columns, rows),
        Text(
            "Paired by patient (DeLong; Obuchowski where a patient has several radiographs). An interval holds other "
            "patients of the same hospitals with these very networks, not other trainings. p is two-sided and adjusted "
            "for the number of rows.",
            small=True,
        ),
    )


def _values(pair: Pair) -> tuple[float | None, ...]:
    found = pair.difference.estimate
    values = (pair.first, pair.second, found.value, found.low, found.high, pair.p_adjusted)
    return tuple(None if np.isnan(value) else float(value) for value in values)


def _settings(runs: Sequence[Run]) -> tuple[Block, ...]:
    first, second = (_flat(run.settings) for run in runs)
    keys = [key for key in first | second if first.get(key) != second.get(key)]
    if not keys:
        return (Text("Nothing: the settings are the same."),)
    rows = tuple((Cell(key), Cell(first.get(key, "not there")), Cell(second.get(key, "not there"))) for key in keys)
    return (Table("Settings that differ", (Column("setting"), Column("first"), Column("second")), rows),)


def _flat(settings: Any, name: str = "") -> dict[str, str]:
    """Settings by their dotted name; what names a place on a machine is left out."""
    if isinstance(settings, dict):
        parts = [_flat(value, f"{name}.{key}" if name else str(key)) for key, value in settings.items()]
    elif isinstance(settings, list) and any(isinstance(one, dict) for one in settings):
        parts = [_flat(value, f"{name}.{place}") for place, value in enumerate(settings)]
    else:
        return {} if name.startswith(("ingest.options", "ingest.labels", "scores.path")) else {name: str(settings)}
    return {key: value for part in parts for key, value in part.items()}
