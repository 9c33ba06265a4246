from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from medtea.segment.cleanup import clean_mask


def discs(*centres_and_radii: tuple[int, int, int], size: int = 64) -> np.ndarray:
    rows, columns = np.indices((size, size))
    return np.any([(rows - r) ** 2 + (columns - c) ** 2 <= d * d for r, c, d in centres_and_radii], axis=0)


def test_two_lungs_stay_and_a_speck_goes() -> None:
    lungs, speck = discs((32, 18, 10), (32, 46, 8)), discs((5, 5, 2))
    cleaned = clean_mask(np.where(lungs | speck, 0.9, 0.1).astype(np.float32))
    np.testing.assert_array_equal(cleaned, lungs)
    assert cleaned.dtype == np.uint8


def test_the_largest_stay_wherever_they_lie() -> None:
    # The speck is met first when the picture is read line by line, so that order of place and of size differ.
    small, middle, large = discs((4, 4, 2)), discs((20, 40, 6)), discs((45, 20, 12))
    found = clean_mask((small | middle | large).astype(np.float32), components=1)
    np.testing.assert_array_equal(found, large)


def test_a_hole_is_filled_and_a_bay_is_not() -> None:
    lung = discs((32, 32, 20))
    holed = lung & ~discs((32, 32, 5))
    np.testing.assert_array_equal(clean_mask(holed.astype(np.float32)), lung)
    bay = lung.copy()
    bay[30:34, 32:] = False
    np.testing.assert_array_equal(clean_mask(bay.astype(np.float32)), bay)


def test_lungs_that_touch_at_a_corner_are_one() -> None:
    mask = np.zeros((8, 8), dtype=np.float32)
    mask[1:3, 1:3] = mask[3:5, 3:5] = mask[6:8, 6:8] = mask[0, 7] = 1
    # Fully connected: the two squares that share a corner count as one component, so the third stays and the dot goes.
    assert clean_mask(mask).sum() == 12


@pytest.mark.parametrize(("threshold", "area"), [(0.5, 16), (0.50001, 0), (0.2, 64)])
def test_a_pixel_is_lung_from_the_threshold_on(threshold: float, area: int) -> None:
    probability = np.full((8, 8), 0.3, dtype=np.float32)
    probability[2:6, 2:6] = 0.5
    assert clean_mask(probability, threshold=threshold).sum() == area


def test_no_lung_stays_no_lung() -> None:
    assert clean_mask(np.zeros((16, 16), dtype=np.float32)).sum() == 0


def test_cleaning_twice_changes_nothing() -> None:
    probability = ndimage.gaussian_filter(np.random.default_rng(0).random((64, 64)), 3).astype(np.float32)
    probability = (probability - probability.min()) / np.ptp(probability)
    once = clean_mask(probability)
    np.testing.assert_array_equal(clean_mask(once.astype(np.float32)), once)
