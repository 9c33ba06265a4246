"""A DICOM Segmentation as a mask: the segments that are lung by their coded type, or those that are named, united."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from medtea.core.errors import DataError
from medtea.data.pixels import LARGEST_AREA, open_dicom, quiet_pydicom

SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.7"  # its pixels are numbers of segments
# Lung, both, right, left: SNOMED CT, and the retired SNOMED-RT codes.
LUNG_CODES = frozenset({"39607008", "74101002", "3341006", "44029006", "T-28000", "T-28100", "T-28500"})
LUNG_WORDS = frozenset({"lung", "lungs", "both lungs", "left lung", "right lung", "lung left", "lung right"})
MOST_FRAMES = 64


def read_segments(path: Path, named: Sequence[str] = ()) -> NDArray[np.bool_]:
    """The union of the chosen segments, (Rows, Columns).

    Binary segments as they are; of fractional ones, what is at least half of MaximumFractionalValue. A lung's segment
    without a frame is empty.

    Args:
        path: The file.
        named: SegmentLabel of the segments that are meant, capitals or not. When empty, those whose
            SegmentedPropertyTypeCodeSequence says lung.

    Raises:
        DataError: no Segmentation of a single plane, no such segment, or damaged.
    """
    dataset = open_dicom(path)
    with quiet_pydicom():
        try:
            return _united(dataset, named)
        except DataError:
            raise
        except Exception as problem:  # damaged elements and pixels make pydicom raise almost any kind
            raise DataError(f"The DICOM Segmentation cannot be read ({type(problem).__name__}).") from None


def _united(dataset: Dataset, named: Sequence[str]) -> NDArray[np.bool_]:
    if dataset.get("SOPClassUID") not in (SEGMENTATION, LABEL_MAP):
        raise DataError("SOPClassUID (0008,0016) is not that of a Segmentation; a mask in DICOM is one.")
    frames = int(dataset.get("NumberOfFrames") or 1)
    if not 1 <= frames <= MOST_FRAMES or dataset.Rows * dataset.Columns > LARGEST_AREA // frames:
        raise DataError("The DICOM Segmentation has more frames or pixels than one of a radiograph.")
    chosen = {item.SegmentNumber for item in dataset.SegmentSequence if _is_meant(item, named)}
    if not chosen:
        what = "is one of those named" if named else "is of a lung by its SegmentedPropertyTypeCodeSequence (0062,000F)"
        raise DataError(f"No segment of the DICOM Segmentation {what}. Name them in ingest.lung_segments.")
    pixels = np.asarray(dataset.pixel_array).reshape(frames, dataset.Rows, dataset.Columns)
    if dataset.SOPClassUID == LABEL_MAP:
        _refuse_several_planes(frames)
        return np.isin(pixels[0], sorted(chosen))
    numbers = [_number(dataset, frame) for frame in range(frames)]
    kept = [frame for frame in range(frames) if numbers[frame] in chosen]
    _refuse_several_planes(max([1, *(numbers.count(number) for number in numbers)]))
    half = dataset.MaximumFractionalValue / 2 if dataset.SegmentationType == "FRACTIONAL" else 0.5
    return np.asarray((pixels[kept] >= half).any(axis=0))


def _refuse_several_planes(planes: int) -> None:
    if planes > 1:
        raise DataError("A segment of the DICOM Segmentation has several frames; a radiograph's mask is one plane.")


def _is_meant(item: Dataset, named: Sequence[str]) -> bool:
    if named:
        return str(item.get("SegmentLabel") or "").strip().casefold() in {name.strip().casefold() for name in named}
    return any(
        str(code.get("CodeValue") or "") in LUNG_CODES or str(code.get("CodeMeaning") or "").lower() in LUNG_WORDS
        for code in item.get("SegmentedPropertyTypeCodeSequence") or ()
    )


def _number(dataset: Dataset, frame: int) -> Any:
    """The number of the segment that a frame shows."""
    groups = [*dataset.PerFrameFunctionalGroupsSequence[frame : frame + 1]]
    groups += dataset.get("SharedFunctionalGroupsSequence") or []
    shown = [group.SegmentIdentificationSequence[0] for group in groups if "SegmentIdentificationSequence" in group]
    return shown[0].ReferencedSegmentNumber
