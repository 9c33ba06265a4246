"""What is said to the user: results on standard output, all else on standard error."""

from __future__ import annotations

from rich.console import Console

out = Console()
err = Console(stderr=True)


def say(text: str) -> None:
    """One line on standard error, as it is."""
    err.print(text, markup=False, highlight=False, soft_wrap=True)
