"""The pixels of a DICOM radiograph as numbers in [0, 1], bright where the body is dense.

The grey values go the Standard's way (PS3.3 C.11, PS3.4 N.2): stored value -> modality transformation -> VOI
transformation -> polarity. `apply_windowing` and `apply_voi` of pydicom are not used: the first turns the image
over when RescaleSlope is negative, the second wraps round in tables of 8-bit entries that are longer than 256.
"""

from __future__ import annotations

import contextlib
import logging
import math
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from medtea.core.errors import DataError
from medtea.data.views import NOT_FRONTAL, view_of

MODALITIES = ("CR", "DX")
PHOTOMETRIC = ("MONOCHROME1", "MONOCHROME2")
VOI_FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")
# What may be quoted of a header: PS3.3's terms, and vendors' words, that stand where a radiograph has another one.
TERMS = frozenset(
    re.findall(
        r"\S+",
        """AR BI BMD CR CT DG DM DOC DR DX ECG EPS ES FID GM HC HD IO IVOCT IVUS KO LS MG MR NM OAM OCT OP OPM OPT OPV
        OSS OT PR PT PX REG RESP RF RG RTDOSE RTIMAGE RTPLAN RTRECORD RTSTRUCT RWV SEG SM SMR SR SRF ST TG US VA XA XC
        MONOCHROME1 MONOCHROME2 PALETTE COLOR RGB HSV ARGB CMYK YBR_FULL YBR_FULL_422 YBR_PARTIAL_420 YBR_ICT YBR_RCT
        AP PA LL RL LLD RLD LLO RLO LAO RAO LPO RPO LAT LATERAL SAGITTAL DECUBITUS LORDOTIC OBL OBLIQUE LEFT RIGHT
        LINEAR LINEAR_EXACT SIGMOID CUBIC in ViewCodeSequence""",
    )
)
# 64 M pixels: four times a large detector (4,300 x 3,500), checked before anything is decoded.
LARGEST_AREA = 64_000_000
SMALLEST_SIDE = 16

Range = tuple[float, float]


@contextlib.contextmanager
def quiet_pydicom() -> Iterator[None]:
    """Within it pydicom neither warns nor logs: its warnings quote values of the header, names among them."""
    logger = logging.getLogger("pydicom")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def open_dicom(path: Path, *, header_only: bool = False) -> Dataset:
    """The file's data set.

    Raises:
        DataError: it is not a DICOM file, or its header is damaged.
    """
    with quiet_pydicom():
        try:
            return pydicom.dcmread(path, stop_before_pixels=header_only)
        except InvalidDicomError:
            raise DataError("The file is not DICOM: the prefix DICM is missing after the preamble.") from None
        except Exception as problem:  # a damaged file makes pydicom raise almost any kind
            raise DataError(f"The DICOM header cannot be read ({type(problem).__name__}).") from None


def radiograph_from(dataset: Dataset) -> NDArray[np.float32]:
    """The radiograph in a data set, (rows, columns), in [0, 1], bright where the body is dense.

    With a VOI table or window, [0, 1] is that window; without one, the whole range that BitsStored and
    PixelRepresentation allow. Only the first table or window is used, and a table wins over a window.
    PhotometricInterpretation alone decides the polarity: it is required in every image, PresentationLUTShape is not,
    and see `polarity_conflict`.

    Raises:
        DataError: this is not a frontal projection radiograph with usable pixels. The text names the element and
            what is allowed.
    """
    with quiet_pydicom():
        try:
            refuse_unusable(dataset)
            stored = _stored_values(dataset)
            values, lowest, highest = _modality(dataset, stored)
            grey = _voi(dataset, values, (lowest, highest))
        except DataError:
            raise
        except Exception as problem:  # damaged elements make pydicom raise almost any kind
            raise DataError(f"An element that the pixels depend on is damaged ({type(problem).__name__}).") from None
    if grey.min() == grey.max():
        raise DataError("All pixels are equal after the VOI transformation; a radiograph has contrast.")
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        grey = 1.0 - grey
    return grey.astype(np.float32)


def polarity_conflict(dataset: Dataset) -> bool:
    """Whether PresentationLUTShape (2050,0020) contradicts PhotometricInterpretation, against PS3.3 C.8.11.3.1.

    Viewers disagree about such files: look at some before using them.
    """
    expected = {"MONOCHROME1": "INVERSE", "MONOCHROME2": "IDENTITY"}.get(str(dataset.get("PhotometricInterpretation")))
    shape = str(dataset.get("PresentationLUTShape") or "")
    return expected is not None and shape in {"INVERSE", "IDENTITY"} and shape != expected


