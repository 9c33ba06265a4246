from __future__ import annotations

import itertools
import logging
import os
import warnings
from pathlib import Path

import numpy as np
import pytest
from oracles.slow_pixels import shown
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian

from medtea.core.errors import DataError
from medtea.data.pixels import open_dicom, polarity_conflict, radiograph_from, window
from medtea.data.reader import read_radiograph

SHARED = Path(os.environ.get("MEDTEA_SHARED", Path(__file__).resolve().parents[3] / "shared"))
PRECISION = 1e-6  # float32 holds seven digits of a number in [0, 1]

PHOTOMETRIC = ("MONOCHROME1", "MONOCHROME2")
WINDOWS = (None, (600.0, 900.0, "LINEAR"), (600.0, 900.0, "LINEAR_EXACT"), (600.0, 900.0, "SIGMOID"))
KINDS = ((8, False), (12, False), (16, False), (12, True), (16, True))


def made_dataset(stored: np.ndarray | None = None, *, bits: int = 12, signed: bool = False) -> FileDataset:
    """The smallest data set that is a radiograph."""
    if stored is None:
        stored = np.arange(20 * 24).reshape(20, 24) * 8
    allocated = 8 if bits == 8 else 16
    dataset = FileDataset("", {}, file_meta=FileMetaDataset(), preamble=b"\0" * 128)
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.Modality, dataset.PhotometricInterpretation = "DX", "MONOCHROME2"
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.1.1", "1.2.3"
    dataset.Rows, dataset.Columns = stored.shape
    dataset.SamplesPerPixel = 1
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = allocated, bits, bits - 1
    dataset.PixelRepresentation = int(signed)
    dataset.PixelData = (stored & (2**allocated - 1)).astype(f"<u{allocated // 8}").tobytes()
    dataset["PixelData"].VR = "OW"
    return dataset


def made_words(bits: int) -> np.ndarray:
    """Raw words of every part of the range, both ends among them."""
    words = np.linspace(0, 2**bits - 1, 20 * 24).astype(np.int64)
    return np.random.default_rng(0).permutation(words).reshape(20, 24)


@pytest.mark.parametrize(("photometric", "voi", "kind"), list(itertools.product(PHOTOMETRIC, WINDOWS, KINDS)))
def test_every_row_of_the_truth_table_agrees_with_the_slow_twin(
    photometric: str, voi: tuple[float, float, str] | None, kind: tuple[int, bool]
) -> None:
    bits, signed = kind
    words = made_words(bits)
    dataset = made_dataset(words, bits=bits, signed=signed)
    dataset.PhotometricInterpretation = photometric
    rescale = (0.5, 100.0) if bits == 16 else (1.0, 0.0)
    dataset.RescaleSlope, dataset.RescaleIntercept = rescale
    if voi:
        center = 100.0 if bits == 8 else voi[0]
        voi = (center, voi[1], voi[2])
        dataset.WindowCenter, dataset.WindowWidth, dataset.VOILUTFunction = voi
    expected = [
        shown(int(word), bits=bits, signed=signed, photometric=photometric, rescale=rescale, window=voi)
        for word in words.ravel()
    ]
    np.testing.assert_allclose(radiograph_from(dataset).ravel(), expected, rtol=0, atol=PRECISION)


def test_a_negative_slope_turns_the_picture_over_once() -> None:
    # pydicom's apply_windowing turns it back: with slope -1 its y_min lies above its y_max.
    dataset = made_dataset()
    dataset.RescaleSlope, dataset.RescaleIntercept = -1, 4095
    dataset.WindowCenter, dataset.WindowWidth = 2048, 4096
    plain = radiograph_from(made_dataset())
    np.testing.assert_allclose(radiograph_from(dataset), 1 - plain, rtol=0, atol=PRECISION)


def test_a_linear_window_by_hand() -> None:
    # c = 50, w = 11: black up to 49.5 - 5 = 44.5, white above 54.5, and (48 - 49.5)/10 + 0.5 = 0.35 between.
    values = np.array([44, 44.5, 48, 49.5, 54.5, 55])
    np.testing.assert_allclose(window(values, center=50, width=11), [0, 0, 0.35, 0.5, 1, 1])


def test_a_linear_window_of_width_one_is_a_step() -> None:
    np.testing.assert_array_equal(window(np.array([9, 10]), center=10, width=1), [0, 1])


