"""The process that opens files for `medtea deidentify`, within the limits that medtea.ingest.worker holds it to."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from medtea.core.errors import DataError
from medtea.core.pseudonyms import Pseudonyms
from medtea.data.border_text import text_on_border
from medtea.data.pixels import open_dicom
from medtea.ingest.burned_in import says_burned_in
from medtea.ingest.confidentiality import without_patient
from medtea.ingest.worker import Answer, serve

NUMBERS = {"patient": "PatientID", "study": "StudyInstanceUID", "instance": "SOPInstanceUID"}
"""What a row of a table of labels may be about, and the element that holds its number."""


def deidentified(*, path: str, key: str, hospital: str, keep_text: bool, pixels: bool) -> Answer:
    """The file without its patient, as bytes, and facts about it.

    Args:
        path: The file.
        key: That of the pseudonyms, as hexadecimal digits.
        hospital: Whose it is.
        keep_text: Whether something on the border that looks like text is kept.
        pixels: Whether the file is wanted; else only what it would be called.

    Returns:
        `with_text`, whether something on the border looks like text; `numbers`, the old and the new number of what
        NUMBERS names; and the file.

    Raises:
        DataError: it cannot be released.
    """
    dataset = open_dicom(Path(path), header_only=not pixels)
    if says_burned_in(dataset):
        raise DataError("BurnedInAnnotation (0028,0301) or RecognizableVisualFeatures (0028,0302) is 'YES'.")
    clean = without_patient(dataset, Pseudonyms(bytes.fromhex(key)), hospital=hospital, pixels=pixels)
    numbers = {name: [str(one.get(keyword, "")) for one in (dataset, clean)] for name, keyword in NUMBERS.items()}
    if not pixels:
        return {"with_text": False, "numbers": numbers}, b""
    with_text = text_on_border(clean.pixel_array.astype(np.float32)).is_text
    if with_text and not keep_text:
        raise DataError("Something on the border looks like text. Look at it; --keep-text writes it all the same.")
    if with_text:
        clean.BurnedInAnnotation = "YES"
    packed = io.BytesIO()
    clean.save_as(packed, enforce_file_format=True)
    return {"with_text": with_text, "numbers": numbers}, packed.getvalue()


TASKS: dict[str, Any] = {"deidentify": deidentified}

if __name__ == "__main__":
    serve(TASKS)
