"""What a waiting person sees: one bar for long work, nothing else of its own."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.progress import track as rich_track
from rich.text import Text

T = TypeVar("T")
console = Console(stderr=True)
"""Progress goes to standard error, so that a table on standard output can be piped."""


def track(items: Iterable[T], description: str, total: float | None = None) -> Iterator[T]:
    """The items, with a bar on a terminal; silent where nobody watches (a pipe, a log, CI)."""
    yield from rich_track(
        items,
        description=f"{description:<24}",
        total=total,
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


class Count(Protocol):
    """Told of every file that is done."""

    def __call__(self, *, refused: bool) -> None:
        """One more, usable or refused."""


class Rate(ProgressColumn):
    """Files per second, over the last ones."""

    def render(self, task: Task) -> Text:
        """The rate in words; nothing before there is one."""
        return Text(f"{task.speed:,.0f}/s" if task.speed else "")


@contextlib.contextmanager
def counter(description: str, total: int) -> Iterator[Count]:
    """A bar for files, with their rate and how many were refused; silent where nobody watches."""
    bar = Progress(
        TextColumn(f"{description:<24}"),
        BarColumn(),
        MofNCompleteColumn(),
        Rate(),
        TextColumn("{task.fields[refused]:,} refused"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    task = bar.add_task(description, total=total, refused=0)
    refusals = 0

    def count(*, refused: bool) -> None:
        nonlocal refusals
        refusals += refused
        bar.update(task, advance=1, refused=refusals)

    with bar:
        yield count
