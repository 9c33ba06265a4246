"""The training loop learns, keeps the right epoch, stops where it must, and can be killed at any moment."""

from __future__ import annotations

import contextlib
import csv
import io
import math
import multiprocessing
import os
import pickle
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from oracles.tiny_training import Tiny, loader_of, tiny_network, train_and_tell, train_tiny
from torch import Tensor, nn

from medtea.core.errors import DataError, RecordError
from medtea.core.names import Field
from medtea.data.loader import Batch, Loader
from medtea.training.checkpoint import read_checkpoint
from medtea.training.loop import LoopSettings, is_over, is_selected, mean_loss, selection_rule, train

TESTS = Path(__file__).parents[1]


def rows_of(path: Path) -> list[dict[str, float]]:
    with path.open(newline="") as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


class Given(Tiny):
    """A task whose validation losses are given, epoch by epoch."""

    def __init__(self, losses: list[float]) -> None:
        super().__init__(tiny_network())
        self.losses = iter(losses)

    def loss(self, batch: Batch) -> Tensor:
        if self.network.training:
            return super().loss(batch)
        return torch.tensor(next(self.losses))


def trained(
    task: Any, folder: Path, *, training: Loader | None = None, validation: Loader | None = None, **settings: Any
) -> tuple[list[dict[str, float]], list[dict[str, Tensor]]]:
    """The history, and the network's weights at each epoch's end."""
    epochs: list[dict[str, Tensor]] = []

    def log(numbers: dict[str, float], epoch: int) -> None:
        epochs.append({name: tensor.clone() for name, tensor in task.network.state_dict().items()})

    history = train(
        task,
        training=loader_of(entries=16, seed=0) if training is None else training,
        validation=loader_of(entries=8) if validation is None else validation,
        settings=LoopSettings(**({"batch_size": 8, "epochs": 4} | settings)),
        folder=folder,
        name="tiny",
        log=log,
    )
    return history, epochs


def test_it_learns_a_tiny_task(tmp_path: Path) -> None:
    task = Tiny(tiny_network())
    history, _ = trained(task, tmp_path, epochs=25, learning_rate=0.02)
    assert history[-1]["train_loss"] < 0.5 * history[0]["train_loss"]
    assert mean_loss(task, loader_of(entries=16, batch_size=16)) < 0.3  # ln 2 = 0.69 is chance
    assert not task.network.training, "it is left as it will be used"


def test_the_history_is_what_was_logged_and_what_is_on_disk(tmp_path: Path) -> None:
    logged: list[tuple[int, dict[str, float]]] = []
    history = train_tiny(tmp_path, epochs=3, log=lambda numbers, epoch: logged.append((epoch, numbers)))
    assert rows_of(tmp_path / "history.csv") == history
    assert logged == [(int(row["epoch"]), {k: v for k, v in row.items() if k != "epoch"}) for row in history]
    assert [row["epoch"] for row in history] == [1, 2, 3]


# --- selection


@pytest.mark.parametrize(
    ("losses", "kept"),
    [
        ([3.0, 1.0, 2.0, 1.5], 2),
        ([3.0, 1.0, 1.0, 2.0], 3),  # of equals, the later
        ([math.nan, 2.0, 3.0, math.nan], 2),  # no answer counts as worst
        ([1.0, math.inf, 2.0, 3.0], 1),
        ([math.nan] * 4, 4),
    ],
)
def test_the_epoch_with_the_lowest_validation_loss_is_kept(losses: list[float], kept: int, tmp_path: Path) -> None:
    task = Given(losses)
    _, epochs = trained(task, tmp_path)
    assert same(dict(task.network.state_dict()), epochs[kept - 1])
    assert not any(same(epochs[kept - 1], other) for i, other in enumerate(epochs) if i != kept - 1)


def test_last_keeps_the_last_epoch(tmp_path: Path) -> None:
    task = Given([1.0, 2.0, 3.0, 4.0])
    _, epochs = trained(task, tmp_path, select="last")
    assert same(dict(task.network.state_dict()), epochs[-1])


def test_without_validation_radiographs_the_loss_has_no_answer_and_the_last_epoch_is_kept(tmp_path: Path) -> None:
    task = Tiny(tiny_network())
    history, epochs = trained(task, tmp_path, validation=loader_of(entries=0))
    assert all(math.isnan(row["val_loss"]) for row in history)
    assert same(dict(task.network.state_dict()), epochs[-1])


def test_a_selected_epoch_is_told_by_the_validation_loss_alone() -> None:
    history = [{"epoch": 1.0, "train_loss": 0.1, "val_loss": 0.5}, {"epoch": 2.0, "train_loss": 9.0, "val_loss": 0.4}]
    assert is_selected(history, "best")
    assert not is_selected(history[::-1], "best")
    assert "validation" in selection_rule(LoopSettings())
    assert selection_rule(LoopSettings(select="last")) == "last epoch"


