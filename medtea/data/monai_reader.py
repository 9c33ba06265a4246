"""Radiographs in a MONAI pipeline: `LoadImaged(keys=["radiograph"], reader=RadiographReader())`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from monai.data import ImageReader
from monai.utils import MetaKeys
from numpy.typing import NDArray

from medtea.core.errors import DataError
from medtea.data.choices import Choices
from medtea.data.pixels import USUAL
from medtea.data.reader import load_radiograph


class RadiographReader(ImageReader):  # type: ignore[misc]  # MONAI has no types
    """A MONAI reader whose arrays are (rows, columns), float32 in [0, 1], bright where the body is dense.

    `read` refuses nothing and `get_data` raises: when `read` of a chosen reader raises, `LoadImage` falls silently
    to its next one, which would return the refused file transposed and in the wrong polarity.
    The metadata hold `spacing_mm` (between rows, between columns; NaN where unknown), `polarity_conflict`, and the
    `Facts` under `facts`.

    Args:
        choices: How radiographs are read.
    """

    def __init__(self, choices: Choices = USUAL) -> None:
        super().__init__()
        self.choices = choices

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
        reading = load_radiograph(img[0], self.choices)
        radiograph, facts = reading.pixels, reading.facts
        spacing = [np.nan if side is None else side for side in (facts.row_spacing_mm, facts.column_spacing_mm)]
        affine = np.diag([*np.nan_to_num(np.array(spacing), nan=1.0), 1.0, 1.0])
        return radiograph, {
            MetaKeys.AFFINE.value: affine,
            MetaKeys.ORIGINAL_AFFINE.value: affine.copy(),
            MetaKeys.SPATIAL_SHAPE.value: np.array(radiograph.shape),
            MetaKeys.ORIGINAL_CHANNEL_DIM.value: float("nan"),  # MONAI's word for "no channel axis"
            "spacing_mm": np.array(spacing),
            "polarity_conflict": facts.polarity_tags == "conflict",
            "facts": facts.columns(),
        }
