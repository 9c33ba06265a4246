from __future__ import annotations

import io

import pytest
from rich.console import Console

from medtea.core import progress


def told(monkeypatch: pytest.MonkeyPatch, *, terminal: bool) -> str:
    """What a bar over four files, one of them refused, has written when it ends."""
    stream = io.StringIO()
    monkeypatch.setattr(progress, "console", Console(file=stream, force_terminal=terminal, width=120))
    with progress.counter("reading", total=4) as count:
        for number in range(4):
            count(refused=number == 2)
    return stream.getvalue()


def test_a_bar_over_files_tells_how_many_were_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = told(monkeypatch, terminal=True)
    assert "reading" in shown
    assert "4/4" in shown
    assert "1 refused" in shown
    assert "/s" in shown


def test_where_nobody_watches_nothing_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    assert told(monkeypatch, terminal=False) == ""
