from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest

from medtea.core.errors import DataError
from medtea.data.choices import Choices
from medtea.data.dicom_files import VENDORS, Vendor, write_radiograph
from medtea.data.reader import read
from medtea.data.views import view_of


def made_picture(rows: int = 41, columns: int = 33) -> np.ndarray:
    """Odd sizes, unequal sides, and both ends of the range."""
    picture = np.random.default_rng(3).random((rows, columns)).astype(np.float32)
    picture[0, 0], picture[-1, -1] = 0.0, 1.0
    return picture


@pytest.mark.parametrize("vendor", VENDORS, ids=lambda vendor: vendor.manufacturer)
def test_what_a_vendor_writes_reads_back_to_half_a_step(tmp_path: Path, vendor: Vendor) -> None:
    picture = made_picture()
    write_radiograph(tmp_path / "one", picture, vendor=vendor, patient="p1", study="s1")
    back = read(tmp_path / "one", Choices(unwindowed="range")).pixels
    assert back.dtype == np.float32
    # Rounding to a stored value costs half a step; float32 arithmetic a few units in the last place on top.
    np.testing.assert_allclose(back, picture, rtol=0, atol=vendor.step / 2 + 1e-6)


@pytest.mark.parametrize("vendor", VENDORS, ids=lambda vendor: vendor.manufacturer)
def test_the_file_says_what_the_vendor_is_said_to_write(tmp_path: Path, vendor: Vendor) -> None:
    write_radiograph(tmp_path / "one", made_picture(), vendor=vendor, patient="p1", study="s1", view="AP")
    dataset = pydicom.dcmread(tmp_path / "one")
    assert dataset.file_meta.TransferSyntaxUID == vendor.syntax
    assert dataset.PhotometricInterpretation == vendor.photometric
    assert dataset.BitsStored == vendor.bits
    assert dataset.PixelRepresentation == int(vendor.signed)
    assert ("WindowCenter" in dataset) == (vendor.window is not None)
    assert dataset.ViewPosition == "AP"
    assert dataset.Manufacturer == vendor.manufacturer
    assert ("ViewCodeSequence" in dataset) == (vendor.modality == "DX")
    assert "20150101" <= dataset.StudyDate <= "20231231"


def test_the_vendors_cover_polarities_bits_syntaxes_and_windows() -> None:
    assert {vendor.photometric for vendor in VENDORS} == {"MONOCHROME1", "MONOCHROME2"}
    assert {8, 10, 12, 16} <= {vendor.bits for vendor in VENDORS}
    assert len({vendor.syntax for vendor in VENDORS}) >= 4
    assert {vendor.window is None for vendor in VENDORS} == {True, False}
    assert {vendor.modality for vendor in VENDORS} == {"CR", "DX"}


def test_the_same_call_writes_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_radiograph(tmp_path / name, made_picture(), vendor=VENDORS[1], patient="p1", study="s1")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_images_of_one_study_share_its_uid_and_not_their_own(tmp_path: Path) -> None:
    for name in ("1", "2"):
        write_radiograph(tmp_path / name, made_picture(), vendor=VENDORS[0], patient="p", study="s", instance=name)
    first, second = (pydicom.dcmread(tmp_path / name) for name in ("1", "2"))
    assert first.StudyInstanceUID == second.StudyInstanceUID
    assert first.SOPInstanceUID != second.SOPInstanceUID
    assert first.StudyDate == second.StudyDate


@pytest.mark.parametrize("view", ["PA", "AP", "unknown"])
def test_the_view_can_be_read_from_its_code_alone(tmp_path: Path, view: str) -> None:
    write_radiograph(tmp_path / "one", made_picture(), vendor=VENDORS[0], patient="p", study="s", view=view)
    dataset = pydicom.dcmread(tmp_path / "one")
    del dataset.ViewPosition
    assert view_of(dataset) == view


def test_no_temporary_file_stays(tmp_path: Path) -> None:
    write_radiograph(tmp_path / "one", made_picture(), vendor=VENDORS[0], patient="p", study="s")
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


def test_values_outside_the_range_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"values in \[0, 1\]"):
        write_radiograph(tmp_path / "one", made_picture() * 2, vendor=VENDORS[0], patient="p", study="s")
    assert not list(tmp_path.iterdir())


def test_a_thumbnail_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="at least 32 rows and columns"):
        write_radiograph(tmp_path / "one", made_picture(31, 40), vendor=VENDORS[3], patient="p", study="s")