def refuse_unusable(dataset: Dataset) -> None:
    """Returns when the header is that of a frontal radiograph; needs no pixel data.

    Raises:
        DataError: naming the first element that stands in the way.
    """
    with quiet_pydicom():
        try:
            _refuse_what(dataset)
            _refuse_shape(dataset)
        except DataError:
            raise
        except Exception as problem:  # damaged elements make pydicom raise almost any kind
            raise DataError(f"An element of the header is damaged ({type(problem).__name__}).") from None


def _refuse_what(dataset: Dataset) -> None:
    modality = dataset.get("Modality")
    if modality not in MODALITIES:
        raise DataError(f"Modality (0008,0060) is {_shown(modality)}; a projection radiograph is CR or DX.")
    photometric = dataset.get("PhotometricInterpretation")
    if photometric not in PHOTOMETRIC:
        raise DataError(
            f"PhotometricInterpretation (0028,0004) is {_shown(photometric)}; a radiograph is MONOCHROME1 or "
            "MONOCHROME2."
        )
    if view_of(dataset) == NOT_FRONTAL:
        view = dataset.get("ViewPosition") or "in ViewCodeSequence"
        raise DataError(f"ViewPosition (0018,5101) is {_shown(view)}; a frontal radiograph is PA or AP.")


def _refuse_shape(dataset: Dataset) -> None:
    _require("SamplesPerPixel (0028,0002)", dataset.get("SamplesPerPixel", 1), lowest=1, highest=1)
    _require("NumberOfFrames (0028,0008)", dataset.get("NumberOfFrames") or 1, lowest=1, highest=1)
    _require("Rows (0028,0010)", dataset.get("Rows"), lowest=SMALLEST_SIDE, highest=65_535)
    _require("Columns (0028,0011)", dataset.get("Columns"), lowest=SMALLEST_SIDE, highest=65_535)
    if dataset.Rows * dataset.Columns > LARGEST_AREA:
        raise DataError(
            f"Rows (0028,0010) x Columns (0028,0011) is {dataset.Rows} x {dataset.Columns}; a radiograph has at most "
            f"{LARGEST_AREA:,} pixels."
        )
    _require("BitsAllocated (0028,0100)", dataset.get("BitsAllocated"), lowest=8, highest=16)
    _require("BitsStored (0028,0101)", dataset.get("BitsStored"), lowest=2, highest=dataset.BitsAllocated)
    _require("PixelRepresentation (0028,0103)", dataset.get("PixelRepresentation"), lowest=0, highest=1)


def _require(element: str, value: object, *, lowest: int, highest: int) -> None:
    if not isinstance(value, int) or not lowest <= value <= highest:
        allowed = str(lowest) if lowest == highest else f"between {lowest} and {highest}"
        raise DataError(f"{element} is {_shown(value)}; it must be {allowed}.")


def _shown(value: object) -> str:
    """A header's value in quotes if it is a number or made of TERMS; any other word may name a patient."""
    if value is None or value == "":
        return "missing"
    known = isinstance(value, int | float) or TERMS.issuperset(str(value).split())
    return f"'{value}'" if known else "something else"


def _stored_values(dataset: Dataset) -> NDArray[np.int64]:
    """Stored values, (Rows, Columns), without the bits above BitsStored, which may hold overlays."""
    if "PixelData" not in dataset:
        raise DataError("PixelData (7FE0,0010) is missing; the file holds no image.")
    syntax = _syntax_name(dataset)
    try:
        decoded = np.asarray(dataset.pixel_array)
    except Exception as problem:  # the decoders raise almost any kind
        raise DataError(
            f"PixelData (7FE0,0010) cannot be decoded ({syntax}; {type(problem).__name__}); it is damaged or in a "
            "transfer syntax that no installed decoder reads."
        ) from None
    if decoded.shape != (dataset.Rows, dataset.Columns):
        raise DataError("PixelData (7FE0,0010) decodes to another shape than Rows x Columns.")
    if decoded.min() == decoded.max():
        raise DataError("PixelData (7FE0,0010) holds one value everywhere; a radiograph has contrast.")
    return _without_unused_bits(decoded.astype(np.int64), dataset)


def _without_unused_bits(values: NDArray[np.int64], dataset: Dataset) -> NDArray[np.int64]:
    # Sign extension from BitsStored; both lines change nothing where the unused bits are as they should be.
    mask, half = (1 << dataset.BitsStored) - 1, 1 << (dataset.BitsStored - 1)
    if dataset.PixelRepresentation == 0:
        return np.asarray(values & mask)
    return np.asarray(((values + half) & mask) - half)