def test_the_validation_loss_counts_every_radiograph_the_same() -> None:
    task = Tiny(tiny_network())
    # 16 in batches of 5, 5, 5 and 1
    assert mean_loss(task, loader_of(entries=16, batch_size=5)) == pytest.approx(
        mean_loss(task, loader_of(entries=16, batch_size=16)), rel=1e-5
    )


# --- early stopping


@pytest.mark.parametrize(
    ("losses", "patience", "ended", "kept"),
    [
        ([3.0, 2.0, 2.5, 2.1, 1.0], 2, 4, 2),  # two epochs without a lower loss, and the fifth never comes
        ([3.0, 2.0, 2.5, 1.5, 1.0], 2, 5, 5),
        ([1.0, 1.0, 1.0, 0.5, 0.4], 2, 3, 3),  # an equal loss is no lower one, though of equals the later is kept
        ([3.0, 2.0, 2.5, 2.1, 2.2], 0, 5, 2),
        ([math.nan] * 5, 1, 5, 5),  # no answer is no reason to stop
        ([2.0, math.nan, math.inf, 1.0, 1.0], 2, 3, 1),
    ],
)
def test_it_stops_when_the_validation_loss_has_not_fallen_for_so_many_epochs(
    losses: list[float], patience: int, ended: int, kept: int, tmp_path: Path
) -> None:
    task = Given(losses)
    history, epochs = trained(task, tmp_path, epochs=5, patience=patience)
    assert len(history) == ended
    assert same(dict(task.network.state_dict()), epochs[kept - 1])


def test_a_training_that_stopped_early_is_not_taken_up_again(tmp_path: Path) -> None:
    history, _ = trained(Given([1.0, 2.0, 3.0]), tmp_path, epochs=9, patience=2)
    again, epochs = trained(Given([]), tmp_path, epochs=9, patience=2)
    assert again == history
    assert epochs == []


def test_a_falling_training_loss_keeps_no_training_going() -> None:
    history = [{"epoch": n + 1.0, "train_loss": 1 / (n + 1), "val_loss": 0.5} for n in range(4)]
    assert is_over(history, LoopSettings(epochs=20, patience=3))
    assert not is_over(history, LoopSettings(epochs=20, patience=4))
    assert not is_over([], LoopSettings(epochs=1, patience=1))


# --- what is watched


def test_what_is_watched_joins_the_history_and_decides_nothing(tmp_path: Path) -> None:
    watched = iter([5.0, math.nan, 7.0])
    modes: list[bool] = []

    def watch() -> dict[str, float]:
        modes.append(network.training)
        return {"sum_gap": next(watched)}

    network = tiny_network()
    history = train(
        Tiny(network),
        training=loader_of(16, seed=0),
        validation=loader_of(16),
        settings=LoopSettings(epochs=3, batch_size=8),
        folder=tmp_path / "watched",
        name="tiny",
        log=lambda *_: None,
        watch=watch,
    )
    plain, _ = trained(Tiny(other := tiny_network()), tmp_path / "not", validation=loader_of(16), epochs=3)
    assert [row.pop("sum_gap") for row in history] == pytest.approx([5.0, math.nan, 7.0], nan_ok=True)
    assert history == plain
    assert same(dict(network.state_dict()), dict(other.state_dict()))
    assert modes == [False] * 3


# --- precision


def test_half_precision_learns_too_and_keeps_its_weights_in_32_bits(tmp_path: Path) -> None:
    network = tiny_network()
    kinds: list[torch.dtype] = []
    network[0].register_forward_hook(lambda *told: kinds.append(told[2].dtype))
    history, _ = trained(Tiny(network), tmp_path, epochs=25, learning_rate=0.02, precision="bf16-mixed")
    assert history[-1]["train_loss"] < 0.5 * history[0]["train_loss"]
    assert set(kinds) == {torch.bfloat16}, "in training and in validation"
    assert {tensor.dtype for tensor in network.parameters()} == {torch.float32}


# --- what is and is not changed


def test_frozen_weights_stay(tmp_path: Path) -> None:
    task = Tiny(tiny_network())
    head = task.network[-1]
    head.weight.requires_grad_(False)
    before = head.weight.clone()
    trained(task, tmp_path)
    assert torch.equal(before, head.weight)


def test_validation_moves_no_running_statistic(tmp_path: Path) -> None:
    task = Tiny(tiny_network())
    trained(task, tmp_path, epochs=1)
    before = {name: tensor.clone() for name, tensor in task.network.state_dict().items()}
    mean_loss(task, loader_of(entries=16))
    assert same(before, dict(task.network.state_dict()))


