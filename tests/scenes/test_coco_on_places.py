from __future__ import annotations

import shutil
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from oracles.made_run import silent_work
from oracles.made_scenes import OBJECT, coco_arrays, write_coco

from medtea.core.errors import DataError
from medtea.core.names import IndexArtefact, Role, Split
from medtea.core.work import read_array
from medtea.data.index import read_index
from medtea.scenes import arrays
from medtea.scenes.stage import Settings, run


def made(folder: Path, run_folder: Path, **options: object) -> tuple[IndexArtefact, pd.DataFrame]:
    settings = Settings(set="coco_on_places", options={"path": str(folder), **options})
    index = run(silent_work(run_folder), settings)
    return index, read_index(index.index)


def test_files_become_splits_and_groups_and_g_the_environment(tmp_path: Path) -> None:
    files = coco_arrays()
    _, table = made(write_coco(tmp_path / "set", files), tmp_path / "run")
    expected = [
        (Role.TRAIN, Split.TRAIN, "iid"),
        (Role.TRAIN, Split.VALIDATION, "iid"),
        (Role.TRAIN, Split.TEST, "iid"),
        (Role.EXTERNAL, Split.TEST, "ood"),
        (Role.EXTERNAL, Split.TEST, "shift"),
    ]
    found = list(table[["role", "split", "group"]].itertuples(index=False, name=None))
    assert found == [triple for triple in expected for _ in range(18)]
    assert table["label"].tolist() == np.concatenate([file["y"] for file in files.values()]).tolist()
    other = table["hospital"].eq("other place")[table["group"].eq("iid")]
    assert other.tolist() == np.concatenate([file["g"] for file in files.values() if "g" in file]).tolist()
    assert set(table["hospital"]) == {"own place", "other place", "ood", "shift"}


def test_images_are_the_files_own_and_the_twin_is_the_object_alone(tmp_path: Path) -> None:
    files = coco_arrays()
    index, _ = made(write_coco(tmp_path / "set", files), tmp_path / "run")
    images = np.concatenate([file["images"] for file in files.values()])
    # float16 keeps 11 bits
    assert np.abs(read_array(index.radiographs) - images).max() < 2**-11
    twins, masks = read_array(index.twins), read_array(index.given_masks)
    assert masks[:, *OBJECT].all()
    assert masks.sum() == len(images) * 16 * 16
    assert np.array_equal(twins, np.where(masks[:, None], read_array(index.radiographs), 0))


def test_an_object_is_one_patient_in_all_test_groups_and_in_no_other_file(tmp_path: Path) -> None:
    _, table = made(write_coco(tmp_path / "set", coco_arrays()), tmp_path / "run")
    by_file = table["patient"].to_numpy().reshape(5, 18)
    assert (by_file[2] == by_file[3]).all()
    assert (by_file[2] == by_file[4]).all()
    assert len(np.unique(by_file)) == 3 * 18


def test_without_masks_in_every_file_there_is_no_twin(tmp_path: Path) -> None:
    files = coco_arrays()
    del files["sgtest"]["masks"]
    index, table = made(write_coco(tmp_path / "set", files), tmp_path / "run")
    assert not index.twins.exists()
    assert not table["has_mask"].any()


@pytest.mark.parametrize("value", [np.nan, 1.5, -0.5])
def test_an_image_outside_0_to_1_is_refused(tmp_path: Path, value: float) -> None:
    files = coco_arrays()
    files["oodtest"]["images"][0, 0, 0, 0] = value
    index, table = made(write_coco(tmp_path / "set", files), tmp_path / "run")
    assert pd.read_csv(index.refused)["hospital"].tolist() == ["ood"]
    assert len(table) == len(read_array(index.radiographs)) == len(read_array(index.twins)) == 5 * 18 - 1


