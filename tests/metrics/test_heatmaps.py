from __future__ import annotations

import numpy as np
import pytest
import torch

from medtea.core.errors import DataError
from medtea.metrics.heatmaps import area_outside, relevance_inside, relevance_outside


def made(seed=0, n=4, side=8):
    generator = np.random.default_rng(seed)
    return generator.normal(size=(n, 1, side, side)), generator.random((n, 1, side, side)) > 0.5


def test_inside_and_outside_sum_to_one():
    heatmap, mask = made()
    np.testing.assert_allclose(relevance_inside(heatmap, mask) + relevance_outside(heatmap, mask), 1)


def test_relevance_inside_by_hand():
    # |R| is 1, 2, 3, 4; the lung holds 2 and 4: 6 of 10. The sign does not matter.
    heatmap = np.array([[[[1.0, -2.0], [-3.0, 4.0]]]])
    mask = np.array([[[[0, 1], [0, 1]]]], dtype=np.uint8)
    assert relevance_inside(heatmap, mask)[0] == pytest.approx(0.6)


def test_uniform_relevance_outside_is_the_outside_area():
    _, mask = made(1)
    np.testing.assert_allclose(relevance_outside(np.full(mask.shape, -0.3), mask), area_outside(mask))


def test_sign_and_scale_change_nothing():
    heatmap, mask = made(2)
    np.testing.assert_allclose(relevance_inside(-7 * heatmap, mask), relevance_inside(heatmap, mask))


def test_empty_mask_has_no_answer():
    heatmap, mask = made(3)
    mask[1] = False
    for share in (relevance_inside(heatmap, mask), relevance_outside(heatmap, mask), area_outside(mask)):
        assert np.isnan(share).tolist() == [False, True, False, False]


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_heatmap_that_is_zero_or_not_finite_has_no_answer(value):
    heatmap, mask = made(4)
    heatmap[2] = value
    assert np.isnan(relevance_inside(heatmap, mask)).tolist() == [False, False, True, False]


def test_torch_in_torch_out_with_the_same_numbers():
    heatmap, mask = made(5)
    share = relevance_inside(torch.as_tensor(heatmap), torch.as_tensor(mask))
    assert isinstance(share, torch.Tensor)
    np.testing.assert_array_equal(share.numpy(), relevance_inside(heatmap, mask))


def test_arrays_that_cannot_be_written_to_are_read_without_a_warning(recwarn):
    heatmap, mask = made(8)
    heatmap.flags.writeable = mask.flags.writeable = False
    relevance_outside(heatmap, mask)
    assert not recwarn.list


def test_half_precision_maps_are_summed_without_loss():
    heatmap = np.full((1, 1, 512, 512), 1.0, dtype=np.float16)
    mask = np.zeros_like(heatmap)
    mask[..., :1] = 1
    assert relevance_inside(heatmap, mask)[0] == pytest.approx(1 / 512)


def test_gradients_flow_through_the_share():
    heatmap, mask = made(6)
    maps = torch.tensor(heatmap, requires_grad=True)
    assert torch.autograd.gradcheck(lambda h: relevance_outside(h, torch.as_tensor(mask)), (maps,))


def test_shapes_that_differ_are_refused():
    heatmap, mask = made(7)
    with pytest.raises(DataError, match="both must be"):
        relevance_inside(heatmap, mask[:2])
    with pytest.raises(DataError, match="both must be"):
        relevance_outside(heatmap[:, 0], mask[:, 0])
