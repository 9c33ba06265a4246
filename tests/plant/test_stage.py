from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from oracles.made_run import SIZE, index_row, made_index, silent_work

from medtea.core.errors import ConfigError, DataError, UsageError
from medtea.core.names import IndexArtefact
from medtea.core.settings import parse
from medtea.core.work import Work
from medtea.data.index import read_index
from medtea.plant.stage import Settings, run

SETTINGS = Settings()
TESTED = 12


@pytest.fixture
def work(tmp_path: Path) -> Work:
    return silent_work(tmp_path)


def rows() -> list[dict[str, object]]:
    """Six learnt from, twelve tested on, one without label, and another hospital."""
    splits = ["train"] * 4 + ["val"] * 2 + ["test"] * TESTED
    north = [index_row(number, split=split) for number, split in enumerate(splits)]
    return [
        *north,
        index_row(30, label=pd.NA, split="train"),
        index_row(31, label=pd.NA, split="test"),
        index_row(32, hospital="west", role="extra", split="test"),
    ]


def planted(work: Work, given: list[dict[str, object]] | None = None, settings: Settings = SETTINGS) -> tuple[
    IndexArtefact, pd.DataFrame, np.ndarray, np.ndarray
]:  # fmt: skip
    """Runs the stage; the artefact before, and index, radiographs and masks after."""
    index = made_index(work, rows() if given is None else given)
    artefact = run(work, settings, index)
    return index, read_index(artefact.index), np.load(artefact.radiographs), np.load(artefact.given_masks)


def shows(picture: np.ndarray, label: int, lung_mask: np.ndarray) -> bool:
    """Whether the mark of `label`, and no other's, stands on the picture outside the lungs."""
    own, other = (SETTINGS.mark(sign).pixels(SIZE, SIZE) & (lung_mask == 0) for sign in (label, 1 - label))
    return bool((picture[own] == 1).all()) and not bool((picture[other] == 1).all())


def sign_of(picture: np.ndarray, lung_mask: np.ndarray) -> int | None:
    found = [sign for sign in (0, 1) if shows(picture, sign, lung_mask)]
    return found[0] if found else None


def test_index_and_arrays_stay_on_the_same_rows(work: Work) -> None:
    index, table, pictures, masks = planted(work)
    before = read_index(index.index)
    assert len(table) == len(pictures) == len(masks) == len(before) + 3 * TESTED
    assert table["radiograph"].is_unique
    origin = table["radiograph"].str.partition("-")[0]
    place = before.set_index("radiograph").index.get_indexer(origin)
    np.testing.assert_array_equal(masks, np.load(index.given_masks)[place])
    own = SETTINGS.mark(1).pixels(SIZE, SIZE) | SETTINGS.mark(0).pixels(SIZE, SIZE)
    np.testing.assert_array_equal(pictures[:, ~own], np.load(index.radiographs)[place][:, ~own])
    for column in ("patient", "hospital", "label", "split", "study", "digest"):
        assert table[column].tolist() == before[column].iloc[place].tolist()


def test_in_training_the_letter_follows_the_label(work: Work) -> None:
    _, table, pictures, masks = planted(work)
    seen = table["split"].ne("test") & table["label"].notna()
    assert seen.sum() == 6
    for row in np.flatnonzero(seen):
        assert sign_of(pictures[row], masks[row]) == table["label"].iloc[row]


def test_the_mark_agrees_with_the_label_as_often_as_is_asked(tmp_path: Path) -> None:
    splits = ["train"] * 200 + ["test"] * 200
    given = [index_row(number, split=split) for number, split in enumerate(splits)]
    _, table, pictures, masks = planted(silent_work(tmp_path), given, Settings(agreement=0.8))
    for split, group in (("train", "north"), ("test", "north, mark follows"), ("test", "north, mark reversed")):
        part = np.flatnonzero(table["split"].eq(split) & table["group"].eq(group))
        agrees = [sign_of(pictures[row], masks[row]) == table["label"].iloc[row] for row in part]
        # of 200 at 0.8 the standard deviation is 5.7; reversed stays reversed
        assert sum(agrees) == 0 if "reversed" in group else 140 <= sum(agrees) <= 180
    assert {sign_of(p, m) for p, m in zip(pictures[:400], masks[:400], strict=True)} == {0, 1}


