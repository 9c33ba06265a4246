from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from oracles.made_report import GROUPS, METHODS, write_tables
from oracles.page_reader import Reader
from sklearn.metrics import roc_auc_score

from medtea.core.errors import RecordError, UsageError
from medtea.core.names import IndexArtefact, LungsArtefact, ScoresArtefact
from medtea.core.settings import to_yaml
from medtea.core.work import provenance, write_json, write_text
from medtea.data.index import read_index, write_index
from medtea.report.comparison import compare, compared_runs, read_run


def made_run(folder: Path, *, epochs: int = 3, better: float = 0.0) -> Path:
    """A run folder as far as a comparison reads it; `better` moves the scores of tea towards the labels."""
    index, lungs = IndexArtefact(folder / "ingest"), LungsArtefact(folder / "segment")
    scores = ScoresArtefact(folder / "evaluate")
    for artefact in (index, lungs, scores):
        artefact.folder.mkdir(parents=True)
    write_tables(index, lungs, scores)
    table = pd.read_csv(scores.scores)
    moved = table["score"] + better * (table["label"] - 0.5) * table["method"].eq("tea")
    table.assign(score=moved).to_csv(scores.scores, index=False)
    record = {"digest": folder.name, "inputs": {"ingest": "0"}, "seed": 0, "made_with": provenance()}
    write_json(scores.folder / "record.json", record)
    ingest = {"source": "table", "options": {"path": "secret/place.csv"}}
    write_text(folder / "settings.yaml", to_yaml({"ingest": ingest, "distil": [{"method": "tea", "epochs": epochs}]}))
    return folder


def test_each_method_is_compared_on_the_same_radiographs_second_less_first(tmp_path: Path) -> None:
    runs = [made_run(tmp_path / "a"), made_run(tmp_path / "b", better=0.5)]
    pairs = compared_runs(*(read_run(run) for run in runs))
    assert len(pairs) == len(METHODS) * len(GROUPS)
    assert [pair.role for pair in pairs] == ["iid"] * 8 + ["ood"] * 4
    for pair in pairs:
        for end, run in ((pair.first, runs[0]), (pair.second, runs[1])):
            table = pd.read_csv(run / "evaluate" / "scores.csv")
            rows = table[table["method"].eq(pair.method) & table["group"].eq(pair.group) & table["plausible_mask"]]
            assert end == pytest.approx(roc_auc_score(rows["label"], rows["score"]))
            assert pair.difference.estimate.n == len(rows), "a radiograph in both runs counts once"
        assert pair.difference.estimate.value == pytest.approx(pair.second - pair.first)
        if pair.method != "tea":
            assert pair.difference.estimate.value == 0
            assert np.isnan(pair.p_adjusted), "what is the same in both has no test"
    assert sum(pair.difference.estimate.value > 0 for pair in pairs if pair.method == "tea") >= 2


def test_the_page_says_what_differs_and_names_no_place(tmp_path: Path) -> None:
    made = compare(made_run(tmp_path / "a"), made_run(tmp_path / "b", epochs=9, better=0.5), tmp_path / "out")
    text = made.page.read_text()
    words = " ".join(" ".join(Reader(text).words).split())
    assert "b against a" in words
    assert "distil.0.epochs 3 9" in words
    assert str(tmp_path) not in text
    assert "secret" not in text
    assert "nan" not in words.lower().split()
    written = json.loads(made.json.read_text())
    assert [section["anchor"] for section in written["sections"]] == ["about", "differences", "settings"]
    assert (made.figures / "differences.csv").read_text().startswith("method,group,role,auroc_first")
    assert "## What is compared" in made.markdown.read_text()


@pytest.mark.parametrize(("column", "row", "value"), [("split", 0, "val"), ("label", 1, 0), ("digest", 2, "f" * 64)])
def test_another_split_label_or_picture_is_refused_in_one_sentence(
    tmp_path: Path, column: str, row: int, value: object
) -> None:
    first, second = made_run(tmp_path / "a"), made_run(tmp_path / "b")
    path = IndexArtefact(second / "ingest").index
    table = read_index(path)
    changed = table["patient"].eq(table.at[row, "patient"]) if column == "split" else table.index == row
    table.loc[changed, column] = value
    write_index(path, table)
    with pytest.raises(UsageError, match=r"'a' and 'b' do not have the same radiographs, labels and split"):
        compare(first, second, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_runs_without_a_common_method_and_folders_that_are_no_run_are_refused(tmp_path: Path) -> None:
    first, second = made_run(tmp_path / "a"), made_run(tmp_path / "b")
    path = ScoresArtefact(second / "evaluate").scores
    table = pd.read_csv(path)
    table.assign(method=table["method"] + "_2").to_csv(path, index=False)
    with pytest.raises(UsageError, match="no method of the same name"):
        compare(first, second, tmp_path / "out")
    (tmp_path / "c").mkdir()
    with pytest.raises(RecordError, match="'c' is no run folder with a finished evaluation"):
        compare(first, tmp_path / "c", tmp_path / "out")
