"""What ingest makes of one file, by itself and in any process: its picture on the run's grid, and facts about it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from medtea.core.errors import DataError
from medtea.data.choices import Accept, Choices
from medtea.data.levels import digest_of
from medtea.data.reader import read, read_mask
from medtea.data.volumes import data_file_of
from medtea.ingest.burned_in import judged
from medtea.ingest.headers import read_header
from medtea.ingest.quality import field_box, prepare, rows_of

PICTURE, MASK = np.dtype("<f2"), np.dtype("u1")
State = list[int]
"""Size in bytes and time of change in ns, of one file or of two."""


class ChangedError(DataError):
    """A file is not what it was when it was found."""


def state_of(path: str | Path) -> State:
    """What tells whether a file has changed, or the pixels that its header leaves to another file beside it.

    Raises:
        DataError: it cannot be looked at.
    """
    beside = data_file_of(Path(path))
    try:
        parts = [Path(path).stat(), *([beside.stat()] if beside else [])]
    except OSError as problem:
        raise DataError(f"The file cannot be opened ({type(problem).__name__}).") from None
    return [number for status in parts for number in (status.st_size, status.st_mtime_ns)]


def decode(
    *, path: str, masks: list[str], said: dict[str, Any], text: str, states: list[State], how: dict[str, Any]
) -> tuple[dict[str, Any], bytes]:
    """One radiograph's facts, and its picture and mask on the run's grid as bytes, see `parts_of`.

    Args:
        path: The file.
        masks: Its lung mask's files.
        said: What its source says of it, as `read` takes it: `inverted`, `modality`.
        text: What its header says of burned-in text, see `judged`.
        states: What `state_of` said of them all when they were found.
        how: Ingest's settings that matter for pixels.

    Raises:
        DataError: it cannot be used.
        ChangedError: a file is not what it was when it was found.
    """
    reading = read(Path(path), Choices(**how["reading"]), **said)
    lungs = None
    if masks:
        files = tuple(Path(mask) for mask in masks)
        stored = read_mask(files, shape=reading.geometry.stored, segments=tuple(how["lung_segments"]))
        lungs = reading.geometry.place(stored)
    box = field_box(reading.picture)
    picture, fitted = prepare(reading.picture, lungs, size=how["size"], how=how["fit"], box=box)
    if [state_of(one) for one in (path, *masks)] != states:
        raise ChangedError("The file was changed while it was read; start again when nothing writes to the source.")
    text = judged(reading.picture, text, how["burned_in"])
    spacing = reading.facts.row_spacing_mm
    on_grid = None if spacing is None else spacing * rows_of(box, how["fit"]) / how["size"]
    done = reading.facts.columns() | {"grid_row_mm": on_grid}
    facts = {"digest": digest_of(reading.picture), "reading": done, "text_on_border": text}
    return facts, picture.astype(PICTURE).tobytes() + fitted.astype(MASK).tobytes()


def parts_of(blob: bytes, size: int) -> tuple[bytes, bytes]:
    """The bytes of the picture (float16) and of its mask (0 or 1), rows first, in what `decode` gave."""
    end = size * size * PICTURE.itemsize
    return blob[:end], blob[end:]


def read_fields(*, paths: list[str], accept: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """Of each file the fields of `read_header` as JSON takes them, or the reason why it cannot be used."""
    kinds = Accept(**accept)
    return {"headers": [_fields(Path(path), kinds) for path in paths]}, b""


def _fields(path: Path, accept: Accept) -> dict[str, Any] | str:
    try:
        return vars(read_header(path, accept))
    except DataError as reason:
        return str(reason)
