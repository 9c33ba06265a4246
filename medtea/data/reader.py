"""One door for radiographs on disk: DICOM, PNG, JPEG, TIFF, NIfTI, MetaImage and NRRD become rows x columns in [0, 1].

Ingest's worker processes come in here, so neither MONAI nor torch does; MONAI's pipelines have `monai_reader`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medtea.core.errors import DataError
from medtea.data import pictures, volumes
from medtea.data.choices import Choices
from medtea.data.dicom.header import without_preamble
from medtea.data.facts import Facts, Reading
from medtea.data.geometry import Geometry
from medtea.data.pixels import USUAL, read_dicom
from medtea.data.polarity import content_on_polarity
from medtea.data.segmentations import read_segments

Spacing = tuple[float, float]


def read_radiograph(path: Path, *, inverted: bool = False) -> NDArray[np.float32]:
    """The pixels alone of `read`, as it reads without choices.

    Raises:
        DataError: the file is not a usable radiograph.
    """
    return read(path, inverted=inverted).pixels


def read(path: Path, choices: Choices = USUAL, *, inverted: bool = False, modality: str | None = None) -> Reading:
    """The radiograph in a file, (rows, columns), in [0, 1], bright where the body is dense; and what was done to it.

    DICOM as in `read_dataset`; a mask that lies on the file's own grid follows by `Reading.geometry`. Pictures and
    volumes (`read_picture`, `read_volume`) are taken to be bright where dense.

    Args:
        path: The file.
        choices: How radiographs are read.
        inverted: Whether whoever wrote the picture or volume says that it is dark where dense. DICOM says it itself.
        modality: Modality of a DICOM file in whose header it is missing, if its source says it.

    Raises:
        DataError: the file is not a usable radiograph.
    """
    reading = load_radiograph(Path(path), choices, inverted=inverted, modality=modality)
    # of DICOM that was looked at before, and looking at eight million pixels takes its time
    if reading.facts.photometric is None and reading.pixels.min() == reading.pixels.max():
        raise DataError("All pixels are equal; a radiograph has contrast.")
    return reading


def read_mask(
    path: Path | tuple[Path, ...], *, shape: tuple[int, ...] | None = None, segments: tuple[str, ...] = ()
) -> NDArray[np.bool_]:
    """A mask, (rows, columns): True where the stored value is at least half of the largest one.

    An image of zeros is an empty mask. Of a DICOM Segmentation, see `read_segments`.

    Args:
        path: The mask's file; of several files, such as one for each lung, the union.
        shape: The radiograph's rows and columns. A mask on a grid that is coarser by a whole number is brought to it.
        segments: Names of a DICOM Segmentation's segments that are meant; its lungs when empty.

    Raises:
        DataError: a file cannot be read, or several are of different sizes.
    """
    first, *others = [_mask(one, segments) for one in (path if isinstance(path, tuple) else (path,))]
    for other in others:
        if other.shape != first.shape:
            raise DataError("The masks of one radiograph have different sizes; they lie on one grid.")
        first = first | other
    times = shape[0] // first.shape[0] if shape else 1
    if shape and times > 1 and (first.shape[0] * times, first.shape[1] * times) == tuple(shape):
        first = first.repeat(times, axis=0).repeat(times, axis=1)
    return first


def _mask(path: Path, segments: tuple[str, ...]) -> NDArray[np.bool_]:
    start = _start(path)
    if is_dicom(start):
        return read_segments(path, segments)
    if start.startswith(pictures.MASK_STARTS):
        values = pictures.read_picture(path)
    elif path.name.lower().endswith(volumes.SUFFIXES):
        values, _ = volumes.read_volume(path)
    else:
        raise DataError("The mask is none of PNG, JPEG, TIFF, GIF, NIfTI, MetaImage, NRRD and DICOM Segmentation.")
    return np.asarray(values >= max(values.max() / 2, 1e-6))


def load_radiograph(path: Path, choices: Choices, *, inverted: bool = False, modality: str | None = None) -> Reading:
    """As `read`, whatever the contrast.

    Raises:
        DataError: the file is not a usable radiograph.
    """
    start = _start(path)
    if is_dicom(start):
        return read_dicom(path, choices, modality=modality)
    spacing = None
    if start.startswith(pictures.STARTS):
        pixels = pictures.read_picture(path)
    elif path.name.lower().endswith(volumes.SUFFIXES):
        pixels, spacing = volumes.read_volume(path)
    elif pictures.is_jsrt(path):
        pixels = pictures.read_jsrt(path)
    else:
        unknown = "The file is none of DICOM, PNG, JPEG, TIFF, NIfTI, MetaImage and NRRD."
        raise DataError(without_preamble(path) or unknown)
    return _without_header(1 - pixels if inverted else pixels, choices, spacing)


def is_dicom(start: bytes) -> bool:
    """Whether a file that begins like this is DICOM, whatever it is called."""
    return start[128:132] == b"DICM"


def _start(path: Path) -> bytes:
    try:
        with Path(path).open("rb") as file:
            return file.read(132)
    except OSError as problem:
        raise DataError(f"The file cannot be opened ({type(problem).__name__}).") from None


def _without_header(pixels: NDArray[np.float32], choices: Choices, spacing: Spacing | None = None) -> Reading:
    """What a format that tells no polarity gives: taken as it is, with what the picture shows of its polarity."""
    content, contrast = content_on_polarity(pixels, choices)
    is_turned = content == "disagrees" and choices.wrong_polarity == "turn"
    facts = Facts(
        polarity="turned" if is_turned else "as tagged",
        polarity_content=content,
        lung_contrast=contrast,
        row_spacing_mm=None if spacing is None else spacing[0],
        column_spacing_mm=None if spacing is None else spacing[1],
        spacing_source="unknown" if spacing is None else "image",
    )
    return Reading(1 - pixels if is_turned else pixels, facts, Geometry.whole(pixels.shape))
