from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from oracles.made_run import silent_work
from oracles.made_scenes import BIRD, made_waterbirds, write_metadata

from medtea.core.errors import DataError
from medtea.core.names import IndexArtefact, Role, Split
from medtea.core.work import read_array
from medtea.data.index import read_index
from medtea.scenes.sets import waterbirds
from medtea.scenes.stage import Settings, run


def made(folder: Path, run_folder: Path, **options: object) -> tuple[IndexArtefact, pd.DataFrame]:
    settings = Settings(set="waterbirds", options={"path": str(folder), "size": 56, **options})
    index = run(silent_work(run_folder), settings)
    return index, read_index(index.index)


def test_label_and_place_make_the_four_groups(tmp_path: Path) -> None:
    rows = made_waterbirds(tmp_path / "set")
    _, table = made(tmp_path / "set", tmp_path / "run")
    assert table["label"].tolist() == [row["y"] for row in rows]
    trained = table[table["role"].eq(Role.TRAIN) & table["split"].ne(Split.TEST)]
    of_rows = [row for row in rows if row["split"] == 0]
    assert trained["hospital"].tolist() == [("land", "water")[int(str(row["place"]))] for row in of_rows]


def test_test_groups_are_by_agreement_with_both_birds_each(tmp_path: Path) -> None:
    made_waterbirds(tmp_path / "set")
    _, table = made(tmp_path / "set", tmp_path / "run")
    tested = table[table["split"].eq(Split.TEST)]
    assert tested.groupby("group")["role"].unique().map(list).to_dict() == {
        "aligned": [Role.TRAIN],
        "conflicting": [Role.EXTERNAL],
    }
    assert (tested.groupby("group")["label"].nunique() == 2).all()


def test_test_groups_can_be_the_four_pairs(tmp_path: Path) -> None:
    made_waterbirds(tmp_path / "set")
    _, table = made(tmp_path / "set", tmp_path / "run", groups="pair")
    tested = table[table["split"].eq(Split.TEST)]
    assert tested.groupby("group")["role"].first().to_dict() == {
        "landbird on land": Role.TRAIN,
        "landbird on water": Role.EXTERNAL,
        "waterbird on land": Role.EXTERNAL,
        "waterbird on water": Role.TRAIN,
    }
    assert tested["group"].str.startswith("waterbird").eq(tested["label"].eq(1)).all()


def test_selection_is_on_a_share_of_training_and_the_balanced_split_is_the_unbiased_subset(tmp_path: Path) -> None:
    rows = made_waterbirds(tmp_path / "set")
    _, table = made(tmp_path / "set", tmp_path / "run")
    split = np.array([row["split"] for row in rows])
    assert table.loc[split == 0, "split"].value_counts().to_dict() == {Split.TRAIN: 16, Split.VALIDATION: 4}
    assert table.loc[split == 1, "split"].value_counts().to_dict() == {Split.TRAIN: 16, Split.VALIDATION: 4}
    assert (table["role"].eq(Role.UNBIASED) == (split == 1)).all()


def test_selection_can_be_on_the_distributed_split(tmp_path: Path) -> None:
    rows = made_waterbirds(tmp_path / "set")
    _, table = made(tmp_path / "set", tmp_path / "run", validation="distributed")
    names = [("train", "val", "test")[int(str(row["split"]))] for row in rows]
    assert table["split"].tolist() == names
    assert not table["role"].eq(Role.UNBIASED).any()


@pytest.mark.parametrize(("twin", "around"), [("black", 0.0), ("grey", 0.5)])
def test_the_twin_is_the_bird_alone(tmp_path: Path, twin: str, around: float) -> None:
    made_waterbirds(tmp_path / "set")
    index, _ = made(tmp_path / "set", tmp_path / "run", twin=twin)
    images, twins, masks = (read_array(path) for path in (index.radiographs, index.twins, index.given_masks))
    inside = np.repeat(masks[:, None] > 0, 3, axis=1)
    assert np.array_equal(twins[inside], images[inside])
    assert (twins[~inside] == around).all()
    # 60 x 90 becomes 64 x 64, of which rows and columns 4 to 60 are left: a pixel of the edge may go either way
    top, bottom, left, right = BIRD[0].start, BIRD[0].stop, BIRD[1].start, BIRD[1].stop
    expected = [top * 64 / 60 - 4, bottom * 64 / 60 - 4, left * 64 / 90 - 4, right * 64 / 90 - 4]
    rows, columns = np.flatnonzero(masks[0].any(axis=1)), np.flatnonzero(masks[0].any(axis=0))
    assert [rows[0], rows[-1] + 1, columns[0], columns[-1] + 1] == pytest.approx(expected, abs=1)


