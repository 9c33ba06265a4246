from __future__ import annotations

import contextlib
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from medtea.core.errors import DataError
from medtea.data.reader import read, read_mask, read_radiograph

GREY = np.add.outer(np.arange(20) * 3, np.arange(18) * 2).astype(np.uint16)  # 0 to 91, another value in each corner


def tiff(path: Path, values: np.ndarray, *, photometric: int, order: str = "<", sample_format: int = 1) -> Path:
    """A TIFF of one uncompressed strip, byte by byte after TIFF 6.0."""
    bits = values.dtype.itemsize * 8
    pixels = values.astype(values.dtype.newbyteorder(order)).tobytes()
    rows, columns = values.shape
    tags = {256: columns, 257: rows, 258: bits, 259: 1, 262: photometric, 273: 8, 277: 1, 278: rows}
    tags |= {279: len(pixels), 339: sample_format}
    directory = struct.pack(f"{order}H", len(tags))
    directory += b"".join(struct.pack(f"{order}HHII", tag, 4, 1, value) for tag, value in sorted(tags.items()))
    start = b"II*\0" if order == "<" else b"MM\0*"
    head = start + struct.pack(f"{order}I", 8 + len(pixels)) + pixels + directory
    path.write_bytes(head + struct.pack(f"{order}I", 0))
    return path


