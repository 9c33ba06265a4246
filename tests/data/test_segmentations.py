"""Segmentations written by highdicom, which has nothing in common with what reads them."""

from __future__ import annotations

import contextlib
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from medtea.core.errors import DataError
from medtea.data.dicom_files import VENDORS, write_radiograph
from medtea.data.reader import read_mask, read_radiograph

ROWS, COLUMNS = 40, 37  # no multiple of 8 pixels: the bits of a frame end within a byte
RIGHT = np.zeros((ROWS, COLUMNS), dtype=np.uint8)
RIGHT[5:30, 3:15] = 1
LEFT = np.zeros_like(RIGHT)
LEFT[6:31, 20:33] = 1
HEART = np.zeros_like(RIGHT)
HEART[20:35, 12:25] = 1
LUNGS = {"right": (RIGHT, Code("3341006", "SCT", "Right lung")), "left": (LEFT, Code("44029006", "SCT", "Left lung"))}
ORGANS = {**LUNGS, "heart": (HEART, codes.SCT.Heart)}


def radiograph(folder: Path) -> Path:
    grey = np.add.outer(np.arange(ROWS), np.arange(COLUMNS)) / (ROWS + COLUMNS)
    write_radiograph(folder / "x.dcm", grey.astype(np.float32), vendor=VENDORS[0], patient="p", study="s")
    return folder / "x.dcm"


def written(folder: Path, organs: dict[str, tuple[np.ndarray, Code]], kind: str = "BINARY") -> Path:
    planes = np.stack([plane for plane, _ in organs.values()], axis=-1)[None]
    if kind == "FRACTIONAL":
        planes = planes * np.float32(0.7) + np.float32(0.2)
    elif kind == "LABELMAP":
        planes = (planes * np.arange(1, planes.shape[-1] + 1)).max(axis=-1).astype(np.uint8)
    segmentation = hd.seg.Segmentation(
        source_images=[pydicom.dcmread(radiograph(folder))],
        pixel_array=planes,
        segmentation_type=kind,
        fractional_type="PROBABILITY",
        segment_descriptions=[
            hd.seg.SegmentDescription(
                segment_number=number,
                segment_label=name,
                segmented_property_category=codes.SCT.AnatomicalStructure,
                segmented_property_type=code,
                algorithm_type="MANUAL",
            )
            for number, (name, (_, code)) in enumerate(organs.items(), 1)
        ],
        series_instance_uid=hd.UID(),
        series_number=2,
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer="Made",
        manufacturer_model_name="By code",
        software_versions="1",
        device_serial_number="1",
    )
    segmentation.save_as(folder / "mask.dcm")
    return folder / "mask.dcm"


@pytest.mark.parametrize("kind", ["BINARY", "FRACTIONAL"])
def test_the_segments_whose_type_is_lung_are_united(tmp_path: Path, kind: str) -> None:
    mask = read_mask(written(tmp_path, ORGANS, kind))
    np.testing.assert_array_equal(mask, (RIGHT | LEFT) > 0)
    assert mask.shape == read_radiograph(tmp_path / "x.dcm").shape


def test_segments_of_a_label_map_are_found_by_their_numbers(tmp_path: Path) -> None:
    apart = {**LUNGS, "heart": (HEART * (1 - RIGHT) * (1 - LEFT), codes.SCT.Heart)}  # a label map has no overlaps
    np.testing.assert_array_equal(read_mask(written(tmp_path, apart, "LABELMAP")), (RIGHT | LEFT) > 0)


@pytest.mark.parametrize("code", [codes.SCT.Lung, Code("T-28000", "SRT", "?"), Code("1", "99HERE", "Lungs")])
def test_lungs_are_known_by_any_of_their_codes_or_by_the_codes_meaning(tmp_path: Path, code: Code) -> None:
    np.testing.assert_array_equal(read_mask(written(tmp_path, {"a": (LEFT, code)})), LEFT > 0)


def test_a_lesion_of_the_lung_is_no_lung(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"No segment .* of a lung .*Name them in ingest.lung_segments"):
        read_mask(written(tmp_path, {"a": (HEART, Code("1", "99HERE", "Nodule of lung"))}))


def test_named_segments_are_taken_whatever_their_type(tmp_path: Path) -> None:
    path = written(tmp_path, ORGANS)
    np.testing.assert_array_equal(read_mask(path, segments=("Heart", "left")), (HEART | LEFT) > 0)
    with pytest.raises(DataError, match="is one of those named"):
        read_mask(path, segments=("spleen",))


def test_an_empty_lung_is_an_empty_mask(tmp_path: Path) -> None:
    organs = {"a": (RIGHT * 0, codes.SCT.Lung), "heart": (HEART, codes.SCT.Heart)}
    assert not read_mask(written(tmp_path, organs)).any()


def test_dicom_that_is_no_segmentation_is_no_mask(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="SOPClassUID"):
        read_mask(radiograph(tmp_path))


def test_a_segment_of_several_frames_is_of_a_volume(tmp_path: Path) -> None:
    path = written(tmp_path, ORGANS)
    dataset = pydicom.dcmread(path)
    for frame in dataset.PerFrameFunctionalGroupsSequence:
        frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber = 1
    dataset.save_as(path)
    with pytest.raises(DataError, match="several frames"):
        read_mask(path)


@pytest.mark.parametrize(
    ("keyword", "value", "message"),
    [("NumberOfFrames", 5000, "more frames"), ("Rows", 65_535, "more frames"), ("SegmentSequence", None, "cannot be")],
)
def test_false_claims_and_damage_are_refused(tmp_path: Path, keyword: str, value: int | None, message: str) -> None:
    path = written(tmp_path, ORGANS)
    dataset = pydicom.dcmread(path)
    if value is None:
        delattr(dataset, keyword)
    else:
        setattr(dataset, keyword, value)
        dataset.Columns = 65_535 if keyword == "Rows" else dataset.Columns
    dataset.save_as(path)
    with pytest.raises(DataError, match=message):
        read_mask(path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("whole"), ORGANS)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_a_changed_byte_is_refused_or_read_and_nothing_else(whole: Path, data: st.DataObject) -> None:
    content, path = bytearray(whole.read_bytes()), whole.with_name("changed.dcm")
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(len(content) // 2, len(content)))])
    with contextlib.suppress(DataError):
        assert read_mask(path).dtype == bool