def test_the_first_of_several_windows_is_used() -> None:
    one, several = made_dataset(), made_dataset()
    one.WindowCenter, one.WindowWidth = 1000, 500
    several.WindowCenter, several.WindowWidth = [1000, 2000], [500, 4000]
    np.testing.assert_array_equal(radiograph_from(several), radiograph_from(one))


def test_an_empty_window_is_no_window() -> None:
    dataset = made_dataset()
    dataset.WindowCenter = dataset.WindowWidth = None
    np.testing.assert_array_equal(radiograph_from(dataset), radiograph_from(made_dataset()))


def test_bits_above_those_stored_change_nothing() -> None:
    words = made_words(12)
    overlay = words | 0xA000
    np.testing.assert_array_equal(radiograph_from(made_dataset(overlay)), radiograph_from(made_dataset(words)))


def test_monochrome1_and_its_turned_over_twin_are_the_same_radiograph() -> None:
    words = made_words(12)
    dataset = made_dataset(4095 - words)
    dataset.PhotometricInterpretation = "MONOCHROME1"
    np.testing.assert_allclose(radiograph_from(dataset), radiograph_from(made_dataset(words)), atol=PRECISION)


@pytest.mark.parametrize(("photometric", "shape"), [("MONOCHROME1", "IDENTITY"), ("MONOCHROME2", "INVERSE")])
def test_photometric_interpretation_wins_over_a_presentation_shape_that_contradicts_it(
    photometric: str, shape: str
) -> None:
    dataset, plain = made_dataset(), made_dataset()
    dataset.PhotometricInterpretation = plain.PhotometricInterpretation = photometric
    dataset.PresentationLUTShape = shape
    assert polarity_conflict(dataset)
    assert not polarity_conflict(plain)
    np.testing.assert_array_equal(radiograph_from(dataset), radiograph_from(plain))


@pytest.mark.parametrize("first", [0, 100, -5])
@pytest.mark.parametrize("bits", [8, 12])
def test_a_voi_table_is_looked_up_entry_by_entry(first: int, bits: int) -> None:
    table = np.random.default_rng(1).integers(0, 2**bits, 4000)
    dataset = made_dataset()
    dataset.VOILUTSequence = Sequence([made_table(first, bits, table)])
    stored = np.arange(20 * 24) * 8
    expected = [table[min(max(word - first, 0), 3999)] / (2**bits - 1) for word in stored]
    np.testing.assert_allclose(radiograph_from(dataset).ravel(), expected, atol=PRECISION)


def made_table(first: int, bits: int, table: np.ndarray) -> Dataset:
    item = Dataset()
    item.add_new("LUTDescriptor", "SS" if first < 0 else "US", [len(table), first, bits])
    item.add_new("LUTData", "US", table.tolist())
    return item


