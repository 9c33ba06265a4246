"""One door for radiographs on disk: DICOM, PNG, JPEG, NIfTI and MetaImage become rows x columns in [0, 1].

Ingest's worker processes come in here, so neither MONAI nor torch does; MONAI's pipelines have `monai_reader`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813 (the name that all its documentation uses)
from numpy.typing import NDArray
from PIL import Image, ImageOps

from medtea.core.errors import DataError
from medtea.data.choices import Choices
from medtea.data.facts import Facts, Reading
from medtea.data.geometry import Geometry
from medtea.data.pixels import LARGEST_AREA, USUAL, read_dicom
from medtea.data.polarity import content_on_polarity

Spacing = tuple[float, float]
VOLUME_SUFFIXES = (".nii", ".nii.gz", ".mha", ".mhd")
PICTURE_STARTS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")

# ITK's warnings go to the terminal and quote the file's name.
sitk.ProcessObject.SetGlobalWarningDisplay(False)


def read_radiograph(path: Path) -> NDArray[np.float32]:
    """The pixels alone of `read`, as it reads without choices.

    Raises:
        DataError: the file is not a usable radiograph.
    """
    return read(path).pixels


def read(path: Path, choices: Choices = USUAL) -> Reading:
    """The radiograph in a file, (rows, columns), in [0, 1], bright where the body is dense; and what was done to it.

    DICOM as in `read_dataset`; a mask that lies on the file's own grid follows by `Reading.geometry`.
    Pictures (8 or 16 bits, grey) are divided by the largest value of their type and
    taken to be bright where dense. NIfTI and MetaImage have the columns on their first axis; their index order is
    kept, whatever the direction cosines say; 8- and 16-bit unsigned values are treated as in pictures, numbers
    already in [0, 1] are kept, and all others run from the image's smallest to its largest value.

    Raises:
        DataError: the file is not a usable radiograph.
    """
    reading = load_radiograph(Path(path), choices)
    if reading.pixels.min() == reading.pixels.max():
        raise DataError("All pixels are equal; a radiograph has contrast.")
    return reading


def read_mask(path: Path) -> NDArray[np.bool_]:
    """A mask, (rows, columns): True where the stored value is at least half of the largest one.

    An image of zeros is an empty mask.

    Raises:
        DataError: the file cannot be read.
    """
    values = _picture(path) if _start(path).startswith(PICTURE_STARTS) else _volume(path)[0]
    return np.asarray(values >= max(values.max() / 2, 1e-6))


def load_radiograph(path: Path, choices: Choices) -> Reading:
    """As `read`, whatever the contrast.

    Raises:
        DataError: the file is not a usable radiograph.
    """
    start = _start(path)
    if start[128:132] == b"DICM":
        return read_dicom(path, choices)
    if start.startswith(PICTURE_STARTS):
        return _without_header(_picture(path), choices)
    if path.name.lower().endswith(VOLUME_SUFFIXES):
        values, spacing = _volume(path)
        return _without_header(values, choices, spacing)
    raise DataError("The file is none of DICOM, PNG, JPEG, NIfTI and MetaImage.")


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


def _picture(path: Path) -> NDArray[np.float32]:
    try:
        with Image.open(path) as opened:
            _refuse_size(opened.width, opened.height)
            picture = ImageOps.exif_transpose(opened)
            values = np.asarray(picture.convert("RGBA") if picture.mode in {"P", "PA"} else picture)
    except DataError:
        raise
    except Exception as problem:  # a damaged picture makes PIL raise almost any kind
        raise DataError(f"The picture cannot be decoded ({type(problem).__name__}).") from None
    if picture.mode in {"LA", "RGBA", "PA", "P"}:
        if values[..., -1].min() < 255:
            raise DataError("The picture has transparent pixels; a radiograph has none.")
        values = values[..., :-1]
    if values.ndim == 3:
        if np.ptp(values, axis=-1).max() > 0:
            raise DataError("The picture is coloured; a radiograph is grey.")
        values = values[..., 0]
    return _by_type(values if picture.mode != "I" else values.astype(np.uint16))


def _refuse_size(width: int, height: int) -> None:
    if width * height > LARGEST_AREA:
        raise DataError(f"The picture has {height} x {width} pixels; a radiograph has at most {LARGEST_AREA:,}.")


def _volume(path: Path) -> tuple[NDArray[np.float32], Spacing]:
    try:
        header = sitk.ImageFileReader()
        header.SetFileName(str(path))
        header.ReadImageInformation()
        size, components = header.GetSize(), header.GetNumberOfComponents()
        spacing = header.GetSpacing()
    except RuntimeError:
        raise DataError("The NIfTI or MetaImage header cannot be read.") from None
    if len(size) < 2 or any(extent != 1 for extent in size[2:]) or components != 1:
        raise DataError("The file holds a volume, a series or several channels; a radiograph is one grey plane.")
    _refuse_size(size[0], size[1])
    try:
        values = sitk.GetArrayFromImage(header.Execute())
    except RuntimeError:
        raise DataError("The NIfTI or MetaImage pixels cannot be read.") from None
    return _by_type(values.reshape(size[1], size[0])), (float(spacing[1]), float(spacing[0]))


def _by_type(values: NDArray[Any]) -> NDArray[np.float32]:
    if values.dtype == bool:
        return values.astype(np.float32)
    if values.dtype in (np.uint8, np.uint16, np.dtype(">u2")):
        return (values / np.float32(np.iinfo(values.dtype).max)).astype(np.float32)
    if not np.isfinite(values).all():
        raise DataError("The image holds values that are not numbers.")
    low, high = float(values.min()), float(values.max())
    if (low >= 0 and high <= 1) or low == high:
        return np.asarray(np.clip(values, 0, 1), dtype=np.float32)
    return np.asarray((values - low) / (high - low), dtype=np.float32)
