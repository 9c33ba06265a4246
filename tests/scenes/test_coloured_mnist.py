from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from oracles.made_digits import made_digits
from oracles.made_run import silent_work
from scipy.stats import chi2_contingency

from medtea.core.errors import DataError
from medtea.core.names import Role, Split
from medtea.core.work import read_array
from medtea.data.index import read_index
from medtea.scenes.sets.coloured_mnist import COLOURS, FAR, unseen_colours
from medtea.scenes.stage import Settings, run

Array = np.ndarray[Any, Any]
SMALL = {"train": 300, "validation": 100, "test": 60}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_digits(tmp_path_factory.mktemp("digits"), train=3000, test=60)


class Made:
    """A set that was made: its table, and the colours of digit, background and twin as bytes, (n, 3)."""

    def __init__(self, folder: Path, run_folder: Path, seed: int = 0, **options: object) -> None:
        settings = Settings(set="coloured_mnist", options={"path": str(folder), **SMALL, **options})
        index = run(silent_work(run_folder, seed), settings)
        self.table = read_index(index.index)
        self.labels = self.table["label"].to_numpy(dtype=int)
        self.images, self.twins = read_array(index.radiographs), read_array(index.twins)
        self.masks = read_array(index.given_masks)
        self.colours = self._one_colour(self.images, self.masks)
        self.grounds = self._one_colour(self.images, 1 - self.masks)
        self.twin_colours = self._one_colour(self.twins, self.masks)

    @staticmethod
    def _one_colour(images: Array, where: Array) -> Array:
        """The colour of each image inside a mask, the same at all its pixels."""
        inside = where[:, None] > 0
        low = np.where(inside, images, 2).min(axis=(2, 3))
        assert np.array_equal(low, np.where(inside, images, -1).max(axis=(2, 3)))
        return np.rint(low.astype(float) * 255).astype(int)

    def group(self, name: str) -> Array:
        return (self.table["group"].eq(name) & self.table["split"].eq(Split.TEST)).to_numpy()


def squared_distances(some: Array, others: Array) -> Array:
    return np.square(some[:, None] - others[None]).sum(axis=2)


def own_colour(made: Made) -> Array:
    return (made.colours == COLOURS[made.labels]).all(axis=1)


def test_the_colour_of_0_is_50_away_from_the_published_ones() -> None:
    assert squared_distances(COLOURS[:1], COLOURS[1:]).min() >= 50**2


def test_unseen_colours_are_far_from_all_earlier_ones_and_always_the_same() -> None:
    every = np.concatenate([COLOURS, unseen_colours()])
    apart = squared_distances(every, every)[len(COLOURS) :]
    assert apart[~np.eye(20, dtype=bool)[10:]].min() > FAR
    assert np.array_equal(unseen_colours(), unseen_colours())
    assert len(unseen_colours()) == 10


def test_colour_coincides_with_class_but_for_unseen_and_shifted_digits(folder: Path, tmp_path: Path) -> None:
    made = Made(folder, tmp_path)
    assert own_colour(made)[made.table["role"].eq(Role.TRAIN)].all(), "training, validation and iid"
    assert not own_colour(made)[made.group("shift")].any()
    shifted = squared_distances(made.colours[made.group("shift")], COLOURS).min(axis=1)
    assert (shifted == 0).all(), "another class's colour is still a class's"
    assert squared_distances(made.colours[made.group("ood")], COLOURS).min() > FAR
    assert (made.grounds == 0).all()


def test_test_groups_show_the_same_digits_of_the_same_patients(folder: Path, tmp_path: Path) -> None:
    made = Made(folder, tmp_path)
    shapes = [made.masks[made.group(name)] for name in ("iid", "ood", "shift")]
    patients = [made.table["patient"][made.group(name)].tolist() for name in ("iid", "ood", "shift")]
    assert len(shapes[0]) == SMALL["test"]
    for shape, patient in zip(shapes[1:], patients[1:], strict=True):
        assert np.array_equal(shape, shapes[0])
        assert patient == patients[0]


def test_the_twin_is_the_white_digit_however_it_is_coloured(folder: Path, tmp_path: Path) -> None:
    made = Made(folder, tmp_path / "all", background="linked")
    assert (made.twin_colours == 255).all()
    assert np.array_equal(made.twins, np.repeat(made.masks[:, None], 3, axis=1))
    twins = [made.twins[made.group(name)] for name in ("iid", "ood", "shift")]
    assert np.array_equal(twins[0], twins[1])
    assert np.array_equal(twins[0], twins[2])


