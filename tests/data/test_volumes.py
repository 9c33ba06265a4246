from __future__ import annotations

import contextlib
import gzip
import tracemalloc
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from hypothesis import given, settings
from hypothesis import strategies as st

from medtea.core.errors import DataError
from medtea.data import volumes
from medtea.data.reader import read_mask, read_radiograph

GREY = np.add.outer(np.arange(20) * 300, np.arange(18) * 200).astype(np.uint16)
DETACHED = {"mhd": "raw", "nhdr": "raw"}


def written(path: Path, values: np.ndarray = GREY, *, compressed: bool = False) -> Path:
    image = sitk.GetImageFromArray(values)
    image.SetSpacing((0.3, 0.2))
    sitk.WriteImage(image, str(path), compressed)
    return path


@pytest.mark.parametrize("suffix", ["mha", "mhd", "nrrd", "nhdr"])
@pytest.mark.parametrize("compressed", [False, True])
def test_a_plane_comes_back_with_its_spacing(tmp_path: Path, suffix: str, compressed: bool) -> None:
    values, spacing = volumes.read_volume(written(tmp_path / f"x.{suffix}", compressed=compressed))
    np.testing.assert_allclose(values, GREY / 65_535, atol=1e-6)
    np.testing.assert_allclose(spacing, (0.2, 0.3), rtol=1e-6)


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("suffix", ["nii", "nii.gz"])
def test_a_nifti_has_its_columns_on_the_first_axis(tmp_path: Path, kind: type, order: str, suffix: str) -> None:
    header = kind.header_class(endianness=order)
    header.set_data_dtype(np.uint16)
    header.set_xyzt_units("micron")
    image = kind(GREY.T, np.diag([-300, -200, 1, 1]), header)  # an affine that turns both axes changes nothing
    nibabel.save(image, tmp_path / f"x.{suffix}")
    values, spacing = volumes.read_volume(tmp_path / f"x.{suffix}")
    np.testing.assert_allclose(values, GREY / 65_535, atol=1e-6)
    np.testing.assert_allclose(spacing, (0.2, 0.3), rtol=1e-6)


def test_a_niftis_slope_and_intercept_are_applied(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(GREY.T, np.eye(4))
    image.header.set_slope_inter(1 / 20_000, 0.1)
    nibabel.save(image, tmp_path / "x.nii")
    stored = nibabel.load(tmp_path / "x.nii").get_fdata().T
    np.testing.assert_allclose(volumes.read_volume(tmp_path / "x.nii")[0], stored, atol=1e-6)


def test_a_nifti_unpacks_no_more_than_its_header_claims(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(GREY.T, np.eye(4)), tmp_path / "small.nii")
    bomb = tmp_path / "x.nii.gz"
    with gzip.open(bomb, "wb") as file:
        file.write((tmp_path / "small.nii").read_bytes())
        for _ in range(200):
            file.write(bytes(1 << 20))
    tracemalloc.start()
    read_radiograph(bomb)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20 << 20, "200 MiB lie in the file"


@pytest.mark.parametrize(("dims", "message"), [((30_000, 30_000), "at most 64,000,000"), ((20, 18, 9), "volume")])
def test_a_nifti_that_claims_too_much_is_refused_by_its_header_alone(
    tmp_path: Path, dims: tuple[int, ...], message: str
) -> None:
    header = nibabel.Nifti1Header()
    header.set_data_shape(dims)
    header["vox_offset"], header["magic"] = 352, b"n+1"
    (tmp_path / "x.nii").write_bytes(header.binaryblock)
    with pytest.raises(DataError, match=message):
        read_radiograph(tmp_path / "x.nii")


def test_a_nifti_that_ends_early_or_lies_in_two_files_is_refused(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(GREY.T, np.eye(4)), tmp_path / "x.nii")
    whole = (tmp_path / "x.nii").read_bytes()
    (tmp_path / "x.nii").write_bytes(whole[:-1])
    with pytest.raises(DataError, match="ends before"):
        read_radiograph(tmp_path / "x.nii")
    (tmp_path / "x.nii").write_bytes(whole.replace(b"n+1\0", b"ni1\0"))
    with pytest.raises(DataError, match="another file"):
        read_radiograph(tmp_path / "x.nii")
    (tmp_path / "x.nii").write_bytes(whole[:108] + np.float32(2**30).tobytes() + whole[112:])
    with pytest.raises(DataError, match="bytes long"):
        read_radiograph(tmp_path / "x.nii")


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "y.raw", "sub/x.raw", "x.raw/../y.raw", "LIST"])
@pytest.mark.parametrize("suffix", ["mhd", "mha"])
def test_a_metaimage_never_leads_to_another_file(tmp_path: Path, suffix: str, name: str) -> None:
    path = written(tmp_path / "x.mhd").rename(tmp_path / f"x.{suffix}")
    (tmp_path / "y.raw").write_bytes(bytes(GREY.nbytes))
    path.write_text(path.read_text().replace("x.raw", name))
    with pytest.raises(DataError, match="names another file"):
        read_radiograph(path)


