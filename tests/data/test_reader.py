from __future__ import annotations

import io
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813
from monai.transforms import Compose, EnsureChannelFirstd, LoadImaged
from PIL import Image
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from medtea.core.errors import DataError
from medtea.data.dicom_files import VENDORS, write_radiograph
from medtea.data.monai_reader import RadiographReader
from medtea.data.pixels import open_dicom
from medtea.data.reader import read, read_mask, read_radiograph


def made_picture() -> np.ndarray:
    """Taller than wide, and different in all four corners."""
    rows, columns = np.mgrid[0:48, 0:36]
    return ((rows / 47) ** 2 * 0.8 + columns / 35 * 0.2).astype(np.float32)


def written(folder: Path, kind: str) -> Path:
    """The made picture in a file of this kind."""
    path, sixteen = folder / f"x.{kind}", np.rint(made_picture() * 65_535).astype(np.uint16)
    if kind == "dcm":
        write_radiograph(path, made_picture(), vendor=VENDORS[3], patient="p", study="s", spacing_mm=0.2)
    elif kind == "png":
        Image.fromarray(sixteen).save(path)
    elif kind == "jpg":
        Image.fromarray((made_picture() * 255).astype(np.uint8)).save(path, quality=100)
    elif kind in {"nii", "nii.gz"}:
        nibabel.save(nibabel.Nifti1Image(sixteen.T, np.diag([0.3, 0.2, 1, 1])), path)  # first axis: columns
    else:
        image = sitk.GetImageFromArray(sixteen)
        image.SetSpacing((0.3, 0.2))
        sitk.WriteImage(image, str(path))
    return path


KINDS = ("dcm", "png", "jpg", "nii", "nii.gz", "mha", "mhd")


@pytest.mark.parametrize("kind", KINDS)
def test_every_format_gives_the_same_rows_and_columns(tmp_path: Path, kind: str) -> None:
    back = read_radiograph(written(tmp_path, kind))
    tolerance = 2 / 255 if kind == "jpg" else 2 / 65_535  # lossy at 8 bits; rounding at 16
    assert back.dtype == np.float32
    np.testing.assert_allclose(back, made_picture(), rtol=0, atol=tolerance)


@pytest.mark.parametrize("kind", KINDS)
def test_the_reader_serves_a_users_own_monai_pipeline(tmp_path: Path, kind: str) -> None:
    load = Compose([LoadImaged("radiograph", reader=RadiographReader()), EnsureChannelFirstd("radiograph")])
    loaded = load({"radiograph": written(tmp_path, kind)})["radiograph"]
    assert loaded.shape == (1, 48, 36)
    np.testing.assert_allclose(loaded[0].numpy(), read_radiograph(tmp_path / f"x.{kind}"))


def test_a_refused_file_does_not_fall_through_to_another_reader_of_monai(tmp_path: Path) -> None:
    path = written(tmp_path, "dcm")
    dataset = pydicom.dcmread(path)
    dataset.Modality = "CT"
    dataset.save_as(path)
    with pytest.raises(Exception, match="a projection radiograph is CR or DX"):
        LoadImaged("radiograph", reader=RadiographReader())({"radiograph": path})


@pytest.mark.parametrize(("kind", "spacing"), [("dcm", (0.2, 0.2)), ("nii", (0.2, 0.3)), ("mha", (0.2, 0.3))])
def test_spacing_is_between_rows_then_between_columns(tmp_path: Path, kind: str, spacing: tuple[float, float]) -> None:
    reader = RadiographReader()
    _, metadata = reader.get_data(reader.read(written(tmp_path, kind)))
    np.testing.assert_allclose(metadata["spacing_mm"], spacing, rtol=1e-6)
    np.testing.assert_allclose(np.diag(metadata["affine"])[:2], spacing, rtol=1e-6)


def test_a_picture_has_no_spacing(tmp_path: Path) -> None:
    reader = RadiographReader()
    _, metadata = reader.get_data(reader.read(written(tmp_path, "png")))
    assert np.isnan(metadata["spacing_mm"]).all()


def test_several_files_are_not_one_radiograph(tmp_path: Path) -> None:
    path = written(tmp_path, "png")
    reader = RadiographReader()
    assert reader.verify_suffix(path)
    with pytest.raises(DataError, match="2 files were given as one radiograph"):
        reader.get_data(reader.read([path, path]))


