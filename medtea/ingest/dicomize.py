"""Writes a table of pictures as DICOM trees, one per hospital and each in another vendor's manner.

What comes out reads back, by the source `dicom_tree`, as the same hospitals, patients, findings, masks and pixels, to
half a step of the vendor's grey values.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from medtea.core.errors import ConfigError, DataError
from medtea.core.progress import track
from medtea.core.work import write_atomically, write_csv
from medtea.data.dicom_files import VENDORS, Vendor, instance_uid, write_radiograph
from medtea.data.facts import Reading
from medtea.data.reader import read, read_mask
from medtea.ingest.sources import dicom_tree, table
from medtea.ingest.sources.source import Candidate, Refused


class Progress(Protocol):
    """How a waiting person is told, for instance `medtea.core.progress.track`."""

    def __call__(
        self, items: Iterable[Candidate | Refused], description: str, total: float | None = None
    ) -> Iterator[Candidate | Refused]:
        """The items, one by one."""


@dataclass
class Dicomized:
    """What became of one hospital's rows; written + kept + refused is their number."""

    vendor: Vendor
    written: int = 0
    kept: int = 0
    """Already there, from an earlier run, and not older than the picture."""
    refused: Counter[str] = field(default_factory=Counter)
    """How many rows by reason."""


def dicomize(settings: table.Settings, out: Path, progress: Progress = track) -> dict[str, Dicomized]:
    """Writes <out>/<hospital>/**/<file>.dcm, masks/ and, last, labels.csv.

    A file that is already there is kept, unless the picture is newer, so that a run which was stopped goes on. The
    vendors go round the table's hospitals in alphabetical order, whichever of them are selected.

    Args:
        settings: The table; nothing is written into its folder.
        out: The new tree; made if needed.
        progress: How a waiting person is told.

    Returns:
        Hospital to what became of its rows.

    Raises:
        ConfigError: the table does not fit its settings, `out` lies in the table's folder or around it, or a hospital's
            name cannot be a folder's.
    """
    source = table.Source(settings, workspace=out, seed=0)
    _keep_apart(settings.path.parent.resolve(), out.resolve())
    vendors = {name: VENDORS[number % len(VENDORS)] for number, name in enumerate(source.hospital_names())}
    found = list(source.find())
    counts = {name: Dicomized(vendors[name]) for name in sorted({one.hospital for one in found})}
    labels = []
    for one in progress(found, "writing DICOM", total=len(found)):
        _check_name(one.hospital)
        try:
            if isinstance(one, Refused):
                raise DataError(one.reason)
            labels.append(_write(one, out, counts[one.hospital]))
        except DataError as reason:
            counts[one.hospital].refused[str(reason)] += 1
    write_csv(out / "labels.csv", labels, dicom_tree.LABEL_COLUMNS)
    return counts


def _keep_apart(source: Path, out: Path) -> None:
    if out.is_relative_to(source) or source.is_relative_to(out):
        raise ConfigError("The folder to write into and the table's folder lie in each other; give one apart from it.")


def _check_name(hospital: str) -> None:
    if Path(hospital).name != hospital or hospital == dicom_tree.MASKS or hospital.startswith("."):
        raise ConfigError(f"The hospital '{hospital}' cannot be the name of a folder; rename it in the table.")


def _write(one: Candidate, out: Path, count: Dicomized) -> dict[str, str]:
    # Folders are named by digests: a patient's number has no place in a path.
    patient, study = one.patient or one.file, one.study or one.file
    path = out / one.hospital / one.file[:2] / f"{one.file}.dcm"
    mask = Path(dicom_tree.MASKS) / one.hospital / f"{one.file}.png"
    if _is_current(path, one.path) and all(_is_current(out / mask, file) for file in one.masks):
        count.kept += 1
    else:
        reading = read(one.path, inverted=one.is_inverted, modality=one.modality)
        if one.masks:
            _write_mask(one.masks, reading, out / mask)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_radiograph(
            path,
            reading.pixels,
            vendor=count.vendor,
            patient=patient,
            study=study,
            instance=one.file,
            view=one.view,
            hospital=one.hospital,
        )
        count.written += 1
    return {
        "sop_instance_uid": instance_uid(one.hospital, patient, study, one.file),
        "hospital": one.hospital,
        "finding": one.finding or "",
        "mask": mask.as_posix() if one.mask else "",
    }


def _is_current(made: Path, origin: Path) -> bool:
    return made.is_file() and made.stat().st_mtime_ns >= origin.stat().st_mtime_ns


def _write_mask(origin: tuple[Path, ...], reading: Reading, path: Path) -> None:
    mask = reading.geometry.place(read_mask(origin, shape=reading.geometry.stored))
    picture = Image.fromarray(mask.astype(np.uint8) * np.uint8(255))
    write_atomically(path, lambda file: picture.save(file, format="PNG"))