@pytest.mark.parametrize("key", ["data file", "datafile", "DATA FILE", "Data File"])
@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "y.raw", "x%d.raw 1 2 1", "LIST 2\nx.raw"])
def test_an_nrrd_never_leads_to_another_file(tmp_path: Path, key: str, name: str) -> None:
    path = written(tmp_path / "x.nhdr")
    path.write_text(path.read_text().replace("data file: x.raw", f"{key}: {name}"))
    with pytest.raises(DataError, match="names another file"):
        read_radiograph(path)


@pytest.mark.parametrize("suffix", DETACHED)
def test_a_data_file_that_is_a_link_or_not_there_is_not_followed(tmp_path: Path, suffix: str) -> None:
    path = written(tmp_path / f"x.{suffix}")
    data = (tmp_path / "x.raw").rename(tmp_path / "elsewhere")
    with pytest.raises(DataError, match="not beside it, or is a link"):
        read_radiograph(path)
    (tmp_path / "x.raw").symlink_to(data)
    with pytest.raises(DataError, match="not beside it, or is a link"):
        read_radiograph(path)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("NDims = 2", "NDims = 200"),
        ("NDims = 2", "Note : ElementDataFile = LOCAL\nNDims = 2"),
        ("NDims = 2", "Comment = a\rElementDataFile = LOCAL\nNDims = 2"),
        ("DimSize = 18 20", "DimSize = 18"),
        ("ElementDataFile = LOCAL", "ElementDataFile = LOCAL\nElementDataFile = x.raw"),
        ("ElementDataFile = LOCAL", ""),
    ],
)
def test_a_metaimage_header_that_two_readers_could_read_differently_is_refused(
    tmp_path: Path, old: str, new: str
) -> None:
    path = written(tmp_path / "x.mha")
    content = path.read_bytes()
    assert old.encode() in content
    path.write_bytes(content.replace(old.encode(), new.encode(), 1))
    with pytest.raises(DataError, match="MetaImage header"):
        read_radiograph(path)


def test_a_metaimage_cannot_ask_for_more_memory_than_its_file(tmp_path: Path) -> None:
    path = written(tmp_path / "x.mha", compressed=True)
    content = path.read_bytes()
    start = content.index(b"CompressedDataSize = ") + len(b"CompressedDataSize = ")
    end = content.index(b"\n", start)
    path.write_bytes(content[:start] + b"999999999999" + content[end:])
    with pytest.raises(DataError, match="more compressed bytes"):
        read_radiograph(path)


@pytest.mark.parametrize("suffix", ["mha", "nrrd"])
def test_a_volume_that_claims_too_much_is_refused_before_it_is_read(tmp_path: Path, suffix: str) -> None:
    path = written(tmp_path / f"x.{suffix}")
    path.write_bytes(path.read_bytes().replace(b"18 20", b"90000 90000", 1))
    with pytest.raises(DataError, match="at most 64,000,000"):
        read_radiograph(path)


def test_an_nrrd_without_its_first_word_or_with_an_endless_header_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.nrrd").write_bytes(b"no nrrd")
    with pytest.raises(DataError, match="does not begin"):
        read_radiograph(tmp_path / "x.nrrd")
    (tmp_path / "x.nrrd").write_bytes(b"NRRD0004\n" + b"# again\n" * 20_000)
    with pytest.raises(DataError, match="longer than"):
        read_radiograph(tmp_path / "x.nrrd")


@pytest.mark.parametrize("suffix", ["nii.gz", "mha", "nrrd"])
def test_a_mask_may_be_a_volume_of_one_plane(tmp_path: Path, suffix: str) -> None:
    lungs = (GREY > 4000).astype(np.uint8)
    written(tmp_path / f"x.{suffix}", lungs)
    np.testing.assert_array_equal(read_mask(tmp_path / f"x.{suffix}"), lungs > 0)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(["nii", "mha", "nrrd"]), st.data())
def test_a_changed_byte_of_a_header_is_refused_or_read_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("changed")
    path = written(folder / f"x.{suffix}")
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, min(len(content), 360) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    with contextlib.suppress(DataError):
        assert np.isfinite(read_radiograph(path)).all()