@pytest.mark.parametrize("epochs", [1, 2, 3])
def test_the_shortest_trainings_work(epochs: int, tmp_path: Path) -> None:
    history, _ = trained(Tiny(tiny_network()), tmp_path, epochs=epochs, training=loader_of(entries=3, seed=0))
    assert len(history) == epochs


# --- where it stops


def test_an_empty_training_set_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^tiny: there is no radiograph to train on\. Look at ingest/flow\.csv"):
        trained(Tiny(tiny_network()), tmp_path, training=loader_of(entries=0, seed=0))
    assert list(tmp_path.iterdir()) == []


class Bursting(Tiny):
    """A task whose loss, or only its gradient, is not finite from a certain step on."""

    def __init__(self, step: int, what: str) -> None:
        super().__init__(tiny_network())
        self.left, self.what = step, what

    def loss(self, batch: Batch) -> Tensor:
        found = super().loss(batch)
        self.left -= self.network.training
        if self.left > 0 or not self.network.training:
            return found
        if self.what == "loss":
            return found * math.nan
        # the square root has an infinite slope at 0
        return found + (self.network[-1].weight * 0).abs().sum().sqrt()


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_what_is_not_finite_stops_with_epoch_step_and_rows_and_the_last_good_checkpoint(
    what: str, tmp_path: Path
) -> None:
    task = Bursting(6, what)  # two steps an epoch: the second of the third
    with pytest.raises(
        DataError, match=rf"^tiny: the {what} is not finite in epoch 3, step 2 \(radiographs r0"
    ) as told:
        trained(task, tmp_path, checkpoint_seconds=0)
    names = str(told.value).partition("(radiographs ")[2].partition(")")[0].split(", ")
    assert len(set(names)) == 8
    assert set(names) <= {f"r{number:06d}" for number in range(16)}
    assert str(told.value).endswith("Lower its learning_rate; the last good checkpoint is kept: epoch 3, step 1.")
    state = read_checkpoint(tmp_path / "checkpoint.pt")
    assert (len(state["history"]), state["step"]) == (2, 1)
    assert all(tensor.isfinite().all() for tensor in state["network"].values())


