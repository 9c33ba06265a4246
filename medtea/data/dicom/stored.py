"""Stored values of a DICOM image: decoded, the unused bits taken off, the sign put in, and which of them are padding.

All that the grey scale does to a pixel depends on its stored value alone. So pixels are kept as places in the list of
the values that they can take, and the steps that follow work out that list, not every pixel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID, JPEGBaseline8Bit, JPEGExtended12Bit, RLELossless

from medtea.core.errors import DataError
from medtea.data.dicom.codestream import coded_size
from medtea.data.dicom.header import side_numbers, side_values

Range = tuple[float, float]
TINT = 2  # of 255: what lossy compression leaves of colour in a grey picture
# Which package brings the decoder that this project is tested with, and pydicom's plugin for it. It is asked first,
# whatever else is installed: of JPEG-LS pydicom would take one that is four times as slow, and lossy JPEG is not quite
# the same from any two.
PACKAGES = {
    "RLE": ("pylibjpeg-rle", "pylibjpeg"),
    "JPEG-LS": ("pyjpegls", "pyjpegls"),
    "JPEG 2000": ("pylibjpeg-openjpeg", "pylibjpeg"),
    "JPEG": ("pylibjpeg-libjpeg", "pylibjpeg"),
}
LOSSY = (JPEGBaseline8Bit, JPEGExtended12Bit)
# JPEG-LS near-lossless, JPEG 2000 and High-Throughput JPEG 2000: with or without loss
MAYBE_LOSSY = ("1.2.840.10008.1.2.4.81", "1.2.840.10008.1.2.4.91", "1.2.840.10008.1.2.4.203")


@dataclass(frozen=True)
class Stored:
    """An image as places in a list of values.

    Attributes:
        places: (rows, columns), unsigned: where each pixel's value stands in `values`.
        values: The stored value at each place, as BitsStored, HighBit and PixelRepresentation have it.
        padding: Which places are padding (PixelPaddingValue).
        unused_bits: "clear", or "masked" where bits outside of those stored are set.
    """

    places: NDArray[Any]
    values: NDArray[np.int64]
    padding: NDArray[np.bool_]
    unused_bits: str

    def counts(self, picture: NDArray[Any]) -> NDArray[np.int64]:
        """How many pixels stand at each place, padding left out."""
        counted = np.bincount(picture.ravel(), minlength=len(self.values))
        return np.where(self.padding, 0, counted)


def stored_of(dataset: Dataset) -> Stored:
    """The image, of several frames the first.

    Raises:
        DataError: there are no pixels, they cannot be decoded, or they are coloured.
    """
    words = _words(dataset)
    allocated, bits, signed = dataset.BitsAllocated, dataset.BitsStored, dataset.PixelRepresentation == 1
    shift = 0 if _is_coded(dataset) else int(dataset.get("HighBit", bits - 1)) + 1 - bits
    if allocated <= 16:
        places, raw = words, np.arange(1 << allocated, dtype=np.int64)
    else:
        raw, flat = np.unique(words, return_inverse=True)
        places, raw = flat.reshape(words.shape), raw.astype(np.int64)
    values = number(raw >> shift, bits=bits, signed=signed)
    masked = _has_stray_bits(raw, values << shift, words, mask=((1 << bits) - 1) << shift, signed=signed)
    return Stored(places, values, _padding(dataset, raw, values), "masked" if masked else "clear")


def number(raw: NDArray[np.int64], *, bits: int, signed: bool) -> NDArray[np.int64]:
    """The numbers that the lowest `bits` of words stand for."""
    mask, half = (1 << bits) - 1, 1 << (bits - 1)
    return np.asarray(((raw + half) & mask) - half if signed else raw & mask)


def stored_range(dataset: Dataset) -> Range:
    """The smallest and largest value that BitsStored bits can hold, by PixelRepresentation."""
    levels = 1 << dataset.BitsStored
    return (-(levels // 2), levels // 2 - 1) if dataset.PixelRepresentation else (0, levels - 1)


def syntax_of(dataset: Dataset) -> UID | None:
    """The transfer syntax; None where it is missing or none."""
    uid = getattr(dataset, "file_meta", Dataset()).get("TransferSyntaxUID")
    return uid if uid is not None and uid.is_transfer_syntax else None


def is_lossy(dataset: Dataset) -> bool | None:
    """Whether the pixels ever lost something in compression; None where neither tag nor transfer syntax says."""
    said = [str(value).strip() for value in side_values(dataset, "LossyImageCompression")]
    syntax = syntax_of(dataset)
    if "01" in said or syntax in LOSSY:
        return True
    if "00" in said:
        return False
    return True if syntax in MAYBE_LOSSY else None


def overlays_in(dataset: Dataset) -> int:
    """How many overlay planes (groups 6000 to 601E) the file has; pixels never show them."""
    return sum((group, 0x3000) in dataset or (group, 0x0102) in dataset for group in range(0x6000, 0x6020, 2))


def _is_coded(dataset: Dataset) -> bool:
    """Whether a codec, not HighBit, says where in its word a value stands; RLE packs whole words."""
    syntax = syntax_of(dataset)
    return syntax is not None and bool(syntax.is_encapsulated) and syntax != RLELossless


def _words(dataset: Dataset) -> NDArray[Any]:
    """Whole words as unsigned numbers, (Rows, Columns)."""
    if "PixelData" not in dataset:
        raise DataError("PixelData (7FE0,0010) is missing; the file holds no image.")
    decoded = _decoded(dataset)
    if decoded.ndim == 3 and decoded.shape[-1] == 3:
        decoded = _grey_of(decoded)
    if decoded.shape != (dataset.Rows, dataset.Columns):
        raise DataError("PixelData (7FE0,0010) decodes to another shape than Rows x Columns.")
    width = dataset.BitsAllocated // 8
    return np.ascontiguousarray(decoded.astype(f"{decoded.dtype.kind}{width}", copy=False)).view(f"u{width}")


def _decoded(dataset: Dataset) -> NDArray[Any]:
    syntax = syntax_of(dataset)
    if syntax is None:
        raise DataError("TransferSyntaxUID (0002,0010) is missing or none, so nobody knows how the pixels are coded.")
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        raise DataError(f"PixelData is in the transfer syntax {syntax.name}, which pydicom does not read.") from None
    if not decoder.is_available:
        raise DataError(
            f"PixelData is in the transfer syntax {syntax.name}, for which no decoder is installed: pip install "
            f"{_package(syntax)[0]}"
        )
    if _is_coded(dataset):
        _refuse_other_size(dataset)
    # pydicom would mask the lowest BitsStored bits, wherever HighBit is; whole words are asked for
    options: dict[str, Any] = {} if _is_coded(dataset) else {"bits_stored": dataset.BitsAllocated}
    options["view_only"] = True  # of the file's bytes where they are the pixels: nobody writes to it
    several = (dataset.get("NumberOfFrames") or 1) > 1
    ours = plugin_for(syntax)
    for plugin in (ours, "") if ours in decoder.available_plugins else ("",):  # "": whichever of them can
        try:
            decoded, _ = decoder.as_array(dataset, index=0 if several else None, decoding_plugin=plugin, **options)
            break
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as problem:  # the decoders raise almost any kind; that in Rust one that is no Exception
            if plugin and not isinstance(problem, MemoryError):
                continue
            raise DataError(
                f"PixelData (7FE0,0010) cannot be decoded ({syntax.name}; {type(problem).__name__}); it is damaged, "
                "or of a kind that the installed decoder does not read."
            ) from None
    return np.asarray(decoded)


def _refuse_other_size(dataset: Dataset) -> None:
    """Refuse a codestream of another size than the header's: a decoder would make room for what it claims."""
    try:
        frame = get_frame(dataset.PixelData, 0, number_of_frames=int(dataset.get("NumberOfFrames") or 1))
    except Exception as problem:  # damaged items make pydicom raise almost any kind
        raise DataError(f"PixelData (7FE0,0010) is damaged: no frame is found ({type(problem).__name__}).") from None
    size = coded_size(frame)
    if size is not None and size != (dataset.Rows, dataset.Columns):
        raise DataError(
            f"PixelData (7FE0,0010) is coded as {size[0]} x {size[1]} pixels, and Rows x Columns is {dataset.Rows} x "
            f"{dataset.Columns}."
        )


