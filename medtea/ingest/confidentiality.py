"""A radiograph's data set without its patient: PS3.15 Annex E by a list of what may stay; all else is not copied.

Basic Application Level Confidentiality Profile with the options Retain Device Identity, Retain Patient Characteristics
and Retain Longitudinal Temporal Information with Modified Dates. Texts that stay are terms of a list or numbers: no
element holds what somebody typed. UIDs and dates are replaced by dicognito, seeded with our key, so that they are the
same in every run and the days between two studies of a patient stay.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping

import numpy as np
from dicognito.anonymizer import Anonymizer
from dicognito.datetimeanonymizer import DateTimeAnonymizer
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.multival import MultiValue
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    ExplicitVRLittleEndian,
)

from medtea.core.errors import DataError
from medtea.core.pseudonyms import Pseudonyms
from medtea.data.pixels import LARGEST_AREA, quiet_pydicom
from medtea.data.views import NOT_FRONTAL, UNKNOWN, view_of
from medtea.ingest.acquisition import facts_of, text_in

SOP_CLASSES = (
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
)
METHOD = "PS3.15 Basic Profile by a list of what stays; modified dates"
# PS3.16 CID 7050.
METHOD_CODES = {
    "113100": "Basic Application Confidentiality Profile",
    "113107": "Retain Longitudinal Temporal Information Modified Dates Option",
    "113108": "Retain Patient Characteristics Option",
    "113109": "Retain Device Identity Option",
}
# Dates move back by two months to two years, never by whole days: the time of day moves too.
LEAST_HOURS, MOST_HOURS = 62 * 24, 730 * 24

UIDS = ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")
TIMES = tuple((f"{what}Date", f"{what}Time") for what in ("Study", "Series", "Acquisition", "Content"))
NUMBERS = (
    *("Rows", "Columns", "SamplesPerPixel", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
    *("PixelPaddingValue", "PixelPaddingRangeLimit", "SmallestImagePixelValue", "LargestImagePixelValue"),
    *("PixelSpacing", "ImagerPixelSpacing", "PixelAspectRatio", "EstimatedRadiographicMagnificationFactor"),
    *("RescaleIntercept", "RescaleSlope", "WindowCenter", "WindowWidth", "PixelIntensityRelationshipSign"),
    *("KVP", "Exposure", "ExposureInuAs", "ExposureTime", "ExposureTimeInuS", "XRayTubeCurrent"),
    *("XRayTubeCurrentInuA", "DistanceSourceToDetector", "DistanceSourceToPatient", "FocalSpots", "Grid"),
    *("ExposureIndex", "TargetExposureIndex", "DeviationIndex", "Sensitivity", "RelativeXRayExposure"),
    *("EntranceDose", "EntranceDoseInmGy", "ImageAndFluoroscopyAreaDoseProduct", "DetectorBinning"),
    *("DetectorElementSpacing", "FieldOfViewDimensions", "FieldOfViewRotation", "FieldOfViewOrigin"),
    *("ShutterLeftVerticalEdge", "ShutterRightVerticalEdge", "ShutterUpperHorizontalEdge"),
    *("ShutterLowerHorizontalEdge", "ShutterPresentationValue", "CollimatorLeftVerticalEdge"),
    *("CollimatorRightVerticalEdge", "CollimatorUpperHorizontalEdge", "CollimatorLowerHorizontalEdge"),
    *("LossyImageCompressionRatio", "PatientSize", "PatientWeight"),
)
GREY_SCALE = ("RescaleIntercept", "RescaleSlope", "WindowCenter", "WindowWidth")
# Keyword to the values that may stay (PS3.3's defined terms); any other is somebody's own word.
TERMS: Mapping[str, str] = {
    "Modality": "CR DX",
    "PhotometricInterpretation": "MONOCHROME1 MONOCHROME2",
    "PresentationLUTShape": "IDENTITY INVERSE",
    "PresentationIntentType": "PRESENTATION PROCESSING FOR",
    "PixelIntensityRelationship": "LIN LOG DISP",
    "VOILUTFunction": "LINEAR LINEAR_EXACT SIGMOID",
    "RescaleType": "US OD HU",
    "BodyPartExamined": "CHEST THORAX LUNG",
    "ImageLaterality": "L R U B",
    "Laterality": "L R",
    "PatientSex": "M F O",
    "PatientOrientation": "A P L R H F",
    "DetectorType": "DIRECT SCINTILLATOR STORAGE FILM",
    "DetectorConfiguration": "AREA SLOT",
    "FieldOfViewShape": "RECTANGLE ROUND HEXAGONAL",
    "FieldOfViewHorizontalFlip": "YES NO",
    "ShutterShape": "RECTANGULAR CIRCULAR POLYGONAL BITMAP",
    "CollimatorShape": "RECTANGULAR CIRCULAR POLYGONAL",
    "LossyImageCompression": "00 01",
    "LossyImageCompressionMethod": "ISO_10918_1 ISO_14495_1 ISO_15444_1 ISO_15444_15 ISO_13818_2",
    "BurnedInAnnotation": "YES NO",
    "RecognizableVisualFeatures": "YES NO",
    "ImageType": "ORIGINAL DERIVED PRIMARY SECONDARY",
}
LUT_SEQUENCES = ("ModalityLUTSequence", "VOILUTSequence")
# Written anew: from lists, hashed, emptied, or said of the method.
MADE = (
    *("SOPClassUID", "SpecificCharacterSet", "PatientName", "PatientID", "PatientBirthDate", "PatientAge"),
    *("StudyID", "AccessionNumber", "ReferringPhysicianName", "SeriesNumber", "InstanceNumber", "ViewPosition"),
    *("Manufacturer", "ManufacturerModelName", "SoftwareVersions", "StationName", "DetectorID", "PixelData"),
    *("PatientIdentityRemoved", "DeidentificationMethod", "DeidentificationMethodCodeSequence"),
    "LongitudinalTemporalInformationModified",
)


def kept_keywords() -> frozenset[str]:
    """Every element that a written file may hold."""
    times = [keyword for pair in TIMES for keyword in pair]
    return frozenset([*UIDS, *times, *NUMBERS, *TERMS, *LUT_SEQUENCES, *MADE])


def without_patient(dataset: Dataset, names: Pseudonyms, *, hospital: str, pixels: bool = True) -> FileDataset:
    """A new data set, uncompressed, with what may stay of a radiograph's; the one given is not changed.

    Args:
        dataset: As read, with its pixels.
        names: Whose key makes pseudonyms, UIDs and the days by which dates move.
        hospital: Whose numbers the patient's and the station's are.
        pixels: False leaves PixelData out, so that a header is enough.

    Raises:
        DataError: it is no CR or DX image of one grey plane, or it cannot be decoded.
    """
    with quiet_pydicom():
        try:
            refuse_other(dataset)
            clean = _copied(dataset)
            patient = text_in(dataset, "PatientID") or text_in(dataset, "StudyInstanceUID")
            _replace(clean, names, patient=names.patient(patient, hospital=hospital))
            _put_device(clean, dataset, names, hospital)
            if pixels:
                _put_pixels(clean, dataset)
        except DataError:
            raise
        except Exception as problem:  # damaged elements make pydicom raise almost any kind
            raise DataError(f"An element of the file is damaged ({type(problem).__name__}).") from None
    return clean


def refuse_other(dataset: Dataset) -> None:
    """Returns when the list of what may stay fits the file.

    Raises:
        DataError: it is no CR or DX image of one grey plane.
    """
    if dataset.get("SOPClassUID") not in SOP_CLASSES:
        raise DataError("SOPClassUID (0008,0016) is not of a CR or DX image; what may stay is listed for these alone.")
    rows, columns = dataset.get("Rows") or 0, dataset.get("Columns") or 0
    if not 0 < rows * columns <= LARGEST_AREA:
        raise DataError(f"Rows x Columns is {rows} x {columns}; a radiograph has 1 to {LARGEST_AREA:,} pixels.")
    if dataset.get("SamplesPerPixel", 1) != 1 or (dataset.get("NumberOfFrames") or 1) != 1:
        raise DataError("The image has several frames or colours; a radiograph is one grey plane.")
    for keyword in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
        if not dataset.get(keyword):
            raise DataError(f"{keyword} is missing; it cannot be replaced consistently.")


def _copied(dataset: Dataset) -> FileDataset:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, dataset.SOPClassUID
    clean = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    clean.SOPClassUID, clean.SpecificCharacterSet = dataset.SOPClassUID, "ISO_IR 192"
    for keyword in UIDS:
        if dataset.get(keyword):
            setattr(clean, keyword, dataset.get(keyword))
    for keyword in NUMBERS:
        _put_number(clean, dataset, keyword)
    for keyword, allowed in TERMS.items():
        words = text_in(dataset, keyword).split()
        if words and _all_allowed(keyword, words, allowed.split()):
            setattr(clean, keyword, dataset.get(keyword))
    clean.ImageType = [word for word in (dataset.get("ImageType") or []) if word in TERMS["ImageType"].split()][:2]
    view = view_of(dataset)
    clean.ViewPosition = "LL" if view == NOT_FRONTAL else "" if view == UNKNOWN else view
    for keyword in LUT_SEQUENCES:
        if dataset.get(keyword):
            setattr(clean, keyword, [_table(item) for item in dataset.get(keyword)])
    for date, time in TIMES:
        _put_time(clean, dataset, date, time)
    return clean


def _put_number(clean: Dataset, dataset: Dataset, keyword: str) -> None:
    """A number of at most five digits before the point; more may be a date or a patient's number."""
    value = dataset.get(keyword)
    if value is None or value == "":
        return
    if all(abs(float(one)) < 100_000 for one in (value if isinstance(value, MultiValue) else [value])):
        setattr(clean, keyword, value)
    elif keyword in GREY_SCALE:
        raise DataError(f"{keyword} is 100,000 or above, which no stored value is; without it the pixels mean nothing.")


