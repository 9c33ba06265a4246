"""Writes radiographs as DICOM in the manners of six invented vendors, so that any picture can go through the real door.

What is written reads back as the same picture, to half a step of the stored grey values.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)

from medtea.core.errors import DataError

SMALLEST_SIDE = 32
VIEW_CODES = {"PA": ("272479007", "postero-anterior"), "AP": ("399348003", "antero-posterior")}  # PS3.16 CID 4010


@dataclass(frozen=True)
class Vendor:
    """How one maker of X-ray equipment writes its files.

    Attributes:
        manufacturer: Manufacturer (0008,0070).
        model: ManufacturerModelName (0008,1090).
        modality: "DX" or "CR".
        photometric: "MONOCHROME1" or "MONOCHROME2".
        bits: BitsStored, 8 to 16.
        syntax: Transfer syntax, a lossless one.
        window: The share of the stored range that the picture takes, lowest and highest; a VOI window marks it.
            None: the picture takes the whole range and there is no window.
        function: VOILUTFunction, where there is a window.
        signed: PixelRepresentation 1, with a rescale that brings the values back to 0 and above.
    """

    manufacturer: str
    model: str
    modality: str
    photometric: str
    bits: int
    syntax: UID
    window: tuple[float, float] | None = None
    function: str = "LINEAR"
    signed: bool = False

    @property
    def stored_levels(self) -> tuple[int, int]:
        """The unsigned values that stand for 0 and 1 of the picture (before MONOCHROME1 turns them over)."""
        top = (1 << self.bits) - 1
        low, high = self.window or (0.0, 1.0)
        return round(low * top), round(high * top)

    @property
    def step(self) -> float:
        """The distance between two neighbouring grey values in the picture's [0, 1]."""
        low, high = self.stored_levels
        return 1 / (high - low)


VENDORS = (
    Vendor("Aster Imaging", "Aster 12", "DX", "MONOCHROME2", 12, ExplicitVRLittleEndian),
    Vendor("Borealis Radiology", "Plate 10", "CR", "MONOCHROME1", 10, RLELossless, window=(0.1, 0.9)),
    Vendor("Corvid Medical", "Wing DR", "DX", "MONOCHROME1", 12, JPEGLSLossless),
    Vendor("Delphin X-Ray", "Delphin 16", "DX", "MONOCHROME2", 16, JPEG2000Lossless, (0.05, 0.7), "LINEAR_EXACT"),
    Vendor("Ember Systems", "Cassette 8", "CR", "MONOCHROME2", 8, ImplicitVRLittleEndian),
    Vendor("Fjord Diagnostics", "Fjord S", "CR", "MONOCHROME2", 14, ExplicitVRLittleEndian, (0.2, 0.8), signed=True),
)


def write_radiograph(
    path: Path,
    radiograph: NDArray[np.floating],
    *,
    vendor: Vendor,
    patient: str,
    study: str,
    instance: str = "1",
    view: str = "PA",
    hospital: str = "",
    spacing_mm: float | None = None,
) -> str:
    """Writes one DICOM file and returns its SOPInstanceUID; the same arguments make the same file.

    Args:
        path: The file; its folder must exist. It appears complete or not at all.
        radiograph: (rows, columns) in [0, 1], bright where the body is dense.
        vendor: In whose manner.
        patient: PatientID; UIDs and dates derive from it, from `study`, `instance` and `hospital`.
        study: Names the study within the patient.
        instance: Names the image within the study.
        view: ViewPosition; "unknown" leaves it empty.
        hospital: InstitutionName.
        spacing_mm: ImagerPixelSpacing of both axes. Left out when None, though DX asks for it: a made-up spacing would
            be worse than none.

    Raises:
        DataError: the array is not two-dimensional, has a side below 32, or leaves [0, 1].
    """
    dataset = _dataset(vendor, [hospital, patient, study, instance])
    _identify(dataset, patient=patient, hospital=hospital, day=_day(hospital, patient, study))
    _put_view(dataset, view)
    if spacing_mm is not None:
        dataset.ImagerPixelSpacing = [f"{spacing_mm:.6g}"] * 2
    _put_pixels(dataset, radiograph, vendor)
    # PatientID's characters decide nothing about the name of the temporary file.
    part = path.with_name(f".{hashlib.sha256(path.name.encode()).hexdigest()[:12]}.part")
    dataset.save_as(part, enforce_file_format=True)
    part.replace(path)
    return str(dataset.SOPInstanceUID)


def instance_uid(hospital: str, patient: str, study: str, instance: str) -> str:
    """The SOPInstanceUID that `write_radiograph` gives, known before anything is written."""
    return str(generate_uid(entropy_srcs=["instance", hospital, patient, study, instance]))


