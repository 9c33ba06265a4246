from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.metrics import compute_average_surface_distance
from oracles.slow_metrics import outline_distances, surface_distance_by_pairs

from medtea.core.errors import DataError
from medtea.metrics.overlap import dice, hausdorff95, surface_dice, surface_distance


def blobs(seed, n=6, side=14):
    generator = np.random.default_rng(seed)
    return generator.random((n, side, side)) > 0.6


def square(top, left, side, size=12):
    mask = np.zeros((1, size, size), dtype=np.uint8)
    mask[0, top : top + side, left : left + side] = 1
    return mask


def test_dice_of_a_mask_with_itself_is_one_and_with_its_complement_is_zero():
    masks = blobs(1)
    np.testing.assert_allclose(dice(masks, masks), 1)
    np.testing.assert_allclose(dice(~masks, masks), 0)


def test_dice_by_hand():
    # Two 4x4 squares, one moved by two: they share 2x4 = 8 of 16 + 16 pixels, so 2*8/32.
    assert dice(square(2, 2, 4), square(4, 2, 4))[0] == pytest.approx(0.5)


def test_dice_and_surface_distance_do_not_care_which_is_which():
    first, second = blobs(2), blobs(3)
    np.testing.assert_allclose(dice(first, second), dice(second, first))
    np.testing.assert_allclose(surface_distance(first, second), surface_distance(second, first))


def test_an_empty_given_mask_has_no_answer_and_an_empty_prediction_scores_zero():
    empty, full = square(0, 0, 0), square(2, 2, 4)
    assert np.isnan(dice(full, empty)[0])
    assert np.isnan(dice(empty, empty)[0])
    assert dice(empty, full)[0] == 0
    assert np.isnan(surface_distance(full, empty)[0])
    assert np.isnan(surface_distance(empty, full)[0])


def test_surface_distance_is_that_of_all_pairs_of_border_pixels():
    first, second = blobs(4), blobs(5)
    slow = [surface_distance_by_pairs(a, b) for a, b in zip(first, second, strict=True)]
    np.testing.assert_allclose(surface_distance(first, second), slow, atol=1e-12)


def test_surface_distance_is_monais():
    # Solid shapes away from the edge, where MONAI's idea of a border is ours.
    first, second = square(2, 2, 5), square(4, 3, 6)
    both = [torch.as_tensor(mask[:, None]) for mask in (first, second)]
    theirs = compute_average_surface_distance(*both, include_background=True, symmetric=True)
    np.testing.assert_allclose(surface_distance(first, second), theirs.numpy()[:, 0], atol=1e-6)


def test_a_channel_of_one_changes_nothing():
    first, second = blobs(6), blobs(7)
    np.testing.assert_array_equal(dice(first[:, None], second[:, None]), dice(first, second))


def test_shapes_that_differ_are_refused():
    with pytest.raises(DataError, match="they must agree"):
        dice(blobs(1, n=2), blobs(1, n=3))
    with pytest.raises(DataError, match=r"give \(batch, height, width\)"):
        surface_distance(blobs(1)[0], blobs(1)[0])


# --- normalised surface distance and the Hausdorff distance


def solid(seed, n=5, side=24):
    """Solid shapes away from the edge, each an ellipse of its own."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    centres, radii = generator.uniform(9, 14, (n, 2)), generator.uniform(4, 7, (n, 2))
    both = zip(centres, radii, strict=True)
    return np.array([((y - c[0]) / r[0]) ** 2 + ((x - c[1]) / r[1]) ** 2 < 1 for c, r in both])


def test_the_share_within_the_tolerance_and_the_far_percentile_are_those_of_all_pairs_of_border_pixels():
    first, second = solid(1), solid(2)
    for one, other, share, far in zip(
        first, second, surface_dice(first, second, tolerance=1.5), hausdorff95(first, second), strict=True
    ):
        there, back = outline_distances(one, other)
        assert share == pytest.approx(np.mean(np.concatenate([there, back]) <= 1.5), abs=1e-6)
        assert far == pytest.approx(max(np.percentile(there, 95), np.percentile(back, 95)), abs=1e-4)


def test_a_moved_square_by_hand():
    # moved by three: 3 is as far as any border pixel gets, and with that tolerance all agree
    first, second = square(2, 2, 5, size=16), square(5, 2, 5, size=16)
    assert hausdorff95(first, second)[0] == 3
    assert surface_dice(first, second, tolerance=3)[0] == 1
    assert surface_dice(first, second, tolerance=0)[0] < 0.5
    np.testing.assert_allclose(surface_dice(first, first, tolerance=0), 1)
    np.testing.assert_allclose(hausdorff95(first, first), 0)


def test_a_mask_that_is_empty_is_a_failure_or_has_no_answer():
    empty, full = square(0, 0, 0), square(2, 2, 4)
    assert surface_dice(empty, full, tolerance=1)[0] == 0
    assert np.isnan(surface_dice(full, empty, tolerance=1)[0])
    assert np.isnan(hausdorff95(empty, full)[0])
    assert np.isnan(hausdorff95(full, empty)[0])
    mixed = surface_dice(np.concatenate([empty, full]), np.concatenate([full, full]), tolerance=1)
    np.testing.assert_allclose(mixed, [0, 1])
