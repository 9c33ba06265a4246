"""All that a training needs in order to go on, after a kill, as if nothing had happened: on a CPU bit for bit."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from lightning_fabric import Fabric
from torch import Tensor

from medtea.core.errors import RecordError
from medtea.core.work import write_atomically
from medtea.training.processes import each_ones

CHECKPOINT = "checkpoint.pt"


class Stateful(Protocol):
    """A network, an optimiser, a schedule."""

    def state_dict(self) -> dict[str, Any]:
        """All that it is."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> object:
        """Become what that was."""


@dataclass
class Progress:
    """How far a training is.

    Attributes:
        order: The state of the training loader's generator when the epoch began.
        step: Steps done of the epoch.
        total: The sum of their losses.
        history: A row for each finished epoch.
        best: The selected epoch's weights.
    """

    order: dict[str, Any]
    step: int = 0
    total: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)


class Checkpoint:
    """The file, written whole or not at all, and at most every so many seconds."""

    def __init__(
        self, path: Path, *, fabric: Fabric, seconds: float, made_with: Mapping[str, Any], parts: Mapping[str, Stateful]
    ) -> None:
        """Keep `parts`, the progress and every process's generators.

        Args:
            path: The file.
            fabric: The process, and the others if there are any.
            seconds: Between two checkpoints, at least.
            made_with: What must be the same for a training to go on: settings, processes.
            parts: What is trained, by name.
        """
        self._path = path
        self._fabric = fabric
        self._seconds = seconds
        self._made_with = dict(made_with)
        self._parts = dict(parts)
        self._written = time.monotonic()
        self.stands_at = "there is no checkpoint yet"

    @property
    def is_due(self) -> bool:
        """Whether it is time to write; each process has its own clock, so ask all of them or the first."""
        return time.monotonic() - self._written >= self._seconds

    def write(self, progress: Progress) -> None:
        """Write it; all processes take part, since each has its own generators."""
        generators = each_ones(self._fabric, _generators(self._fabric.device))
        if self._fabric.is_global_zero:
            state = {
                "made_with": self._made_with,
                "generators": generators,
                **{name: part.state_dict() for name, part in self._parts.items()},
                **vars(progress),
            }
            write_atomically(self._path, lambda file: torch.save(state, file))
        self._note(progress)

    def read(self) -> Progress | None:
        """Bring parts and generators back to where they were; None when there is no checkpoint.

        Raises:
            RecordError: it is damaged, or was made with other settings or of another network.
        """
        if not self._path.exists():
            return None
        state = read_checkpoint(self._path)
        whose = f"The checkpoint of '{self._path.parent.name}'"
        try:
            if changed := _changes(state["made_with"], self._made_with):
                raise RecordError(f"{whose} was made with other settings ({changed}). Remove it to train anew.")
            for name, part in self._parts.items():
                part.load_state_dict(state[name])
            mine = state["generators"][self._fabric.global_rank]
            torch.set_rng_state(mine["cpu"])
            if "cuda" in mine:
                torch.cuda.set_rng_state(mine["cuda"], self._fabric.device)
            progress = Progress(**{name: state[name] for name in vars(Progress({}))})
        except (AttributeError, IndexError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise RecordError(
                f"{whose} is not of this network ({type(error).__name__}). Remove it to train anew."
            ) from error
        self._note(progress)
        return progress

    def _note(self, progress: Progress) -> None:
        self._written = time.monotonic()
        # of an epoch's end, the epoch that ended
        epoch, step = len(progress.history) + (progress.step > 0), progress.step
        self.stands_at = "the last good checkpoint is kept: epoch {}, {}".format(
            epoch, f"step {step}" if step else "its end"
        )


def _generators(device: torch.device) -> dict[str, Tensor]:
    """The state of the global generators: of dropout, and of every loss that draws."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def _changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    return ", ".join(f"{name} was {before.get(name)} and is {now.get(name)}" for name in names)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint, read without running any code from it.

    Raises:
        RecordError: the file is damaged.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)  # type: ignore[no-any-return]
    except Exception as error:  # torch.load raises many kinds on a damaged file
        raise RecordError(
            f"The checkpoint of '{path.parent.name}' is damaged ({type(error).__name__}). Remove it to train anew."
        ) from error