def _dataset(vendor: Vendor, names: list[str]) -> FileDataset:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = vendor.syntax if not vendor.syntax.is_encapsulated else ExplicitVRLittleEndian
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    is_dx = vendor.modality == "DX"
    dataset.SOPClassUID = DigitalXRayImageStorageForPresentation if is_dx else ComputedRadiographyImageStorage
    dataset.SOPInstanceUID = instance_uid(*names)
    dataset.StudyInstanceUID = generate_uid(entropy_srcs=["study", *names[:3]])
    dataset.SeriesInstanceUID = generate_uid(entropy_srcs=["series", *names[:3]])
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.ImageType = ["DERIVED", "PRIMARY"]
    dataset.Modality = vendor.modality
    dataset.Manufacturer, dataset.ManufacturerModelName = vendor.manufacturer, vendor.model
    dataset.BodyPartExamined = "CHEST"
    if is_dx:
        dataset.PresentationIntentType = "FOR PRESENTATION"
        dataset.PresentationLUTShape = "INVERSE" if vendor.photometric == "MONOCHROME1" else "IDENTITY"
        # PS3.3 C.8.11.3.1.2: 1 where larger values stand for more X-rays that came through, -1 where for fewer
        sign = 1 if vendor.photometric == "MONOCHROME1" else -1
        dataset.PixelIntensityRelationship, dataset.PixelIntensityRelationshipSign = "LOG", sign
        dataset.ImageLaterality = "U"
        dataset.AnatomicRegionSequence = [_code("51185008", "Chest")]
    dataset.PatientOrientation = ["L", "F"]  # columns run to the patient's left, rows to the feet
    dataset.LossyImageCompression = "00"
    return dataset


def _put_view(dataset: FileDataset, view: str) -> None:
    dataset.ViewPosition = "" if view == "unknown" else view
    if dataset.Modality == "DX" and view in VIEW_CODES:
        dataset.ViewCodeSequence = [_code(*VIEW_CODES[view])]


def _code(value: str, meaning: str) -> Dataset:
    """One item of a code sequence, SNOMED CT."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "SCT", meaning
    return item


def _identify(dataset: FileDataset, *, patient: str, hospital: str, day: date) -> None:
    dataset.PatientID, dataset.PatientName = patient, "Made^By Code"
    dataset.PatientBirthDate = dataset.PatientSex = ""
    dataset.InstitutionName = hospital
    dataset.StudyDate = dataset.SeriesDate = dataset.AcquisitionDate = dataset.ContentDate = f"{day:%Y%m%d}"
    dataset.StudyTime = dataset.ContentTime = "120000"
    dataset.StudyID = dataset.AccessionNumber = dataset.ReferringPhysicianName = ""
    dataset.SeriesNumber = dataset.InstanceNumber = 1


def _day(*names: str) -> date:
    """A made-up day between 2015 and 2023."""
    number = int.from_bytes(hashlib.sha256("/".join(names).encode()).digest()[:4], "big")
    return date(2015, 1, 1) + timedelta(days=number % (9 * 365))


def _put_pixels(dataset: FileDataset, radiograph: NDArray[np.floating], vendor: Vendor) -> None:
    stored = stored_values(radiograph, vendor)
    dataset.Rows, dataset.Columns = stored.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, vendor.photometric
    dataset.BitsAllocated = 8 if vendor.bits == 8 else 16
    dataset.BitsStored, dataset.HighBit = vendor.bits, vendor.bits - 1
    dataset.PixelRepresentation = int(vendor.signed)
    _put_grey_scale(dataset, vendor)
    kind = np.dtype("u1" if vendor.bits == 8 else "<i2" if vendor.signed else "<u2")
    data = stored.astype(kind).tobytes()
    dataset.PixelData = data + b"\0" * (len(data) % 2)
    dataset["PixelData"].VR = "OB" if vendor.bits == 8 and not vendor.syntax.is_implicit_VR else "OW"
    if vendor.syntax.is_encapsulated:
        dataset.compress(vendor.syntax, generate_instance_uid=False)


def stored_values(radiograph: NDArray[np.floating], vendor: Vendor) -> NDArray[np.int64]:
    """The picture as this vendor's stored values.

    Raises:
        DataError: the array is not two-dimensional, has a side below 32 (JPEG 2000's five halvings need it), or
            leaves [0, 1].
    """
    if radiograph.ndim == 2 and min(radiograph.shape) < SMALLEST_SIDE:
        raise DataError(f"A radiograph to be written has at least {SMALLEST_SIDE} rows and columns.")
    if radiograph.ndim != 2 or not np.isfinite(radiograph).all() or radiograph.min() < 0 or radiograph.max() > 1:
        raise DataError("A radiograph to be written is (rows, columns) with values in [0, 1].")
    grey = np.asarray(radiograph, dtype=np.float64)
    if vendor.photometric == "MONOCHROME1":
        grey = 1 - grey
    low, high = vendor.stored_levels
    offset = 1 << (vendor.bits - 1) if vendor.signed else 0
    return np.rint(low + grey * (high - low)).astype(np.int64) - offset


def _put_grey_scale(dataset: FileDataset, vendor: Vendor) -> None:
    if vendor.signed:
        dataset.RescaleIntercept, dataset.RescaleSlope = str(1 << (vendor.bits - 1)), "1"
    elif vendor.modality == "DX":
        dataset.RescaleIntercept, dataset.RescaleSlope = "0", "1"
    if vendor.signed or vendor.modality == "DX":
        dataset.RescaleType = "US"
    if vendor.window is None:
        return
    low, high = vendor.stored_levels
    if vendor.function == "LINEAR":  # PS3.3 C.11.2.1.2.1: black up to c - 0.5 - (w - 1)/2, white from the mirror image
        center, width = (low + high + 1) / 2, high - low + 1
    else:
        center, width = (low + high) / 2, high - low
        dataset.VOILUTFunction = vendor.function
    dataset.WindowCenter, dataset.WindowWidth = str(center), str(width)
