"""What a waiting person sees: one bar for long work, nothing else of its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import track as rich_track

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
