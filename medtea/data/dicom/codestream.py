"""What size a compressed image says it has, off its first bytes, before a decoder makes room for what it claims."""

from __future__ import annotations

import struct

SOI, SIZ = b"\xff\xd8", b"\xff\x4f\xff\x51"  # JPEG's and JPEG-LS's beginning, and JPEG 2000's
# Start-of-frame markers: JPEG's (ITU-T T.81 table B.1) without DHT, JPG and DAC, which lie between, and JPEG-LS's.
FRAMES = frozenset({*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC})
FILL = 0xFF


def coded_size(codestream: bytes) -> tuple[int, int] | None:
    """Rows and columns that a JPEG, JPEG-LS or JPEG 2000 codestream declares; None where it declares none."""
    try:
        if codestream.startswith(SIZ):
            right, lower, left, upper = struct.unpack_from(">4I", codestream, 8)
            return lower - upper, right - left
        return _of_jpeg(codestream) if codestream.startswith(SOI) else None
    except struct.error:  # it ends before
        return None


def _of_jpeg(codestream: bytes) -> tuple[int, int] | None:
    place = len(SOI)
    while codestream[place : place + 1] == b"\xff":
        (marker,) = struct.unpack_from("B", codestream, place + 1)
        if marker == FILL:
            place += 1
            continue
        if marker in FRAMES:
            rows, columns = struct.unpack_from(">2H", codestream, place + 5)
            return rows, columns
        (length,) = struct.unpack_from(">H", codestream, place + 2)
        place += 2 + length
    return None