def plugin_for(syntax: UID) -> str:
    """The plugin of pydicom that is asked first."""
    return _package(syntax)[1]


def _package(syntax: UID) -> tuple[str, str]:
    return next((both for name, both in PACKAGES.items() if name in syntax.name), ("pylibjpeg", ""))


def _grey_of(decoded: NDArray[Any]) -> NDArray[Any]:
    planes = decoded.astype(np.int64)
    if np.ptp(planes, axis=-1).max() > TINT:
        raise DataError("The picture is coloured; a radiograph is grey.")
    return decoded[..., 1]


def _padding(dataset: Dataset, raw: NDArray[np.int64], values: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which values PixelPaddingValue (0028,0120), up to PixelPaddingRangeLimit (0028,0121), marks as no image.

    The value is compared with the stored value and with the whole word: some makers pad with a number that BitsStored
    cannot hold.
    """
    padding = side_numbers(dataset, "PixelPaddingValue")[:1]
    if not padding:
        return np.zeros(len(values), dtype=bool)
    allocated, signed = dataset.BitsAllocated, dataset.PixelRepresentation == 1
    ends = [padding[0], *side_numbers(dataset, "PixelPaddingRangeLimit")[:1]]
    # pydicom may have read it with the other sign, where the file does not say which
    ends = [int(number(np.array(int(end)), bits=allocated, signed=signed)) for end in ends]
    words = number(raw, bits=allocated, signed=signed)
    return np.asarray((values >= min(ends)) & (values <= max(ends)) | (words >= min(ends)) & (words <= max(ends)))


def _has_stray_bits(
    raw: NDArray[np.int64], numbers: NDArray[np.int64], words: NDArray[Any], *, mask: int, signed: bool
) -> bool:
    """Whether any word has bits set outside of `mask`, other than a negative number's sign above it."""
    if not signed:
        return bool(int(np.bitwise_or.reduce(words, axis=None)) & ~mask)
    allocated = (1 << (8 * words.itemsize)) - 1
    stray = ((raw ^ numbers) & allocated & ~mask) != 0
    return bool(stray.any() and (stray if len(raw) != allocated + 1 else stray[words]).any())
