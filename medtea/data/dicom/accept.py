"""Which DICOM images are taken for a frontal chest radiograph, by their header alone."""

from __future__ import annotations

from pydicom.dataset import Dataset

from medtea.core.errors import DataError
from medtea.data.choices import Accept
from medtea.data.dicom.header import quiet_pydicom, shown, side_values
from medtea.data.views import NOT_FRONTAL, UNKNOWN, view_and_source

GREY = ("MONOCHROME1", "MONOCHROME2")
COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
# 64 M pixels: four times a large detector (4,300 x 3,500), checked before anything is decoded.
LARGEST_AREA = 64_000_000
SMALLEST_SIDE = 16
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"  # and .7.1 to .7.4, its multi-frame forms
# Defined terms of BodyPartExamined (PS3.16 Annex L) that are certainly not a chest. What is in neither this list nor
# known as a chest passes: hospitals write it in their own language, or leave it empty.
OTHER_BODY_PARTS = frozenset(
    {"ABDOMEN", "ANKLE", "ARM", "BREAST", "CALCANEUS", "CLAVICLE", "COCCYX", "CSPINE", "ELBOW", "EXTREMITY"}
    | {"FEMUR", "FINGER", "FOOT", "FOREARM", "HAND", "HEAD", "HIP", "HUMERUS", "JAW", "KNEE", "LEG", "LSPINE"}
    | {"MANDIBLE", "NECK", "PATELLA", "PELVIS", "RADIUS", "SACRUM", "SHOULDER", "SKULL", "SPINE", "SSPINE"}
    | {"TEETH", "THIGH", "TIBIA", "TOE", "TSPINE", "ULNA", "WRIST", "ZYGOMA"}
)
USUAL_KINDS = Accept()


def refuse_unusable(dataset: Dataset, accept: Accept = USUAL_KINDS) -> None:
    """Returns when the header is that of a radiograph that is to be taken; needs no pixel data.

    Raises:
        DataError: naming the first element that stands in the way.
    """
    with quiet_pydicom():
        try:
            _refuse_kind(dataset, accept)
            _refuse_subject(dataset, accept)
            _refuse_shape(dataset)
        except DataError:
            raise
        except Exception as problem:  # damaged elements make pydicom raise almost any kind
            raise DataError(f"An element of the header is damaged ({type(problem).__name__}).") from None


def is_secondary_capture(dataset: Dataset) -> bool:
    """By the storage class or by ConversionType, which only secondary captures have."""
    storage = str(dataset.get("SOPClassUID") or "")
    return storage.startswith(SECONDARY_CAPTURE) or bool(side_values(dataset, "ConversionType"))


def is_derived(dataset: Dataset) -> bool:
    """By value 1 of ImageType."""
    return [str(value).strip() for value in side_values(dataset, "ImageType")[:1]] == ["DERIVED"]


def is_for_processing(dataset: Dataset) -> bool:
    """By PresentationIntentType."""
    return str(dataset.get("PresentationIntentType") or "").strip() == "FOR PROCESSING"


def _refuse_kind(dataset: Dataset, accept: Accept) -> None:
    modality = dataset.get("Modality")
    if modality not in accept.modalities:
        usual = " or ".join(accept.modalities)
        raise DataError(f"Modality (0008,0060) is {shown(modality)}; a projection radiograph is {usual}.")
    photometric = dataset.get("PhotometricInterpretation")
    if photometric not in GREY and not (accept.colour == "keep" and photometric in COLOUR):
        mend = " (accept.colour: keep takes grey that is stored in colour)" if photometric in COLOUR else ""
        raise DataError(
            f"PhotometricInterpretation (0028,0004) is {shown(photometric)}; a radiograph is MONOCHROME1 or "
            f"MONOCHROME2{mend}."
        )
    frames = dataset.get("NumberOfFrames") or 1
    if frames != 1 and accept.multi_frame == "refuse":
        raise DataError(
            f"NumberOfFrames (0028,0008) is {shown(frames)}; it must be 1 (accept.multi_frame: keep takes the first)."
        )
    if accept.for_processing == "refuse" and is_for_processing(dataset):
        raise DataError(
            "PresentationIntentType (0008,0068) is 'FOR PROCESSING': what the detector counted, not what a radiologist "
            "sees. accept.for_processing: keep takes it."
        )
    if accept.secondary_capture == "refuse" and is_secondary_capture(dataset):
        raise DataError("The image is a secondary capture (SOPClassUID (0008,0016) or ConversionType (0008,0064)).")
    if accept.derived == "refuse" and is_derived(dataset):
        raise DataError("ImageType (0008,0008) says 'DERIVED'; accept.derived: keep takes it.")


