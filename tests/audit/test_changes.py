"""What probes do to radiographs: fillings, swaps, marks."""

from __future__ import annotations

import numpy as np
import pytest
from oracles.audited import LETTER, SIZE, group_of, lungs

from medtea.audit.changes import dilated, filled, imputed, partners, stamped
from medtea.data.marks import Mark


def slow_imputed(picture: np.ndarray, removed: np.ndarray) -> np.ndarray:
    """The same means by going round until nothing moves any more."""
    found = np.where(removed, 0.5, picture).astype(float)
    weights = {(0, 1): 1 / 6, (0, -1): 1 / 6, (1, 0): 1 / 6, (-1, 0): 1 / 6}
    weights |= {(1, 1): 1 / 12, (1, -1): 1 / 12, (-1, 1): 1 / 12, (-1, -1): 1 / 12}
    for _ in range(3000):
        for row, column in zip(*np.nonzero(removed), strict=True):
            near = [
                (weight, found[row + down, column + right])
                for (down, right), weight in weights.items()
                if 0 <= row + down < len(found) and 0 <= column + right < found.shape[1]
            ]
            found[row, column] = sum(w * v for w, v in near) / sum(w for w, _ in near)
    return found


def test_a_removed_pixel_becomes_the_weighted_mean_of_its_neighbours() -> None:
    generator = np.random.default_rng(0)
    picture = generator.random((6, 7)).astype(np.float32)
    removed = np.zeros((6, 7), dtype=bool)
    removed[0:3, 0:2] = removed[4, 4:6] = True  # a corner, where neighbours are missing, and an inner part
    found = imputed(picture, removed, generator, noise=0)
    np.testing.assert_allclose(found, slow_imputed(picture, removed), atol=1e-5)
    assert (found[~removed] == picture[~removed]).all()


def test_a_ramp_is_imputed_by_itself() -> None:
    ramp = np.tile(np.arange(9, dtype=np.float32), (9, 1))
    removed = np.zeros((9, 9), dtype=bool)
    removed[3:6, 3:6] = True
    np.testing.assert_allclose(imputed(ramp, removed, np.random.default_rng(0), noise=0), ramp, atol=1e-5)


def test_where_all_is_removed_nothing_is_left_and_where_nothing_is_all() -> None:
    picture = np.ones((4, 4), dtype=np.float32)
    for how in ("grey", "noise", "smooth"):
        whole = filled(picture, np.ones((4, 4), dtype=bool), how, np.random.default_rng(0), grey=0)
        assert (whole == 0).all()
        assert (filled(picture, np.zeros((4, 4), dtype=bool), how, np.random.default_rng(0)) == picture).all()


def test_noise_is_drawn_from_what_is_left() -> None:
    picture = np.full((8, 8), 0.25, dtype=np.float32)
    picture[:4] = 0.75
    removed = np.zeros((8, 8), dtype=bool)
    removed[2:6] = True
    found = filled(picture, removed, "noise", np.random.default_rng(0))
    assert set(found[removed]) == {np.float32(0.25), np.float32(0.75)}


def test_a_mask_grows_by_distance() -> None:
    mask = np.zeros((9, 9), dtype=bool)
    mask[4, 4] = True
    assert dilated(mask, 0).sum() == 1
    assert dilated(mask, 1).sum() == 5
    assert dilated(mask, 1.5).sum() == 9
    assert dilated(np.zeros((3, 3), dtype=bool), 2).sum() == 0


def test_nothing_of_lungs_that_are_taken_out_shows_through() -> None:
    picture, inside = np.full((SIZE, SIZE), 0.1, np.float32), lungs() > 0
    picture[inside] = 0.8
    assert np.abs(imputed(picture, inside, np.random.default_rng(0)) - 0.1).max() < 0.06


def test_partners_are_other_patients_of_the_same_or_the_other_class() -> None:
    classes = np.array([0, 0, 0, 1, 1, 2])
    patients = ["a", "a", "b", "c", "d", "e"]
    generator = np.random.default_rng(0)
    for _ in range(20):
        alike = partners(classes, patients, generator)
        assert alike.tolist()[:2] == [2, 2]
        assert alike[2] in (0, 1)
        assert alike.tolist()[3:] == [4, 3, -1]
        other = partners(classes, patients, generator, alike=False)
        assert (classes[other] != classes).all()


@pytest.mark.parametrize("scattered", [False, True])
def test_marks_take_as_many_pixels_scattered_or_not(scattered: bool) -> None:
    group = group_of(corner_tells=False, count=4)
    found = stamped(group, Mark("L", corner="top left"), np.random.default_rng(0) if scattered else None)
    changed = found != group.radiographs
    assert set(changed.sum(axis=(1, 2))) == {int(LETTER.sum())}
    assert (changed[0] == LETTER).all() != scattered