def test_dicom_is_known_by_its_content_not_its_name(tmp_path: Path) -> None:
    path = written(tmp_path, "dcm").rename(tmp_path / "IM0001.png")
    np.testing.assert_allclose(read_radiograph(path), made_picture(), atol=2 / 65_535)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P", "L"])
def test_a_grey_picture_may_be_stored_in_colour(tmp_path: Path, mode: str) -> None:
    grey = Image.fromarray((made_picture() * 255).astype(np.uint8))
    grey.convert(mode).save(tmp_path / "x.png")
    np.testing.assert_allclose(read_radiograph(tmp_path / "x.png"), np.asarray(grey) / 255, atol=1e-6)


def test_colours_and_transparent_pixels_are_refused(tmp_path: Path) -> None:
    Image.new("RGB", (20, 20), (200, 10, 10)).save(tmp_path / "red.png")
    with pytest.raises(DataError, match="coloured"):
        read_radiograph(tmp_path / "red.png")
    Image.new("RGBA", (20, 20), (9, 9, 9, 100)).save(tmp_path / "glass.png")
    with pytest.raises(DataError, match="transparent"):
        read_radiograph(tmp_path / "glass.png")


def test_volumes_are_refused(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(np.zeros((5, 6, 7), dtype=np.uint8), np.eye(4)), tmp_path / "x.nii")
    with pytest.raises(DataError, match="one grey plane"):
        read_radiograph(tmp_path / "x.nii")


def test_a_plane_of_a_volume_of_one_is_a_radiograph(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(made_picture().T[:, :, None], np.eye(4)), tmp_path / "x.nii")
    np.testing.assert_allclose(read_radiograph(tmp_path / "x.nii"), made_picture(), atol=1e-6)


def test_values_without_a_known_range_run_from_smallest_to_largest(tmp_path: Path) -> None:
    values = (made_picture() * 2000 - 1000).astype(np.float32)
    sitk.WriteImage(sitk.GetImageFromArray(values), str(tmp_path / "x.mha"))
    np.testing.assert_allclose(read_radiograph(tmp_path / "x.mha"), made_picture(), atol=1e-3)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.png", b"\x89PNG\r\n\x1a\nbroken", "cannot be decoded"),
        ("x.nii", b"broken", "header cannot be read"),
        ("x.mha", b"", "header cannot be read"),
        ("x.txt", b"text", "none of DICOM, PNG, JPEG, TIFF, NIfTI, MetaImage and NRRD"),
    ],
)
def test_broken_files_are_refused(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read_radiograph(tmp_path / name)
    assert name not in str(caught.value)


def test_absent_and_constant_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be opened"):
        read_radiograph(tmp_path / "absent.png")
    Image.new("L", (20, 20), 9).save(tmp_path / "flat.png")
    with pytest.raises(DataError, match="All pixels are equal"):
        read_radiograph(tmp_path / "flat.png")


@pytest.mark.parametrize("top", [1, 255])
def test_a_mask_is_true_from_half_its_largest_value(tmp_path: Path, top: int) -> None:
    mask = made_picture() > 0.5
    Image.fromarray((mask * top).astype(np.uint8)).save(tmp_path / "mask.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.png"), mask)


def test_a_mask_of_zeros_is_empty(tmp_path: Path) -> None:
    Image.new("L", (20, 20), 0).save(tmp_path / "mask.png")
    assert not read_mask(tmp_path / "mask.png").any()


@pytest.mark.parametrize("implicit", [False, True])
@pytest.mark.parametrize("meta", [False, True])
def test_dicom_without_a_preamble_is_refused_for_that(tmp_path: Path, implicit: bool, meta: bool) -> None:
    write_radiograph(
        tmp_path / "x", np.random.default_rng(0).random((32, 32)), vendor=VENDORS[0], patient="p", study="s"
    )
    dataset = pydicom.dcmread(tmp_path / "x")
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    whole = io.BytesIO()
    pydicom.dcmwrite(whole, dataset, implicit_vr=implicit, little_endian=True, enforce_file_format=True)
    begin = 132 if meta else 144 + int.from_bytes(whole.getvalue()[140:144], "little")
    (tmp_path / "cut").write_bytes(whole.getvalue()[begin:])
    for opened in (read, open_dicom):
        with pytest.raises(DataError, match=r"DICOM without its preamble .*dcmconv"):
            opened(tmp_path / "cut")
    (tmp_path / "text").write_bytes(b"Sehr geehrte Damen und Herren, anbei der Befund.")
    with pytest.raises(DataError, match="none of DICOM"):
        read(tmp_path / "text")
