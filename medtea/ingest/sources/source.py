"""The contract of a source: find every file, and say of each what it is or why it cannot be used.

A source is one file in this folder with a class `Settings` (all defaults stand there) and a class `Source`. Nothing
is registered: the file's name is the name in the config.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from medtea.core.errors import DataError
from medtea.core.work import digest_of


@dataclass(frozen=True)
class Candidate:
    """A file that may become a radiograph; its pixels have not been looked at.

    Attributes:
        file: What the file is called in every table: see `file_digest`.
        path: Where it is; never written out.
        hospital: Who acquired it.
        patient: The source's own number, to be replaced by a pseudonym at once; None where there is none.
        study: The same for the study.
        view: "PA", "AP" or "unknown".
        device: Maker and model, "unknown" where nothing is said.
        finding: The label as the source writes it, None where there is none.
        mask: A lung mask on the radiograph's grid, or several that are united; None where there is none.
        instance: The source's own number of the image, as labels may be joined by it; None where there is none.
        is_inverted: Whether the source says that a picture without a header is dark where the body is dense.
        acquisition: With what and how it was taken, see `medtea.ingest.acquisition`; never written out as it is.
        modality: What the source says the modality is, for a DICOM file whose header does not.
    """

    file: str
    path: Path
    hospital: str
    patient: str | None
    study: str | None
    view: str
    device: str
    finding: str | None
    mask: Path | tuple[Path, ...] | None
    instance: str | None = None
    is_inverted: bool = False
    acquisition: Mapping[str, str | float] = field(default_factory=dict, hash=False)
    modality: str | None = None

    @property
    def masks(self) -> tuple[Path, ...]:
        """The files of the mask."""
        if self.mask is None:
            return ()
        return self.mask if isinstance(self.mask, tuple) else (self.mask,)


@dataclass(frozen=True)
class Refused:
    """A file that cannot be used. The reason names no file, no patient and quotes no free text."""

    file: str
    hospital: str
    reason: str


class Source(Protocol):
    """What every file of the bay offers under the name `Source`."""

    def __init__(self, settings: Any, *, workspace: Path, seed: int) -> None:
        """Looks at nothing yet.

        Args:
            settings: An instance of the same file's `Settings`.
            workspace: A folder of its own for what the source makes; what it reads stays untouched.
            seed: For what is drawn by chance.
        """

    def find(self) -> Iterator[Candidate | Refused]:
        """Every file found, in an order that depends on the source's contents alone.

        Raises:
            ConfigError: a setting does not fit the source.
            DataError: the source as a whole cannot be used.
        """

    def where(self, file: str) -> Path | None:
        """The path that a file digest stands for, for the eyes of the source's owner only; None where it is unknown."""

    def fingerprint(self) -> str:
        """Changes when the settings or the files do: two equal ones mean that ingest need not run again."""


def file_digest(relative: Path) -> str:
    """12 hex digits of a path within its source: tells files apart without naming them."""
    return hashlib.sha256(relative.as_posix().encode(errors="surrogateescape")).hexdigest()[:12]


def inside(folder: Path, relative: str) -> Path:
    """The file that a table names relative to its folder, links followed.

    Raises:
        DataError: it lies outside the folder, or is no file.
    """
    try:
        path = (folder / relative).resolve()
        is_file = path.is_file()
    except (OSError, ValueError, RuntimeError):  # a name too long, a NUL in it, a circle of links
        raise DataError("The table names a file whose name cannot be used.") from None
    if not path.is_relative_to(folder.resolve()):
        raise DataError("The table names a file outside its own folder; paths are relative and stay inside.")
    if not is_file:
        raise DataError("The file that the table names does not exist.")
    return path


def fingerprint_of(folder: Path, files: Iterable[Path], settings: object) -> str:
    """Digest of every file's path within the folder, size and time of change, and of the settings."""
    stats = []
    for path in sorted(set(files)):
        try:
            status = path.stat()
            stats.append([str(path.relative_to(folder)), status.st_size, status.st_mtime_ns])
        except OSError:
            stats.append([str(path.relative_to(folder)), None, None])
    return digest_of({"files": stats, "settings": settings})


def files_below(root: Path, *, leave_out: Path | None = None) -> list[Path]:
    """Every file below a folder, sorted; links to folders and folders that cannot be opened as if they were files.

    Args:
        root: The folder.
        leave_out: A folder below it that is not entered.
    """
    files: list[Path] = []

    def closed(problem: OSError) -> None:
        files.append(Path(problem.filename))

    for folder, folders, names in os.walk(root, onerror=closed):
        here = Path(folder)
        # A link to a folder could lead out of the tree or round in a circle; it is refused as a file is.
        links = [name for name in folders if (here / name).is_symlink()]
        folders[:] = [name for name in folders if name not in links and here / name != leave_out]
        files += [here / name for name in names + links]
    return sorted(files)


def why_closed(path: Path, root: Path) -> str:
    """Why one of `files_below` the root is not even opened, "" if it may be."""
    try:
        if path.is_symlink() and (path.is_dir() or not path.resolve().is_relative_to(root.resolve())):
            return "A link to a folder, or out of the source, is not followed."
        if path.is_dir():
            return "The folder cannot be opened; nothing is known of what is in it."
        return "" if path.is_file() else "This is no ordinary file."
    except (OSError, RuntimeError) as problem:  # no right to look at it, or a circle of links
        return f"The file cannot be opened ({type(problem).__name__})."
