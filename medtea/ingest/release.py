"""A folder of DICOM files written again without its patients, one by one, for those who may not know them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from medtea.core.errors import ConfigError
from medtea.core.progress import counter
from medtea.core.pseudonyms import Pseudonyms
from medtea.core.work import write_atomically, write_csv
from medtea.ingest.csv_rows import csv_rows
from medtea.ingest.sources.source import files_below, why_closed
from medtea.ingest.workers import Limits, LocalPool

TABLE, LABELS = "deidentified.csv", "deidentified_labels.csv"
COLUMNS = ("file", "done", "text_on_border", "reason")
WORKER = "medtea.ingest.release_worker"
MOST_VALUES = 100
"""Different values of a column of labels that is copied; one with more may be free text."""


@dataclass(frozen=True)
class LabelTable:
    """A CSV of labels whose numbers are to be replaced as the files' own are.

    Attributes:
        path: The CSV, UTF-8 with a header line.
        by: What a row is about.
        key: Its column with the number of the patient, study or instance; called as `by` is when null.
        keep: The columns that are copied, as they are.
    """

    path: Path
    by: Literal["patient", "study", "instance"] = "patient"
    key: str | None = None
    keep: tuple[str, ...] = ("finding",)

    def rows(self) -> list[dict[str, str]]:
        """Its rows, with `by` and the columns to keep.

        Raises:
            ConfigError: it cannot be read, lacks a column, or a column may be free text.
        """
        key = self.key or self.by
        rows = [{**row, self.by: row[key]} for row in csv_rows(self.path, [key, *self.keep], what="--labels")]
        for column in self.keep:
            if len({row[column] for row in rows}) > MOST_VALUES:
                raise ConfigError(
                    f"--labels: column '{column}' has more than {MOST_VALUES} different values and may be free text. "
                    "Keep columns of findings alone."
                )
        return rows


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
    labels: int = 0
    """Rows of the table of labels whose files are there."""


def release(
    source: Path,
    to: Path,
    names: Pseudonyms,
    *,
    hospital: str = "hospital",
    keep_text: bool = False,
    labels: LabelTable | None = None,
    limits: Limits | None = None,
) -> Released:
    """Writes <to>/<hospital>/**/<code>.dcm and, last, the table of what became of each file.

    Codes are keyed hashes of the paths: they say nothing, and the same file has the same one in every run, so that a
    run which was stopped goes on. Nothing is written into the source. Files are opened by worker processes: one that
    crashes its decoder, hangs or is never full costs itself alone.

    Args:
        source: A folder of DICOM files, in any depth.
        to: The new folder; made if needed.
        names: Pseudonyms with the user's key.
        hospital: The folder to write into below `to`, so that the source `dicom_tree` reads it.
        keep_text: Also write a radiograph with something on its border that looks like text; what a tag declares as
            burned in is refused in any case.
        labels: A table to be written again as <to>/deidentified_labels.csv, for `ingest.labels`.
        limits: How many processes, and what each file may take.

    Raises:
        ConfigError: there is no such folder, or it and `to` lie in each other, or `hospital` cannot be a folder's name,
            or the labels cannot be used.
    """
    _check(source, to, hospital)
    wanted = labels.rows() if labels else []
    done, rows, found = Released(), [], files_below(source)
    asked: list[tuple[Path, bool, dict[str, str]]] = []
    new_numbers: dict[str, str] = {}
    fixed = {"key": names.key_in_hexadecimal, "hospital": hospital, "keep_text": keep_text}
    with LocalPool(limits, WORKER) as pool, counter("de-identifying", total=len(found)) as count:

        def refuse(target: Path, row: dict[str, str], reason: str) -> None:
            target.unlink(missing_ok=True)
            done.refused[reason] += 1
            row |= {"done": "refused", "reason": reason}
            count(refused=True)

        def jobs() -> Iterator[dict[str, Any]]:
            for path in found:
                code = code_of(source, path, names)
                target, row = to / hospital / code[:2] / f"{code}.dcm", dict.fromkeys(COLUMNS, "") | {"file": code}
                rows.append(row)
                reason = why_closed(path, source)
                if reason:
                    refuse(target, row, reason)
                    continue
                is_kept = target.is_file() and target.stat().st_mtime_ns >= path.stat().st_mtime_ns
                if is_kept:
                    done.kept += 1
                    row["done"] = "kept"
                    if not labels:
                        count(refused=False)
                        continue
                asked.append((target, is_kept, row))
                yield {"path": str(path.absolute()), "pixels": not is_kept, **fixed}

        for number, reply in pool.do("deidentify", jobs()):
            target, is_kept, row = asked[number]
            if reply.refused is not None and not is_kept:
                refuse(target, row, reply.refused)
                continue
            if not is_kept:
                write_atomically(target, lambda file, blob=reply.blob: file.write(blob))  # type: ignore[misc]
                done.written += 1
                done.with_text += reply.facts["with_text"]
                row |= {"done": "written", "text_on_border": str(reply.facts["with_text"])}
            if labels and reply.refused is None:
                old, new = reply.facts["numbers"][labels.by]
                new_numbers[old.strip()] = new
            count(refused=False)
    write_csv(to / TABLE, rows, COLUMNS)
    if labels:
        done.labels = _write_labels(to / LABELS, labels, wanted, new_numbers)
    return done


def _write_labels(to: Path, labels: LabelTable, rows: Sequence[Mapping[str, str]], new: Mapping[str, str]) -> int:
    """Rows whose files were released, ordered by their new numbers: the order of the old table may tell of it."""
    known = sorted((new[row[labels.by]], number) for number, row in enumerate(rows) if row[labels.by] in new)
    columns = (labels.by, *labels.keep)
    write_csv(to, [{**rows[number], labels.by: replaced} for replaced, number in known], columns)
    return len(known)


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
