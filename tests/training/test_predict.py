"""Predictions come row by row, in the order asked for, and outside the lungs where only lungs are shown nothing is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from medtea.core.names import INPUT
from medtea.lrp import HeatmapPass
from medtea.training import predict
from medtea.training.networks import SmallResNet, build_segmenter
from medtea.training.predict import predict_heatmaps, predict_logits, predict_masks, score

Array = np.ndarray[Any, Any]
SIZE = 32


@pytest.fixture(scope="module")
def network() -> SmallResNet:
    torch.manual_seed(3)
    return SmallResNet((4, 4, 8, 8))


@pytest.fixture(scope="module")
def radiographs() -> Array:
    return np.random.default_rng(0).random((9, SIZE, SIZE)).astype(np.float16)


@pytest.fixture(scope="module")
def masks() -> Array:
    found = np.zeros((9, SIZE, SIZE), dtype=np.uint8)
    found[:, 8:24, 4:12] = found[:, 8:24, 20:28] = 1
    return found


def test_with_masks_there_is_no_relevance_outside_them(network: SmallResNet, radiographs: Array, masks: Array) -> None:
    heatmaps = predict_heatmaps(network, radiographs, np.arange(9), masks=masks)
    assert (heatmaps[masks == 0] == 0).all()
    assert (np.abs(heatmaps[masks == 1]) > 0).any()
    free = predict_heatmaps(network, radiographs, np.arange(9))
    assert np.abs(free[masks == 0]).sum() > 0


def test_with_masks_what_lies_outside_cannot_change_an_answer(
    network: SmallResNet, radiographs: Array, masks: Array
) -> None:
    changed = np.where(masks > 0, radiographs, np.float16(0.9))
    rows = np.arange(9)
    for tell in (predict_logits, predict_heatmaps):
        assert (tell(network, radiographs, rows, masks=masks) == tell(network, changed, rows, masks=masks)).all()
    assert not (predict_logits(network, radiographs, rows) == predict_logits(network, changed, rows)).any()


@pytest.mark.parametrize("masked", [False, True])
def test_batches_agree_with_one_by_one(
    network: SmallResNet, radiographs: Array, masks: Array, masked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = np.array([8, 0, 3, 3, 5, 1, 2, 7, 6])
    given = {"masks": masks if masked else None}
    for tell in (predict_logits, predict_heatmaps):
        found = []
        for size in (4, 1):  # 4 + 4 + 1, and nine times 1
            monkeypatch.setattr(predict, "BATCH", size)
            found.append(tell(network, radiographs, rows, **given))
        together, alone = found
        # another batch size may add in another order: some units in the last place of float32
        np.testing.assert_allclose(together, alone, rtol=1e-3, atol=1e-6)
        assert together.dtype == np.float32


def test_the_segmenter_agrees_one_by_one_and_gives_probabilities(
    radiographs: Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predict, "BATCH", 4)
    segmenter = build_segmenter((4, 8), 0)
    together = predict_masks(segmenter, radiographs, np.arange(9))
    alone = np.concatenate([predict_masks(segmenter, radiographs, np.array([row])) for row in range(9)])
    np.testing.assert_allclose(together, alone, rtol=1e-3, atol=1e-6)
    assert together.shape == (9, SIZE, SIZE)
    assert 0 <= together.min() < together.max() <= 1


def test_logits_and_heatmaps_are_the_networks_own_in_evaluation_mode(network: SmallResNet, radiographs: Array) -> None:
    network.train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    logits = predict_logits(network, radiographs, np.arange(3))
    heatmaps = predict_heatmaps(network, radiographs, np.arange(3), epsilon=0.01)
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    x = torch.from_numpy(radiographs[:3].astype(np.float32))[:, None]
    with torch.no_grad():
        wanted = HeatmapPass(network.eval(), x)(x, torch.ones(3, 1), epsilon=0.01)
        np.testing.assert_allclose(logits, network(x)[:, 0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(heatmaps, wanted.maps[INPUT][:, 0], rtol=1e-4, atol=1e-7)


def test_no_rows_give_no_answers_in_the_right_shape(network: SmallResNet, radiographs: Array) -> None:
    none = np.zeros(0, dtype=int)
    assert predict_logits(network, radiographs, none).shape == (0,)
    assert predict_heatmaps(network, radiographs, none).shape == (0, SIZE, SIZE)
    assert predict_masks(build_segmenter((4, 8), 0), radiographs, none).shape == (0, SIZE, SIZE)


def test_radiographs_may_lie_on_disk(network: SmallResNet, radiographs: Array, masks: Array, tmp_path: Any) -> None:
    np.save(tmp_path / "radiographs.npy", radiographs)
    np.save(tmp_path / "masks.npy", masks)
    on_disk, masks_on_disk = (np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in ("radiographs", "masks"))
    rows = np.array([2, 1])
    assert (
        predict_logits(network, on_disk, rows, masks=masks_on_disk)
        == predict_logits(network, radiographs, rows, masks=masks)
    ).all()


def test_a_score_is_the_sigmoid_and_never_overflows() -> None:
    with np.errstate(all="raise"):
        # 1 / (1 + e^-1) = 0.731058578630005
        np.testing.assert_allclose(
            score(np.array([0.0, 1.0, -1.0])), [0.5, 0.731058578630005, 1 - 0.731058578630005], rtol=1e-14
        )
        assert score(np.array([-700.0, 700.0])).tolist() == [pytest.approx(np.exp(-700), rel=1e-12), 1.0]
    assert score(np.array([-1e30, 1e30], dtype=np.float32)).tolist() == [0.0, 1.0]


def test_scores_keep_the_order_of_small_logits_and_add_up_with_their_opposites() -> None:
    logits = np.linspace(-600, 30, 2000)
    assert (np.diff(score(logits)) > 0).all()
    np.testing.assert_allclose(score(logits) + score(-logits), 1, rtol=1e-12)