def spoilt(name: str) -> tuple[dict[str, dict[str, np.ndarray]], str]:
    """Files with one fault, and what is said of it."""
    files = coco_arrays()
    if name == "classes":
        files["train"]["y"][0] = 9
        return files, "'y' of 'train' is not 0 to 8 throughout"
    if name == "places":
        files["validtest"]["g"][0] = 2
        return files, "'g' of 'validtest' is not 0 to 1 throughout"
    if name == "missing":
        del files["train"]["g"]
        return files, "'train' lacks the arrays g"
    if name == "pickled":
        files["train"]["y"] = files["train"]["y"].astype(object)
        return files, "'train.npz' cannot be read"
    if name == "words":
        files["train"]["y"] = files["train"]["y"].astype(str)
        return files, "'train' lacks the arrays y"
    if name == "shape":
        files["idtest"]["images"] = files["idtest"]["images"][:, :1]
        return files, "the images of 'idtest' are not"
    if name == "length":
        files["idtest"]["g"] = files["idtest"]["g"][:-1]
        return files, "'g' of 'idtest' is not"
    if name == "sizes":
        files["train"]["images"] = files["train"]["images"][:, :, :-1, :-1]
        files["train"]["masks"] = files["train"]["masks"][:, :-1, :-1]
        return files, "of different sizes"
    files["sgtest"]["y"] = files["sgtest"]["y"][::-1]
    return files, "do not show the same objects, row for row"


@pytest.mark.parametrize(
    "name", ["classes", "places", "missing", "pickled", "words", "shape", "length", "sizes", "order"]
)
def test_arrays_that_are_not_the_sets_are_refused_by_what_is_wrong(tmp_path: Path, name: str) -> None:
    files, match = spoilt(name)
    with pytest.raises(DataError, match=match) as caught:
        made(write_coco(tmp_path / "Doe1", files), tmp_path / "run")
    assert "Doe1" not in str(caught.value)


def test_a_missing_or_damaged_file_is_named_without_its_path(tmp_path: Path) -> None:
    folder = write_coco(tmp_path / "Doe1", coco_arrays())
    whole = (folder / "sgtest.npz").read_bytes()
    for content in (b"", b"no archive", whole[: len(whole) // 2]):
        (folder / "sgtest.npz").write_bytes(content)
        with pytest.raises(DataError, match=r"'sgtest\.npz' cannot be read") as caught:
            made(folder, tmp_path / "run")
        assert "Doe1" not in str(caught.value)
    (folder / "sgtest.npz").unlink()
    with pytest.raises(DataError, match=r"'sgtest.h5py' was not found in the folder of scenes.options.path"):
        made(folder, tmp_path / "run")


def write_hdf5(path: Path, content: dict[str, np.ndarray]) -> None:
    with h5py.File(path, mode="w") as file:
        for name, array in content.items():
            file.create_dataset(name, data=array)


def test_hdf5_gives_what_npz_gives(tmp_path: Path) -> None:
    files = coco_arrays()
    (tmp_path / "hdf5").mkdir()
    for name, content in files.items():
        write_hdf5(tmp_path / "hdf5" / f"{name}.h5py", content)
    first, _ = made(tmp_path / "hdf5", tmp_path / "first")
    second, _ = made(write_coco(tmp_path / "npz", files), tmp_path / "second")
    for path, same in ((first.index, second.index), (first.radiographs, second.radiographs)):
        assert path.read_bytes() == same.read_bytes()
    shutil.copyfile(tmp_path / "npz" / "train.npz", tmp_path / "hdf5" / "train.h5py")
    with pytest.raises(DataError, match=r"'train\.h5py' cannot be read"):
        made(tmp_path / "hdf5", tmp_path / "third")


def test_hdf5_that_points_to_another_file_is_not_followed(tmp_path: Path) -> None:
    write_hdf5(tmp_path / "secret.h5py", {"y": np.arange(9)})
    with h5py.File(tmp_path / "train.h5py", mode="w") as file:
        file["y"] = h5py.ExternalLink(str(tmp_path / "secret.h5py"), "y")
        file.create_dataset("raw", (4,), "uint8", external=[(str(tmp_path / "secret.h5py"), 0, 4)])
        layout = h5py.VirtualLayout(shape=(9,), dtype="int64")
        layout[:] = h5py.VirtualSource(str(tmp_path / "secret.h5py"), "y", shape=(9,))
        file.create_virtual_dataset("virtual", layout)
        file.create_dataset("own", data=np.arange(3))
        file.create_group("folder")
    assert set(arrays.open_arrays(tmp_path / "train.h5py")) == {"own"}
