"""A training in one phase or several: who identifies hard radiographs first, say, and trains on them then."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medtea.core.errors import DataError
from medtea.data.index import Parts
from medtea.data.loader import Loader
from medtea.training.loop import Log, LoopSettings, Task, Watch, selection_rule, train

History = list[dict[str, float]]


@dataclass(frozen=True)
class Phase:
    """One training.

    Attributes:
        task: What is trained.
        name: Names its folder; empty for the phase that leaves the network that counts.
        loop: Settings of the loop that differ from the user's, for instance {"epochs": 5}.
        unbiased_only: Train on the unbiased subset alone, and select on its validation part.
    """

    task: Task
    name: str = ""
    loop: Mapping[str, Any] = field(default_factory=dict)
    unbiased_only: bool = False


@dataclass(frozen=True)
class Loaders:
    """What a phase is trained and selected on; each call opens a loader anew.

    Attributes:
        training: Shuffled training radiographs; of the unbiased subset alone if asked.
        validation: In order, validation radiographs of the training hospitals; of the unbiased subset if asked.
    """

    training: Callable[[bool], Loader]
    validation: Callable[[bool], Loader]


def train_phases(
    phases: Iterable[Phase],
    *,
    loaders: Loaders,
    settings: LoopSettings,
    folder: Path,
    name: str,
    log: Log,
    watch: Watch | None = None,
) -> History:
    """Train phase after phase, and return the history of the last.

    A phase that is finished is read from its checkpoint, so a killed training goes on in the phase it was in. What
    comes between two phases is computed again and must not draw numbers.

    Raises:
        DataError: an unbiased subset is asked for and there is none.
    """
    history: History = []
    for phase in phases:
        training = loaders.training(phase.unbiased_only)
        if phase.unbiased_only and len(training) == 0:
            raise DataError(
                f"{name}: it needs a small unbiased subset, and the index has none. Give the scene or the plant one, "
                "or leave the method out."
            )
        last = not phase.name
        history = train(
            phase.task,
            training=training,
            validation=loaders.validation(phase.unbiased_only),
            settings=settings.model_copy(update=dict(phase.loop)),
            folder=folder / phase.name if phase.name else folder,
            name=name if last else f"{name}, {phase.name}",
            log=log if last else lambda *_: None,
            watch=watch if last else None,
        )
    return history


def noted(phases: Iterable[Phase], into: list[Phase]) -> Iterator[Phase]:
    """The phases as they come, each entered into the list as well."""
    for phase in phases:
        into.append(phase)
        yield phase


def told(phases: Sequence[Phase], parts: Parts, settings: LoopSettings) -> dict[str, Any]:
    """What a card says of the trainings: what the last was trained and selected on, and by what; and those before it.

    Counts are of what was handed out to the training. Without a phase the network came trained.
    """

    def counts(phase: Phase) -> dict[str, int]:
        only = phase.unbiased_only
        return {"trained_on": len(parts.training(only)), "selected_on": len(parts.validation(only))}

    if not phases:
        return {"trained_on": 0, "selected_on": 0, "selection": "none: it comes trained", "before": []}
    *before, last = phases
    of_last = settings.model_copy(update=dict(last.loop))
    return counts(last) | {
        "selection": selection_rule(of_last, unbiased_only=last.unbiased_only),
        "before": [{"phase": phase.name, "unbiased_only": phase.unbiased_only} | counts(phase) for phase in before],
    }
