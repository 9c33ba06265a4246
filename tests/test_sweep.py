"""Several seeds and methods by one command: one table, nothing twice, and one failure takes nothing else with it."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from oracles.made_digits import made_digits
from oracles.made_run import write_config
from typer.testing import CliRunner

from medtea import cli
from medtea.core.errors import DataError, UsageError

LOOP = {"epochs": 1, "batch_size": 16}
GROUPS = ("iid", "ood", "shift")


def config(digits: Path) -> dict[str, Any]:
    tiny = {"network": "tiny_cnn", "loop": LOOP}
    return {
        "pipeline": "scenes",
        "seeds": [0, 1],
        "processes": 2,
        "scenes": {
            "set": "coloured_mnist",
            "options": {"path": str(digits), "train": 80, "validation": 20, "test": 40},
        },
        "teach": {"teacher": "debiased_twin", "network": "tiny_cnn", "copies": 1, "loop": LOOP},
        "distil": [{"method": "erm", **tiny}, {"method": "tea", **tiny}],
        "evaluate": {"replicates": 100},
    }


def swept(folder: Path, *arguments: str, tracked: bool = False) -> None:
    arguments = (*arguments, *(() if tracked else ("--no-tracking",)))
    cli.app(["run", str(folder / "sweep.yaml"), "--to", str(folder / "runs"), *arguments], standalone_mode=False)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sweep")
    write_config(folder / "sweep.yaml", config(made_digits(folder / "digits")))
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        swept(folder, "--only", "erm", tracked=True)
    return folder


def record_of(folder: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((folder / "runs" / "table.json").read_text())
    return record


def test_the_table_is_the_mean_over_seeds_of_what_scores_csv_says(finished: Path) -> None:
    record = record_of(finished)
    assert record["headline"] == "accuracy"
    assert [group["group"] for group in record["groups"]] == list(GROUPS)
    for cell in record["cells"]:
        by_seed = []
        for seed in (0, 1):
            scores = pd.read_csv(finished / "runs" / f"seed_{seed}" / "evaluate" / "scores.csv")
            rows = scores[
                (scores.method == cell["method"]) & (scores.group == cell["group"]) & (scores.split == "test")
            ]
            by_seed.append((rows.predicted == rows.label).mean())
        assert cell["by_seed"] == pytest.approx(by_seed)
        assert cell["value"] == cell["patients"]["value"] == pytest.approx(np.mean(by_seed))
        assert cell["sd"] == pytest.approx(np.std(by_seed, ddof=1))
        for interval in ("patients", "seeds_and_patients"):
            assert cell[interval]["low"] <= cell["value"] <= cell[interval]["high"]


def test_differences_are_paired_by_image(finished: Path) -> None:
    found = {(row["method"], row["control"], row["group"]): row for row in record_of(finished)["differences"]}
    assert set(found) == {(*pair, group) for pair in (("teacher", "erm"), ("erm", "teacher")) for group in GROUPS}
    cells = {(cell["method"], cell["group"]): cell["value"] for cell in record_of(finished)["cells"]}
    for group in GROUPS:
        difference = found["teacher", "erm", group]["patients"]
        assert difference["value"] == pytest.approx(cells["teacher", group] - cells["erm", group])
        assert difference["value"] == pytest.approx(-found["erm", "teacher", group]["patients"]["value"])


def test_the_table_is_shown_as_markdown_and_as_a_page_with_what_each_method_saw(finished: Path) -> None:
    markdown = (finished / "runs" / "table.md").read_text()
    page = (finished / "runs" / "table.html").read_text()
    cell = next(one for one in record_of(finished)["cells"] if (one["method"], one["group"]) == ("erm", "shift"))
    for text in (markdown, page):
        assert f"{100 * cell['value']:.2f} ± {100 * cell['sd']:.2f}" in text
        assert "teacher (debiased twin)" in text
        assert "radiograph, label" in text
        assert "seeds: 0, 1" in text
    assert page.count("<script") == 1, "the page's own, which its content security policy names"
    assert "script-src 'sha256-" in page
    figure = (finished / "runs" / "table.svg").read_text()
    for text in (page, figure):
        assert f"erm at shift (OOD): {100 * cell['value']:.2f} (" in text


def test_every_method_and_seed_is_a_run_of_one_experiment_with_flat_params(finished: Path) -> None:
    with sqlite3.connect(finished / "runs" / "mlflow.db") as store:
        names = {name for (name,) in store.execute("SELECT name FROM runs")}
        params = dict(
            store.execute("SELECT key, value FROM params JOIN runs USING (run_uuid) WHERE name = 'erm, seed_1'")
        )
        metrics = dict(
            store.execute("SELECT key, value FROM metrics JOIN runs USING (run_uuid) WHERE name = 'erm, seed_1'")
        )
    assert {"teacher, seed_0", "teacher, seed_1", "erm, seed_0", "erm, seed_1"} <= names
    assert (params["method"], params["seed"], params["network"], params["epochs"]) == ("erm", "1", "tiny_cnn", "1")
    cells = {cell["group"]: cell for cell in record_of(finished)["cells"] if cell["method"] == "erm"}
    assert metrics["accuracy/ood/shift"] == pytest.approx(cells["shift"]["by_seed"][1])


def test_another_method_joins_later_and_nothing_is_trained_twice(finished: Path) -> None:
    weights = finished / "runs" / "seed_0" / "distil" / "erm" / "student.safetensors"
    before = weights.stat().st_mtime_ns
    swept(finished)
    assert weights.stat().st_mtime_ns == before
    assert [method["method"] for method in record_of(finished)["methods"]] == ["teacher", "erm", "tea"]
    assert not record_of(finished)["failed"]


def test_a_student_that_fails_is_named_and_all_else_is_in_the_table(finished: Path, tmp_path: Path) -> None:
    content = config(finished / "digits")
    content["seeds"], content["processes"] = [0], 1
    content["distil"] = [content["distil"][0], content["distil"][1] | {"options": {"layers": ["stage9"]}}]
    write_config(tmp_path / "sweep.yaml", content)
    with pytest.raises(DataError, match=r"1 parts did not finish: seed 0, tea \(.*no map of 'stage9'"):
        swept(tmp_path)
    cells = {(cell["method"], cell["group"]): cell for cell in record_of(tmp_path)["cells"]}
    assert cells["erm", "iid"]["value"] is not None
    assert cells["tea", "iid"]["value"] is None
    assert "no answer" in (tmp_path / "runs" / "table.md").read_text()
    assert [(one["seed"], one["part"]) for one in record_of(tmp_path)["failed"]] == [(0, "tea")]


def test_the_table_says_where_its_networks_were_trained_which_is_not_where_it_was_written(finished: Path) -> None:
    trained = finished / "runs" / "seed_1" / "distil" / "erm" / "record.json"
    as_it_was = trained.read_text()
    elsewhere = json.loads(as_it_was)
    elsewhere["made_with"] |= {"commit": "of another day", "machine": {"processor": "another", "gpu": "a large one"}}
    trained.write_text(json.dumps(elsewhere))
    try:
        swept(finished, "--only", "erm")
        made = record_of(finished)["made_with"]
    finally:
        trained.write_text(as_it_was)
    assert made["commit of the code"].split("; ")[-1] == "of another day"
    assert made["machine"].endswith("GPU: none; another, GPU: a large one")
    assert made["versions"].count("medtea") == 1


def test_what_is_for_several_seeds_is_said_to_be_so(finished: Path, tmp_path: Path) -> None:
    content = config(finished / "digits")
    del content["seeds"]
    write_config(tmp_path / "one.yaml", content)
    found = CliRunner().invoke(cli.app, ["run", str(tmp_path / "one.yaml"), "--only", "erm"])
    assert isinstance(found.exception, UsageError)
    assert "--seeds 0,1,2" in str(found.exception)
    found = CliRunner().invoke(cli.app, ["run", str(finished / "sweep.yaml"), "--only", "tee"])
    assert "there is no such student. Allowed: erm, tea" in str(found.exception)


def test_a_killed_sweep_takes_its_processes_with_it(tmp_path: Path) -> None:
    content = config(made_digits(tmp_path / "digits"))
    content["teach"]["loop"] = {"epochs": 10_000, "batch_size": 16}
    write_config(tmp_path / "sweep.yaml", content)
    command = [sys.executable, "-m", "medtea.cli", "run", str(tmp_path / "sweep.yaml"), "--to", str(tmp_path / "runs")]
    running = subprocess.Popen([*command, "--no-tracking"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: all((tmp_path / f"runs/seed_{seed}/teach/checkpoint.pt").is_file() for seed in (0, 1)))
        below = children(running.pid)
        assert len(below) >= 2
    finally:
        running.kill()
        running.wait()
    wait_for(lambda: not any(alive(child) for child in below))


def status(process: int) -> list[str]:
    """State and parent first; nothing of a process that is gone."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
    return []


def alive(process: int) -> bool:
    return bool(status(process)) and status(process)[0] != "Z"


def children(parent: int) -> list[int]:
    everyone = [int(path.name) for path in Path("/proc").glob("[0-9]*")]
    return [process for process in everyone if status(process)[1:2] == [str(parent)]]


def wait_for(condition: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.2)