def test_the_picture_is_in_colour_and_in_its_place(tmp_path: Path) -> None:
    rows = made_waterbirds(tmp_path / "set")
    index, _ = made(tmp_path / "set", tmp_path / "run")
    images, masks = read_array(index.radiographs).astype(float), read_array(index.given_masks)
    for number in (0, 5, 10, 15):
        outside = images[number][:, masks[number] == 0].mean(axis=1)
        inside = images[number][:, masks[number] == 1].mean(axis=1)
        assert outside.argmax() == (1 if rows[number]["place"] == 0 else 2)
        assert (inside[1] > 0.5) == (rows[number]["y"] == 1), "a yellow bird is one of water"


def test_without_segmentations_there_is_neither_mask_nor_twin(tmp_path: Path) -> None:
    made_waterbirds(tmp_path / "set", segmentations=False)
    index, table = made(tmp_path / "set", tmp_path / "run")
    assert not index.twins.exists()
    assert not table["has_mask"].any()
    assert not read_array(index.given_masks).any()


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("../outside.jpg", "absolute path or with '..'"),
        ("000.Made_Species/../../outside.jpg", "absolute path or with '..'"),
        ("..\\outside.jpg", "absolute path or with '..'"),
        ("{folder}/outside.jpg", "absolute path or with '..'"),
        ("C:\\outside.jpg", "absolute path or with '..'"),
        ("link.jpg", "outside the set's folder"),
        ("none.jpg", "does not exist"),
        ("", "does not exist"),
        ("x" * 300, "cannot be used|does not exist"),
        ("metadata.csv", "cannot be decoded"),
    ],
)
def test_a_table_cannot_name_a_file_that_is_not_the_sets(tmp_path: Path, name: str, match: str) -> None:
    folder = tmp_path / "set"
    rows = made_waterbirds(folder)
    (tmp_path / "outside.jpg").write_bytes((folder / str(rows[0]["img_filename"])).read_bytes())
    (folder / "link.jpg").symlink_to(tmp_path / "outside.jpg")
    write_metadata(folder, [rows[0] | {"img_filename": name.format(folder=tmp_path)}, *rows[1:]])
    index, table = made(folder, tmp_path / "run")
    refused = pd.read_csv(index.refused)
    assert len(refused) == 1
    assert len(table) == len(rows) - 1
    assert refused["reason"].str.contains(match).all()
    assert not refused["reason"].str.contains("outside.jpg").any()


def test_a_bird_without_its_segmentation_or_with_another_size_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    rows = made_waterbirds(folder)
    masks = [folder / waterbirds._mask_of(str(row["img_filename"])) for row in rows]
    masks[0].unlink()
    picture = folder / str(rows[1]["img_filename"])
    smaller = waterbirds.read_picture(picture, "RGB").crop((0, 0, 60, 60))
    smaller.save(picture)
    index, _ = made(folder, tmp_path / "run")
    reasons = pd.read_csv(index.refused)["reason"].tolist()
    assert len(reasons) == 2
    assert "does not exist" in reasons[0]
    assert "another size" in reasons[1]


def test_one_picture_in_training_and_test_is_refused(tmp_path: Path) -> None:
    rows = made_waterbirds(tmp_path / "set")
    rows[-1]["img_filename"] = rows[0]["img_filename"]
    write_metadata(tmp_path / "set", rows)
    with pytest.raises(DataError, match="is in a training and in a test set"):
        made(tmp_path / "set", tmp_path / "run")


@pytest.mark.parametrize(("column", "value"), [("y", "2"), ("split", "train"), ("place", "")])
def test_a_value_that_the_set_does_not_have_is_named_by_row_and_column(tmp_path: Path, column: str, value: str) -> None:
    rows = made_waterbirds(tmp_path / "set", each=1)
    write_metadata(tmp_path / "set", [rows[0], rows[1] | {column: value}, *rows[2:]])
    with pytest.raises(DataError, match=f"row 2 of metadata.csv: {column} is one of 0, 1"):
        made(tmp_path / "set", tmp_path / "run")


def test_a_folder_without_the_table_says_which_folder_it_is(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"metadata.csv cannot be read.*waterbird_complete95_forest2water2") as caught:
        made(tmp_path / "Doe1", tmp_path / "run")
    assert "Doe1" not in str(caught.value)
    (tmp_path / "Doe1").mkdir()
    (tmp_path / "Doe1" / "metadata.csv").write_text("img_id,y\n1,1\n")
    with pytest.raises(DataError, match="lacks the columns img_filename, split, place"):
        made(tmp_path / "Doe1", tmp_path / "run")


def test_a_set_of_which_nothing_can_be_used_says_why(tmp_path: Path) -> None:
    rows = made_waterbirds(tmp_path / "set", each=1)
    for row in rows:
        (tmp_path / "set" / str(row["img_filename"])).write_bytes(b"")
    with pytest.raises(DataError, match=r"None of the 12 images of 'waterbirds' can be used\. The first reason: The"):
        made(tmp_path / "set", tmp_path / "run")
