"""The one training loop, for anything that has loss(batch): segmenter, teacher and students."""

from __future__ import annotations

import csv
import io
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import torch
from pydantic import Field as Bound
from torch import Tensor, nn

from medtea.core.errors import DataError, RecordError
from medtea.core.progress import track
from medtea.core.settings import StrictSettings
from medtea.core.work import write_atomically
from medtea.data.loader import Batch, Loader

CHECKPOINT = "checkpoint.pt"


class LoopSettings(StrictSettings):
    """How a network is trained.

    Attributes:
        epochs: Passes over the training radiographs (each time another augmented copy).
        batch_size: Radiographs per step.
        learning_rate: Peak of the one-cycle schedule (Smith and Topin 2019).
        weight_decay: AdamW's.
        clip: Largest norm of the gradient.
        checkpoint_seconds: At most this much training is lost when the process is killed.
        select: "best": the epoch with the lowest loss on IID validation radiographs. "last": the last epoch.
    """

    epochs: int = Bound(20, ge=1)
    batch_size: int = Bound(32, ge=1)
    learning_rate: float = Bound(3e-3, gt=0)
    weight_decay: float = Bound(1e-4, ge=0)
    clip: float = Bound(5.0, gt=0)
    checkpoint_seconds: float = Bound(20.0, ge=0)
    select: str = Bound("best", pattern="^(best|last)$")


class Task(Protocol):
    """What the loop trains: its `network` is what remains, its `loss` may use more."""

    network: nn.Module

    def loss(self, batch: Batch) -> Tensor:
        """The mean loss of a batch, a scalar."""


def train(
    task: Task,
    *,
    training: Loader,
    validation: Loader,
    settings: LoopSettings,
    folder: Path,
    name: str,
    log: Callable[[dict[str, float], int], None],
) -> list[dict[str, float]]:
    """Train `task.network`, leave it at the selected epoch's weights, and return the history, a row an epoch.

    Selection looks at IID validation loss only. Killed and started again, it goes on from the last checkpoint and
    ends with the same weights as if it had not been killed (on a CPU, bit for bit).

    Args:
        task: What is trained; only parameters that require a gradient change.
        training: Shuffled loader.
        validation: Loader in order, of radiographs of the training hospitals.
        settings: How.
        folder: Where checkpoint.pt and history.csv are kept.
        name: What the progress bar says.
        log: Called with an epoch's numbers and its number.

    Raises:
        DataError: there is nothing to train on, or a loss or gradient is not finite; says where.
        RecordError: the checkpoint is damaged, or of another network.
    """
    if len(training) == 0:
        raise DataError(f"{name}: there is no radiograph to train on. Look at ingest/flow.csv for what was left out.")
    network = task.network
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=settings.learning_rate, total_steps=settings.epochs * len(training)
    )
    history: list[dict[str, float]] = []
    best: dict[str, Tensor] = {}
    checkpoint = folder / CHECKPOINT
    if checkpoint.exists():
        state = read_checkpoint(checkpoint)
        try:
            network.load_state_dict(state["network"])
            optimiser.load_state_dict(state["optimiser"])
            schedule.load_state_dict(state["schedule"])
            torch.set_rng_state(state["torch"])
            if training.generator is not None:
                training.generator.bit_generator.state = state["order"]
            history, best = state["history"], state["best"]
        except (IndexError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise RecordError(
                f"The checkpoint of '{folder.name}' is not of this network ({type(error).__name__}). "
                "Remove it to train anew."
            ) from error
    else:
        torch.manual_seed(int(training.generator.integers(2**31)) if training.generator is not None else 0)

    saved = time.monotonic()
    epochs = range(len(history), settings.epochs)
    for epoch in track(epochs, name, total=len(epochs)):
        network.train()
        total = 0.0
        for step, batch in enumerate(training):
            loss = task.loss(batch)
            if not torch.isfinite(loss):
                raise DataError(_not_finite(name, "loss", epoch, step, batch))
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            if not torch.isfinite(nn.utils.clip_grad_norm_(parameters, settings.clip)):
                raise DataError(_not_finite(name, "gradient", epoch, step, batch))
            optimiser.step()
            schedule.step()
            total += loss.item()
        row = {"epoch": epoch + 1.0, "train_loss": total / len(training), "val_loss": mean_loss(task, validation)}
        history.append(row)
        log({key: value for key, value in row.items() if key != "epoch"}, epoch + 1)
        if is_selected(history, settings.select):
            best = {key: tensor.detach().clone() for key, tensor in network.state_dict().items()}
        if time.monotonic() - saved >= settings.checkpoint_seconds or epoch + 1 == settings.epochs:
            state = {
                "network": network.state_dict(),
                "optimiser": optimiser.state_dict(),
                "schedule": schedule.state_dict(),
                "torch": torch.get_rng_state(),
                "order": training.generator.bit_generator.state if training.generator is not None else {},
                "history": history,
                "best": best,
            }
            write_atomically(checkpoint, lambda file, state=state: torch.save(state, file))  # type: ignore[misc]
            saved = time.monotonic()
    network.load_state_dict(best)
    network.eval()
    write_history(folder / "history.csv", history)
    return history


def _not_finite(name: str, what: str, epoch: int, step: int, batch: Batch) -> str:
    return (
        f"{name}: the {what} is not finite in epoch {epoch + 1}, step {step + 1} (index rows {batch.rows.tolist()}). "
        "Lower its learning_rate; the last good checkpoint is kept."
    )


def is_selected(history: list[dict[str, float]], select: str) -> bool:
    """Whether the newest epoch is the one to keep so far; a validation loss without an answer counts as worst."""
    if select == "last" or len(history) == 1:
        return True
    losses = [row["val_loss"] if math.isfinite(row["val_loss"]) else math.inf for row in history]
    return losses[-1] <= min(losses[:-1])


def selection_rule(settings: LoopSettings) -> str:
    """In words, which epoch's weights are kept and by what."""
    if settings.select == "last":
        return "last epoch"
    return "epoch with the lowest own loss on validation radiographs of the training hospitals"


@torch.no_grad()
def mean_loss(task: Task, loader: Loader) -> float:
    """The task's loss over a loader in evaluation mode, weighted by batch size; NaN when there is no radiograph."""
    task.network.eval()
    total, count = 0.0, 0
    for batch in loader:
        total += task.loss(batch).item() * len(batch)
        count += len(batch)
    return total / count if count else math.nan


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


def write_history(path: Path, history: list[dict[str, float]]) -> None:
    """The history as CSV, atomically."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(history[0]))
    writer.writeheader()
    writer.writerows(history)
    write_atomically(path, lambda file: file.write(text.getvalue().encode()))