def test_a_modality_table_comes_before_the_window() -> None:
    table = np.arange(4096)[::-1] // 16
    dataset = made_dataset()
    dataset.ModalityLUTSequence = Sequence([made_table(0, 8, table)])
    dataset.WindowCenter, dataset.WindowWidth = 128, 256
    expected = table[np.arange(20 * 24) * 8] / 255
    np.testing.assert_allclose(radiograph_from(dataset).ravel(), expected, atol=PRECISION)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"PhotometricInterpretation": "RGB"}, "'RGB'; a radiograph is MONOCHROME1 or MONOCHROME2"),
        ({"PhotometricInterpretation": None}, r"PhotometricInterpretation \(0028,0004\) is missing"),
        ({"Modality": "CT"}, r"Modality \(0008,0060\) is 'CT'; a projection radiograph is CR or DX"),
        ({"Modality": "OT"}, "'OT'"),
        ({"Modality": None}, "Modality .* is missing"),
        ({"NumberOfFrames": 3}, r"NumberOfFrames \(0028,0008\) is '3'; it must be 1"),
        ({"SamplesPerPixel": 3}, "SamplesPerPixel .* must be 1"),
        ({"ViewPosition": "LL"}, r"ViewPosition \(0018,5101\) is 'LL'; a frontal radiograph is PA or AP"),
        ({"ViewPosition": "LATERAL"}, "frontal"),
        ({"Rows": 65_000, "Columns": 65_000}, "65000 x 65000; a radiograph has at most 64,000,000 pixels"),
        ({"Rows": 0}, r"Rows \(0028,0010\) is '0'; it must be between 16 and 65535"),
        ({"Columns": None}, "Columns .* is missing"),
        ({"BitsStored": 17}, "BitsStored .* is '17'; it must be between 2 and 16"),
        ({"BitsAllocated": 32}, "BitsAllocated"),
        ({"PixelRepresentation": None}, "PixelRepresentation"),
        ({"Rows": 30}, "cannot be decoded .*Explicit VR Little Endian"),
        ({"PixelData": None}, r"PixelData \(7FE0,0010\) is missing"),
        ({"RescaleSlope": 0, "RescaleIntercept": 0}, "RescaleSlope"),
        ({"WindowCenter": 10, "WindowWidth": 0}, "WindowWidth .* is '0'; with LINEAR it must be at least 1"),
        ({"WindowCenter": 10, "WindowWidth": 5, "VOILUTFunction": "CUBIC"}, "'CUBIC'; it must be LINEAR, LINEAR_EXACT"),
        ({"WindowCenter": -9000, "WindowWidth": 10}, "equal after the VOI transformation"),
    ],
)
def test_what_is_no_usable_radiograph_is_refused_with_its_element(changes: dict[str, object], message: str) -> None:
    dataset = made_dataset()
    for keyword, value in changes.items():
        if value is None:
            del dataset[keyword]
        else:
            setattr(dataset, keyword, value)
    with pytest.raises(DataError, match=message):
        radiograph_from(dataset)


def test_a_constant_image_is_refused() -> None:
    with pytest.raises(DataError, match="one value everywhere"):
        radiograph_from(made_dataset(np.full((20, 24), 7)))


def test_free_text_in_a_code_is_not_quoted() -> None:
    dataset = made_dataset()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset.Modality = "Doe, Jane *1950"
    with pytest.raises(DataError, match="is something else") as caught:
        radiograph_from(dataset)
    assert "Doe" not in str(caught.value)


def view_code(value: str, meaning: str) -> Sequence:
    item = Dataset()
    item.CodeValue, item.CodeMeaning = value, meaning
    return Sequence([item])


def test_a_lateral_told_by_its_view_code_is_refused() -> None:
    dataset = made_dataset()
    dataset.ViewCodeSequence = view_code("399173006", "left lateral")
    with pytest.raises(DataError, match="frontal"):
        radiograph_from(dataset)


def test_a_file_that_is_not_dicom_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"no DICOM here" * 100)
    with pytest.raises(DataError, match="DICM is missing"):
        open_dicom(tmp_path / "x")


def outcome(path: Path) -> str:
    """The word read, or the reason of the refusal; any other exception fails the test."""
    try:
        radiograph = read_radiograph(path)
    except DataError as refusal:
        return str(refusal)
    assert radiograph.dtype == np.float32
    assert 0 <= radiograph.min() < radiograph.max() <= 1
    return "read"


def test_damaged_files_are_refused_and_say_nothing_on_the_way(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    made_dataset().save_as(tmp_path / "whole", enforce_file_format=True)
    whole = (tmp_path / "whole").read_bytes()
    generator = np.random.default_rng(5)
    read = 0
    with caplog.at_level(logging.DEBUG):
        for trial in range(200):
            damaged = bytearray(whole[: generator.integers(133, len(whole))] if trial % 2 else whole)
            for place in generator.integers(132, len(damaged), 6):
                damaged[place] = generator.integers(256)
            (tmp_path / "damaged").write_bytes(damaged)
            read += outcome(tmp_path / "damaged") == "read"
    assert read < 200
    assert not [record for record in caplog.records if record.name == "pydicom"]
    assert not list(recwarn)


@pytest.mark.skipif(not (SHARED / "data" / "dicom").is_dir(), reason="the shared DICOM files are not here")
def test_real_and_hostile_files_are_read_or_refused() -> None:
    found, read = 0, []
    for path in sorted((SHARED / "data" / "dicom").rglob("*")):
        if not path.is_file() or path.suffix == ".csv":
            continue
        found += 1
        result = outcome(path)
        assert path.name not in result
        if result == "read":
            read.append(path.name)
    assert found > 200
    assert len([name for name in read if name.startswith(("torchx", "covid", "pydicom-data__RG1"))]) == 4
