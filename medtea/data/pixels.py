"""The pixels of a DICOM radiograph as numbers in [0, 1], bright where the body is dense.

The grey values go the Standard's way (PS3.3 C.11, PS3.4 N.2): stored value -> modality transformation -> VOI
transformation -> polarity. Then the sides: cropped to the exposed field, upright, square pixels.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from medtea.core.errors import DataError
from medtea.data.choices import Choices
from medtea.data.dicom.accept import (
    GREY,
    LARGEST_AREA,
    is_derived,
    is_for_processing,
    is_secondary_capture,
    refuse_unusable,
)
from medtea.data.dicom.field import Field, field_of, in_words
from medtea.data.dicom.grey import after_modality, after_voi, window
from medtea.data.dicom.header import open_dicom, quiet_pydicom, side_number, side_values
from medtea.data.dicom.spacing import Spacing, spacing_of
from medtea.data.dicom.stored import Stored, is_lossy, overlays_in, stored_of, stored_range, syntax_of
from medtea.data.facts import Facts, Reading
from medtea.data.geometry import Geometry, Turn, square_shape, turn_to_upright
from medtea.data.levels import Levels, extremes_of
from medtea.data.polarity import content_on_polarity, polarity_conflict, tags_on_polarity
from medtea.data.views import NOT_FRONTAL, view_and_source

__all__ = [
    "LARGEST_AREA",
    "USUAL",
    "open_dicom",
    "polarity_conflict",
    "quiet_pydicom",
    "radiograph_from",
    "read_dataset",
    "read_dicom",
    "refuse_unusable",
    "stored_range",
    "window",
]

USUAL = Choices()
SAMPLED = 768  # lines at least that percentiles are taken of: half a million pixels tell them as well as eight


def read_dicom(path: Path, choices: Choices = USUAL, *, modality: str | None = None) -> Reading:
    """The radiograph in a DICOM file, with what was done to it.

    Args:
        path: The file.
        choices: How radiographs are read.
        modality: Modality where the header lacks it, if whoever handed the file on says it.

    Raises:
        DataError: it is not DICOM, or not a radiograph that is to be taken. The text names the element and what is
            allowed.
    """
    dataset = open_dicom(path)
    if modality and not dataset.get("Modality"):
        dataset.Modality = modality
    return read_dataset(dataset, choices)


def radiograph_from(dataset: Dataset, choices: Choices = USUAL) -> NDArray[np.float32]:
    """The pixels alone of `read_dataset`."""
    return read_dataset(dataset, choices).pixels


def read_dataset(dataset: Dataset, choices: Choices = USUAL) -> Reading:
    """The radiograph in a data set, (rows, columns), in [0, 1], bright where the body is dense.

    PhotometricInterpretation alone decides the polarity: it is required in every image, PresentationLUTShape is not;
    the facts say whether the two agree, and whether the picture does. What is no image, padding and what lies outside
    of shutter and collimator, is 0 after the polarity, as air is.

    Raises:
        DataError: this is not a radiograph that is to be taken, with usable pixels. The text names the element and
            what is allowed.
    """
    with quiet_pydicom():
        try:
            refuse_unusable(dataset, choices.accept)
            return _read(dataset, choices)
        except DataError:
            raise
        except Exception as problem:  # damaged elements make pydicom raise almost any kind
            raise DataError(f"An element that the pixels depend on is damaged ({type(problem).__name__}).") from None


def _read(dataset: Dataset, choices: Choices) -> Reading:
    stored = stored_of(dataset)
    field = field_of(dataset) if choices.field == "crop" else Field((0, dataset.Rows, 0, dataset.Columns))
    top, bottom, left, right = field.box
    places = stored.places[top:bottom, left:right]
    seen = places if field.inside is None else places[field.inside]
    step = max(1, min(places.shape) // SAMPLED)
    sampled = places[::step, ::step] if field.inside is None else seen[:: step * step]

    values, full, modality_step = after_modality(dataset, stored.values)
    shown = after_voi(dataset, values, full, counts=lambda: stored.counts(sampled), choices=choices)
    turned_by_tag = dataset.PhotometricInterpretation == "MONOCHROME1"
    picture = _picture(1 - shown.grey if turned_by_tag else shown.grey, stored, places, field)
    _refuse_flat(picture, stored, seen)

    turn, orientation = _turn(dataset, choices)
    spacing = spacing_of(dataset).turned(turn)
    upright = (places.shape[1], places.shape[0]) if turn.transpose else (places.shape[0], places.shape[1])
    shape = square_shape(upright, spacing.aspect) if choices.aspect == "square" else None
    geometry = Geometry((int(dataset.Rows), int(dataset.Columns)), field.box, turn, shape)

    view, view_source = view_and_source(dataset)
    placed = _placed(picture, geometry)
    content, contrast = ("unsure", None) if view == NOT_FRONTAL else content_on_polarity(placed, choices)
    polarity = "as tagged"
    if content == "disagrees" and choices.wrong_polarity == "turn":
        turned = _picture(shown.grey if turned_by_tag else 1 - shown.grey, stored, places, field)
        placed, polarity = _placed(turned, geometry), "turned"
    facts = Facts(
        modality_step=modality_step,
        voi=shown.voi,
        voi_function=shown.function,
        voi_low=shown.low,
        voi_high=shown.high,
        polarity=polarity,
        polarity_content=content,
        lung_contrast=contrast,
        unused_bits=stored.unused_bits,
        padding_share=1 - float(stored.counts(seen).sum()) / seen.size if stored.padding.any() else 0.0,
        field=field.said_by,
        field_box=None if field.said_by in {"whole", "implausible"} else in_words(field.box),
        orientation=orientation,
        view=view,
        view_source=view_source or None,
    )
    return Reading(placed, _with_spacing(_with_tags(facts, dataset), spacing, shape), geometry)


def _picture(
    grey: NDArray[np.float64], stored: Stored, places: NDArray[np.unsignedinteger], field: Field
) -> NDArray[np.float32] | Levels:
    """Every pixel by its place in the list of grey values; what is no image is dark."""
    levels = Levels(places, np.where(stored.padding, 0.0, grey).astype(np.float32))
    if field.inside is None:
        return levels
    pixels = levels.pixels
    pixels[~field.inside] = 0
    return pixels


def _placed(picture: NDArray[np.float32] | Levels, geometry: Geometry) -> NDArray[np.float32] | Levels:
    return geometry.place_levels(picture) if isinstance(picture, Levels) else geometry.place_cropped(picture)


def _refuse_flat(picture: NDArray[np.float32] | Levels, stored: Stored, seen: NDArray[np.unsignedinteger]) -> None:
    low, high = extremes_of(picture)
    if low != high:
        return
    if len(np.unique(stored.values[np.unique(seen)])) == 1:
        raise DataError("PixelData (7FE0,0010) holds one value everywhere; a radiograph has contrast.")
    raise DataError("All pixels are equal after the VOI transformation; a radiograph has contrast.")


def _turn(dataset: Dataset, choices: Choices) -> tuple[Turn, str]:
    orientation = side_values(dataset, "PatientOrientation")
    if not orientation:
        return Turn(), "unknown"
    turn = turn_to_upright(orientation)
    if turn is None:
        return Turn(), "unusable"
    if choices.orientation == "flag" and turn != Turn():
        return Turn(), f"not done: {turn.in_words}"
    return turn, turn.in_words


def _with_tags(facts: Facts, dataset: Dataset) -> Facts:
    syntax, flip = syntax_of(dataset), side_values(dataset, "FieldOfViewHorizontalFlip")
    photometric = dataset.PhotometricInterpretation
    return replace(
        facts,
        transfer_syntax=None if syntax is None else syntax.keyword,
        lossy=is_lossy(dataset),
        bits_allocated=int(dataset.BitsAllocated),
        bits_stored=int(dataset.BitsStored),
        signed=dataset.PixelRepresentation == 1,
        overlays=overlays_in(dataset),
        photometric=str(photometric),
        polarity_tags=tags_on_polarity(dataset) if photometric in GREY else None,
        detector_flip={"YES": True, "NO": False}.get(str(flip[0]).strip().upper()) if flip else None,
        detector_rotation=side_number(dataset, "FieldOfViewRotation"),
        secondary_capture=is_secondary_capture(dataset),
        derived=is_derived(dataset),
        for_processing=is_for_processing(dataset),
        frames=int(dataset.get("NumberOfFrames") or 1),
    )


def _with_spacing(facts: Facts, spacing: Spacing, shape: tuple[int, int] | None) -> Facts:
    rows, columns = spacing.rows, spacing.columns
    if shape is not None and rows is not None and columns is not None:
        rows = columns = min(rows, columns)
    return replace(
        facts,
        row_spacing_mm=rows,
        column_spacing_mm=columns,
        spacing_source=spacing.source,
        magnification=spacing.magnification,
        aspect=spacing.aspect,
        resampled=shape is not None,
    )