@pytest.mark.parametrize("damage", ["empty", "cut", "text"])
def test_a_damaged_checkpoint_is_refused_with_the_mend(damage: str, tmp_path: Path) -> None:
    folder = tmp_path / "teach"
    train_tiny(folder, epochs=1)
    path = folder / "checkpoint.pt"
    whole = path.read_bytes()
    path.write_bytes({"empty": b"", "cut": whole[: len(whole) // 2], "text": b"hello"}[damage])
    with pytest.raises(RecordError, match=r"checkpoint of 'teach' is damaged .*Remove it to train anew"):
        train_tiny(folder, epochs=1)


def test_a_checkpoint_runs_no_code(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return os.system, (f"touch {tmp_path}/sprung",)

    torch.save({"network": Trap()}, tmp_path / "checkpoint.pt")
    with pytest.raises(RecordError, match="is damaged"):
        read_checkpoint(tmp_path / "checkpoint.pt")
    (tmp_path / "checkpoint.pt").write_bytes(pickle.dumps(Trap(), protocol=2))
    with pytest.raises(RecordError, match="is damaged"):
        read_checkpoint(tmp_path / "checkpoint.pt")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("content", [{}, {"network": {}}, [], torch.zeros(2).tolist()])
def test_a_checkpoint_of_something_else_is_refused(content: Any, tmp_path: Path) -> None:
    tmp_path.joinpath("teach").mkdir()
    torch.save(content, tmp_path / "teach" / "checkpoint.pt")
    with pytest.raises(RecordError, match=r"checkpoint of 'teach' is not of this network .*Remove it to train anew"):
        train_tiny(tmp_path / "teach", epochs=1)


def test_a_checkpoint_of_other_settings_is_refused_and_says_which(tmp_path: Path) -> None:
    train_tiny(tmp_path / "teach", epochs=2)
    with pytest.raises(
        RecordError,
        match=r"^The checkpoint of 'teach' was made with other settings \(clip was 5\.0 and is 4\.0\)\. Remove it to",
    ):
        train_tiny(tmp_path / "teach", epochs=2, clip=4.0)
    train_tiny(tmp_path / "teach", epochs=2, checkpoint_seconds=9.0)  # how often is no matter


# --- killed and started again


class StoppedError(Exception):
    pass


def test_stopped_after_every_epoch_it_ends_with_the_same_weights_bit_for_bit(tmp_path: Path) -> None:
    train_tiny(tmp_path / "undisturbed", epochs=5)
    stops = 0
    while True:
        epochs_before = stops

        def log(numbers: dict[str, float], epoch: int, last: int = epochs_before) -> None:
            if epoch > last + 1:  # the epoch after the first one of this start: one checkpoint further
                raise StoppedError

        try:
            history = train_tiny(tmp_path / "stopped", epochs=5, log=log)
            break
        except StoppedError:
            stops += 1
    assert stops == 4
    assert rows_of(tmp_path / "undisturbed" / "history.csv") == history
    assert (tmp_path / "stopped" / "weights.bin").read_bytes() == (tmp_path / "undisturbed/weights.bin").read_bytes()


def test_the_best_epoch_before_a_stop_is_kept_after_it(tmp_path: Path) -> None:
    undisturbed = Given([3.0, 1.0, 2.0, 4.0])
    _, epochs = trained(undisturbed, tmp_path / "undisturbed", checkpoint_seconds=0)
    with pytest.raises(StopIteration, match=r"^$"):  # no loss is given for the fourth epoch
        trained(Given([3.0, 1.0, 2.0]), tmp_path / "stopped", checkpoint_seconds=0)
    task = Given([4.0])
    trained(task, tmp_path / "stopped", checkpoint_seconds=0)
    assert same(dict(task.network.state_dict()), epochs[1])


def test_a_finished_training_is_not_done_again_but_hands_over_the_selected_epoch(tmp_path: Path) -> None:
    history = train_tiny(tmp_path, epochs=3)
    weights = (tmp_path / "weights.bin").read_bytes()
    logged: list[int] = []
    assert train_tiny(tmp_path, epochs=3, log=lambda *told: logged.append(told[1])) == history
    assert logged == []
    assert (tmp_path / "weights.bin").read_bytes() == weights


def test_no_checkpoint_is_written_before_its_time_but_the_last(tmp_path: Path) -> None:
    def log(numbers: dict[str, float], epoch: int) -> None:
        assert not (tmp_path / "checkpoint.pt").exists()

    train_tiny(tmp_path, epochs=3, checkpoint_seconds=1000, log=log)
    assert len(read_checkpoint(tmp_path / "checkpoint.pt")["history"]) == 3


def killed_until_done(folder: Path, task: str, generator: np.random.Generator) -> set[tuple[int, int]]:
    """Starts a child, kills it at a random moment of a random step, and starts it again until it is done.

    Returns where its checkpoints stood when it was killed: epochs done, and steps of the next one.
    """
    processes = multiprocessing.get_context("forkserver")  # imports torch once for all children
    processes.set_forkserver_preload(["oracles.tiny_training"])
    kills, stood = 0, set[tuple[int, int]]()
    while True:
        ours, theirs = processes.Pipe()
        child = processes.Process(target=train_and_tell, args=(folder, task, theirs))
        child.start()
        theirs.close()
        if kills < 5:
            for _ in range(int(generator.integers(1, 10))):
                assert ours.poll(120)
                with contextlib.suppress(EOFError):  # the last step is done
                    ours.recv()
            time.sleep(float(generator.uniform(0, 0.01)))
            child.kill()
        child.join(120)
        if child.exitcode == 0:
            return stood
        assert child.exitcode == -signal.SIGKILL
        kills += 1
        if (folder / "checkpoint.pt").exists():
            state = read_checkpoint(folder / "checkpoint.pt")
            stood.add((len(state["history"]), state["step"]))


@pytest.mark.parametrize("task", ["label", pytest.param("tea", marks=pytest.mark.slow)])
def test_killed_at_random_moments_it_ends_with_the_weights_of_an_undisturbed_run_bit_for_bit(
    task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", f"{TESTS}{os.pathsep}{TESTS.parent}")
    undisturbed = train_tiny(tmp_path / "undisturbed", task=task, epochs=15)
    seed = int.from_bytes(os.urandom(4), "big")
    stood = killed_until_done(tmp_path / "killed", task, np.random.default_rng(seed))
    assert len(stood) >= 2, f"it was killed at different steps (seed {seed})"
    assert any(0 < step < 4 for _, step in stood), f"in the middle of an epoch as well (seed {seed})"
    assert rows_of(tmp_path / "killed" / "history.csv") == undisturbed, f"seed {seed}"
    weights = [(tmp_path / run / "weights.bin").read_bytes() for run in ("killed", "undisturbed")]
    assert weights[0] == weights[1], f"seed {seed}"


def test_the_comparison_of_weights_can_fail(tmp_path: Path) -> None:
    train_tiny(tmp_path / "one", epochs=2)
    train_tiny(tmp_path / "other", epochs=2, seed=1)
    assert (tmp_path / "one" / "weights.bin").read_bytes() != (tmp_path / "other" / "weights.bin").read_bytes()
    state = torch.load(io.BytesIO((tmp_path / "one" / "weights.bin").read_bytes()), weights_only=True)
    assert same(state, {name: tensor.clone() for name, tensor in state.items()})
    assert isinstance(tiny_network()[-1], nn.Linear)
    assert set(Field) >= Tiny.sees
