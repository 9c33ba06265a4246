"""A CSV with one row per image: DICOM, PNG, JPEG, TIFF, NIfTI, MetaImage or NRRD files named by a column."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from medtea.core.errors import ConfigError, DataError, nearest
from medtea.core.settings import StrictSettings
from medtea.data.views import NOT_FRONTAL, UNKNOWN, view_from_words
from medtea.data.volumes import data_file_of
from medtea.ingest.labels import SEVERAL
from medtea.ingest.sources.source import Candidate, Refused, file_digest, fingerprint_of, inside

Row = dict[str, str]


class Settings(StrictSettings):
    """Where the table is, and what its columns are called; a column set to null is not read."""

    path: Path
    """The CSV, UTF-8 with a header line; the files that it names lie in its folder or below."""
    image: str = "image"
    """Path of the image, relative to the table's folder."""
    hospital: str = "hospital"
    patient: str | None = "patient_id"
    finding: str | None = "finding"
    view: str | None = "view"
    mask: str | None = "mask"
    """Path of a lung mask on the image's grid, or several with a bar between them; may be empty."""
    study: str | None = None
    hospitals: tuple[str, ...] = ()
    """Only rows of these hospitals; all when empty."""


class Source:
    """Rows of a table as candidates."""

    def __init__(self, settings: Settings, *, workspace: Path, seed: int) -> None:  # noqa: ARG002 (the contract's)
        self.settings = settings
        self.folder = settings.path.parent

    def find(self) -> Iterator[Candidate | Refused]:
        """One candidate or refusal per row, in the table's order."""
        seen: set[str] = set()
        for row in self.rows():
            found = self._one(row)
            if found.file in seen:
                found = Refused(found.file, found.hospital, "The table names this image a second time.")
            seen.add(found.file)
            yield found

    def where(self, file: str) -> Path | None:
        """See the contract."""
        named = (Path(row[self.settings.image]) for row in self.rows())
        return next((self.folder / path for path in named if file_digest(path) == file), None)

    def fingerprint(self) -> str:
        """See the contract; the table's own place does not count."""
        masks = [name for row in self.rows() for name in (self._value(row, "mask") or "").split(SEVERAL)]
        named = [row[self.settings.image] for row in self.rows()] + [name.strip() for name in masks]
        files = []
        for name in filter(None, named):
            try:
                path = inside(self.folder, name)
                files += [path, *filter(None, [data_file_of(path)])]
            except DataError:
                continue  # a refused row; the table itself counts below
        table = self.settings.path.resolve()
        return fingerprint_of(self.folder.resolve(), [table, *files], self.settings.model_dump(exclude={"path"}))

    def hospital_names(self) -> list[str]:
        """All hospitals of the table, sorted, whatever `hospitals` selects."""
        return sorted({row[self.settings.hospital] for row in self._all_rows()})

    def rows(self) -> list[Row]:
        """The rows of the selected hospitals.

        Raises:
            ConfigError: the table cannot be read, lacks a column, or has no such hospital.
        """
        rows, wanted = self._all_rows(), set(self.settings.hospitals)
        known = {row[self.settings.hospital] for row in rows}
        for name in self.settings.hospitals:
            if name not in known:
                raise ConfigError(f"hospitals: the table has no hospital '{name}'. {nearest(name, known)}")
        return [row for row in rows if not wanted or row[self.settings.hospital] in wanted]

    def _all_rows(self) -> list[Row]:
        try:
            with self.settings.path.open(encoding="utf-8-sig", newline="") as file:
                reader = csv.DictReader(file, restval="", restkey="")
                self._check_columns(list(reader.fieldnames or []))
                return [{key: (value or "").strip() for key, value in row.items() if key} for row in reader]
        except (OSError, UnicodeDecodeError, csv.Error) as problem:
            raise ConfigError(
                f"path: the table cannot be read ({type(problem).__name__}); give a CSV file in UTF-8."
            ) from None

    def _check_columns(self, columns: list[str]) -> None:
        for setting in ("image", "hospital", "patient", "finding", "view", "mask", "study"):
            column = getattr(self.settings, setting)
            if column is not None and column not in columns:
                mend = "" if setting in {"image", "hospital"} else f" Set {setting}: null if there is none."
                raise ConfigError(f"{setting}: the table has no column '{column}'. {nearest(column, columns)}{mend}")

    def _one(self, row: Row) -> Candidate | Refused:
        file, hospital = file_digest(Path(row[self.settings.image])), row[self.settings.hospital]
        view = view_from_words(self._value(row, "view") or "")
        try:
            if not hospital:
                raise DataError("The row names no hospital.")
            if view == NOT_FRONTAL:
                raise DataError("The table calls the view not frontal; a frontal radiograph is PA or AP.")
            path = inside(self.folder, row[self.settings.image])
            mask = self._value(row, "mask")
            return Candidate(
                file=file,
                path=path,
                hospital=hospital,
                patient=self._value(row, "patient"),
                study=self._value(row, "study"),
                view=view,
                device=UNKNOWN,
                finding=self._value(row, "finding"),
                mask=tuple(inside(self.folder, part.strip()) for part in mask.split(SEVERAL)) if mask else None,
                instance=row[self.settings.image],
            )
        except DataError as reason:
            return Refused(file, hospital, str(reason))

    def _value(self, row: Row, setting: str) -> str | None:
        column = getattr(self.settings, setting)
        return (row[column] or None) if column else None
