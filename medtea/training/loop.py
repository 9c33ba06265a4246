"""The one training loop, for anything that has loss(batch): segmenter, teacher and students."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from pydantic import Field as Bound
from torch import Tensor, nn

from medtea.core.errors import DataError
from medtea.core.progress import track
from medtea.core.settings import StrictSettings
from medtea.core.work import write_atomically
from medtea.data.loader import Batch, Loader
from medtea.training.checkpoint import CHECKPOINT, Checkpoint, Progress
from medtea.training.processes import call_others, fabric_on, mean_of_all

Log = Callable[[dict[str, float], int], None]
Watch = Callable[[], Mapping[str, float]]


class LoopSettings(StrictSettings):
    """How a network is trained.

    Attributes:
        epochs: Passes over the training radiographs (each time another augmented copy).
        batch_size: Radiographs per step; of several processes, each takes an equal share of them.
        learning_rate: Peak of the one-cycle schedule (Smith and Topin 2019).
        weight_decay: AdamW's.
        clip: Largest norm of the gradient.
        precision: "32-true", or "bf16-mixed": half the memory on a GPU. Heatmaps are computed in 32 bits either way.
        checkpoint_seconds: At most this much training, and one step, is lost when the process is killed.
        select: "best": the epoch with the lowest loss on IID validation radiographs. "last": the last epoch.
        patience: Stop after this many epochs without a lower loss on IID validation radiographs; 0: never.
    """

    epochs: int = Bound(20, ge=1)
    batch_size: int = Bound(32, ge=1)
    learning_rate: float = Bound(3e-3, gt=0)
    weight_decay: float = Bound(1e-4, ge=0)
    clip: float = Bound(5.0, gt=0)
    precision: str = Bound("32-true", pattern="^(32-true|bf16-mixed)$")
    checkpoint_seconds: float = Bound(20.0, ge=0)
    select: str = Bound("best", pattern="^(best|last)$")
    patience: int = Bound(0, ge=0)


class Task(Protocol):
    """What the loop trains: its `network` is what remains, its `loss` may use more.

    A task draws numbers from torch's global generator only, which the checkpoint holds, and keeps no tensor but its
    network's and its assistant's, so that it can be sent to another process.
    """

    network: nn.Module

    def loss(self, batch: Batch) -> Tensor:
        """The mean loss of a batch, a scalar."""


@runtime_checkable
class AssistedTask(Task, Protocol):
    """A task that trains something beside its network, or selects by another loss than it trains with.

    Attributes:
        assistant: Trained, moved and checkpointed beside the network and thrown away in the end: a second head, a
            second network; as buffers, whatever is counted or averaged. An empty module where there is none.
    """

    assistant: nn.Module

    def selection_loss(self, batch: Batch) -> Tensor:
        """The mean loss by which the epoch is selected, on IID validation radiographs."""


def train(
    task: Task,
    *,
    training: Loader,
    validation: Loader,
    settings: LoopSettings,
    folder: Path,
    name: str,
    log: Log,
    watch: Watch | None = None,
) -> list[dict[str, float]]:
    """Train `task.network`, leave it at the selected epoch's weights, and return the history, a row an epoch.

    Selection and early stopping look at IID validation loss only. Killed and started again, it goes on from the last
    checkpoint and ends with the same weights as if it had not been killed (on a CPU, bit for bit).

    Under torchrun every process takes its share of each batch and the gradients are averaged (DDP), so that the loss
    curve is that of one process, to rounding, where the loss is a plain mean over the batch. Not so what is normalised
    over a batch: batch norm and TEA's energy distance see one process's share, and running statistics are the first
    process's. The first process alone validates, watches and writes.

    Args:
        task: What is trained, on the device it is on; only parameters that require a gradient change.
        training: Shuffled loader.
        validation: Loader in order, of radiographs of the training hospitals.
        settings: How.
        folder: Where checkpoint.pt and history.csv are kept.
        name: What the progress bar says.
        log: Called with an epoch's numbers and its number.
        watch: Asked after each epoch, with the network in evaluation mode, for numbers that join the history and
            decide nothing.

    Raises:
        ConfigError: a batch cannot be shared equally by the processes.
        DataError: there is nothing to train on, or a loss or gradient is not finite; says where.
        RecordError: the checkpoint is damaged, was made with other settings, or of another network.
    """
    if len(training) == 0:
        raise DataError(f"{name}: there is no radiograph to train on. Look at ingest/flow.csv for what was left out.")
    device = next(task.network.parameters()).device
    _modules(task).cpu()  # from where they can be sent; Fabric brings each process's own to its device
    call_others(_train, task, training, validation, settings, folder, name, device)
    return _train(task, training, validation, settings, folder, name, device, log, watch)


def _train(
    task: Task,
    training: Loader,
    validation: Loader,
    settings: LoopSettings,
    folder: Path,
    name: str,
    device: torch.device,
    log: Log | None = None,
    watch: Watch | None = None,
) -> list[dict[str, float]]:
    """What each process does."""
    fabric = fabric_on(device, settings.precision)
    network, modules, first = task.network, _modules(task), fabric.is_global_zero
    training = training.shared(fabric.global_rank, fabric.world_size)
    trained = [parameter for parameter in modules.parameters() if parameter.requires_grad]
    adam = torch.optim.AdamW(trained, lr=settings.learning_rate, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        adam, max_lr=settings.learning_rate, total_steps=settings.epochs * len(training)
    )
    loss_of, optimiser = fabric.setup(_Loss(task), adam)
    checkpoint = Checkpoint(
        folder / CHECKPOINT,
        fabric=fabric,
        seconds=settings.checkpoint_seconds,
        made_with=settings.model_dump(mode="json", exclude={"checkpoint_seconds"})
        | {"processes": fabric.world_size, "steps_per_epoch": len(training)},
        parts={"network": modules, "optimiser": adam, "schedule": schedule},
    )
    progress = checkpoint.read()
    if progress is None:
        torch.manual_seed(training.draw_seed() + fabric.global_rank)  # every process has its own dropout
        progress = Progress(order=training.order)
    training.order = progress.order

    for epoch in _epochs(progress, settings, name if first else ""):
        modules.train()
        for batch in training.epoch(start=progress.step):
            loss = loss_of(batch)
            # All processes see the same numbers, and so do the same: go on, write, or stop.
            mean, is_due = mean_of_all(fabric, loss.detach(), loss.new_tensor(checkpoint.is_due))
            _refuse_infinite(mean, "loss", name, epoch, progress, batch, checkpoint)
            optimiser.zero_grad(set_to_none=True)
            fabric.backward(loss)
            norm = nn.utils.clip_grad_norm_(trained, settings.clip).item()
            _refuse_infinite(norm, "gradient", name, epoch, progress, batch, checkpoint)
            optimiser.step()
            schedule.step()
            progress.total += mean
            progress.step += 1
            if is_due:
                checkpoint.write(progress)
        row = {"epoch": epoch + 1.0, "train_loss": progress.total / len(training)}
        if first:
            with fabric.autocast():
                row["val_loss"] = mean_loss(task, validation)
            row |= watch() if watch else {}
        progress.history.append(fabric.broadcast(row))
        if is_selected(progress.history, settings.select):
            progress.best = {key: tensor.detach().clone() for key, tensor in network.state_dict().items()}
        progress.order, progress.step, progress.total = training.order, 0, 0.0
        if log:
            log({key: value for key, value in row.items() if key != "epoch"}, epoch + 1)
        if is_over(progress.history, settings):
            checkpoint.write(progress)
    network.load_state_dict(fabric.broadcast(progress.best))
    modules.eval()
    if first:
        write_history(folder / "history.csv", progress.history)
    return progress.history


class _Loss(nn.Module):
    """The loss as the forward of a module, which is where Fabric sets precision and DDP finds the gradients."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.task = task
        self.modules_of_task = _modules(task)

    def forward(self, batch: Batch) -> Tensor:
        return self.task.loss(batch)