def _all_allowed(keyword: str, words: list[str], allowed: list[str]) -> bool:
    if keyword == "PatientOrientation":
        return all(set(word) <= set(allowed) and len(word) <= 3 for word in words)
    return all(word in allowed for word in words)


def _table(item: Dataset) -> Dataset:
    """A LUT without its LUTExplanation, which is free text."""
    table = Dataset()
    for keyword in ("LUTDescriptor", "LUTData"):
        if keyword in item:
            table[keyword] = item[keyword]
    return table


def _put_time(clean: Dataset, dataset: Dataset, date: str, time: str) -> None:
    """Date and, only along with it, time of day, where they are ones."""
    day, hour = text_in(dataset, date).replace(".", ""), text_in(dataset, time).replace(":", "")
    try:
        datetime.datetime.strptime(day, "%Y%m%d")
    except ValueError:
        return
    setattr(clean, date, day)
    if re.fullmatch(r"([01]\d|2[0-3])([0-5]\d([0-5]\d(\.\d{1,6})?)?)?", hour):
        setattr(clean, time, hour)


def _replace(clean: FileDataset, names: Pseudonyms, *, patient: str) -> None:
    hours = LEAST_HOURS + names.number("dates", patient) % (MOST_HOURS - LEAST_HOURS)
    anonymizer = Anonymizer(seed=names.secret("uids"))
    # comes before dicognito's own, which moves every patient by the same days
    anonymizer.add_element_handler(DateTimeAnonymizer(-(hours + (hours % 24 == 0))))
    clean.file_meta.MediaStorageSOPInstanceUID = clean.SOPInstanceUID
    anonymizer.anonymize(clean)
    clean.PatientName = clean.PatientID = patient
    for keyword in ("PatientBirthDate", "StudyID", "AccessionNumber", "ReferringPhysicianName"):
        setattr(clean, keyword, "")
    for keyword in ("SeriesNumber", "InstanceNumber"):
        setattr(clean, keyword, 1)
    clean.PatientIdentityRemoved, clean.LongitudinalTemporalInformationModified = "YES", "MODIFIED"
    clean.DeidentificationMethod = METHOD
    clean.DeidentificationMethodCodeSequence = [_code(*code) for code in METHOD_CODES.items()]