def _refuse_subject(dataset: Dataset, accept: Accept) -> None:
    view, source = view_and_source(dataset)
    if view == NOT_FRONTAL and accept.lateral == "refuse":
        said = f"is {shown(dataset.get(source))}" if source == "ViewPosition" else "tells another view"
        name = "ViewPosition (0018,5101)" if source == "ViewPosition" else source
        raise DataError(f"{name} {said}; a frontal radiograph is PA or AP.")
    if view == UNKNOWN and accept.unknown_view == "refuse":
        raise DataError("No element tells the view (ViewPosition, ViewCodeSequence, descriptions).")
    part = body_part(dataset)
    if part and accept.other_body_part == "refuse":
        raise DataError(f"BodyPartExamined (0018,0015) is '{part}'; a chest radiograph is CHEST, or it is left empty.")


def body_part(dataset: Dataset) -> str:
    """The part examined, as a term of PS3.16, if it is certainly not the chest; else ""."""
    part = str(dataset.get("BodyPartExamined") or "").strip().upper()
    regions = [] if part else side_values(dataset, "AnatomicRegionSequence")[:1]
    part = part or "".join(str(item.get("CodeMeaning") or "").upper() for item in regions).replace(" ", "")
    return part if part in OTHER_BODY_PARTS else ""


def _refuse_shape(dataset: Dataset) -> None:
    samples = 1 if dataset.get("PhotometricInterpretation") in GREY else 3
    _require("SamplesPerPixel (0028,0002)", dataset.get("SamplesPerPixel", samples), lowest=samples, highest=samples)
    _require("NumberOfFrames (0028,0008)", dataset.get("NumberOfFrames") or 1, lowest=1, highest=1 << 31)
    _require("Rows (0028,0010)", dataset.get("Rows"), lowest=SMALLEST_SIDE, highest=65_535)
    _require("Columns (0028,0011)", dataset.get("Columns"), lowest=SMALLEST_SIDE, highest=65_535)
    if dataset.Rows * dataset.Columns > LARGEST_AREA:
        raise DataError(
            f"Rows (0028,0010) x Columns (0028,0011) is {dataset.Rows} x {dataset.Columns}; a radiograph has at most "
            f"{LARGEST_AREA:,} pixels."
        )
    allocated = dataset.get("BitsAllocated")
    if allocated not in (8, 16, 32):
        raise DataError(f"BitsAllocated (0028,0100) is {shown(allocated)}; it must be 8, 16 or 32.")
    stored = dataset.get("BitsStored")
    _require("BitsStored (0028,0101)", stored, lowest=2, highest=allocated)
    _require("HighBit (0028,0102)", dataset.get("HighBit", stored - 1), lowest=stored - 1, highest=allocated - 1)
    _require("PixelRepresentation (0028,0103)", dataset.get("PixelRepresentation"), lowest=0, highest=1)


def _require(element: str, value: object, *, lowest: int, highest: int) -> None:
    if not isinstance(value, int) or not lowest <= value <= highest:
        allowed = str(lowest) if lowest == highest else f"between {lowest} and {highest}"
        raise DataError(f"{element} is {shown(value)}; it must be {allowed}.")
