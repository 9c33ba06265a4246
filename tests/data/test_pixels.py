from __future__ import annotations

import csv
import logging
import os
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from oracles.made_dicom import made_dataset, made_table, made_words, put_code
from pydicom.sequence import Sequence

from medtea.core.errors import DataError
from medtea.data.choices import Choices
from medtea.data.pixels import open_dicom, polarity_conflict, radiograph_from, window
from medtea.data.reader import read_radiograph

SHARED = Path(os.environ.get("MEDTEA_SHARED", Path(__file__).resolve().parents[3] / "shared"))
PRECISION = 1e-6  # float32 holds seven digits of a number in [0, 1]
WHOLE_RANGE = Choices(unwindowed="range")


def test_a_negative_slope_turns_the_picture_over_once() -> None:
    # pydicom's apply_windowing turns it back: with slope -1 its y_min lies above its y_max.
    dataset = made_dataset()
    dataset.RescaleSlope, dataset.RescaleIntercept = -1, 4095
    dataset.WindowCenter, dataset.WindowWidth = 2048, 4096
    plain = radiograph_from(made_dataset(), WHOLE_RANGE)
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


@settings(max_examples=40, deadline=None)
@given(
    arrays.arrays(np.int64, (16, 16), elements=st.integers(0, 1023)).filter(lambda words: np.ptp(words) > 0),
    st.sampled_from(["range", "percentiles"]),
)
def test_monochrome1_and_its_turned_over_twin_are_the_same_radiograph(words: np.ndarray, way: str) -> None:
    dataset, choices = made_dataset(1023 - words, bits=10), Choices(unwindowed=way, percentiles=(1, 99))
    dataset.PhotometricInterpretation = "MONOCHROME1"
    plain = radiograph_from(made_dataset(words, bits=10), choices)
    np.testing.assert_allclose(radiograph_from(dataset, choices), plain, atol=PRECISION)


@settings(max_examples=40, deadline=None)
@given(st.floats(-3000, 3000), st.floats(2, 5000), st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID"]))
def test_a_window_never_darkens_what_is_denser_and_stays_in_the_unit_range(
    center: float, width: float, function: str
) -> None:
    shown = window(np.arange(-4096, 4096), center=center, width=width, function=function)
    assert 0 <= shown.min() <= shown.max() <= 1
    assert (np.diff(shown) >= 0).all()


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
        ({"BitsAllocated": 12}, r"BitsAllocated \(0028,0100\) is '12'; it must be 8, 16 or 32"),
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


def test_a_lateral_told_by_its_view_code_is_refused() -> None:
    dataset = made_dataset()
    put_code(dataset, "ViewCodeSequence", "399173006", "left lateral")
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
@pytest.mark.parametrize("folder", ["chest", "odd"])
def test_real_and_hostile_files_are_read_or_refused_for_a_true_reason(folder: str) -> None:
    with (SHARED / "data" / "dicom" / folder / "index.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    read = []
    for row in rows:
        result = outcome(SHARED / "data" / "dicom" / folder / row["file"])
        assert row["file"] not in result
        if result == "read":
            read.append(row["file"])
        elif "Modality" in result:
            assert (f"is '{row['modality']}'" if row["modality"] else "is missing") in result
            assert row["modality"] not in {"CR", "DX"}
        elif "PixelData" in result:
            assert row["pixels"].startswith("FAIL")
        elif result.startswith("The file is none of DICOM"):
            start = (SHARED / "data" / "dicom" / folder / row["file"]).read_bytes()[128:132]
            assert start != b"DICM"
        elif result.startswith("The file is DICOM without its preamble"):
            assert "no preamble" in row["note"]
        else:
            # a projection radiograph, but of something else; the index does not say of what
            assert row["modality"] == "CR"
            assert result.startswith(("BodyPartExamined (0018,0015) is", "ViewPosition (0018,5101) is 'LL'"))
    assert len(rows) == {"chest": 4, "odd": 201}[folder]
    assert len(read) == {"chest": 4, "odd": 0}[folder]
