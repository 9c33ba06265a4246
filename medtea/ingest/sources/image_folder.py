"""A folder of radiographs of any kind, DICOM, PNG or others, without a table: a folder below it is a hospital."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from pydantic import Field as Bound

from medtea.core.errors import ConfigError, DataError
from medtea.core.settings import StrictSettings
from medtea.data.reader import is_dicom
from medtea.data.views import UNKNOWN
from medtea.ingest.headers import Header
from medtea.ingest.scan import read_headers
from medtea.ingest.sources.source import (
    Candidate,
    Refused,
    file_digest,
    files_below,
    fingerprint_of,
    inside,
    why_closed,
)

MASKS = "masks"


class Settings(StrictSettings):
    """Where the folder is."""

    root: Path
    """The folder. What lies in a folder below it is of a hospital of that name; `masks` beside them has lung masks, of
    the same path, or of the same path with .png in the place of the suffix."""
    hospital: str = Bound("hospital", min_length=1)
    """Whose the radiographs are that lie in no folder."""


class Source:
    """Every file as a candidate, or as a refusal; nothing is labelled, see `ingest.labels`.

    DICOM files say themselves whose they are. Of any other file nothing is known but the hospital: each counts as
    another patient.
    """

    def __init__(self, settings: Settings, *, workspace: Path, seed: int) -> None:  # noqa: ARG002 (the contract's)
        self.settings = settings
        self.root = settings.root

    def find(self) -> Iterator[Candidate | Refused]:
        """One candidate or refusal per file, by path.

        Raises:
            ConfigError: the root is no folder.
        """
        paths = self._files()
        reasons = [why_closed(path, self.root) for path in paths]
        read = [path for path, reason in zip(paths, reasons, strict=True) if not reason and _is_dicom(path)]
        headers = dict(zip(read, read_headers(read), strict=True))
        used: set[str] = set()
        for path, reason in zip(paths, reasons, strict=True):
            yield self._one(path, reason or headers.get(path), used)

    def where(self, file: str) -> Path | None:
        """See the contract."""
        return next((path for path in self._files() if file_digest(path.relative_to(self.root)) == file), None)

    def fingerprint(self) -> str:
        """See the contract; the root's own place does not count."""
        masks = [Path(folder) / name for folder, _, names in os.walk(self.root / MASKS) for name in names]
        return fingerprint_of(self.root, [*self._files(), *masks], self.settings.model_dump(exclude={"root"}))

    def _files(self) -> list[Path]:
        if not self.root.is_dir():
            raise ConfigError("root: there is no such folder. Give a folder of radiographs.")
        return files_below(self.root, leave_out=self.root / MASKS)

    def _one(self, path: Path, header: Header | str | None, used: set[str]) -> Candidate | Refused:
        relative = path.relative_to(self.root)
        file = file_digest(relative)
        hospital = relative.parts[0] if len(relative.parts) > 1 else self.settings.hospital
        try:
            if isinstance(header, str):
                raise DataError(header)
            if header is not None and header.instance and header.instance in used:
                raise DataError("SOPInstanceUID (0008,0018) stands in an earlier file too; the image is a copy.")
            mask = self._mask(relative)
        except DataError as reason:
            return Refused(file, hospital, str(reason))
        if header is None:
            return Candidate(file, path, hospital, None, None, UNKNOWN, UNKNOWN, None, mask, instance=str(relative))
        used.add(header.instance)
        return Candidate(
            file=file,
            path=path,
            hospital=hospital,
            patient=header.patient,
            study=header.study,
            view=header.view,
            device=header.device,
            finding=None,
            mask=mask,
            instance=header.instance or None,
            acquisition=header.acquisition,
        )

    def _mask(self, relative: Path) -> Path | None:
        names = (Path(MASKS) / relative, (Path(MASKS) / relative).with_suffix(".png"))
        there = next((name for name in names if (self.root / name).is_file()), None)
        return inside(self.root, str(there)) if there else None


def _is_dicom(path: Path) -> bool:
    """Whether it begins as DICOM does; a file that cannot be read is told so when its pixels are wanted."""
    try:
        with path.open("rb") as file:
            return is_dicom(file.read(132))
    except OSError:
        return False
