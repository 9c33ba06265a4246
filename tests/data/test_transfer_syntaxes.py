"""The same pixels in every transfer syntax; a decoder that is missing is named with the package that brings it."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from oracles.made_dicom import made_dataset, made_words
from PIL import Image
from pydicom.dataset import FileDataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from medtea.core.errors import DataError
from medtea.data.choices import Accept, Choices
from medtea.data.dicom.codestream import coded_size
from medtea.data.dicom.stored import is_lossy, stored_of
from medtea.data.pixels import open_dicom, quiet_pydicom, radiograph_from, read_dataset, read_dicom

SHARED = Path(os.environ.get("MEDTEA_SHARED", Path(__file__).resolve().parents[3] / "shared"))
ODD = SHARED / "data" / "dicom" / "odd"
PLAIN = Choices(unwindowed="range")
CODED = (RLELossless, JPEGLSLossless, JPEG2000Lossless)
UNCODED = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian)


def coded(dataset: FileDataset, syntax: UID) -> FileDataset:
    if syntax.is_encapsulated:
        dataset.compress(syntax, generate_instance_uid=False)
    else:
        dataset.file_meta.TransferSyntaxUID = syntax
    return dataset


@pytest.mark.parametrize("syntax", [*UNCODED, *CODED], ids=lambda uid: uid.keyword)
@pytest.mark.parametrize(("bits", "signed"), [(8, False), (10, False), (12, False), (16, False), (12, True)])
def test_the_same_pixels_come_out_of_every_lossless_syntax(
    tmp_path: Path, syntax: UID, bits: int, signed: bool
) -> None:
    words = made_words(bits, (40, 48))
    plain = read_dataset(made_dataset(words, bits=bits, signed=signed), PLAIN)
    # as codecs are handed them: with the sign in the unused bits too
    extended = np.where(words >= 1 << (bits - 1), words - (1 << bits), words) if signed else words
    dataset = coded(made_dataset(extended, bits=bits, signed=signed), syntax)
    dataset.save_as(tmp_path / "x", enforce_file_format=True)
    reading = read_dicom(tmp_path / "x", PLAIN)
    np.testing.assert_array_equal(reading.pixels, plain.pixels)
    assert reading.facts.transfer_syntax == syntax.keyword
    assert reading.facts.lossy is None


@pytest.mark.parametrize(("syntax", "plugin"), [(JPEGLSLossless, "pyjpegls"), (RLELossless, "pylibjpeg")])
def test_the_decoder_that_is_asked_first_is_the_one_this_was_tested_with(
    syntax: UID, plugin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    decoder = get_decoder(syntax)
    as_array = decoder.as_array

    def noted(*arguments: Any, decoding_plugin: str, **options: Any) -> Any:
        asked.append(decoding_plugin)
        if decoding_plugin == failing:
            raise ValueError
        return as_array(*arguments, decoding_plugin=decoding_plugin, **options)

    monkeypatch.setattr(type(decoder), "as_array", lambda _, *arguments, **options: noted(*arguments, **options))
    dataset = coded(made_dataset(made_words(16, (40, 48)), bits=16), syntax)
    failing = None
    once = radiograph_from(dataset, PLAIN)
    assert asked == [plugin]
    failing = plugin
    np.testing.assert_array_equal(radiograph_from(dataset, PLAIN), once)
    assert asked[1:] == [plugin, ""], "another one may read what it does not"


@pytest.mark.parametrize("bits", [8, 12, 16, 24])
def test_big_endian_is_little_endian(tmp_path: Path, bits: int) -> None:
    words, allocated = made_words(bits), 32 if bits == 24 else None
    dataset = made_dataset(words, bits=bits, allocated=allocated, big_endian=True)
    if bits == 8:  # in 16-bit words, as OW has it, big endian turns pairs of bytes round
        dataset.PixelData = np.frombuffer(dataset.PixelData, dtype="<u2").byteswap().tobytes()
    dataset.save_as(tmp_path / "x", enforce_file_format=True)
    reading = read_dicom(tmp_path / "x", PLAIN)
    np.testing.assert_array_equal(
        reading.pixels, radiograph_from(made_dataset(words, bits=bits, allocated=allocated), PLAIN)
    )
    assert reading.facts.transfer_syntax == ExplicitVRBigEndian.keyword


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    arrays.arrays(np.uint16, (32, 32), elements=st.integers(0, 4095)).filter(lambda words: np.ptp(words) > 0),
    st.sampled_from(CODED),
    st.sampled_from(["MONOCHROME1", "MONOCHROME2"]),
)
def test_coded_and_decoded_any_picture_is_the_same(words: np.ndarray, syntax: UID, photometric: str) -> None:
    before, after = made_dataset(words.astype(np.int64)), made_dataset(words.astype(np.int64))
    before.PhotometricInterpretation = after.PhotometricInterpretation = photometric
    np.testing.assert_array_equal(radiograph_from(coded(after, syntax), PLAIN), radiograph_from(before, PLAIN))


def test_jpeg_baseline_is_read_and_is_lossy() -> None:
    rows, columns = np.mgrid[0:64, 0:48]
    picture = (rows * 3 + columns).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(picture).save(file, format="JPEG", quality=100)
    dataset = made_dataset(picture.astype(np.int64), bits=8)
    dataset.PixelData = encapsulate([file.getvalue()])
    dataset["PixelData"].VR = "OB"
    dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    reading = read_dataset(dataset, PLAIN)
    np.testing.assert_allclose(reading.pixels, picture / 255, atol=3 / 255)
    assert reading.facts.lossy


def test_jpeg_lossless_is_read_without_loss(tmp_path: Path) -> None:
    words = made_words(12, (40, 48))
    writer = sitk.ImageFileWriter()
    writer.SetImageIO("GDCMImageIO")
    writer.UseCompressionOn()
    writer.SetCompressor("JPEG")
    writer.SetFileName(str(tmp_path / "x.dcm"))
    writer.Execute(sitk.GetImageFromArray(words.astype(np.uint16)))
    dataset = pydicom.dcmread(tmp_path / "x.dcm")
    assert dataset.file_meta.TransferSyntaxUID == JPEGLosslessSV1
    np.testing.assert_array_equal(stored_of(dataset).places, words)


def grey_planes() -> Iterator[tuple[str, FileDataset]]:
    """The odd files that hold one grey plane of whole bytes, whatever it shows."""
    for path in sorted(ODD.glob("*.dcm")):
        with contextlib.suppress(DataError):
            dataset = open_dicom(path)
            is_grey = "MONOCHROME" in str(dataset.get("PhotometricInterpretation"))
            if is_grey and str(dataset.get("NumberOfFrames", 1)) == "1" and dataset.get("BitsStored", 1) > 1:
                yield path.name, dataset


@pytest.mark.skipif(not ODD.is_dir(), reason="the shared DICOM files are not here")
def test_other_makers_files_decode_to_what_pydicom_decodes_or_neither_decodes_them() -> None:
    syntaxes = set()
    for name, dataset in grey_planes():
        try:
            with quiet_pydicom():
                expected = dataset.pixel_array
        except Exception:  # truncated, without pixels, of no known syntax
            with pytest.raises(
                DataError, match=r"cannot be decoded|is coded as|is missing|holds no image|which pydicom does not"
            ):
                stored_of(dataset)
            continue
        stored = stored_of(dataset)
        np.testing.assert_array_equal(stored.values[stored.places], expected, err_msg=name)
        syntaxes.add(dataset.file_meta.TransferSyntaxUID.keyword)
    assert syntaxes >= {
        "ImplicitVRLittleEndian",
        "ExplicitVRLittleEndian",
        "ExplicitVRBigEndian",
        "DeflatedExplicitVRLittleEndian",
        "RLELossless",
        "JPEGExtended12Bit",
        "JPEGLosslessSV1",
        "JPEGLSLossless",
        "JPEGLSNearLossless",
        "JPEG2000Lossless",
        "JPEG2000",
    }


@pytest.mark.skipif(not ODD.is_dir(), reason="the shared DICOM files are not here")
def test_high_throughput_jpeg_2000_is_decoded() -> None:
    dataset = pydicom.dcmread(ODD / "pydicom-data__HTJ2KLossless_08_RGB.dcm")
    assert dataset.file_meta.TransferSyntaxUID == HTJ2KLossless
    with pytest.raises(DataError, match="The picture is coloured"):  # which only its decoded pixels can tell
        stored_of(dataset)


@pytest.mark.parametrize(
    ("syntax", "package"),
    [
        (RLELossless, "pylibjpeg-rle"),
        (JPEGLSLossless, "pyjpegls"),
        (JPEG2000Lossless, "pylibjpeg-openjpeg"),
    ],
    ids=lambda value: getattr(value, "keyword", value),
)
def test_a_missing_decoder_is_named_with_its_package(
    syntax: UID, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = coded(made_dataset(made_words(12, (40, 48))), syntax)
    monkeypatch.setattr(get_decoder(syntax), "_available", {})
    with pytest.raises(DataError, match=f"no decoder is installed: pip install {package}$"):
        read_dataset(dataset)


@pytest.mark.parametrize(
    ("uid", "message"),
    [
        (None, r"TransferSyntaxUID \(0002,0010\) is missing"),
        ("1.2.3.4", r"TransferSyntaxUID \(0002,0010\) is missing or none"),
        ("1.2.840.10008.1.2.4.100", "MPEG2.*, which pydicom does not read"),
        ("1.2.840.10008.1.2.5", "cannot be decoded .RLE Lossless"),
    ],
)
def test_a_syntax_that_is_missing_unknown_or_wrong_is_told(uid: str | None, message: str) -> None:
    dataset = made_dataset()
    del dataset.file_meta.TransferSyntaxUID
    if uid:
        dataset.file_meta.TransferSyntaxUID = UID(uid)
    with pytest.raises(DataError, match=message):
        read_dataset(dataset)


@pytest.mark.parametrize("syntax", [JPEGLSLossless, JPEG2000Lossless], ids=lambda uid: uid.keyword)
def test_a_codestream_that_claims_another_size_is_refused_before_it_is_decoded(
    syntax: UID, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = coded(made_dataset(made_words(12, (40, 48))), syntax)
    assert coded_size(get_frame(dataset.PixelData, 0)) == (40, 48)
    at = {JPEGLSLossless: (b"\x00\x28\x00\x30", 2), JPEG2000Lossless: (b"\x00\x00\x00\x30\x00\x00\x00\x28", 4)}
    size, width = at[syntax]
    claimed = b"\xff" * width + size[width:]
    dataset.PixelData = dataset.PixelData.replace(size, claimed, 1)
    monkeypatch.setattr(type(get_decoder(syntax)), "as_array", lambda *_, **__: pytest.fail("it was decoded"))
    with pytest.raises(DataError, match=r"is coded as \d+ x \d+ pixels, and Rows x Columns is 40 x 48"):
        read_dataset(dataset)


def test_the_size_of_a_jpeg_stands_in_its_start_of_frame() -> None:
    file = io.BytesIO()
    Image.new("L", (37, 21)).save(file, format="JPEG")
    assert coded_size(file.getvalue()) == (21, 37)
    assert coded_size(file.getvalue()[:2] + b"\xff" + file.getvalue()[2:]) == (21, 37)  # a fill byte before a marker
    for end in range(40):  # cut before the start of frame
        assert coded_size(file.getvalue()[:end]) is None
    assert coded_size(b"\xff\x4f\xff\x51") is coded_size(b"") is coded_size(b"RIFF") is None


@pytest.mark.parametrize(
    ("said", "syntax", "lossy"),
    [
        ("01", ExplicitVRLittleEndian, True),  # it was, before somebody decoded it
        ("00", ExplicitVRLittleEndian, False),
        (None, ExplicitVRLittleEndian, None),
        ("00", JPEGBaseline8Bit, True),
        ("00", UID("1.2.840.10008.1.2.4.91"), False),
        (None, UID("1.2.840.10008.1.2.4.91"), True),
    ],
)
def test_lossy_is_what_the_tag_or_the_syntax_says(said: str | None, syntax: UID, lossy: bool | None) -> None:
    dataset = made_dataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    if said:
        dataset.LossyImageCompression = said
    assert is_lossy(dataset) is lossy


def test_of_several_frames_the_first_is_read_where_that_is_chosen() -> None:
    words = made_words(12, (40, 24))
    dataset = made_dataset(words)
    dataset.Rows, dataset.NumberOfFrames = 20, 2
    reading = read_dataset(dataset, Choices(unwindowed="range", accept=Accept(multi_frame="keep")))
    np.testing.assert_array_equal(reading.pixels, radiograph_from(made_dataset(words[:20]), PLAIN))
    assert reading.facts.frames == 2


@pytest.mark.parametrize("tint", [0, 60])
def test_grey_that_is_stored_in_colour_is_read_where_that_is_chosen_and_colours_never(tint: int) -> None:
    grey = made_words(8)
    dataset = made_dataset(grey, bits=8)
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PlanarConfiguration = 3, "RGB", 0
    colours = np.stack([grey, grey, np.clip(grey + tint, 0, 255)], axis=-1).astype(np.uint8)
    dataset.PixelData = colours.tobytes()
    choices = Choices(unwindowed="range", accept=Accept(colour="keep"))
    if tint:
        with pytest.raises(DataError, match="The picture is coloured"):
            read_dataset(dataset, choices)
    else:
        np.testing.assert_array_equal(
            read_dataset(dataset, choices).pixels, radiograph_from(made_dataset(grey, bits=8), PLAIN)
        )


def test_overlays_are_counted_and_never_drawn() -> None:
    words = made_words(12)
    dataset = made_dataset(words | 0x8000)  # one plane in the highest bit
    dataset.add_new((0x6000, 0x0102), "US", 15)
    dataset.add_new((0x6002, 0x3000), "OW", b"\xff" * 60)
    reading = read_dataset(dataset, PLAIN)
    np.testing.assert_array_equal(reading.pixels, radiograph_from(made_dataset(words), PLAIN))
    assert (reading.facts.overlays, reading.facts.unused_bits) == (2, "masked")


@pytest.mark.parametrize("signed", [False, True])
def test_a_negative_numbers_sign_in_the_unused_bits_is_no_stray_bit(signed: bool) -> None:
    words = made_words(12)
    extended = np.where(words >= 2048, words | 0xF000, words)
    reading = read_dataset(made_dataset(extended, signed=signed), PLAIN)
    assert reading.facts.unused_bits == ("clear" if signed else "masked")
    np.testing.assert_array_equal(reading.pixels, radiograph_from(made_dataset(words, signed=signed), PLAIN))
