"""Every candidate's answer: from the store where the file is known, else decoded by a worker."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

from medtea.core.errors import DataError
from medtea.core.progress import counter
from medtea.data.views import UNKNOWN
from medtea.ingest.decode import State, state_of
from medtea.ingest.sources.source import Candidate
from medtea.ingest.store import Store, entry_of
from medtea.ingest.worker import PASSING
from medtea.ingest.workers import Pool, Reply


def answer_all(
    candidates: Sequence[Candidate], how: dict[str, Any], *, pool: Pool, store: Store
) -> tuple[list[str], int]:
    """See to it that the store has an answer for every candidate.

    Returns:
        Under which entry each one's is, and how many were there already.
    """
    entries: list[str] = []
    asked: dict[int, str] = {}
    known, numbers = 0, itertools.count()
    with counter("reading radiographs", total=len(candidates)) as count:

        def jobs() -> Iterator[dict[str, Any]]:
            nonlocal known
            for candidate in candidates:
                states = _states(candidate)
                said = {"inverted": candidate.is_inverted, "modality": candidate.modality}
                text = str(candidate.acquisition.get("text_on_border", UNKNOWN))
                entry = entry_of(candidate.file, states, {**how, **said, "text": text})
                entries.append(entry)
                if isinstance(states, str):
                    store.put(entry, Reply({}, refused=states, kind=PASSING))
                    count(refused=True)
                elif (is_refused := store.is_refused(entry)) is not None:
                    known += 1
                    count(refused=is_refused)
                else:
                    asked[next(numbers)] = entry
                    yield {
                        "path": str(candidate.path.absolute()),
                        "masks": [str(mask.absolute()) for mask in candidate.masks],
                        "said": said,
                        "text": text,
                        "states": states,
                        "how": how,
                    }

        for number, reply in pool.do("decode", jobs()):
            store.put(asked.pop(number), reply)
            count(refused=reply.refused is not None)
    return entries, known


def _states(candidate: Candidate) -> list[State] | str:
    """The state of the file and of its masks, or why there is none."""
    try:
        return [state_of(path) for path in (candidate.path, *candidate.masks)]
    except DataError as reason:
        return str(reason)