def png(path: Path, width: int, height: int) -> Path:
    """A PNG whose header claims this size, with a few pixels in it."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 99)) + chunk(b"IEND", b""))
    return path


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("photometric", [0, 1])
def test_a_tiff_is_bright_where_its_photometric_interpretation_says_white(
    tmp_path: Path, order: str, bits: int, photometric: int
) -> None:
    values = GREY.astype(np.uint8) if bits == 8 else GREY * 700
    expected = values / (2**bits - 1)
    path = tiff(tmp_path / "x.tif", values, photometric=photometric, order=order)
    if (order, bits, photometric) == (">", 16, 0):  # the one combination that Pillow does not know
        with pytest.raises(DataError, match="of a kind that is not read"):
            read_radiograph(path)
        return
    back = read_radiograph(path)
    np.testing.assert_allclose(back, expected if photometric == 1 else 1 - expected, atol=1e-6)


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_compressed_tiff_is_read(tmp_path: Path, compression: str, dtype: type) -> None:
    Image.fromarray(GREY.astype(dtype)).save(tmp_path / "x.tiff", compression=compression)
    np.testing.assert_allclose(read_radiograph(tmp_path / "x.tiff"), GREY / np.iinfo(dtype).max, atol=1e-6)


@pytest.mark.parametrize(
    ("values", "sample_format"), [(GREY.astype(np.float32), 3), (GREY.astype(np.int16), 2), (GREY.astype(np.uint32), 1)]
)
def test_a_tiff_whose_numbers_say_no_black_and_white_is_refused(
    tmp_path: Path, values: np.ndarray, sample_format: int
) -> None:
    with pytest.raises(DataError, match="do not say what is black"):
        read_radiograph(tiff(tmp_path / "x.tif", values, photometric=1, sample_format=sample_format))


def test_several_pictures_in_a_file_are_refused(tmp_path: Path) -> None:
    first = Image.fromarray(GREY.astype(np.uint8))
    for name in ("pages.tif", "moving.png"):
        first.save(tmp_path / name, save_all=True, append_images=[first.point(lambda value: 255 - value)])
        with pytest.raises(DataError, match="several pictures"):
            read_radiograph(tmp_path / name)


@pytest.mark.parametrize(("width", "height"), [(8_001, 8_000), (65_535, 65_535), (2**31 - 1, 2**31 - 1)])
def test_a_picture_that_claims_too_much_is_refused_before_it_is_decoded(
    tmp_path: Path, width: int, height: int
) -> None:
    with pytest.raises(DataError, match="at most 64,000,000"):
        read_radiograph(png(tmp_path / "x.png", width, height))


def test_a_tile_that_claims_too_much_is_refused(tmp_path: Path) -> None:
    path = tiff(tmp_path / "x.tif", GREY.astype(np.uint8), photometric=1)
    content = bytearray(path.read_bytes())
    for old, new in ((273, 322), (278, 323)):  # StripOffsets and RowsPerStrip become TileWidth and TileLength
        place = content.index(struct.pack("<HH", old, 4))
        content[place : place + 12] = struct.pack("<HHII", new, 4, 1, 65_520)
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"tiles|cannot be decoded"):
        read_radiograph(path)


def test_a_12_bit_tiff_is_divided_by_its_own_largest_value(tmp_path: Path) -> None:
    # Two pixels in three bytes: 0xFFF, 0x000 over and over, on 4 rows of 2 pixels.
    path = tiff(tmp_path / "x.tif", np.zeros((4, 3), dtype=np.uint8), photometric=1)
    content = bytearray(path.read_bytes())
    content[8:20] = bytes.fromhex("FFF000") * 4
    for tag, value in ((256, 2), (258, 12)):
        place = content.index(struct.pack("<HH", tag, 4))
        content[place : place + 12] = struct.pack("<HHII", tag, 4, 1, value)
    path.write_bytes(content)
    np.testing.assert_array_equal(read_radiograph(path), [[1, 0]] * 4)


def test_an_orientation_that_the_file_asks_for_is_applied(tmp_path: Path) -> None:
    picture = Image.fromarray(GREY.astype(np.uint8))
    exif = Image.Exif()
    exif[274] = 6  # the top of what is shown is the stored picture's left
    picture.save(tmp_path / "x.png", exif=exif)
    np.testing.assert_allclose(read_radiograph(tmp_path / "x.png"), np.rot90(GREY / 255, -1), atol=1e-6)


def test_a_raw_image_of_jsrt_is_dark_film_where_its_numbers_are_large(tmp_path: Path) -> None:
    stored = np.zeros((2048, 2048), dtype=">u2")
    stored[0, 1], stored[1, 0] = 4095, 1
    (tmp_path / "JPCLN001.IMG").write_bytes(stored.tobytes())
    back = read_radiograph(tmp_path / "JPCLN001.IMG")
    assert back[0, 1] == 0
    assert back[0, 0] == 1
    assert back[1, 0] == pytest.approx(1 - 1 / 4095)
    stored[0, 0] = 4096
    (tmp_path / "JPCLN001.IMG").write_bytes(stored.tobytes())
    with pytest.raises(DataError, match="more than 12 bits"):
        read_radiograph(tmp_path / "JPCLN001.IMG")


def test_what_is_said_to_be_inverted_is_turned_over(tmp_path: Path) -> None:
    Image.fromarray(GREY * 700).save(tmp_path / "x.png")
    plain = read_radiograph(tmp_path / "x.png")
    np.testing.assert_allclose(read(tmp_path / "x.png", inverted=True).pixels, 1 - plain)


def test_a_gif_is_a_mask_and_no_radiograph(tmp_path: Path) -> None:
    lungs = (GREY > 50).astype(np.uint8) * 255
    Image.fromarray(lungs).save(tmp_path / "left.gif")
    np.testing.assert_array_equal(read_mask(tmp_path / "left.gif"), lungs > 0)
    with pytest.raises(DataError, match="none of DICOM"):
        read_radiograph(tmp_path / "left.gif")


def test_the_masks_of_both_lungs_are_united(tmp_path: Path) -> None:
    left, right = GREY > 60, GREY < 30
    paths = (tmp_path / "left.png", tmp_path / "right.png")
    for path, lung in zip(paths, (left, right), strict=True):
        Image.fromarray(lung.astype(np.uint8) * 255).save(path)
    np.testing.assert_array_equal(read_mask(paths), left | right)
    Image.new("L", (5, 5), 255).save(paths[1])
    with pytest.raises(DataError, match="different sizes"):
        read_mask(paths)


def test_a_mask_on_a_grid_coarser_by_a_whole_number_is_brought_to_the_radiographs(tmp_path: Path) -> None:
    lungs = GREY > 50
    Image.fromarray(lungs).save(tmp_path / "x.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "x.png", shape=(40, 36)), np.kron(lungs, np.ones((2, 2))) > 0)
    for other in ((20, 18), (40, 35), (60, 36), (10, 9)):  # as it is: the same grid, and what does not fit
        assert read_mask(tmp_path / "x.png", shape=other).shape == (20, 18)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["png", "tif", "jpg", "gif"]), st.data())
def test_a_changed_byte_is_refused_or_read_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, kind: str, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("changed") / f"x.{kind}"
    Image.fromarray(GREY.astype(np.uint8)).save(path)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(len(content) // 2, len(content)))])
    with contextlib.suppress(DataError), warnings.catch_warnings():
        warnings.simplefilter("error")
        mask = read_mask(path)
        assert mask.ndim == 2
