"""Headers first: what many files say of themselves, read in worker processes, before any pixel is looked at."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from pathlib import Path
from sys import intern
from typing import Any

from medtea.core.progress import counter
from medtea.data.choices import Accept
from medtea.data.dicom.accept import USUAL_KINDS
from medtea.ingest.headers import Header
from medtea.ingest.workers import Pool, Reply, current_pool

CHUNK = 50
"""Files in one job: what it costs to send a job is then nothing beside reading them."""

ACCEPT: ContextVar[Accept] = ContextVar("ACCEPT", default=USUAL_KINDS)
"""Which kinds of image the ingest that is under way takes, for whoever finds files."""


@contextlib.contextmanager
def accepting(accept: Accept) -> Iterator[None]:
    """Within it headers of these kinds are no reason to refuse a file."""
    token = ACCEPT.set(accept)
    try:
        yield
    finally:
        ACCEPT.reset(token)


def read_headers(paths: Sequence[Path]) -> list[Header | str]:
    """Of each file its header or the reason why it cannot be used, in the order of the paths."""
    found: list[Header | str] = [""] * len(paths)
    with current_pool() as pool, counter("reading headers", total=len(paths)) as count:
        for place, one in _read(pool, [str(path.absolute()) for path in paths]):
            found[place] = one
            count(refused=isinstance(one, str))
    return found


def _read(pool: Pool, paths: Sequence[str]) -> Iterator[tuple[int, Header | str]]:
    alone: list[int] = []
    chunks = range(0, len(paths), CHUNK)
    accept = ACCEPT.get().model_dump(mode="json")
    jobs = ({"paths": paths[start : start + CHUNK], "accept": accept} for start in chunks)
    for number, reply in pool.do("headers", jobs):
        places = range(chunks[number], min(chunks[number] + CHUNK, len(paths)))
        if reply.refused is not None:
            alone += places  # one of them did it: only that one is to pay for it
        else:
            yield from zip(places, _unpacked(reply, len(places)), strict=True)
    for number, reply in pool.do("headers", ({"paths": [paths[place]], "accept": accept} for place in alone)):
        yield alone[number], _unpacked(reply, 1)[0]


def _unpacked(reply: Reply, count: int) -> list[Header | str]:
    if reply.refused is not None:
        return [reply.refused] * count
    return [one if isinstance(one, str) else _header(one) for one in reply.facts["headers"]]


def _header(fields: dict[str, Any]) -> Header:
    """The header, its words kept once for all files: a hundred thousand have the same few devices."""
    acquisition = {intern(name): _kept_once(value) for name, value in fields.pop("acquisition").items()}
    return Header(**{name: _kept_once(value) for name, value in fields.items()}, acquisition=acquisition)


def _kept_once(value: Any) -> Any:
    return intern(value) if isinstance(value, str) else value