def _code(value: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "DCM", meaning
    return item


def _put_device(clean: Dataset, dataset: Dataset, names: Pseudonyms, hospital: str) -> None:
    facts = facts_of(dataset)
    clean.Manufacturer = str(facts.get("manufacturer", ""))
    for keyword, name in {"ManufacturerModelName": "model", "SoftwareVersions": "software"}.items():
        if name in facts:
            setattr(clean, keyword, str(facts[name]))
    for keyword, name in {"StationName": "station", "DetectorID": "detector"}.items():
        if name in facts:
            setattr(clean, keyword, names.device(name, str(facts[name]), hospital=hospital))
    if "age_years" in facts:
        clean.PatientAge = f"{int(facts['age_years']):03d}Y"


def _put_pixels(clean: Dataset, dataset: Dataset) -> None:
    """Stored values alone: what lies in unused bits, behind the last pixel or in a code stream's comments is not."""
    try:
        stored = np.asarray(dataset.pixel_array)
    except Exception as problem:  # the decoders raise almost any kind
        raise DataError(f"PixelData (7FE0,0010) cannot be decoded ({type(problem).__name__}).") from None
    if stored.shape != (dataset.Rows, dataset.Columns):
        raise DataError("PixelData (7FE0,0010) decodes to another shape than Rows x Columns.")
    bits, signed = int(dataset.BitsStored), bool(dataset.PixelRepresentation)
    values = stored.astype(np.int64) & ((1 << bits) - 1)
    if signed:
        values -= (values >> (bits - 1)) << bits
    wide = dataset.BitsAllocated > 8
    data = values.astype(("<i2" if signed else "<u2") if wide else ("i1" if signed else "u1")).tobytes()
    clean.BitsAllocated, clean.HighBit = 16 if wide else 8, bits - 1
    clean.PixelData = data + b"\0" * (len(data) % 2)
    clean["PixelData"].VR = "OW" if wide else "OB"
