"""The whole way in small: every artefact, nothing twice, goes on where it was killed, tracked."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from oracles.made_run import LOOP, tiny_config, write_config

from medtea.cli import walk
from medtea.core.errors import DataError
from medtea.core.settings import read_yaml

STAGES = ("ingest", "segment", "teach", "distil/tea", "distil/erm", "evaluate", "audit", "report")
ARTEFACTS = {
    "ingest": {"index.parquet", "radiographs.npy", "given_masks.npy", "refused.csv", "flow.csv"},
    "segment": {"segmenter.safetensors", "lung_masks.npy", "masks.csv", "metrics.json", "history.csv"},
    "teach": {"teacher.safetensors", "card.json", "history.csv", "bank/rows.npy", "bank/heatmap_input.npy"},
    "distil/tea": {"student.safetensors", "card.json", "history.csv"},
    "distil/erm": {"student.safetensors", "card.json", "history.csv"},
    "evaluate": {"scores.csv", "metrics.json"},
    "audit": {"outcomes.json", "outcomes.csv", "pictures.npz"},
    "report": {
        "report.html",
        "report.md",
        "report.json",
        "figures/forest.svg",
        "figures/slope.svg",
        "figures/montage.svg",
    },
}


@pytest.fixture(scope="module", autouse=True)
def surroundings() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDTEA_KEY", "a key for tests only")
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder in which the tiny config was walked to the end, with tracking; other tests only read it."""
    folder = tmp_path_factory.mktemp("whole")
    walk(write_config(folder / "tiny.yaml", tiny_config()), folder / "run", [], no_tracking=False)
    return folder / "run"


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished run to go on in."""
    subprocess.run(["cp", "-a", str(finished), str(tmp_path / "run")], check=True)
    return tmp_path / "run"


def again(folder: Path, capsys: pytest.CaptureFixture[str], *assignments: str) -> dict[str, str]:
    """Walks the tiny config in a folder; what was said of each stage."""
    config = write_config(folder.parent / "tiny.yaml", tiny_config())
    capsys.readouterr()
    walk(config, folder, list(assignments), no_tracking=True)
    said = (line.split(": ", 1) for line in capsys.readouterr().err.splitlines())
    return {stage: words for stage, words in said if stage in STAGES and words.startswith(("done", "nothing"))}


def ran(said: Mapping[str, str]) -> list[str]:
    return [stage for stage, words in said.items() if words.startswith("done")]


def test_every_artefact_is_there(finished: Path) -> None:
    for stage, names in ARTEFACTS.items():
        assert not [name for name in names if not (finished / stage / name).stat().st_size], stage
        record = json.loads((finished / stage / "record.json").read_text())
        assert record["stage"] == stage
        assert record["outputs_bytes"].keys() >= names
        assert record["made_with"]["versions"]["torch"]


def test_the_rows_of_all_artefacts_are_those_of_the_index(finished: Path) -> None:
    index = pd.read_parquet(finished / "ingest" / "index.parquet")
    assert len(np.load(finished / "ingest" / "radiographs.npy")) == len(index)
    assert len(np.load(finished / "segment" / "lung_masks.npy")) == len(index)
    masks = pd.read_csv(finished / "segment" / "masks.csv")
    assert masks["radiograph"].tolist() == index["radiograph"].tolist()
    scores = pd.read_csv(finished / "evaluate" / "scores.csv")
    tested = index[index["split"].ne("train")]
    assert scores.groupby("method")["radiograph"].apply(list).to_dict() == dict.fromkeys(
        ("teacher", "tea", "erm"), tested["radiograph"].tolist()
    )
    assert scores["score"].between(0, 1).all()
    assert not scores["score"].duplicated().all()


def test_the_external_hospital_was_seen_by_no_training_step(finished: Path) -> None:
    index = pd.read_parquet(finished / "ingest" / "index.parquet")
    for bank in ("segment/bank", "teach/bank"):
        learnt = index.iloc[np.load(finished / bank / "rows.npy")]
        assert set(learnt["hospital"]) == {"northgate"}
        assert set(learnt["split"]) <= {"train", "val"}


def test_the_outcomes_as_a_table_are_the_outcomes(finished: Path) -> None:
    outcomes = json.loads((finished / "audit" / "outcomes.json").read_text())["outcomes"]
    table = pd.read_csv(finished / "audit" / "outcomes.csv")
    assert table[["probe", "method", "group"]].to_numpy().tolist() == [
        [one["probe"], one["method"], one["group"]] for one in outcomes
    ]
    np.testing.assert_allclose(table["value"], [one["estimate"]["value"] for one in outcomes])


def test_pictures_show_both_classes(finished: Path) -> None:
    with np.load(finished / "audit" / "pictures.npz") as arrays:
        labels = {str(arrays[key]): arrays[key.replace("name", "label")].tolist() for key in arrays if "name" in key}
    assert labels == {"hillcrest": [1, 0], "northgate": [1, 0]}


def test_figures_are_files_of_their_own_and_tracked(finished: Path) -> None:
    for name in ("forest", "slope", "montage"):
        svg = (finished / "report" / "figures" / f"{name}.svg").read_text()
        assert svg.startswith("<svg")
        assert "<title" in svg
        (logged,) = finished.glob(f"mlartifacts/*/artifacts/figures/{name}.svg")
        assert logged.read_text() == svg


def test_the_page_names_no_place_of_this_machine(finished: Path) -> None:
    page = (finished / "report" / "report.html").read_text()
    assert str(finished) not in page
    assert str(Path.home()) + "/" not in page


def test_a_second_run_runs_no_stage_and_says_so(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in copied.rglob("*") if path.is_file()}
    config = write_config(copied.parent / "tiny.yaml", tiny_config())
    capsys.readouterr()
    walk(config, copied, [], no_tracking=False)
    printed = capsys.readouterr()
    assert "Nothing to do" in printed.out
    assert printed.err.count("nothing to do, its record matches") == len(STAGES)
    assert "AUROC with its 95 % interval" in printed.out, "the table is shown all the same"
    after = {path: path.stat().st_mtime_ns for path in copied.rglob("*") if path.is_file()}
    after.pop(copied / "settings.yaml")
    before.pop(copied / "settings.yaml")
    assert after == before


def test_one_students_setting_runs_that_student_and_what_follows(
    copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = again(copied, capsys, "distil.1.loop.epochs=1")
    assert ran(said) == ["distil/erm", "evaluate", "audit", "report"]
    assert said.keys() == set(STAGES)
    assert pd.read_csv(copied / "distil" / "erm" / "history.csv").shape[0] == 1


def test_a_student_that_is_not_watched_is_the_same_student(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    student = copied / "distil" / "tea"
    weights, history = (student / "student.safetensors").read_bytes(), pd.read_csv(student / "history.csv")
    assert ran(again(copied, capsys, "distil.0.watch=false"))[0] == "distil/tea"
    assert (student / "student.safetensors").read_bytes() == weights
    losses = ["epoch", "train_loss", "val_loss"]
    pd.testing.assert_frame_equal(pd.read_csv(student / "history.csv"), history[losses])
    assert set(history) - set(losses) == {"map_correlation", "relevance_outside", "sum_gap", "agreement"}
    assert json.loads((student / "card.json").read_text())["watched"] == "no"


def test_a_setting_of_the_report_runs_the_report_alone(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ran(again(copied, capsys, "report.title=Another")) == ["report"]
    assert "Another" in (copied / "report" / "report.html").read_text()


def test_a_partial_walk_stops_after_its_wing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # A student and the run folder that are called as a wing is end no walk early.
    config = tiny_config()
    config["distil"] = [{"method": "erm", "name": "evaluate", "loop": LOOP}, {"method": "erm", "loop": LOOP}]
    path, folder = write_config(tmp_path / "tiny.yaml", config), tmp_path / "distil"
    stages = ["ingest", "segment", "teach", "distil/evaluate", "distil/erm", "evaluate"]
    for wing, last in (("segment", "segment"), ("distil", "distil/erm"), ("evaluate", "evaluate")):
        walk(path, folder, [], no_tracking=True, until=wing)
        there = {one.parent.relative_to(folder).as_posix() for one in folder.rglob("record.json")}
        assert there == set(stages[: stages.index(last) + 1])
    assert "The page" not in capsys.readouterr().out


def tracked(folder: Path) -> dict[str, dict[str, Any]]:
    """Runs of the SQLite file by name: status, params, the keys of metrics, tags."""
    with sqlite3.connect(folder / "mlflow.db") as store:
        runs = store.execute("select run_uuid, name, status from runs").fetchall()
        return {
            name: {
                "id": run,
                "status": status,
                "params": dict(store.execute("select key, value from params where run_uuid = ?", (run,))),
                "metrics": dict(store.execute("select key, value from latest_metrics where run_uuid = ?", (run,))),
                "tags": dict(store.execute("select key, value from tags where run_uuid = ?", (run,))),
            }
            for run, name, status in runs
        }


def test_one_parent_run_and_a_child_per_network_are_tracked(finished: Path) -> None:
    runs = tracked(finished)
    assert runs.keys() == {"tiny, seed 0", "segmenter", "teacher", "tea", "erm"}
    assert {run["status"] for run in runs.values()} == {"FINISHED"}
    parent = runs.pop("tiny, seed 0")
    assert parent["params"]["teach.loop.epochs"] == "2"
    assert len(parent["params"]["index.digest"]) == 64
    assert not [key for key in parent["params"] if key.startswith("ingest.options")], "paths are not logged"
    for child in runs.values():
        assert child["tags"]["mlflow.parentRunId"] == parent["id"]
        assert child["params"]["loop.epochs"] == "2"
        assert {"train_loss", "val_loss"} <= child["metrics"].keys()
    scores = json.loads((finished / "evaluate" / "metrics.json").read_text())["scores"]
    for entry in scores:
        logged = runs[entry["method"]]["metrics"][f"auroc/{entry['role']}/{entry['group']}"]
        assert logged == pytest.approx(entry["auroc"]["value"])
    assert "dice/hillcrest" in runs["segmenter"]["metrics"]
    artefacts = {path.name for path in (finished / "mlartifacts" / parent["id"] / "artifacts").iterdir()}
    assert {"report.html", "report.md", "metrics.json", "outcomes.json", "flow.csv", "figures"} <= artefacts


def test_students_are_registered_and_hospitals_are_inputs_and_metrics_follow_the_grammar(finished: Path) -> None:
    with sqlite3.connect(finished / "mlflow.db") as store:
        models = dict(store.execute("select name, source from model_versions").fetchall())
        tags = dict(store.execute("select key, value from model_version_tags").fetchall())
        inputs = set(store.execute("select name, dataset_profile from datasets").fetchall())
    assert models.keys() == {"tiny-tea", "tiny-erm"}
    assert all(source.startswith("runs:/") for source in models.values())
    assert (tags["medtea.trained_at"], tags["medtea.external"]) == ("northgate", "hillcrest")
    assert not list(finished.glob("mlartifacts/*/artifacts/model/data/*pickle*"))
    index = pd.read_parquet(finished / "ingest" / "index.parquet")
    counted = {(name, json.loads(profile)["use"]): json.loads(profile)["radiographs"] for name, profile in inputs}
    tested = index[index["split"].eq("test") & index["label"].notna()]
    for hospital, part in tested.groupby("hospital"):
        assert counted[hospital, "test"] == len(part)
    assert {use for _, use in counted} == {"training", "validation", "test"}
    grammar = re.compile(r"[a-z][a-z0-9_]*(/(iid|ood))?(/[^/]+)?")
    named = {name for run in tracked(finished).values() for name in run["metrics"]}
    assert [name for name in named if not grammar.fullmatch(name)] == []
    assert {"auroc/iid/northgate", "auroc_low/ood/hillcrest", "auroc_gap/ood/hillcrest", "dice/hillcrest"} <= named


def test_a_run_whose_stage_raises_is_tracked_as_failed(tmp_path: Path) -> None:
    config = tiny_config()
    config["segment"]["checks"] = {"area": [0.99999, 1.0]}
    path = write_config(tmp_path / "tiny.yaml", config)
    with pytest.raises(DataError, match="no labelled radiograph with a plausible lung mask"):
        walk(path, tmp_path / "run", [], no_tracking=False)
    runs = tracked(tmp_path / "run")
    assert runs["tiny, seed 0"]["status"] == "FAILED"
    assert runs["tiny, seed 0"]["tags"]["error_kind"] == "DataError"
    assert runs["segmenter"]["status"] == "FINISHED"
    walk(write_config(path, tiny_config()), tmp_path / "run", [], no_tracking=False, until="segment")
    after = tracked(tmp_path / "run")
    assert after["tiny, seed 0"]["status"] == "FINISHED", "the mended run goes on in the same tracked run"
    assert after["tiny, seed 0"]["id"] == runs["tiny, seed 0"]["id"]


def program(config: Path, folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "medtea.cli", "run", str(config), "--to", str(folder)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=dict(os.environ))


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 150
    while not path.exists():
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_killed_in_every_training_ends_with_the_same_scores(tmp_path: Path) -> None:
    config = tiny_config()
    for place in (config["segment"], config["teach"], config["distil"][0]):
        place["loop"] = LOOP | {"epochs": 20, "checkpoint_seconds": 0}
    path = write_config(tmp_path / "tiny.yaml", config)
    undisturbed = program(path, tmp_path / "whole")
    undisturbed.communicate(timeout=400)
    assert undisturbed.returncode == 0

    folder = tmp_path / "killed"
    for stage in ("segment", "teach", "distil/tea"):
        process = program(path, folder)
        wait_for(folder / stage / "checkpoint.pt", process)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
        assert not (folder / stage / "record.json").exists(), "killed in the middle"
    on = program(path, folder)
    _, said = on.communicate(timeout=400)
    assert on.returncode == 0
    assert re.findall(r"^(.*): nothing to do", said, flags=re.MULTILINE) == ["ingest", "segment", "teach"]
    for name in ("evaluate/scores.csv", "segment/history.csv", "teach/history.csv", "distil/tea/history.csv"):
        assert (folder / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert {run["status"] for run in tracked(folder).values()} == {"FINISHED"}


def test_a_planted_letter_from_phantoms_without_one(tmp_path: Path) -> None:
    config = tiny_config(external=[]) | {"pipeline": "planted_shortcut"}
    config["ingest"]["options"] |= {
        "hospitals": {"northgate": {"patients": 30, "positive": None, "negative": None}},
        "unusable": 0,
    }
    folder = tmp_path / "run"
    walk(write_config(tmp_path / "planted.yaml", config), folder, [], no_tracking=True)
    assert (folder / "plant" / "record.json").is_file()
    metrics = json.loads((folder / "evaluate" / "metrics.json").read_text())
    groups = {entry["group"]: entry["role"] for entry in metrics["scores"]}
    assert groups == {
        "northgate, mark absent": "ood",
        "northgate, mark follows": "iid",
        "northgate, mark random": "ood",
        "northgate, mark reversed": "ood",
    }
    assert {tuple(gap["ood"]) for gap in metrics["gaps"]} == {
        (group,) for group, role in groups.items() if role == "ood"
    }
    scores = pd.read_csv(folder / "evaluate" / "scores.csv")
    tested = scores[scores["split"].eq("test")]
    patients = tested.groupby(["method", "group"])["patient"].apply(sorted)
    assert patients.map(tuple).nunique() == 1, "the four groups are the same patients"
    page = (folder / "report" / "report.html").read_text()
    assert "northgate, mark reversed" in page
    written = read_yaml(folder / "settings.yaml")
    assert written["plant"] == {
        "kind": "localised",
        "positive": "R",
        "negative": "L",
        "corner": "top right",
        "height": pytest.approx(1 / 6),
        "brightness": 1.0,
        "noise": 0.05,
        "unbiased": 0.0,
        "agreement": 1.0,
    }


def test_the_planted_pipeline_stops_after_plant(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tiny_config() | {"pipeline": "planted_shortcut"}
    path = write_config(tmp_path / "planted.yaml", config)
    walk(path, tmp_path / "run", [], no_tracking=True, until="plant")
    assert re.findall(r"^(\w+): done", capsys.readouterr().err, flags=re.MULTILINE) == ["ingest", "plant"]
