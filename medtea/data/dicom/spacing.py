"""How far apart the pixels are, in the patient as far as the header tells, and which element said so."""

from __future__ import annotations

from dataclasses import dataclass

from pydicom.dataset import Dataset

from medtea.data.dicom.header import side_number, side_numbers, side_values
from medtea.data.geometry import Turn

SMALLEST_MM, LARGEST_MM = 0.01, 5.0  # detectors and film scanners lie between 0.05 and 0.4
LARGEST_MAGNIFICATION = 3.0  # a chest lies close to the detector: 1.05 to 1.3


@dataclass(frozen=True)
class Spacing:
    """Distances between rows and between columns, as stored.

    Attributes:
        rows: Between rows, in mm; None where unknown.
        columns: Between columns.
        source: The element, or the two elements whose quotient it is.
        magnification: What the detector's distances were divided by.
        aspect: rows over columns, which may be known alone.
    """

    rows: float | None = None
    columns: float | None = None
    source: str = "unknown"
    magnification: float | None = None
    aspect: float | None = None

    def turned(self, turn: Turn) -> Spacing:
        """The same of the upright image."""
        if not turn.transpose:
            return self
        aspect = None if self.aspect is None else 1 / self.aspect
        return Spacing(self.columns, self.rows, self.source, self.magnification, aspect)


def spacing_of(dataset: Dataset) -> Spacing:
    """PixelSpacing, else ImagerPixelSpacing over the magnification, else NominalScannedPixelSpacing.

    PixelSpacing that only repeats ImagerPixelSpacing, without a PixelSpacingCalibrationType, is the detector's
    (PS3.3 10.7.1.3), so it is divided by the magnification too. That is EstimatedRadiographicMagnificationFactor, else
    DistanceSourceToDetector over DistanceSourceToPatient. PixelAspectRatio speaks where no spacing does.
    """
    calibrated, detector = _pair(dataset, "PixelSpacing"), _pair(dataset, "ImagerPixelSpacing")
    if calibrated and calibrated == detector and not side_values(dataset, "PixelSpacingCalibrationType"):
        calibrated = None
    if calibrated:
        return _spacing(calibrated, "PixelSpacing")
    if detector:
        factor, said_by = _magnification(dataset)
        return _spacing(detector, f"ImagerPixelSpacing{said_by}", factor)
    scanned = _pair(dataset, "NominalScannedPixelSpacing")
    if scanned:
        return _spacing(scanned, "NominalScannedPixelSpacing")
    ratio = side_numbers(dataset, "PixelAspectRatio")
    known = len(ratio) == 2 and min(ratio) > 0
    return Spacing(aspect=ratio[0] / ratio[1]) if known else Spacing()


def _spacing(pair: tuple[float, float], source: str, factor: float | None = None) -> Spacing:
    rows, columns = (distance / (factor or 1.0) for distance in pair)
    return Spacing(rows, columns, source, factor, rows / columns)


def _pair(dataset: Dataset, keyword: str) -> tuple[float, float] | None:
    numbers = side_numbers(dataset, keyword)
    fits = len(numbers) == 2 and all(SMALLEST_MM <= number <= LARGEST_MM for number in numbers)
    return (numbers[0], numbers[1]) if fits else None


def _magnification(dataset: Dataset) -> tuple[float | None, str]:
    factor = side_number(dataset, "EstimatedRadiographicMagnificationFactor")
    if factor and 1 <= factor <= LARGEST_MAGNIFICATION:
        return factor, " / EstimatedRadiographicMagnificationFactor"
    to_detector = side_number(dataset, "DistanceSourceToDetector")
    to_patient = side_number(dataset, "DistanceSourceToPatient")
    if to_detector and to_patient and 1 <= to_detector / to_patient <= LARGEST_MAGNIFICATION:
        return to_detector / to_patient, " / (DistanceSourceToDetector / DistanceSourceToPatient)"
    return None, ""