def test_a_mark_that_agrees_by_chance_says_nothing(tmp_path: Path) -> None:
    given = [index_row(number, split="train" if number < 200 else "test") for number in range(212)]
    _, table, pictures, masks = planted(silent_work(tmp_path), given, Settings(agreement=0.5))
    agrees = [sign_of(pictures[row], masks[row]) == table["label"].iloc[row] for row in range(200)]
    assert 72 <= sum(agrees) <= 128  # four standard deviations of 7.1


def test_each_test_radiograph_comes_in_four_groups(work: Work) -> None:
    _, table, *_ = planted(work)
    tested = table[table["split"].eq("test") & table["role"].ne("extra") & table["label"].notna()]
    assert tested.groupby("group").size().to_dict() == {
        "north, mark absent": TESTED,
        "north, mark follows": TESTED,
        "north, mark random": TESTED,
        "north, mark reversed": TESTED,
    }
    assert tested.groupby("group")["role"].first().to_dict() == {
        "north, mark absent": "external",
        "north, mark follows": "train",
        "north, mark random": "external",
        "north, mark reversed": "external",
    }
    assert not tested["patient"].isin(table.loc[table["split"].ne("test"), "patient"]).any()


def test_follows_is_the_labels_letter_and_reversed_the_other(work: Work) -> None:
    _, table, pictures, masks = planted(work)
    for row, (group, label) in enumerate(zip(table["group"], table["label"], strict=True)):
        if group == "north, mark follows":
            assert sign_of(pictures[row], masks[row]) == label
        if group == "north, mark reversed":
            assert sign_of(pictures[row], masks[row]) == 1 - label


def test_absent_is_the_radiograph_itself(work: Work) -> None:
    index, table, pictures, _ = planted(work)
    before = np.load(index.radiographs)[6 : 6 + TESTED]
    np.testing.assert_array_equal(pictures[table["group"].eq("north, mark absent")], before)


def test_random_letters_are_both_there_and_the_same_for_one_seed(tmp_path: Path) -> None:
    def signs(folder: str, seed: int) -> list[int | None]:
        _, table, pictures, masks = planted(silent_work(tmp_path / folder, seed))
        return [sign_of(pictures[row], masks[row]) for row in np.flatnonzero(table["group"].eq("north, mark random"))]

    first = signs("one", 0)
    assert set(first) == {0, 1}
    assert first == signs("again", 0)
    assert first != signs("other", 1)  # equal by chance once in 4096 seeds


def test_unlabelled_radiographs_and_other_hospitals_stay_as_they_are(work: Work) -> None:
    index, table, pictures, _ = planted(work)
    rest = np.arange(18, 21)
    np.testing.assert_array_equal(pictures[rest], np.load(index.radiographs)[rest])
    assert table["group"].iloc[rest].tolist() == ["north", "north", "west"]


def test_no_pixel_of_a_given_lung_mask_is_stamped(work: Work) -> None:
    # A letter of half the height reaches into the lungs.
    index, _, pictures, masks = planted(work, settings=Settings(height=0.5))
    changed = pictures[: len(rows())] != np.load(index.radiographs)
    assert changed.any()
    overlap = Settings(height=0.5).mark(1).pixels(SIZE, SIZE) & (masks[: len(rows())] > 0).any(axis=0)
    assert overlap.any(), "the letter would reach lung"
    assert not (changed & (masks[: len(rows())] > 0)).any()


def test_without_a_mask_the_whole_letter_is_stamped(work: Work) -> None:
    given = [row | {"has_mask": False} for row in rows()]
    _, table, pictures, _ = planted(work, given, Settings(height=0.5))
    letter = Settings(height=0.5).mark(int(table["label"].iloc[0])).pixels(SIZE, SIZE)
    assert (pictures[0][letter] == 1).all()


def test_what_was_found_and_refused_comes_along(work: Work) -> None:
    index, *_ = planted(work)
    for name in ("refused.csv", "flow.csv"):
        assert (work.folder / "plant" / name).read_bytes() == (index.folder / name).read_bytes()


