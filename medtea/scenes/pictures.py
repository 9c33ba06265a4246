"""Pictures that a set's table names: found below the set's folder alone, decoded, and cut to squares."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
from PIL import Image

from medtea.core.errors import DataError
from medtea.data.pixels import LARGEST_AREA

Array = np.ndarray[Any, Any]
AROUND = 256 / 224
"""Side of a picture before its centre is cut out, in sides of what is left."""


def inside(folder: Path, name: str) -> Path:
    """The file that a table names relative to its folder, links followed.

    Raises:
        DataError: the name is absolute, goes up, leads outside by a link, or is of no file.
    """
    if PurePosixPath(name).is_absolute() or PureWindowsPath(name).anchor or ".." in PureWindowsPath(name).parts:
        raise DataError("The table names a file by an absolute path or with '..'; paths stay inside the set's folder.")
    try:
        path = (folder / name).resolve()
        is_file = path.is_file()
    except (OSError, ValueError, RuntimeError):  # a name too long, a NUL in it, a circle of links
        raise DataError("The table names a file whose name cannot be used.") from None
    if not path.is_relative_to(folder.resolve()):
        raise DataError("The table names a file outside the set's folder; paths stay inside it.")
    if not is_file:
        raise DataError("The file that the table names does not exist.")
    return path


def listing_digest(folder: Path, names: Iterable[str]) -> str:
    """Digest of the files' names, sizes and times of change: quick, where reading all would take minutes."""
    digest = hashlib.sha256()
    for name in names:
        try:
            facts = (folder / name).stat()
            state = f"{facts.st_size} {facts.st_mtime_ns}"
        except (OSError, ValueError):  # missing, or a NUL in its name
            state = "missing"
        digest.update(f"{name}\n{state}\n".encode())
    return digest.hexdigest()


def read_picture(path: Path, mode: str) -> Image.Image:
    """A JPEG or PNG as "RGB" or "L" (grey).

    Raises:
        DataError: it cannot be decoded, or is larger than any photograph.
    """
    try:
        with Image.open(path, formats=("JPEG", "PNG")) as opened:
            if opened.width * opened.height > LARGEST_AREA:
                raise DataError(f"The picture has {opened.height} x {opened.width} pixels, more than {LARGEST_AREA:,}.")
            return opened.convert(mode)
    except DataError:
        raise
    except Exception as problem:  # a damaged picture makes PIL raise almost any kind
        raise DataError(f"The picture cannot be decoded ({type(problem).__name__}).") from None


def centre(picture: Image.Image, size: int) -> Array:
    """The picture stretched to a square (bilinear), its centre cut out: (size, size) or (3, size, size) in [0, 1].

    As Sagawa et al. show a picture to a network: 256 x 256 of which 224 x 224 are left.
    """
    side = round(size * AROUND)
    start = round((side - size) / 2)
    square = np.asarray(picture.resize((side, side), Image.Resampling.BILINEAR), dtype=np.float32) / 255
    cut = square[start : start + size, start : start + size]
    return cut if cut.ndim == 2 else cut.transpose(2, 0, 1)
