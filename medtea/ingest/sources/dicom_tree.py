"""A folder of DICOM files, one folder per hospital: <root>/<hospital>/**, with labels in a CSV beside them."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from medtea.core.errors import ConfigError, DataError, nearest
from medtea.core.settings import StrictSettings
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
LABEL_COLUMNS = ("sop_instance_uid", "hospital", "finding", "mask")


class Settings(StrictSettings):
    """Where the tree is."""

    root: Path
    """The folder with one folder per hospital; a folder `masks` beside them is not read as a hospital."""
    labels: str | None = "labels.csv"
    """CSV in the root, keyed by SOPInstanceUID: columns sop_instance_uid, and as far as known hospital (else the
    folder's name), finding, mask (relative to the root). null: nothing is labelled."""
    hospitals: tuple[str, ...] = ()
    """Only these hospitals; all when empty."""


@dataclass(frozen=True)
class Label:
    """One row of the labels."""

    hospital: str
    finding: str
    mask: str


class Source:
    """DICOM files as candidates; every file found is one or a refusal."""

    def __init__(self, settings: Settings, *, workspace: Path, seed: int) -> None:  # noqa: ARG002 (the contract's)
        self.settings = settings
        self.root = settings.root
        self.mask_root = settings.root

    def find(self) -> Iterator[Candidate | Refused]:
        """One candidate or refusal per file: by hospital, then in the order of the labels, then by path.

        The labels of a tree made by `dicomize` have the table's order, so that its patients are split as there.

        Raises:
            ConfigError: the root is no folder, the labels cannot be read, or there is no such hospital.
            DataError: not one label belongs to a file.
        """
        labels = self._labels()
        used: dict[str, str] = {}
        found = list(self._all(labels, used))
        places = {used[uid]: place for place, uid in enumerate(labels) if uid in used}
        for one in sorted(found, key=lambda one: (one.hospital, places.get(one.file, len(places)))):
            if not self.settings.hospitals or one.hospital in self.settings.hospitals:
                yield one
        hospitals = {one.hospital for one in found}
        for name in self.settings.hospitals:
            if name not in hospitals:
                raise ConfigError(f"hospitals: the tree has no hospital '{name}'. {nearest(name, hospitals - {''})}")
        if labels and not places:
            raise DataError(
                f"None of the {len(labels)} rows of the labels has the SOPInstanceUID of a file in the tree. Check the "
                "column sop_instance_uid."
            )

    def where(self, file: str) -> Path | None:
        """See the contract."""
        return next((path for path in self._files() if file_digest(path.relative_to(self.root)) == file), None)

    def fingerprint(self) -> str:
        """See the contract; the root's own place does not count."""
        masks = [Path(folder) / name for folder, _, names in os.walk(self.root / MASKS) for name in names]
        labels = [self.root / self.settings.labels] if self.settings.labels else []
        return fingerprint_of(self.root, [*self._files(), *masks, *labels], self.settings.model_dump(exclude={"root"}))

    def _files(self) -> list[Path]:
        if not self.root.is_dir():
            raise ConfigError(
                "root: there is no such folder. Give a folder with one folder of DICOM files per hospital."
            )
        files = files_below(self.root, leave_out=self.root / MASKS)
        labels = self.root / self.settings.labels if self.settings.labels else None
        return [path for path in files if path != labels]

    def _labels(self) -> dict[str, Label]:
        if self.settings.labels is None:
            return {}
        try:
            with (self.root / self.settings.labels).open(encoding="utf-8-sig", newline="") as file:
                reader = csv.DictReader(file, restval="")
                if LABEL_COLUMNS[0] not in (reader.fieldnames or []):
                    raise ConfigError(f"labels: the CSV has no column '{LABEL_COLUMNS[0]}'.")
                return _label_rows(reader)
        except FileNotFoundError:
            if self.settings.labels == Settings.model_fields["labels"].default:
                return {}
            raise ConfigError("labels: there is no such file in the root. Set labels: null if there is none.") from None
        except (OSError, UnicodeDecodeError, csv.Error) as problem:
            raise ConfigError(f"labels: the CSV cannot be read ({type(problem).__name__}); give UTF-8.") from None

    def _all(self, labels: dict[str, Label], used: dict[str, str]) -> Iterator[Candidate | Refused]:
        paths = self._files()
        reasons = [why_closed(path, self.root) for path in paths]
        headers = iter(read_headers([path for path, reason in zip(paths, reasons, strict=True) if not reason]))
        for path, reason in zip(paths, reasons, strict=True):
            yield self._one(path, reason or next(headers), labels, used)

    def _one(
        self, path: Path, header: Header | str, labels: dict[str, Label], used: dict[str, str]
    ) -> Candidate | Refused:
        # Fills `used`: which file has a SOPInstanceUID.
        relative = path.relative_to(self.root)
        file, hospital = file_digest(relative), relative.parts[0] if len(relative.parts) > 1 else ""
        try:
            if isinstance(header, str):
                raise DataError(header)
            label = labels.get(header.instance, Label("", "", ""))
            hospital = label.hospital or hospital
            if not hospital:
                raise DataError("The file belongs to no hospital; put it into a folder named after one.")
            if header.instance and header.instance in used:
                raise DataError("SOPInstanceUID (0008,0018) stands in an earlier file too; the image is a copy.")
            mask = inside(self.mask_root, label.mask) if label.mask else None
        except DataError as reason:
            return Refused(file, hospital, str(reason))
        used[header.instance] = file
        return Candidate(
            file=file,
            path=path,
            hospital=hospital,
            patient=header.patient,
            study=header.study,
            view=header.view,
            device=header.device,
            finding=label.finding or None,
            mask=mask,
            instance=header.instance or None,
            acquisition=header.acquisition,
        )


def _label_rows(reader: csv.DictReader[str]) -> dict[str, Label]:
    labels: dict[str, Label] = {}
    for row in reader:
        uid, *rest = ((row.get(column) or "").strip() for column in LABEL_COLUMNS)
        label = Label(*rest)
        if labels.setdefault(uid, label) != label:
            raise ConfigError("labels: one SOPInstanceUID stands in two rows that contradict each other; keep one.")
    return labels