def _modules(task: Task) -> nn.ModuleList:
    """The network, and the assistant if there is one."""
    return nn.ModuleList([task.network, *([task.assistant] if isinstance(task, AssistedTask) else [])])


def _epochs(progress: Progress, settings: LoopSettings, title: str) -> Iterable[int]:
    """The numbers of the epochs still to come, with a bar if there is a title."""
    to_come = range(len(progress.history), settings.epochs)
    for epoch in track(to_come, title, total=len(to_come)) if title else to_come:
        if is_over(progress.history, settings):
            return
        yield epoch


def _refuse_infinite(
    value: float, what: str, name: str, epoch: int, progress: Progress, batch: Batch, checkpoint: Checkpoint
) -> None:
    if not math.isfinite(value):
        raise DataError(
            f"{name}: the {what} is not finite in epoch {epoch + 1}, step {progress.step + 1} (radiographs "
            f"{', '.join(batch.names)}). Lower its learning_rate; {checkpoint.stands_at}."
        )


def is_selected(history: list[dict[str, float]], select: str) -> bool:
    """Whether the newest epoch is the one to keep so far; of equals, the later; a loss without an answer is worst."""
    losses = _validation_losses(history)
    return select == "last" or losses[-1] <= min(losses)


def is_over(history: list[dict[str, float]], settings: LoopSettings) -> bool:
    """Whether all epochs are done, or `patience` of them went by without a lower validation loss."""
    if not history or len(history) >= settings.epochs:
        return bool(history)
    losses = _validation_losses(history)
    waited = len(losses) - 1 - losses.index(min(losses))
    return 0 < settings.patience <= waited and math.isfinite(min(losses))


def _validation_losses(history: list[dict[str, float]]) -> list[float]:
    return [row["val_loss"] if math.isfinite(row["val_loss"]) else math.inf for row in history]


def selection_rule(settings: LoopSettings, *, unbiased_only: bool = False) -> str:
    """In words, which epoch's weights are kept and by what."""
    if settings.select == "last":
        return "last epoch"
    of = "the unbiased subset" if unbiased_only else "the training hospitals"
    return f"epoch with the lowest own loss on validation radiographs of {of}"


@torch.no_grad()
def mean_loss(task: Task, loader: Loader) -> float:
    """The loss to select by over a loader, in evaluation mode, weighted by batch size; NaN without a radiograph."""
    _modules(task).eval()
    loss = task.selection_loss if isinstance(task, AssistedTask) else task.loss
    total, count = 0.0, 0
    for batch in loader:
        total += loss(batch).item() * len(batch)
        count += len(batch)
    return total / count if count else math.nan


def write_history(path: Path, history: list[dict[str, float]]) -> None:
    """The history as CSV, atomically."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(history[0]))
    writer.writeheader()
    writer.writerows(history)
    write_atomically(path, lambda file: file.write(text.getvalue().encode()))
