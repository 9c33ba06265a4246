"""Hospitals left out in turn, from folds whose scores are made by code."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from oracles.made_run import SIZE, NoSettings, index_row, silent_work, tiny_config, write_config
from oracles.made_scores import made_acquisition, made_scores

from medtea.cli import walk
from medtea.core.errors import ConfigError, DataError
from medtea.core.names import Artefact, IndexArtefact, ScoresArtefact
from medtea.core.settings import parse
from medtea.core.work import Work, read_json, write_json, write_text
from medtea.data.acquisition import read_acquisition, write_acquisition
from medtea.data.index import read_index, write_index
from medtea.evaluate.folds import Fold, run
from medtea.evaluate.stage import Settings

cross_hospital = pytest.importorskip("medtea.pipelines.cross_hospital", reason="pipelines join on installation")
leave_one_out = pytest.importorskip("medtea.pipelines.leave_one_out", reason="pipelines join on installation")

HOSPITALS = ("a", "b", "c")
CARD = {"sees": [], "sees_at_inference": [], "network": "", "parameters": None, "seconds": None, "selection": ""}


def leave_fold(work: Work, external: str) -> Fold:
    """What a run leaves whose external hospital this is."""
    hospitals = {name: ("external" if name == external else "train", 0.5) for name in HOSPITALS}
    scores = made_scores(hospitals, {"tea": (1.0, 0.0), "erm": (1.0, 0.5)}, n=40, seed=ord(external))
    one = scores[scores["method"].eq("tea")]
    rows = [index_row(place, **row) for place, row in enumerate(one[SHARED].to_dict("records"))]
    stages = [work.stage(name, NoSettings(), source=external) for name in ("ingest", "evaluate")]
    index, found = IndexArtefact(stages[0].folder), ScoresArtefact(stages[1].folder)
    table = pd.DataFrame(rows)
    write_index(index.index, table)
    write_acquisition(index.acquisition, table["radiograph"], made_acquisition(table).to_dict("records"))
    write_text(found.scores, scores.to_csv(index=False))
    write_json(found.metrics, {"methods": {"tea": CARD, "erm": CARD}})
    for stage in stages:
        stage.finish()
    return index, found


SHARED = ["radiograph", "hospital", "patient", "role", "split", "group", "label"]


def folds(folder: Path) -> list[Fold]:
    return [leave_fold(silent_work(folder / name), name) for name in HOSPITALS]


def test_each_hospital_is_counted_once_by_networks_that_never_saw_it(tmp_path: Path) -> None:
    work = silent_work(tmp_path / "all")
    made = folds(tmp_path)
    cohort, artefact = run(work, Settings(replicates=100), made)
    scores = pd.read_csv(artefact.scores)
    assert scores.groupby("hospital")["role"].unique().map(list).to_dict() == {n: ["external"] for n in HOSPITALS}
    for name, (_, fold) in zip(HOSPITALS, made, strict=True):
        own = pd.read_csv(fold.scores)
        assert scores[scores["hospital"].eq(name)]["score"].tolist() == own[own["hospital"].eq(name)]["score"].tolist()
    index = read_index(cohort.index)
    assert set(scores["radiograph"]) == set(index["radiograph"])
    assert len(read_acquisition(cohort.acquisition)) == len(index) == 120
    written = read_json(artefact.metrics)
    (tea,) = [one for one in written["heterogeneity"]["entries"] if one["method"] == "tea"]
    assert (tea["over"], tea["k"]) == ("ood", 3)
    assert tea["new_low"] < tea["mean"] < tea["new_high"]
    assert [one["after"] for one in written["calibration"]["entries"]] == [None] * 6, "no validation rows of all folds"
    assert "sex" in {one["attribute"] for one in written["subgroups"]["unknown"]}


def test_finished_folds_are_not_counted_again_and_a_changed_one_is(tmp_path: Path) -> None:
    made = folds(tmp_path)
    run(silent_work(tmp_path / "all"), Settings(replicates=100), made)
    again = silent_work(tmp_path / "all")
    run(again, Settings(replicates=100), made)
    assert again.ran == []
    run(again, Settings(replicates=100), [made[1], made[0], made[2]])
    assert again.ran == ["cohort", "evaluate"]


def test_a_hospital_that_is_left_out_twice_is_refused(tmp_path: Path) -> None:
    made = folds(tmp_path)
    with pytest.raises(DataError, match="no hospital is left out twice"):
        run(silent_work(tmp_path / "all"), Settings(replicates=100), [made[0], made[0]])


def pipeline_settings(**ingest: Any) -> Any:
    given = {"source": "phantom", "train": list(HOSPITALS), "positive": ["Nodules"], "negative": ["Normal"]} | ingest
    return parse(leave_one_out.Settings, {"ingest": given, "evaluate": {"replicates": 100}})


def test_the_pipeline_leaves_each_hospital_out_in_turn_and_makes_one_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def made_run(work: Work, settings: Any) -> Iterator[Artefact]:
        asked.append((work.folder.name, settings.ingest.train, settings.ingest.external))
        yield from leave_fold(work, settings.ingest.external[0])
        raise AssertionError("a fold ends with its evaluation")

    monkeypatch.setattr(cross_hospital, "run", made_run)
    left = list(leave_one_out.run(silent_work(tmp_path), pipeline_settings()))
    assert asked == [
        ("fold_0", ("b", "c"), ("a",)),
        ("fold_1", ("a", "c"), ("b",)),
        ("fold_2", ("a", "b"), ("c",)),
    ]
    assert [one.folder.relative_to(tmp_path).as_posix() for one in left] == ["cohort", "evaluate", "report"]
    page = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert "left out of training and selection in turn" in page
    assert "3 hospitals were not seen in training" in page


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_trained_networks_are_judged_at_the_hospital_that_each_never_saw_up_to_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    options = {"size": SIZE, "hospitals": {name: {"patients": 16} for name in HOSPITALS}}
    config = tiny_config(train=list(HOSPITALS), external=[], options=options) | {"pipeline": "leave_one_out"}
    written = write_config(tmp_path / "folds.yaml", {name: part for name, part in config.items() if name != "audit"})
    walk(written, tmp_path / "run", [], no_tracking=True)
    scores = pd.read_csv(tmp_path / "run" / "evaluate" / "scores.csv")
    for place, left_out in enumerate(HOSPITALS):
        fold = tmp_path / "run" / f"fold_{place}"
        index = read_index(fold / "ingest" / "index.parquet")
        assert set(index.loc[index["split"].eq("train"), "hospital"]) == set(HOSPITALS) - {left_out}
        own = pd.read_csv(fold / "evaluate" / "scores.csv")
        own = own[own["hospital"].eq(left_out)]
        assert scores[scores["hospital"].eq(left_out)]["score"].tolist() == own["score"].tolist()
        assert own["score"].nunique() > 2, "a network's own scores"
    page = (tmp_path / "run" / "report" / "report.html").read_text(encoding="utf-8")
    assert "left out of training and selection in turn" in page
    assert "3 hospitals were not seen in training" in page
    entries = read_json(tmp_path / "run" / "evaluate" / "metrics.json")["scores"]
    assert {(entry["group"], entry["role"]) for entry in entries} == {(name, "ood") for name in HOSPITALS}


@pytest.mark.parametrize(
    ("ingest", "said"),
    [({"external": ["d"]}, "empty ingest.external"), ({"train": ["a", "b"]}, "three hospitals or more")],
)
def test_what_cannot_be_left_out_in_turn_is_refused(ingest: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        pipeline_settings(**ingest)
