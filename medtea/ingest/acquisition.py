"""What a header says of how a radiograph was taken and with what, in a controlled vocabulary.

The options Retain Device Identity and Retain Patient Characteristics of PS3.15 Annex E let these attributes stay. But a
vendor's field can hold what somebody typed, so no free text passes: makers come from a list, a model's words are
product names or hold a digit, station and detector are keyed hashes, numbers are kept within what a tube can do.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag, Tag

from medtea.core.pseudonyms import Pseudonyms
from medtea.data.makers import maker_of, model_of, software_of
from medtea.data.views import UNKNOWN

DECLARED = "declared"
"""Of `text_on_border`: BurnedInAnnotation or RecognizableVisualFeatures is YES."""
OLDEST = 90  # years; 90 stands for everyone of 90 and above: so few are that old that the number says who
Facts = Mapping[str, str | float]

# DetectorType's defined terms (PS3.3 C.8.11.4).
DETECTOR_TYPES = frozenset({"DIRECT", "SCINTILLATOR", "STORAGE", "FILM"})
# Who and what may be named in a vendor's field by mistake.
PERSONS = (
    *("PatientName", "PatientID", "OtherPatientIDs", "PatientBirthName", "AccessionNumber", "OperatorsName"),
    *("ReferringPhysicianName", "PerformingPhysicianName", "RequestingPhysician", "NameOfPhysiciansReadingStudy"),
)
# Where somebody may have said that the radiograph was taken at the bed; never quoted.
WORDED = (
    *("ManufacturerModelName", "StationName", "StudyDescription", "SeriesDescription", "ProtocolName"),
    *("ImageComments", "AcquisitionDeviceProcessingDescription", "PerformedProcedureStepDescription"),
    *("RequestedProcedureDescription", "AcquisitionProtocolDescription", "ViewPosition"),
)
CONTROL = re.compile(r"[\x00-\x1f\x7f\\]+")
PORTABLE = re.compile(
    r"portab|port.{1,2}til|\bmobil|mobilett|mobiledart|bedside|bettaufnahme|\bliegend|\bau lit\b|\bletto\b|\bamx\b"
)
UPRIGHT = re.compile(r"\bupright\b|\berect\b|\bstanding\b|wall ?stand|\bstehend|\bdebout\b|\bbucky\b|digitaldiagnost")


def facts_of(dataset: Dataset) -> dict[str, str | float]:
    """What the header says of the acquisition; `station` and `detector` still as they stand there.

    They, and a year that is not wanted, go on in `row_of`: keep what this returns as you keep a patient's number.
    """
    names = names_in(dataset)
    facts: dict[str, str | float] = {
        "manufacturer": maker_of(_text(dataset, "Manufacturer")),
        "model": model_of(_text(dataset, "ManufacturerModelName"), names),
        "station": _text(dataset, "StationName") or _text(dataset, "DeviceSerialNumber"),
        "detector": _text(dataset, "DetectorID"),
        "detector_type": _term(_text(dataset, "DetectorType"), DETECTOR_TYPES),
        "kvp": _within(_number(dataset, "KVP"), 20, 200, digits=1),
        "exposure_mas": _within(_exposure(dataset), 0.001, 2000, digits=3),
        "exposure_index": _within(_number(dataset, "ExposureIndex"), 0.001, 100_000, digits=1),
        "software": software_of(_text(dataset, "SoftwareVersions"), names),
        "year": _year(dataset),
        "portable": _portable(dataset),
        "age_years": _age(dataset),
        "sex": _term(_text(dataset, "PatientSex"), frozenset({"M", "F", "O"})),
    }
    if "YES" in (_text(dataset, "BurnedInAnnotation").upper(), _text(dataset, "RecognizableVisualFeatures").upper()):
        facts["text_on_border"] = DECLARED
    return {name: value for name, value in facts.items() if value not in ("", UNKNOWN) and value == value}


def row_of(facts: Facts, names: Pseudonyms, *, hospital: str, keep_year: bool = True) -> dict[str, str | float]:
    """The facts as they may be written down: station and detector hashed, the year only where it is wanted."""
    row = {name: value for name, value in facts.items() if keep_year or name != "year"}
    for name in ("station", "detector"):
        if name in row:
            row[name] = names.device(name, str(row[name]), hospital=hospital)
    return row


def device_of(facts: Facts) -> str:
    """Maker and model in one, "unknown" where nothing is known of either."""
    words = (str(facts.get(name, UNKNOWN)) for name in ("manufacturer", "model"))
    return " ".join(word for word in words if word != UNKNOWN) or UNKNOWN


def names_in(dataset: Dataset) -> frozenset[str]:
    """What names or numbers a person in the header: words of two letters or four digits and more, in lower case."""
    texts = [_text(dataset, keyword) for keyword in PERSONS]
    return frozenset(word for text in texts for word in re.findall(r"[a-z]{2,}|\d{4,}", text.lower()))


def text_in(dataset: Dataset, keyword: str) -> str:
    """The element as one line of text without control characters."""
    value = dataset.get(keyword)
    several = value if isinstance(value, MultiValue) else [value or ""]
    return re.sub(r"[\x00-\x1f\x7f]+", " ", " ".join(str(one) for one in several)).strip()


def _text(dataset: Dataset, keyword: str) -> str:
    """The element as it lies in the file, "" where it is missing: a tenth of the time that converting it takes.

    Latin-1 decodes every byte, and what is made of the text is ASCII or hashed.
    """
    element: Any = dataset.get_item(_tag(keyword))
    if element is None:
        return ""
    value = element.value
    if isinstance(value, bytes):
        text = value.decode("latin-1")
    else:
        text = " ".join(str(one) for one in (value if isinstance(value, MultiValue) else [value or ""]))
    return CONTROL.sub(" ", text).strip()


@lru_cache(maxsize=256)
def _tag(keyword: str) -> BaseTag:
    return Tag(keyword)


def _term(text: str, allowed: frozenset[str]) -> str:
    return text.upper() if text.upper() in allowed else UNKNOWN


def _number(dataset: Dataset, keyword: str) -> float:
    """The element as a number, NaN where it is none."""
    try:
        return float(_text(dataset, keyword))
    except ValueError:
        return math.nan


def _within(value: float, low: float, high: float, *, digits: int) -> float:
    return round(value, digits) if low <= value <= high else math.nan


def _exposure(dataset: Dataset) -> float:
    """Tube current x time in mAs, from the first of the attributes that say it; NaN where none does."""
    in_mas, in_uas = _number(dataset, "Exposure"), _number(dataset, "ExposureInuAs") / 1000
    product = _number(dataset, "ExposureTime") * _number(dataset, "XRayTubeCurrent") / 1000  # ms x mA
    fine = _number(dataset, "ExposureTimeInuS") * _number(dataset, "XRayTubeCurrentInuA") / 1e9
    # Exposure is a whole number of mAs: the finer ones say more, and 0 of it says nothing.
    return next((value for value in (in_uas, fine, in_mas, product) if value > 0), math.nan)


def _year(dataset: Dataset) -> float:
    for keyword in ("AcquisitionDate", "ContentDate", "SeriesDate", "StudyDate"):
        date = _text(dataset, keyword).replace(".", "")
        if re.fullmatch(r"\d{8}", date) and 1950 <= int(date[:4]) <= 2100:
            return int(date[:4])
    return math.nan


def _age(dataset: Dataset) -> float:
    """Completed years, 90 for all above; PatientAge wins over the dates."""
    said = re.fullmatch(r"(\d{1,3})([YMWD])", _text(dataset, "PatientAge").upper())
    if said:
        years = int(said[1]) if said[2] == "Y" else int(int(said[1]) / {"M": 12, "W": 52.18, "D": 365.25}[said[2]])
        return float(min(years, OLDEST))
    born, taken = _text(dataset, "PatientBirthDate").replace(".", ""), _text(dataset, "StudyDate").replace(".", "")
    if not (re.fullmatch(r"\d{8}", born) and re.fullmatch(r"\d{8}", taken)):
        return math.nan
    years = (int(taken) - int(born)) // 10_000
    return float(min(years, OLDEST)) if 0 <= years <= 130 else math.nan


def _portable(dataset: Dataset) -> str:
    """Whether it was taken at the bed, by words of the header alone: AP does not say it."""
    said = " ".join(_text(dataset, keyword) for keyword in WORDED).lower()
    if PORTABLE.search(said):
        return "yes"
    return "no" if UPRIGHT.search(said) else UNKNOWN
