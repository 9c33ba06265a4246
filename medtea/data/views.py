"""From where the beam came: PA and AP are frontal; anything else is another view, or unknown, and never guessed.

ViewPosition (0018,5101) is used where it says something, else ViewCodeSequence (0054,0220), else the words of the
descriptions, which are read and never quoted. PatientOrientation (0020,0020) can only say that a view is not frontal.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from pydicom.dataset import Dataset

NOT_FRONTAL = "not frontal"
UNKNOWN = "unknown"

# Nearest to the image first. A study's description may name the views of several images.
DESCRIPTIONS = ("SeriesDescription", "AcquisitionDeviceProcessingDescription", "ProtocolName", "StudyDescription")
# ViewPosition's other defined terms (PS3.3 C.8.11.5: laterals, obliques, decubitus) and what vendors write for them.
_NOT_FRONTAL_WORDS = frozenset(
    re.findall("[A-Z]+", "LL RL LAT LATERAL SAGITTAL LLD RLD DECUBITUS LORDOTIC LLO RLO LAO RAO LPO RPO OBL OBLIQUE")
)
# CID 4010 (DX View): SNOMED CT and the retired SNOMED-RT codes of the two frontal views.
_CODES = {"399348003": "AP", "R-10206": "AP", "272479007": "PA", "R-10214": "PA"}
_MEANINGS = {"ANTERO POSTERIOR": "AP", "ANTEROPOSTERIOR": "AP", "POSTERO ANTERIOR": "PA", "POSTEROANTERIOR": "PA"}
_WITH_DOTS = re.compile(r"\b([AP])\.\s?-?([AP])\b")  # "p.a.", "a. p.", "p.-a."


def view_of(dataset: Dataset) -> str:
    """PA, AP, NOT_FRONTAL, or UNKNOWN where the header says nothing that is understood."""
    return view_and_source(dataset)[0]


def view_and_source(dataset: Dataset) -> tuple[str, str]:
    """The view, and the keyword of the element that said it; "" where none did."""
    return next(((view, source) for source, view in _said(dataset) if view != UNKNOWN), (UNKNOWN, ""))


def _said(dataset: Dataset) -> Iterator[tuple[str, str]]:
    yield "ViewPosition", view_from_words(str(dataset.get("ViewPosition") or ""))
    yield "ViewCodeSequence", _from_codes(dataset)
    for keyword in DESCRIPTIONS:
        yield keyword, _from_description(str(dataset.get(keyword) or ""))
    along = dataset.get("PatientOrientation") or ()
    towards = {str(direction)[:1] for direction in ([along] if isinstance(along, str) else along)}
    yield "PatientOrientation", NOT_FRONTAL if towards & {"A", "P"} else UNKNOWN


def view_from_words(text: str) -> str:
    """PA, AP, NOT_FRONTAL or UNKNOWN, from what a header or a table says ("PA", "AP supine", "left lateral")."""
    words = _words(text)
    if _NOT_FRONTAL_WORDS.intersection(words):
        return NOT_FRONTAL
    return _frontal(words)


def _words(text: str) -> list[str]:
    return re.split(r"[^A-Z]+", _WITH_DOTS.sub(r"\1\2", text.upper()))


def _frontal(words: list[str]) -> str:
    named = {"PA", "AP"}.intersection(words)
    if len(named) == 1:
        return named.pop()
    plain = " ".join(words)
    return next((view for meaning, view in _MEANINGS.items() if meaning in plain), UNKNOWN)


def _from_description(text: str) -> str:
    """As `view_from_words`; but "chest PA and lateral" names two images and so says nothing about this one."""
    words = _words(text)
    is_frontal = _frontal(words) != UNKNOWN or bool({"PA", "AP"}.intersection(words))
    return UNKNOWN if is_frontal and _NOT_FRONTAL_WORDS.intersection(words) else view_from_words(text)


def _from_codes(dataset: Dataset) -> str:
    items = dataset.get("ViewCodeSequence")
    if not items:
        return UNKNOWN
    code = str(items[0].get("CodeValue") or "").strip()
    return _CODES.get(code) or view_from_words(str(items[0].get("CodeMeaning") or ""))
