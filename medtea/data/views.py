"""From where the beam came: PA and AP are frontal; anything else is not a radiograph that medtea reads.

ViewPosition (0018,5101) is used where it says something, ViewCodeSequence (0054,0220) otherwise.
"""

from __future__ import annotations

import re

from pydicom.dataset import Dataset

NOT_FRONTAL = "not frontal"
UNKNOWN = "unknown"

# ViewPosition's other defined terms (PS3.3 C.8.11.5: laterals, obliques, decubitus) and what vendors write for them.
_NOT_FRONTAL_WORDS = frozenset(
    re.findall("[A-Z]+", "LL RL LAT LATERAL SAGITTAL LLD RLD DECUBITUS LORDOTIC LLO RLO LAO RAO LPO RPO OBL OBLIQUE")
)
# CID 4010 (DX View): SNOMED CT and the retired SNOMED-RT codes of the two frontal views.
_CODES = {"399348003": "AP", "R-10206": "AP", "272479007": "PA", "R-10214": "PA"}
_MEANINGS = {"ANTERO POSTERIOR": "AP", "ANTEROPOSTERIOR": "AP", "POSTERO ANTERIOR": "PA", "POSTEROANTERIOR": "PA"}


def view_of(dataset: Dataset) -> str:
    """PA, AP, NOT_FRONTAL, or UNKNOWN where the header says nothing that is understood."""
    position = view_from_words(str(dataset.get("ViewPosition") or ""))
    return position if position != UNKNOWN else _from_codes(dataset)


def view_from_words(text: str) -> str:
    """PA, AP, NOT_FRONTAL or UNKNOWN, from what a header or a table says ("PA", "AP supine", "left lateral")."""
    words = re.split(r"[^A-Z]+", text.upper())
    if _NOT_FRONTAL_WORDS.intersection(words):
        return NOT_FRONTAL
    named = {"PA", "AP"}.intersection(words)
    if len(named) == 1:
        return named.pop()
    plain = " ".join(words)
    return next((view for meaning, view in _MEANINGS.items() if meaning in plain), UNKNOWN)


def _from_codes(dataset: Dataset) -> str:
    items = dataset.get("ViewCodeSequence")
    if not items:
        return UNKNOWN
    code = str(items[0].get("CodeValue") or "").strip()
    return _CODES.get(code) or view_from_words(str(items[0].get("CodeMeaning") or ""))
