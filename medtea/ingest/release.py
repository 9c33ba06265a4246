"""A folder of DICOM files written again without its patients, one by one, for those who may not know them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from medtea.core.errors import ConfigError, DataError
from medtea.core.progress import track
from medtea.core.pseudonyms import Pseudonyms
from medtea.core.work import write_atomically, write_csv
from medtea.data.pixels import open_dicom
from medtea.ingest.burned_in import says_burned_in, text_on_border
from medtea.ingest.confidentiality import without_patient
from medtea.ingest.sources.source import files_below, why_closed

TABLE = "deidentified.csv"
COLUMNS = ("file", "done", "text_on_border", "reason")
Progress = Callable[[Iterable[Path], str], Iterator[Path]]


@dataclass
class Released:
    """What became of the files found; written + kept + refused is their number."""

    written: int = 0
    kept: int = 0
    """Already there, from an earlier run, and not older than the file that it was made of."""
    refused: Counter[str] = field(default_factory=Counter)
    """How many by reason."""
    with_text: int = 0
    """Written although something on the border looks like text."""


def release(
    source: Path,
    to: Path,
    names: Pseudonyms,
    *,
    hospital: str = "hospital",
    keep_text: bool = False,
    progress: Progress = track,
) -> Released:
    """Writes <to>/<hospital>/**/<code>.dcm and, last, the table of what became of each file.

    Codes are keyed hashes of the paths: they say nothing, and the same file has the same one in every run, so that a
    run which was stopped goes on. Nothing is written into the source.

    Args:
        source: A folder of DICOM files, in any depth.
        to: The new folder; made if needed.
        names: Pseudonyms with the user's key.
        hospital: The folder to write into below `to`, so that the source `dicom_tree` reads it.
        keep_text: Also write a radiograph with something on its border that looks like text; what a tag declares as
            burned in is refused in any case.
        progress: How a waiting person is told.

    Raises:
        ConfigError: there is no such folder, or it and `to` lie in each other, or `hospital` cannot be a folder's name.
    """
    _check(source, to, hospital)
    done, rows = Released(), []
    for path in progress(files_below(source), "de-identifying"):
        code = code_of(source, path, names)
        target = to / hospital / code[:2] / f"{code}.dcm"
        row = dict.fromkeys(COLUMNS, "") | {"file": code}
        try:
            if target.is_file() and target.stat().st_mtime_ns >= path.stat().st_mtime_ns:
                done.kept += 1
                row["done"] = "kept"
            else:
                with_text = _write(path, target, source, names, hospital=hospital, keep_text=keep_text)
                done.written += 1
                done.with_text += with_text
                row |= {"done": "written", "text_on_border": str(with_text)}
        except DataError as reason:
            target.unlink(missing_ok=True)
            done.refused[str(reason)] += 1
            row |= {"done": "refused", "reason": str(reason)}
        rows.append(row)
    write_csv(to / TABLE, rows, COLUMNS)
    return done


def code_of(source: Path, path: Path, names: Pseudonyms) -> str:
    """What a file is called in the new folder and in its table: f and 12 hexadecimal digits, by the key."""
    return names.file(path.relative_to(source).as_posix())


def _check(source: Path, to: Path, hospital: str) -> None:
    if not source.is_dir():
        raise ConfigError("There is no such folder to read. Give a folder of DICOM files.")
    here, there = source.resolve(), to.resolve()
    if here.is_relative_to(there) or there.is_relative_to(here):
        raise ConfigError("The folder to write into and the source lie in each other; give one apart from it.")
    if not hospital or Path(hospital).name != hospital or hospital.startswith("."):
        raise ConfigError(f"The hospital '{hospital}' cannot be the name of a folder; give another.")


def _write(path: Path, target: Path, source: Path, names: Pseudonyms, *, hospital: str, keep_text: bool) -> bool:
    """Whether something on the border looks like text."""
    reason = why_closed(path, source)
    if reason:
        raise DataError(reason)
    dataset = open_dicom(path)
    if says_burned_in(dataset):
        raise DataError("BurnedInAnnotation (0028,0301) or RecognizableVisualFeatures (0028,0302) is 'YES'.")
    clean = without_patient(dataset, names, hospital=hospital)
    with_text = text_on_border(clean.pixel_array.astype(np.float32)).is_text
    if with_text and not keep_text:
        raise DataError("Something on the border looks like text. Look at it; --keep-text writes it all the same.")
    if with_text:
        clean.BurnedInAnnotation = "YES"
    write_atomically(target, lambda file: clean.save_as(file, enforce_file_format=True))
    return with_text