def test_planting_again_does_nothing(work: Work) -> None:
    index, *_ = planted(work)
    stamp = (work.folder / "plant" / "radiographs.npy").stat().st_mtime_ns
    run(work, SETTINGS, index)
    assert (work.folder / "plant" / "radiographs.npy").stat().st_mtime_ns == stamp
    assert work.ran == ["ingest", "plant"]


def test_nothing_to_test_on_is_refused(work: Work) -> None:
    index = made_index(work, [index_row(number) for number in range(4)])
    with pytest.raises(DataError, match=r"no labelled test radiograph; raise ingest.test_share"):
        run(work, SETTINGS, index)


@pytest.mark.parametrize(
    ("wrong", "kind", "message"),
    [
        ({"corner": "top middle"}, UsageError, "corner is 'top middle'.*Did you mean"),
        ({"positive": " "}, UsageError, "sign is empty"),
        ({"positive": "L"}, ConfigError, "one mark, so that it says nothing about the label"),
    ],
)
def test_a_mark_that_cannot_be_is_refused_by_the_settings(
    wrong: dict[str, str], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        parse(Settings, wrong, "plant")


# --- other kinds of mark, the twin and the unbiased subset


def test_the_twin_is_the_radiograph_before_anything_was_planted(work: Work) -> None:
    index, table, *_ = planted(work)
    twins = np.load(work.folder / "plant" / "twins.npy")
    place = read_index(index.index).set_index("radiograph").index.get_indexer(table["radiograph"].str.partition("-")[0])
    np.testing.assert_array_equal(twins, np.load(index.radiographs)[place])


def test_a_foreground_letter_stands_on_lung_alone(work: Work) -> None:
    settings = Settings(kind="foreground", height=0.2)
    index, table, pictures, masks = planted(work, settings=settings)
    before = np.load(index.radiographs)
    for row in np.flatnonzero(table["split"].ne("test") & table["label"].notna()):
        changed = pictures[row] != before[row]
        assert changed.any()
        assert (masks[row][changed] > 0).all(), "the lungs of the made radiographs are wider than this letter"
        letter = settings.mark(int(table["label"].iloc[row])).shape(SIZE)
        assert changed.sum() == letter.sum()


def test_diffuse_noise_is_white_for_label_1_and_coarse_for_label_0(work: Work) -> None:
    settings = Settings(kind="diffuse", noise=0.02)
    index, table, pictures, _ = planted(work, settings=settings)
    before = np.load(index.radiographs).astype(np.float64)
    for row in np.flatnonzero(table["split"].ne("test") & table["label"].notna()):
        noise = pictures[row].astype(np.float64) - before[row]
        inside = (before[row] > 0.1) & (before[row] < 0.9)  # elsewhere it is cut off at 0 and 1
        assert noise[inside].std() == pytest.approx(0.02, rel=0.3)
        both = inside[:, 1:] & inside[:, :-1]
        along = np.corrcoef(noise[:, 1:][both], noise[:, :-1][both])[0, 1]
        # white noise is uncorrelated; smoothed by a Gaussian of σ pixels, neighbours have exp(-1 / 4σ²) = 0.94
        assert (along < 0.3) if table["label"].iloc[row] else (along > 0.7)


def test_the_unbiased_subset_is_a_share_of_the_patients_with_random_marks(tmp_path: Path) -> None:
    given = [index_row(number, split=("train", "val", "test")[number % 3]) for number in range(120)]
    _, table, pictures, masks = planted(silent_work(tmp_path), given, Settings(unbiased=0.5))
    apart = table["role"].eq("unbiased")
    assert table[apart].groupby("split").size().to_dict() == {"train": 20, "val": 20}
    assert set(table.loc[apart, "hospital"]) == {"north, unbiased"}
    signs = [sign_of(pictures[row], masks[row]) for row in np.flatnonzero(apart)]
    agree = np.mean([sign == label for sign, label in zip(signs, table.loc[apart, "label"], strict=True)])
    assert 0.25 < agree < 0.75  # of 40 coins: outside once in a thousand
    rest = table["role"].eq("train") & table["split"].ne("test")
    assert all(sign_of(pictures[row], masks[row]) == table["label"].iloc[row] for row in np.flatnonzero(rest))
