"""A given network as a module: the scores that evaluate writes, and heatmaps where the file holds a module."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.networks.nets import DenseNet
from oracles.made_given import DENSENET, SIZE, Tiny, bundle, exported, onnx_file, torchscript
from scipy.special import expit

from medtea.core.settings import parse
from medtea.lrp import HeatmapPass
from medtea.training.given.model import Settings
from medtea.training.given_network import GivenNetwork, open_given, size_taken
from medtea.training.score_given import digest_of_models, scores_of_given

CPU = torch.device("cpu")
RADIOGRAPHS = np.random.default_rng(0).random((5, SIZE, SIZE)).astype(np.float32)
COLOURED = {"channels": 3, "mean": [0.1, 0.2, 0.3], "std": 0.5, "range": [0, 255]}
CLASSES = {"output": "class_logits", "index": 1}


def settings(path: Path, **content: Any) -> Settings:
    return parse(Settings, {"path": str(path), "trust_program": True} | content, "models.0")


def opened(path: Path, **content: Any) -> GivenNetwork:
    return open_given(settings(path, **content), size=SIZE, device=CPU)[0]


@pytest.mark.parametrize(
    ("make", "content"),
    [
        (lambda path: onnx_file(path / "a.onnx", Tiny()), {}),
        (lambda path: torchscript(path / "a.pt", Tiny()), {}),
        (lambda path: exported(path / "a.pt2", Tiny()), {}),
        (lambda path: exported(path / "one.pt2", Tiny(), batch=1), {}),
        (lambda path: exported(path / "a.pt2", Tiny(channels=3), 3), COLOURED),
        (lambda path: exported(path / "a.pt2", Tiny(logits=2)), CLASSES),
        (lambda path: exported(path / "a.pt2", Tiny(logits=3)), CLASSES),
        (lambda path: bundle(path / "b", DenseNet(**DENSENET | {"in_channels": 1})), {"size": 48}),
        (lambda path: bundle(path / "b", DenseNet(**DENSENET | {"in_channels": 1})), {"size": 24}),
    ],
)
def test_its_log_odds_are_those_of_the_scores_that_evaluate_writes(tmp_path: Path, make: Any, content: Any) -> None:
    path = make(tmp_path)
    with torch.no_grad():
        logits = opened(path, **content)(torch.from_numpy(RADIOGRAPHS)[:, None])
    assert logits.shape == (5, 1)
    expected = scores_of_given(settings(path, **content), RADIOGRAPHS, np.arange(5), device=CPU)
    np.testing.assert_allclose(expit(logits[:, 0].double().numpy()), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("make", "content"),
    [
        (lambda path: exported(path / "a.pt2", Tiny(channels=3), 3), COLOURED),
        (lambda path: exported(path / "a.pt2", Tiny(logits=2)), CLASSES),
        (lambda path: bundle(path / "b", DenseNet(**DENSENET | {"in_channels": 1})), {"size": 48}),
    ],
)
def test_its_heatmap_is_gradient_times_the_stored_radiograph(tmp_path: Path, make: Any, content: Any) -> None:
    network = opened(make(tmp_path), **content)
    images = torch.from_numpy(RADIOGRAPHS)[:, None].requires_grad_()
    (gradient,) = torch.autograd.grad(network(images).sum(), images)
    found = HeatmapPass(network, images)(images.detach(), torch.ones(5, 1)).maps["input"]
    assert found.abs().max() > 0
    # 1e-6: sums over some hundred pixels in 32 bits
    torch.testing.assert_close(found, (gradient * images).detach(), atol=1e-6, rtol=1e-4)


def test_a_file_with_scores_alone_says_why(tmp_path: Path) -> None:
    assert "runtime gives scores alone" in opened(onnx_file(tmp_path / "a.onnx", Tiny())).why_closed
    assert "TorchScript" in opened(torchscript(tmp_path / "a.pt", Tiny())).why_closed
    assert "batches of one size" in opened(exported(tmp_path / "a.pt2", Tiny(), batch=2)).why_closed
    assert opened(exported(tmp_path / "b.pt2", Tiny())).why_closed == ""


def test_the_size_that_it_takes_is_that_of_its_settings_or_of_its_file(tmp_path: Path) -> None:
    assert size_taken(settings(onnx_file(tmp_path / "a.onnx", Tiny(), size=48))) == 48
    assert size_taken(settings(tmp_path / "a.onnx", size=64)) == 64
    assert size_taken(settings(onnx_file(tmp_path / "b.onnx", Tiny()))) is None


def test_a_record_tells_networks_apart_by_file_and_by_what_they_are_shown(tmp_path: Path) -> None:
    first = onnx_file(tmp_path / "a.onnx", Tiny())
    (tmp_path / "elsewhere").mkdir()
    moved = onnx_file(tmp_path / "elsewhere" / "a.onnx", Tiny())
    digest = digest_of_models([settings(first)])
    assert digest_of_models([settings(moved)]) == digest
    assert digest_of_models([settings(first, std=2.0)]) != digest
