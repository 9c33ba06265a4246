"""One door for radiographs on disk: DICOM, PNG, JPEG, TIFF, NIfTI, MetaImage and NRRD become rows x columns in [0, 1].

Use it in a MONAI pipeline: `LoadImaged(keys=["radiograph"], reader=RadiographReader())`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from monai.data import ImageReader
from monai.utils import MetaKeys
from numpy.typing import NDArray

from medtea.core.errors import DataError
from medtea.data import pictures, volumes
from medtea.data.pixels import open_dicom, polarity_conflict, radiograph_from
from medtea.data.segmentations import read_segments

Spacing = tuple[float, float]


class RadiographReader(ImageReader):  # type: ignore[misc]  # MONAI has no types
    """A MONAI reader whose arrays are (rows, columns), float32 in [0, 1], bright where the body is dense.

    `read` refuses nothing and `get_data` raises: when `read` of a chosen reader raises, `LoadImage` falls silently
    to its next one, which would return the refused file transposed and in the wrong polarity.
    The metadata hold `spacing_mm` (between rows, between columns; NaN where unknown) and `polarity_conflict`.
    """

    def verify_suffix(self, filename: Sequence[Any] | Any) -> bool:
        """True for every name: what a file is stands in its first bytes, and DICOM files often have no suffix."""
        return bool(filename)

    def read(self, data: Sequence[Any] | Any, **kwargs: Any) -> list[Path]:  # noqa: ARG002 (MONAI's signature)
        """The paths, unopened."""
        names: list[Any] = list(data) if isinstance(data, list | tuple) else [data]
        return [Path(name) for name in names]

    def get_data(self, img: list[Path]) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """The radiograph and its metadata.

        Raises:
            DataError: the file is not a usable radiograph, or more than one was given.
        """
        if len(img) != 1:
            raise DataError(f"{len(img)} files were given as one radiograph; give one.")
        radiograph, spacing, conflict = _load(img[0])
        affine = np.diag([*np.nan_to_num(np.array(spacing), nan=1.0), 1.0, 1.0])
        return radiograph, {
            MetaKeys.AFFINE.value: affine,
            MetaKeys.ORIGINAL_AFFINE.value: affine.copy(),
            MetaKeys.SPATIAL_SHAPE.value: np.array(radiograph.shape),
            MetaKeys.ORIGINAL_CHANNEL_DIM.value: float("nan"),  # MONAI's word for "no channel axis"
            "spacing_mm": np.array(spacing),
            "polarity_conflict": conflict,
        }


def read_radiograph(path: Path, *, inverted: bool = False, modality: str | None = None) -> NDArray[np.float32]:
    """The radiograph in a file, (rows, columns), in [0, 1], bright where the body is dense.

    DICOM as in `radiograph_from`. Pictures and volumes (`read_picture`, `read_volume`) are taken to be bright where
    dense.

    Args:
        path: The file.
        inverted: Whether whoever wrote the picture or volume says that it is dark where dense. DICOM says it itself.
        modality: Modality of a DICOM file in whose header it is missing, if its source says it.

    Raises:
        DataError: the file is not a usable radiograph.
    """
    radiograph, _, _ = _load(Path(path), modality)
    if radiograph.min() == radiograph.max():
        raise DataError("All pixels are equal; a radiograph has contrast.")
    return 1 - radiograph if inverted and not is_dicom(_start(path)) else radiograph


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


def is_dicom(start: bytes) -> bool:
    """Whether a file that begins like this is DICOM, whatever it is called."""
    return start[128:132] == b"DICM"


def _load(path: Path, modality: str | None = None) -> tuple[NDArray[np.float32], Spacing, bool]:
    start = _start(path)
    if start[128:132] == b"DICM":
        dataset = open_dicom(path)
        if modality and not dataset.get("Modality"):
            dataset.Modality = modality
        return radiograph_from(dataset), _dicom_spacing(dataset), polarity_conflict(dataset)
    if start.startswith(pictures.STARTS):
        return pictures.read_picture(path), (np.nan, np.nan), False
    if path.name.lower().endswith(volumes.SUFFIXES):
        return *volumes.read_volume(path), False
    if pictures.is_jsrt(path):
        return pictures.read_jsrt(path), (np.nan, np.nan), False
    raise DataError("The file is none of DICOM, PNG, JPEG, TIFF, NIfTI, MetaImage and NRRD.")


def _start(path: Path) -> bytes:
    try:
        with Path(path).open("rb") as file:
            return file.read(132)
    except OSError as problem:
        raise DataError(f"The file cannot be opened ({type(problem).__name__}).") from None


def _dicom_spacing(dataset: Any) -> Spacing:
    for keyword in ("PixelSpacing", "ImagerPixelSpacing"):  # the first is the calibrated one
        value = dataset.get(keyword)
        if value is not None and not isinstance(value, str) and len(value) == 2 and min(value) > 0:
            return float(value[0]), float(value[1])
    return np.nan, np.nan
