"""A DICOM header in a quarter of the time that opening the file takes: what every file of a large tree is asked for.

Their places are found by one plain loop over one piece of the file, in the plain case: explicit or implicit VR, little
endian, and all before the pixels in that piece; pydicom reads sequences of unknown length, and what any value says.
Whatever is not plain is opened as any file is, so that both ways say the same of every file
(tests/ingest/test_open_header.py).
"""

from __future__ import annotations

import io
from collections.abc import MutableSequence
from functools import lru_cache
from pathlib import Path
from struct import Struct
from typing import Any, cast

from pydicom.charset import convert_encodings, default_encoding
from pydicom.dataelem import DataElement, RawDataElement, convert_raw_data_element, empty_value_for_VR
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filereader import data_element_generator
from pydicom.tag import BaseTag
from pydicom.uid import UID, ImplicitVRLittleEndian
from pydicom.valuerep import EXPLICIT_VR_LENGTH_32, STANDARD_VR, VR
from pydicom.values import convert_string

from medtea.data.pixels import open_dicom, quiet_pydicom

PIECE = 2**16
"""Bytes; most headers have 5 to 20 thousand."""
PREAMBLE, LENGTH_AT = 132, 140
META_LENGTH = b"\x02\x00\x00\x00UL\x04\x00"
"""FileMetaInformationGroupLength (0002,0000), with which every file begins behind its preamble."""
FIRST_AFTER_META = 0x0003_0000
PIXELS = 0x7FE0_0008
"""From here on an element may hold the pixels, as numbers or as bytes."""
PIXEL_TAGS = {b"\xe0\x7f\x08\x00", b"\xe0\x7f\x09\x00", b"\xe0\x7f\x10\x00"}
TRANSFER_SYNTAX, CHARACTER_SET = BaseTag(0x0002_0010), 0x0008_0005
UNKNOWN_LENGTH = 0xFFFF_FFFF
HEAD, LONG_LENGTH = Struct("<HHL").unpack_from, Struct("<L").unpack_from
"""An element's group, number and, with implicit VR, length; else the VR's two letters and a length of 16 bits."""
VRS = {one.encode(): one for one in STANDARD_VR}
REPEATED, LONGEST_REPEATED = {VR.CS, VR.US}, 64
"""Terms and small numbers, which depend on no character set; those of private groups pydicom names by their block."""
EXPLICIT = {b"AE", b"AS", b"CS", b"DA", b"DS", b"DT", b"IS", b"LO", b"LT", b"SH", b"ST", b"TM", b"UI", b"UL", b"US"}
"""The types with which a data set begins: of group 8, nearly always."""


def open_header(path: Path) -> Dataset:
    """The file's data set without its pixels.

    Raises:
        DataError: it is not a DICOM file, or its header is damaged.
    """
    with quiet_pydicom():
        try:
            header = _plain(path)
        except Exception:  # whatever is wrong, the slow way says it in words
            header = None
    return header if header is not None else open_dicom(path, header_only=True)


def _plain(path: Path) -> Dataset | None:
    """The data set in the plain case."""
    with path.open("rb") as file:
        piece = file.read(PIECE)
    if piece[128:LENGTH_AT] != b"DICM" + META_LENGTH:
        return None
    meta, begin = _elements(piece, PREAMBLE, is_implicit=False, end=FIRST_AFTER_META)
    if begin != LENGTH_AT + 4 + int.from_bytes(piece[LENGTH_AT : LENGTH_AT + 4], "little"):
        return None
    syntax = meta[TRANSFER_SYNTAX].value
    if not isinstance(syntax, bytes) or not _is_plain(syntax):
        return None
    is_implicit = syntax.rstrip(b"\0 ").decode("ascii") == ImplicitVRLittleEndian
    if (piece[begin + 4 : begin + 6] in EXPLICIT) is is_implicit:
        return None  # the file is not written as it says
    elements, end = _elements(piece, begin, is_implicit=is_implicit, end=PIXELS)
    if piece[end : end + 4] not in PIXEL_TAGS:
        return None  # the header goes on behind the piece, the file was cut, or it has no order
    dataset = Dataset(elements)
    dataset.set_original_encoding(is_implicit, True, convert_encodings(dataset.get("SpecificCharacterSet")))
    dataset.file_meta = FileMetaDataset(meta)
    return dataset


@lru_cache(maxsize=256)
def _is_plain(syntax: bytes) -> bool:
    """Whether the data set of a file in this transfer syntax, as it lies in the file, is little endian and as it is."""
    uid = UID(syntax.rstrip(b"\0 ").decode("ascii"))
    return uid.is_transfer_syntax and not uid.is_private and not uid.is_deflated and uid.is_little_endian


def _elements(
    piece: bytes, at: int, *, is_implicit: bool, end: int
) -> tuple[dict[BaseTag, DataElement | RawDataElement], int]:
    """The elements from here to the first one at `end` or behind it, and where that one stands.

    Raises:
        Exception: of any kind, where something is not plain.
    """
    found: dict[BaseTag, DataElement | RawDataElement] = {}
    encoding: str | MutableSequence[str] = default_encoding
    while at + 8 <= len(piece):
        group, number, length = HEAD(piece, at)
        tag = _tag(group << 16 | number)
        if group << 16 | number >= end:
            break
        vr, value_at = None, at + 8
        if not is_implicit:
            vr, length = VRS[piece[at + 4 : at + 6]], length >> 16
            if vr in EXPLICIT_VR_LENGTH_32:
                (length,), value_at = LONG_LENGTH(piece, value_at), value_at + 4
        if length == UNKNOWN_LENGTH:
            stream = io.BytesIO(piece)
            stream.seek(at)
            element = next(data_element_generator(stream, is_implicit, True, encoding=encoding))
            found[element.tag], at = element, stream.tell()
            continue
        value = (
            piece[value_at : value_at + length] if length else cast("bytes | None", empty_value_for_VR(vr, raw=True))
        )
        if group << 16 | number == CHARACTER_SET:
            encoding = convert_encodings(convert_string(value or b"", True))
        if vr in REPEATED and length <= LONGEST_REPEATED and not group & 1:
            found[tag] = DataElement(tag, vr, _value(tag, vr, value), value_at, already_converted=True)
        else:
            found[tag] = RawDataElement(tag, vr, length, value, value_at, is_implicit, True)
        at = value_at + length
    return found, at


@lru_cache(maxsize=4096)
def _value(tag: BaseTag, vr: VR, value: bytes | None) -> Any:
    """What pydicom makes of an element that a folder's files have much the same of: worked out once."""
    return convert_raw_data_element(RawDataElement(tag, vr, len(value or b""), value, 0, False, True)).value


@lru_cache(maxsize=4096)
def _tag(number: int) -> BaseTag:
    return BaseTag(number)
