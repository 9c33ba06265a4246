"""What was done to one radiograph on its way from the file to [0, 1]: plain values, none of them free text."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from medtea.data.levels import Levels, pixels_of

if TYPE_CHECKING:
    from medtea.data.geometry import Geometry


@dataclass(frozen=True)
class Facts:
    """One row about one radiograph; the defaults are those of a format that says nothing.

    Attributes:
        transfer_syntax: Keyword of the transfer syntax, or None outside DICOM.
        lossy: Whether the pixels were ever compressed with loss; None where nobody says so.
        bits_allocated: BitsAllocated.
        bits_stored: BitsStored.
        signed: PixelRepresentation 1.
        unused_bits: "clear", or "masked" where bits outside of those stored were set and left out.
        overlays: Overlay planes in the file; none is drawn into the pixels.
        modality_step: "none", "rescale" or "table".
        voi: "table 1 of 1", "window 2 of 3", "percentiles 0.5-99.5", "whole range", or "none".
        voi_function: LINEAR, LINEAR_EXACT or SIGMOID of a window.
        voi_low: What became 0, after the modality step; of a table or a sigmoid None.
        voi_high: What became 1.
        photometric: PhotometricInterpretation.
        polarity: "as tagged", or "turned" where the content was believed instead.
        polarity_tags: "agree", "conflict", or "one" where PresentationLUTShape is missing; None outside DICOM.
        polarity_content: "agrees", "disagrees" or "unsure": whether lungs are darker than spine and abdomen.
        lung_contrast: By how much, in shares of the grey values' spread.
        padding_share: Share of the field that PixelPaddingValue marks as no image.
        field: What limited it: "whole", "shutter", "collimator", "shutter and collimator", or "implausible".
        field_box: First and last row and column of the field, counted from 1, as stored: "rows 5-90, columns 1-80".
        orientation: What was done to bring rows to the patient's left and columns to the feet; "none needed",
            "unknown", "unusable", or "not done: ..." where a setting leaves it.
        detector_flip: FieldOfViewHorizontalFlip; it tells what was done before storing and changes nothing.
        detector_rotation: FieldOfViewRotation, in degrees; the same.
        aspect: Distance between rows over distance between columns, of the upright image before resampling.
        resampled: Whether it was made square.
        row_spacing_mm: Distance between rows of the result.
        column_spacing_mm: Distance between columns of the result.
        grid_row_mm: Distance between rows of the run's grid, after the crop and the resizing.
        spacing_source: The element that the spacing was taken from, or "unknown".
        magnification: What ImagerPixelSpacing was divided by.
        view: "PA", "AP", "not frontal" or "unknown".
        view_source: The element that said so.
        secondary_capture: Storage class Secondary Capture, or a ConversionType.
        derived: ImageType DERIVED.
        for_processing: PresentationIntentType FOR PROCESSING.
        frames: NumberOfFrames; the first was read.
    """

    transfer_syntax: str | None = None
    lossy: bool | None = None
    bits_allocated: int | None = None
    bits_stored: int | None = None
    signed: bool | None = None
    unused_bits: str | None = None
    overlays: int = 0
    modality_step: str = "none"
    voi: str = "none"
    voi_function: str | None = None
    voi_low: float | None = None
    voi_high: float | None = None
    photometric: str | None = None
    polarity: str = "as tagged"
    polarity_tags: str | None = None
    polarity_content: str = "unsure"
    lung_contrast: float | None = None
    padding_share: float = 0.0
    field: str = "whole"
    field_box: str | None = None
    orientation: str = "unknown"
    detector_flip: bool | None = None
    detector_rotation: float | None = None
    aspect: float | None = None
    resampled: bool = False
    row_spacing_mm: float | None = None
    column_spacing_mm: float | None = None
    grid_row_mm: float | None = None
    spacing_source: str = "unknown"
    magnification: float | None = None
    view: str = "unknown"
    view_source: str | None = None
    secondary_capture: bool = False
    derived: bool = False
    for_processing: bool = False
    frames: int = 1

    def columns(self) -> dict[str, str | float | bool | None]:
        """The row by column."""
        return asdict(self)


@dataclass(frozen=True)
class Reading:
    """A radiograph as read.

    Attributes:
        picture: (rows, columns), float32 in [0, 1], bright where the body is dense.
        facts: What was done.
        geometry: How what lies on the stored grid, a mask, comes onto the grid of `picture`.
    """

    picture: NDArray[np.float32] | Levels
    facts: Facts
    geometry: Geometry

    @property
    def pixels(self) -> NDArray[np.float32]:
        """The picture as an array."""
        return pixels_of(self.picture)
