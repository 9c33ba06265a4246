"""PNG, JPEG and TIFF, and for masks GIF, as grey values in [0, 1]: sizes are checked before a pixel is decoded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from medtea.core.errors import DataError
from medtea.data.pixels import LARGEST_AREA

PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
TIFF = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")  # little and big endian; with +, 64-bit offsets
GIF = (b"GIF87a", b"GIF89a")
STARTS = (PNG, JPEG, *TIFF)
MASK_STARTS = (*STARTS, *GIF)
FORMATS = ("PNG", "JPEG", "TIFF", "GIF")

# TIFF 6.0's tags: BitsPerSample, PhotometricInterpretation, TileWidth, TileLength.
BITS, PHOTOMETRIC, TILE_WIDTH, TILE_LENGTH = 258, 262, 322, 323
WHITE_IS_ZERO = 0

JSRT_SUFFIX, JSRT_SIDE, JSRT_TOP = ".img", 2048, 4095


def read_picture(path: Path) -> NDArray[np.float32]:
    """The one grey picture in a file, (rows, columns), divided by the largest value that its bits can hold.

    An orientation that the file asks for is applied; a TIFF whose PhotometricInterpretation is WhiteIsZero is turned
    over, so that 1 is white.

    Raises:
        DataError: it cannot be decoded, is too large, coloured or transparent, holds several pictures, or numbers
            that do not say what is black and white.
    """
    try:
        with Image.open(path, formats=FORMATS) as opened:
            _refuse_claims(opened)
            picture = ImageOps.exif_transpose(opened)
            values = np.asarray(picture.convert("RGBA") if picture.mode in {"P", "PA"} else picture)
            top = _largest(opened)
            # Pillow turns pictures of up to 8 bits over by itself, and leaves those of 16 as they are.
            turned_over = opened.mode.startswith("I;16") and _tag(opened, PHOTOMETRIC) == WHITE_IS_ZERO
    except DataError:
        raise
    except Image.DecompressionBombError:
        raise DataError(f"The picture has too many pixels; a radiograph has at most {LARGEST_AREA:,}.") from None
    except UnidentifiedImageError:
        raise DataError(
            "The picture cannot be decoded: its header is damaged, or of a kind that is not read. Save it as PNG."
        ) from None
    except Exception as problem:  # a damaged picture makes PIL raise almost any kind
        raise DataError(f"The picture cannot be decoded ({type(problem).__name__}).") from None
    grey = _one_channel(values, picture.mode)
    scaled = (grey / np.float32(top)).astype(np.float32)
    return 1 - scaled if turned_over else scaled


def _refuse_claims(opened: Image.Image) -> None:
    refuse_size(opened.width, opened.height)
    if getattr(opened, "is_animated", False):
        raise DataError("The file holds several pictures; a radiograph is one. Export the one that is meant.")
    if opened.mode == "F" or (opened.mode == "I" and opened.format == "TIFF"):
        raise DataError(
            "The picture holds floating-point, signed or 32-bit numbers, which do not say what is black and what "
            "white; save it with 8 or 16 unsigned bits."
        )
    if opened.format == "TIFF" and (_tag(opened, TILE_WIDTH) or 0) * (_tag(opened, TILE_LENGTH) or 0) > LARGEST_AREA:
        raise DataError(f"The picture's tiles have more pixels than a radiograph may have ({LARGEST_AREA:,}).")


def _tag(opened: Image.Image, tag: int) -> int | None:
    """A TIFF tag's number, the first where it has several; None where it is missing."""
    value: Any = getattr(opened, "tag_v2", {}).get(tag)
    return int(value[0] if isinstance(value, tuple) else value) if value is not None else None


def _largest(opened: Image.Image) -> int:
    if opened.mode == "1":
        return 1
    if not opened.mode.startswith("I"):
        return 255
    return (1 << (_tag(opened, BITS) or 16)) - 1


def _one_channel(values: NDArray[Any], mode: str) -> NDArray[Any]:
    if mode in {"LA", "RGBA", "PA", "P"}:
        if values[..., -1].min() < 255:
            raise DataError("The picture has transparent pixels; a radiograph has none.")
        values = values[..., :-1]
    if values.ndim == 3:
        if np.ptp(values, axis=-1).max() > 0:
            raise DataError("The picture is coloured; a radiograph is grey.")
        values = values[..., 0]
    return values


def is_jsrt(path: Path) -> bool:
    """Whether a file is named and as long as the raw images of the JSRT set, which have no header."""
    return path.suffix.lower() == JSRT_SUFFIX and path.stat().st_size == 2 * JSRT_SIDE**2


def read_jsrt(path: Path) -> NDArray[np.float32]:
    """A raw image of the JSRT set: 2048 x 2048 big-endian numbers of 12 bits, larger where the film is darker.

    Raises:
        DataError: a number has more than 12 bits, or the file cannot be read.
    """
    try:
        stored = np.fromfile(path, dtype=">u2").reshape(JSRT_SIDE, JSRT_SIDE)
    except (OSError, ValueError) as problem:
        raise DataError(f"The raw image cannot be read ({type(problem).__name__}).") from None
    if stored.max() > JSRT_TOP:
        raise DataError("The raw image holds numbers of more than 12 bits; an image of the JSRT set does not.")
    return np.asarray(1 - stored / np.float32(JSRT_TOP), dtype=np.float32)


def refuse_size(width: int, height: int) -> None:
    """Returns when a file may be decoded.

    Raises:
        DataError: its header claims more pixels than a radiograph has.
    """
    if width * height > LARGEST_AREA:
        raise DataError(f"The picture has {height} x {width} pixels; a radiograph has at most {LARGEST_AREA:,}.")
