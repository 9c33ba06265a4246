"""Two processes under torchrun train what one does, go on where they were stopped, and leave one run folder."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from oracles.made_run import tiny_config, write_config
from oracles.tiny_processes import train_here

from medtea.core.errors import RecordError
from medtea.training.checkpoint import read_checkpoint
from medtea.training.processes import are_several, lead_or_follow

TESTS = Path(__file__).parents[1]
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


def start(*command: str | Path, seconds: float = 240) -> subprocess.CompletedProcess[str]:
    surroundings = {"PYTHONPATH": f"{TESTS}{os.pathsep}{TESTS.parent}", "OMP_NUM_THREADS": "1", "MEDTEA_KEY": "k" * 20}
    given = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    return subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, env=given | surroundings, timeout=seconds
    )


def losses_of(folder: Path, column: str = "train_loss") -> list[float]:
    with (folder / "history.csv").open(newline="") as file:
        return [float(row[column]) for row in csv.DictReader(file)]


def steps_of(folder: Path, rank: int) -> list[tuple[str, int]]:
    """At each step, the digest of the weights and the radiographs that this process took."""
    lines = (folder / f"rank{rank}.txt").read_text().splitlines()
    return [(digest, int(count)) for digest, count in (line.split() for line in lines)]


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four trainings, one after the other, by two processes; the third of them fails."""
    folder = tmp_path_factory.mktemp("two")
    done = start(*TORCHRUN, TESTS / "oracles" / "tiny_processes.py", folder, "three")
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def test_two_processes_have_the_loss_curve_of_one_with_twice_the_batch_of_each(together: Path, tmp_path: Path) -> None:
    train_here(tmp_path, "label")
    for column in ("train_loss", "val_loss"):
        # float32 sums in another order, over 12 steps
        np.testing.assert_allclose(losses_of(together / "label", column), losses_of(tmp_path, column), rtol=1e-5)
    assert {count for _, count in steps_of(tmp_path, 0)} == {8}
    assert {count for rank in (0, 1) for _, count in steps_of(together / "label", rank)} == {4}
    alone = torch.load(tmp_path / "weights.bin", weights_only=True)
    shared = torch.load(together / "label" / "weights.bin", weights_only=True)
    for name, tensor in alone.items():
        torch.testing.assert_close(shared[name], tensor, rtol=1e-4, atol=1e-5)
    assert losses_of(tmp_path)[-1] < 0.8 * losses_of(tmp_path)[0], "or any two curves would be alike"


@pytest.mark.parametrize("task", ["label", "tea"])
def test_all_processes_have_the_same_weights_at_every_step(task: str, together: Path) -> None:
    first, second = steps_of(together / task, 0), steps_of(together / task, 1)
    assert first == second
    assert len({digest for digest, _ in first}) == len(first) > 8, "and they move"


def test_tea_trains_in_two_processes(together: Path) -> None:
    losses = losses_of(together / "tea", "val_loss")
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0]


def test_what_is_not_finite_in_one_process_stops_all_and_names_the_whole_batch(together: Path) -> None:
    error = json.loads((together / "error.json").read_text())
    assert error.startswith("bursting: the loss is not finite in epoch 1, step 1 (radiographs r0")
    assert len(set(re.findall(r"r\d{6}", error))) == 8
    assert error.endswith("there is no checkpoint yet.")


def test_after_a_training_that_failed_the_others_are_there_for_the_next(together: Path) -> None:
    assert losses_of(together / "after") == losses_of(together / "label")


@pytest.mark.slow
def test_two_processes_stopped_at_a_step_go_on_bit_for_bit(tmp_path: Path) -> None:
    script = TESTS / "oracles" / "tiny_processes.py"
    stopped = start(*TORCHRUN, script, tmp_path / "stopped", "6")  # two steps an epoch
    assert stopped.returncode != 0
    state = read_checkpoint(tmp_path / "stopped" / "checkpoint.pt")
    assert (len(state["history"]), state["step"]) == (2, 1)
    assert len(state["generators"]) == 2, "each process has its own dropout"
    assert start(*TORCHRUN, script, tmp_path / "stopped", "-1").returncode == 0
    assert start(*TORCHRUN, script, tmp_path / "undisturbed", "-1").returncode == 0
    for name in ("weights.bin", "history.csv"):
        assert (tmp_path / "stopped" / name).read_bytes() == (tmp_path / "undisturbed" / name).read_bytes()


@pytest.mark.slow
def test_the_whole_way_in_two_processes_leaves_every_artefact_once(tmp_path: Path) -> None:
    config = write_config(tmp_path / "tiny.yaml", tiny_config())
    run = (*TORCHRUN, "-m", "medtea.cli", "run", config, "--to", tmp_path / "run")
    done = start(*run)
    assert done.returncode == 0, done.stderr[-3000:]
    stages = ("ingest", "segment", "teach", "distil/tea", "distil/erm", "evaluate", "audit", "report")
    assert [done.stderr.count(f"{stage}: done in") for stage in stages] == [1] * len(stages)
    assert done.stdout.count("The page:") == 1
    assert not list((tmp_path / "run").rglob("*.partial"))
    for student in ("tea", "erm"):
        state = read_checkpoint(tmp_path / "run" / "distil" / student / "checkpoint.pt")
        assert state["made_with"]["processes"] == 2
        assert np.isfinite(pd.read_csv(tmp_path / "run" / "distil" / student / "history.csv")["val_loss"]).all()
    again = start(*run)
    assert again.returncode == 0
    assert "Nothing to do" in again.stdout


@pytest.mark.slow
def test_a_wrong_config_in_two_processes_is_one_message_and_ends_both(tmp_path: Path) -> None:
    done = start(*TORCHRUN, "-m", "medtea.cli", "run", tmp_path / "none.yaml")
    assert done.returncode != 0
    assert done.stderr.count("There is no config") == 1
    shared = start(*TORCHRUN, "-m", "medtea.cli", "--help")
    assert shared.returncode == 0
    assert shared.stdout.count("Usage:") == 1


def test_one_process_just_goes_its_way() -> None:
    walked: list[bool] = []
    assert not are_several()
    lead_or_follow(lambda: walked.append(True))
    assert walked == [True]


def test_a_checkpoint_of_two_processes_is_not_taken_up_by_one(together: Path, tmp_path: Path) -> None:
    (tmp_path / "label").mkdir()
    (tmp_path / "label" / "checkpoint.pt").write_bytes((together / "label" / "checkpoint.pt").read_bytes())
    with pytest.raises(RecordError, match=r"processes was 2 and is 1"):
        train_here(tmp_path / "label", "label")
