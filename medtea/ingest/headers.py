"""What a DICOM header says about a radiograph, in words that do not depend on the hospital."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.uid import MediaStorageDirectoryStorage

from medtea.core.errors import DataError
from medtea.data.choices import Accept
from medtea.data.dicom.accept import USUAL_KINDS, refuse_unusable
from medtea.data.dicom.header import quiet_pydicom
from medtea.data.views import view_of
from medtea.ingest.acquisition import device_of, facts_of, text_in
from medtea.ingest.open_header import open_header


@dataclass(frozen=True)
class Header:
    """The fields of a radiograph's header that medtea uses.

    Attributes:
        instance: SOPInstanceUID, "" where missing.
        patient: PatientID, None where empty.
        study: StudyInstanceUID, None where empty.
        view: "PA", "AP", "unknown", or "not frontal" where such are taken.
        device: Maker and model in a controlled vocabulary, "unknown" where nothing is known.
        acquisition: With what and how it was taken; station and detector as they stand in the header.
    """

    instance: str
    patient: str | None
    study: str | None
    view: str
    device: str
    acquisition: Mapping[str, str | float] = field(default_factory=dict, hash=False)


def read_header(path: Path, accept: Accept = USUAL_KINDS) -> Header:
    """The header of a radiograph that is to be taken; the pixels are not read.

    Raises:
        DataError: not DICOM, or not to be taken; the text names the element.
    """
    dataset = open_header(path)
    with quiet_pydicom():
        try:
            _refuse_directory(dataset)
            refuse_unusable(dataset, accept)
            facts = facts_of(dataset)
            return Header(
                instance=text_in(dataset, "SOPInstanceUID"),
                patient=text_in(dataset, "PatientID") or None,
                study=text_in(dataset, "StudyInstanceUID") or None,
                view=view_of(dataset),
                device=device_of(facts),
                acquisition=facts,
            )
        except DataError:
            raise
        except Exception as problem:  # damaged elements make pydicom raise almost any kind
            raise DataError(f"An element of the header is damaged ({type(problem).__name__}).") from None


def _refuse_directory(dataset: Dataset) -> None:
    if dataset.file_meta.get("MediaStorageSOPClassUID") == MediaStorageDirectoryStorage:
        raise DataError("The file is a DICOMDIR, a directory of other files; those are found by themselves.")
