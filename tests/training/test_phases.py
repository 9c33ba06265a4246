"""Trainings one after the other: each with its own settings and folder, none of them twice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from oracles.tiny_training import Tiny, loader_of, tiny_network
from torch import Tensor

from medtea.core.errors import DataError
from medtea.data.loader import Batch, Loader
from medtea.training.loop import LoopSettings
from medtea.training.phases import Loaders, Phase, train_phases

SETTINGS = LoopSettings(epochs=3, batch_size=8, learning_rate=0.02)


class Counted(Tiny):
    """Counts its training steps."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__(tiny_network(seed))
        self.steps = 0

    def loss(self, batch: Batch) -> Tensor:
        self.steps += self.network.training
        return super().loss(batch)


class Asked:
    """Loaders that note whether they were asked for the unbiased subset alone."""

    def __init__(self, unbiased: int = 8) -> None:
        self.asked: list[tuple[str, bool]] = []
        self.unbiased = unbiased

    def loaders(self) -> Loaders:
        def loader(kind: str, unbiased: bool) -> Loader:
            self.asked.append((kind, unbiased))
            return loader_of(self.unbiased if unbiased else 16, seed=1 if kind == "training" else None)

        return Loaders(lambda unbiased: loader("training", unbiased), lambda unbiased: loader("validation", unbiased))


def run(phases: Any, folder: Path, asked: Asked | None = None, **given: Any) -> list[dict[str, float]]:
    return train_phases(
        phases,
        loaders=(asked or Asked()).loaders(),
        settings=SETTINGS,
        folder=folder,
        name="tiny",
        log=given.pop("log", lambda *_: None),
        **given,
    )


def test_each_phase_has_its_own_settings_and_folder_and_the_last_ones_history_is_had(tmp_path: Path) -> None:
    first, last = Counted(), Counted(1)
    logged: list[int] = []
    watched: list[dict[str, float]] = []

    def watch() -> dict[str, float]:
        watched.append({"seen": 1.0})
        return watched[-1]

    phases = [Phase(first, name="identify", loop={"epochs": 2}), Phase(last)]
    history = run(phases, tmp_path, log=lambda _, epoch: logged.append(epoch), watch=watch)
    # 16 radiographs are two steps an epoch
    assert (first.steps, last.steps) == (4, 6)
    assert [row["epoch"] for row in history] == [1, 2, 3]
    assert len(logged) == len(watched) == 3, "only the last phase is logged and watched"
    assert (tmp_path / "identify" / "checkpoint.pt").is_file()
    assert (tmp_path / "checkpoint.pt").is_file()


def test_a_finished_phase_is_read_and_not_trained_again(tmp_path: Path) -> None:
    first = Counted()
    run([Phase(first, name="identify", loop={"epochs": 2}), Phase(Counted(1))], tmp_path)
    again, last = Counted(7), Counted(7)
    history = run([Phase(again, name="identify", loop={"epochs": 2}), Phase(last)], tmp_path)
    assert (again.steps, last.steps) == (0, 0)
    assert len(history) == 3
    for key, value in first.network.state_dict().items():
        assert torch.equal(value, again.network.state_dict()[key]), "its weights are there for what follows"


def test_what_follows_a_phase_is_made_when_that_is_finished(tmp_path: Path) -> None:
    first = Counted()
    seen: list[int] = []

    def phases() -> Iterator[Phase]:
        yield Phase(first, name="identify", loop={"epochs": 1})
        seen.append(first.steps)
        yield Phase(Counted(1))

    run(phases(), tmp_path)
    assert seen == [2]


def test_a_phase_on_the_unbiased_subset_is_trained_and_selected_on_it_alone(tmp_path: Path) -> None:
    asked, last = Asked(), Counted()
    run([Phase(Counted(), name="all"), Phase(last, unbiased_only=True)], tmp_path, asked)
    assert asked.asked == [("training", False), ("validation", False), ("training", True), ("validation", True)]
    assert last.steps == 3, "8 radiographs are one step an epoch"


def test_an_unbiased_subset_that_is_not_there_is_said(tmp_path: Path) -> None:
    task = Counted()
    with pytest.raises(DataError, match="tiny: it needs a small unbiased subset, and the index has none"):
        run([Phase(task, unbiased_only=True)], tmp_path, Asked(unbiased=0))
    assert task.steps == 0
