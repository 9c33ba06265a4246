"""Opens a DICOM file without a word about it, and reads single elements of its header."""

from __future__ import annotations

import contextlib
import logging
import math
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from medtea.core.errors import DataError

# What may be quoted of a header: PS3.3's terms, and vendors' words, that stand where a radiograph has another one.
TERMS = frozenset(
    re.findall(
        r"\S+",
        """AR BI BMD CR CT DG DM DOC DR DX ECG EPS ES FID GM HC HD IO IVOCT IVUS KO LS MG MR NM OAM OCT OP OPM OPT OPV
        OSS OT PR PT PX REG RESP RF RG RTDOSE RTIMAGE RTPLAN RTRECORD RTSTRUCT RWV SC SEG SM SMR SR SRF ST TG US VA XA
        XC MONOCHROME1 MONOCHROME2 PALETTE COLOR RGB HSV ARGB CMYK YBR_FULL YBR_FULL_422 YBR_PARTIAL_420 YBR_ICT
        YBR_RCT AP PA LL RL LLD RLD LLO RLO LAO RAO LPO RPO LAT LATERAL SAGITTAL DECUBITUS LORDOTIC OBL OBLIQUE LEFT
        RIGHT LINEAR LINEAR_EXACT SIGMOID CUBIC""",
    )
)


FIRST_VRS, LONGEST_FIRST = {b"UL", b"CS", b"UI", b"SH", b"LO", b"DA", b"TM"}, 256
"""Of the first element of a file: with explicit VR its type, with implicit VR its length."""


@contextlib.contextmanager
def quiet_pydicom() -> Iterator[None]:
    """Within it pydicom neither warns nor logs: its warnings quote values of the header, names among them."""
    logger = logging.getLogger("pydicom")
    level = logger.level
    if level > logging.CRITICAL:  # within another of its kind: to set a level makes every logger forget its own
        yield
        return
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
            raise DataError(without_preamble(path) or NO_PREFIX) from None
        except Exception as problem:  # a damaged file makes pydicom raise almost any kind
            raise DataError(f"The DICOM header cannot be read ({type(problem).__name__}).") from None


NO_PREFIX = "The file is not DICOM: the prefix DICM is missing after the preamble."


def without_preamble(path: Path) -> str:
    """Why a file is refused that begins as DICOM does behind its preamble (PS3.10 7.1); "" where it does not."""
    with path.open("rb") as file:
        start = file.read(8)
    group, length = start[:2], int.from_bytes(start[4:8], "little")
    if len(start) < 8 or group not in (b"\2\0", b"\x08\0") or not (start[4:6] in FIRST_VRS or length < LONGEST_FIRST):
        return ""
    return "The file is DICOM without its preamble and the prefix DICM; dcmtk's dcmconv writes it anew with both."


def shown(value: object) -> str:
    """A header's value in quotes if it is a number or made of TERMS; any other word may name a patient."""
    if value is None or value == "":
        return "missing"
    known = isinstance(value, int | float) or TERMS.issuperset(str(value).split())
    return f"'{value}'" if known else "something else"


def values_of(dataset: Dataset, keyword: str) -> list[Any]:
    """The element's values; none where it is missing or empty."""
    value = dataset.get(keyword)
    if value is None or value == "":
        return []
    return [value] if isinstance(value, str | bytes | int | float) else [one for one in value if one not in (None, "")]


def side_values(dataset: Dataset, keyword: str) -> list[Any]:
    """The same of an element that the pixels do not depend on: none where it is damaged."""
    try:
        return values_of(dataset, keyword)
    except Exception:  # damaged elements make pydicom raise almost any kind
        return []


def side_numbers(dataset: Dataset, keyword: str) -> list[float]:
    """The finite numbers of an element that the pixels do not depend on; none where one of them is damaged."""
    try:
        numbers = [float(value) for value in side_values(dataset, keyword)]
    except (TypeError, ValueError, OverflowError):
        return []
    return numbers if all(math.isfinite(number) for number in numbers) else []


def side_number(dataset: Dataset, keyword: str) -> float | None:
    """The first of them."""
    return next(iter(side_numbers(dataset, keyword)), None)
