"""Makers and models of X-ray equipment in a controlled vocabulary: a vendor's field can hold what somebody typed."""

from __future__ import annotations

import re

from medtea.data.dicom_files import VENDORS
from medtea.data.views import UNKNOWN

OTHER = "other"
LONGEST = 40  # characters

# What is looked for in Manufacturer, in lower case and without what is no letter, to the name it gets.
MAKERS = {
    **{re.sub("[^a-z]", "", vendor.manufacturer.lower()): vendor.manufacturer for vendor in VENDORS},
    **{"agfa": "Agfa", "carestream": "Carestream", "kodak": "Kodak", "canon": "Canon", "toshiba": "Toshiba"},
    **{"fujifilm": "Fujifilm", "fujiphoto": "Fujifilm", "gehealthcare": "GE", "gemedical": "GE", "lunar": "GE"},
    **{"generalelectric": "GE", "philips": "Philips", "siemens": "Siemens", "samsung": "Samsung", "hologic": "Hologic"},
    **{"konica": "Konica Minolta", "minolta": "Konica Minolta", "shimadzu": "Shimadzu", "hitachi": "Hitachi"},
    **{"delmedical": "Del Medical", "swissray": "Swissray", "varian": "Varian", "varex": "Varex", "rayence": "Rayence"},
    **{"vieworks": "Vieworks", "drgem": "DRGEM", "trixell": "Trixell", "thales": "Thales", "iray": "iRay"},
    **{"mindray": "Mindray", "imagingdynamics": "Imaging Dynamics", "sedecal": "Sedecal", "stephanix": "Stephanix"},
    **{"italray": "Italray", "villasistemi": "Villa Sistemi", "examion": "Examion", "oehmundrehbein": "OR Technology"},
    **{"ortechnology": "OR Technology", "listem": "Listem", "jpihealthcare": "JPI", "medlink": "Medlink"},
    **{"unitedimaging": "United Imaging", "wandong": "Wandong", "perlove": "Perlove", "gmm": "GMM", "arcoma": "Arcoma"},
    **{"quantum": "Quantum", "viztek": "Viztek", "micromaxx": "MicroMaxx", "apelem": "Apelem", "primax": "Primax"},
    **{"lodox": "Lodox", "delft": "Delft Imaging", "oldelft": "Delft Imaging", "atomed": "Atomed", "icrco": "iCRco"},
}
# Product lines and common words of models; a word of letters alone that is not here is left out.
PRODUCT_WORDS = frozenset(
    re.findall(
        r"\S+",
        """acclaim adc aero aquarius aristos axiom bucky capsula carbon cassette cesium chest classic compact
        compass cr cxdi dart definium detector diagnost dicom digital digitaldiagnost digitex discovery dose
        dr drx duradiagnost dx eleva elite essenta evolution evolve explorer fcr fdr flex fluorospot fusion
        gadox general go holder imaging impax innova integris luminos max medical mira mobile mobiledart
        mobilediagnost mobilett multix musica nano nexus optima optimus pcr plate plus portable precision
        premium prestige pro profect proteus radrex radspeed regius revolution select series sigma silhouette
        slim smart sonialvision standard system table thoravision titan type ultimax unity vertix vet vivix
        volume wall wireless xg xgeo ysio""",
    )
).union(*(vendor.model.lower().split() for vendor in VENDORS))


def maker_of(text: str) -> str:
    """The maker by its usual name, "other" where it is in no list, "unknown" where nothing is said."""
    letters = re.sub("[^a-z]", "", text.lower())
    if re.match(r"ge\b", text.lower()):
        return "GE"
    known = (name for part, name in MAKERS.items() if part in letters)
    return next(known, OTHER if text else UNKNOWN)


def model_of(text: str, names: frozenset[str] = frozenset()) -> str:
    """A model's words that are product names or hold a digit; "unknown" where none is left.

    Left out are words with six digits, which may be a number or a date, words of `names`, and words whose letters are
    neither in PRODUCT_WORDS nor at most two (four beside a digit): somebody may have typed a name.
    """
    return " ".join(_words(text, names))[:LONGEST].strip() or UNKNOWN


def software_of(text: str, names: frozenset[str] = frozenset()) -> str:
    """Software versions: words of letters, digits and dots that hold a digit, as `model_of` takes them."""
    words = [re.sub("[^A-Za-z0-9.]", "", word) for word in _words(text, names) if re.search(r"\d", word)]
    return " ".join(words)[:LONGEST].strip() or UNKNOWN


def _words(text: str, names: frozenset[str]) -> list[str]:
    """The words that may stay; a word with a character that no model has is left out whole."""
    words = re.split(r"[\s,;:()\[\]_\"\\]+", text)
    return [word for word in words if re.fullmatch(r"[A-Za-z0-9./+-]+", word) and _may_stay(word.lower(), names)]


def _may_stay(word: str, names: frozenset[str]) -> bool:
    digits, letters = re.sub(r"\D", "", word), re.findall("[a-z]+", word)
    if len(digits) >= 6 or names.intersection(re.findall(r"[a-z]{2,}|\d{4,}", word)):
        return False
    longest = 4 if digits else 2
    return all(len(part) <= longest or part in PRODUCT_WORDS for part in letters)