def test_a_random_twin_is_of_some_class_colour_whatever_the_class(folder: Path, tmp_path: Path) -> None:
    made = Made(folder, tmp_path, twin="random", train=1500)
    assert (squared_distances(made.twin_colours, COLOURS).min(axis=1) == 0).all()
    assert says_nothing_of(made.labels, squared_distances(made.twin_colours, COLOURS).argmin(axis=1))


def says_nothing_of(labels: Array, colours: Array) -> bool:
    return bool(chi2_contingency(pd.crosstab(labels, colours)).pvalue > 0.01)


def test_the_unbiased_subset_is_coloured_without_regard_to_the_class(folder: Path, tmp_path: Path) -> None:
    made = Made(folder, tmp_path, unbiased=1500)
    unbiased = made.table["role"].eq(Role.UNBIASED).to_numpy()
    names = squared_distances(made.colours, COLOURS).argmin(axis=1)
    assert (squared_distances(made.colours[unbiased], COLOURS).min(axis=1) == 0).all()
    assert says_nothing_of(made.labels[unbiased], names[unbiased])
    assert not says_nothing_of(made.labels[~unbiased], names[~unbiased]), "the check can fail"
    of_subset = made.table[unbiased]
    assert of_subset["split"].value_counts().to_dict() == {Split.TRAIN: 1200, Split.VALIDATION: 300}
    assert set(of_subset["hospital"]) == set(of_subset["group"]) == {"unbiased"}
    assert not set(of_subset["patient"]) & set(made.table.loc[~unbiased, "patient"])


def test_a_bias_below_1_gives_the_others_another_class_colour(folder: Path, tmp_path: Path) -> None:
    made = Made(folder, tmp_path, bias=0.8, train=2000)
    biased = made.table["role"].eq(Role.TRAIN)
    # 2160 digits: the share's standard deviation is .009
    assert own_colour(made)[biased].mean() == pytest.approx(0.8, abs=0.03)
    assert (squared_distances(made.colours[biased], COLOURS).min(axis=1) == 0).all()
    assert not own_colour(Made(folder, tmp_path / "none", bias=0.0))[: SMALL["train"]].any()


def test_environments_are_the_agreeing_digits_and_the_others(folder: Path, tmp_path: Path) -> None:
    made = Made(folder, tmp_path, bias=0.8, environments="agreement")
    biased = made.table["role"].eq(Role.TRAIN)
    assert made.table["hospital"].eq("coloured")[biased].tolist() == own_colour(made)[biased].tolist()
    assert set(made.table["hospital"][biased]) == {"coloured", "coloured otherwise"}


def test_environments_are_two_halves_of_different_bias(folder: Path, tmp_path: Path) -> None:
    made = Made(folder, tmp_path, bias=1.0, second_bias=0.0, environments="halves")
    biased = made.table["role"].eq(Role.TRAIN)
    assert made.table["hospital"].eq("coloured")[biased].tolist() == own_colour(made)[biased].tolist()
    assert made.table["hospital"][biased].value_counts().nunique() == 1


def test_a_linked_background_names_the_class_and_changes_with_the_colour(folder: Path, tmp_path: Path) -> None:
    made = Made(folder, tmp_path, background="linked")
    trained = made.table["role"].eq(Role.TRAIN).to_numpy()
    expected = np.rint(np.float16(COLOURS[(made.labels + 5) % 10] / 510).astype(float) * 255)
    assert np.array_equal(made.grounds[trained], expected[trained])
    assert len(np.unique(expected, axis=0)) == 10
    own = (made.grounds == expected).all(axis=1)
    assert not own[made.group("shift")].any()
    assert not own[made.group("ood")].any()


def test_another_seed_takes_other_digits_and_the_same_one_the_same(folder: Path, tmp_path: Path) -> None:
    first, again, other = (Made(folder, tmp_path / str(n), seed=seed) for n, seed in enumerate((1, 1, 2)))
    assert np.array_equal(first.images, again.images)
    assert not np.array_equal(first.images, other.images)
    assert first.table.equals(again.table)


def test_more_digits_than_the_files_hold_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="3100 training digits and 60 test digits are asked for; the files hold 3000"):
        Made(folder, tmp_path, train=3000)
    with pytest.raises(DataError, match="hold 3000 and 60"):
        Made(folder, tmp_path, test=61)