def _syntax_name(dataset: Dataset) -> str:
    uid = getattr(dataset, "file_meta", Dataset()).get("TransferSyntaxUID")
    return uid.name if uid is not None and uid.is_transfer_syntax else "unknown transfer syntax"


def stored_range(dataset: Dataset) -> Range:
    """The smallest and largest value that BitsStored bits can hold, by PixelRepresentation."""
    levels = 1 << dataset.BitsStored
    return (-(levels // 2), levels // 2 - 1) if dataset.PixelRepresentation else (0, levels - 1)


def _modality(dataset: Dataset, stored: NDArray[np.int64]) -> tuple[NDArray[Any], float, float]:
    """Values after ModalityLUTSequence or rescale, and the range they can take (PS3.3 C.11.1)."""
    table = dataset.get("ModalityLUTSequence")
    if table:
        values, top = _looked_up(stored, table[0], dataset)
        return values, 0.0, top
    slope, intercept = dataset.get("RescaleSlope"), dataset.get("RescaleIntercept")
    if slope is None or intercept is None:
        return stored, *stored_range(dataset)
    slope, intercept = float(slope), float(intercept)
    if slope == 0 or not math.isfinite(slope) or not math.isfinite(intercept):
        raise DataError("RescaleSlope (0028,1053) is 0 or not finite; it must be a number other than 0.")
    ends = sorted(end * slope + intercept for end in stored_range(dataset))
    return stored * slope + intercept, ends[0], ends[1]


def _voi(dataset: Dataset, values: NDArray[Any], full: Range) -> NDArray[np.float64]:
    table = dataset.get("VOILUTSequence")
    if table:
        looked_up, top = _looked_up(np.rint(values).astype(np.int64), table[0], dataset)
        return np.asarray(looked_up / top, dtype=np.float64)
    center, width = _first(dataset, "WindowCenter"), _first(dataset, "WindowWidth")
    if center is None or width is None:
        return np.asarray(np.clip((values - full[0]) / (full[1] - full[0]), 0, 1), dtype=np.float64)
    function = str(dataset.get("VOILUTFunction") or "LINEAR")
    return window(values, center=center, width=width, function=function)


def _first(dataset: Dataset, keyword: str) -> float | None:
    value = dataset.get(keyword)
    if value is None or value == "":
        return None
    first = value if isinstance(value, str | float | int) else next(iter(value), None)
    return None if first is None else float(first)


def window(values: NDArray[Any], *, center: float, width: float, function: str = "LINEAR") -> NDArray[np.float64]:
    """Values through a VOI window, as numbers in [0, 1] (PS3.3 C.11.2.1.2 and C.11.2.1.3).

    Raises:
        DataError: the function is unknown, or the width is too small for it.
    """
    if function not in VOI_FUNCTIONS:
        raise DataError(
            f"VOILUTFunction (0028,1056) is {_shown(function)}; it must be LINEAR, LINEAR_EXACT or SIGMOID."
        )
    least = "at least 1" if function == "LINEAR" else "above 0"
    if not math.isfinite(center) or not math.isfinite(width) or width < (function == "LINEAR") or width <= 0:
        raise DataError(f"WindowWidth (0028,1051) is '{width:g}'; with {function} it must be {least}.")
    x = np.asarray(values, dtype=np.float64)
    if function == "SIGMOID":
        # Beyond ±700 the exponential overflows a double, and the sigmoid is 0 or 1 long before.
        return np.asarray(1 / (1 + np.exp(np.clip(-4 * (x - center) / width, -700, 700))))
    if function == "LINEAR":
        center, width = center - 0.5, width - 1
    if width == 0:
        return np.asarray(x > center, dtype=np.float64)
    return np.clip((x - center) / width + 0.5, 0, 1)


def _looked_up(values: NDArray[np.int64], item: Dataset, dataset: Dataset) -> tuple[NDArray[np.int64], float]:
    """Values through a table of the Modality or VOI LUT Sequence, and the largest output its descriptor allows."""
    entries, first, bits = (int(number) for number in item.LUTDescriptor)
    entries = entries or 65_536  # PS3.3 C.11.2.1.1: 0 stands for 2^16
    if dataset.PixelRepresentation and first >= 32_768:  # written as US, meant as SS
        first -= 65_536
    data = item.LUTData
    table = np.frombuffer(data, dtype="<u2") if isinstance(data, bytes) else np.asarray(data)
    if not 8 <= bits <= 16 or len(table) < entries:
        raise DataError("LUTDescriptor (0028,3002) does not fit LUTData (0028,3006): entries or bits are wrong.")
    return table.astype(np.int64)[np.clip(values - first, 0, entries - 1)], float((1 << bits) - 1)
