"""What is watched of a student: worked out by hand at the ends, and nothing of the student is touched."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from medtea.core.names import INPUT, Field
from medtea.data.loader import Loader, StoredHeatmaps
from medtea.distil.watch import LOOKS_AT, MOST, Watch, some_of

SIZE = 6
ENTRIES = 5


def linear(weight: float = 1.0, bias: float = 0.0) -> nn.Sequential:
    """logit = sum of weights × pixels + bias; its map is weights × pixels, so that bias is the gap."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(SIZE * SIZE, 1))
    layer = network[1]
    assert isinstance(layer, nn.Linear)
    with torch.no_grad():
        layer.weight.copy_(weight * (torch.arange(SIZE * SIZE).float() - 10)[None])
        layer.bias.fill_(bias)
    return network


def watch_of(network: nn.Module, *, masks: np.ndarray[Any, Any] | None = None, entries: int = ENTRIES) -> Watch:
    """A watch whose teacher is `linear()`."""
    radiographs = np.random.default_rng(0).random((ENTRIES, 1, SIZE, SIZE)).astype(np.float32)
    shown = torch.from_numpy(radiographs)
    with torch.no_grad():
        logits = linear()(shown).numpy()
    teacher = linear()[1].weight.detach().reshape(1, 1, SIZE, SIZE) * shown
    lungs = np.zeros((ENTRIES, 1, SIZE, SIZE), dtype=np.uint8)
    lungs[..., : SIZE // 2] = 1
    loader = Loader(
        {
            Field.RADIOGRAPH: radiographs,
            Field.LUNG_MASK: lungs if masks is None else masks,
            Field.TEACHER_LOGIT: logits[:, None],
        },
        asks=LOOKS_AT,
        entries=np.arange(entries),
        rows=np.arange(ENTRIES),
        batch_size=2,
        heatmaps=StoredHeatmaps({INPUT: (teacher.numpy()[:, None], 1.0)}),
    )
    return Watch(network, loader, relative=False)


def test_a_student_that_is_the_teacher_agrees_in_all() -> None:
    found = watch_of(linear())()
    assert found["map_correlation"] == pytest.approx(1, abs=1e-6)
    assert found["agreement"] == 1
    assert found["sum_gap"] == pytest.approx(0, abs=1e-4)


def test_a_student_that_is_the_teachers_opposite_agrees_in_nothing() -> None:
    found = watch_of(linear(weight=-1))()
    assert found["map_correlation"] == pytest.approx(-1, abs=1e-6)
    assert found["agreement"] == 0


def test_the_gap_is_what_the_bias_adds() -> None:
    found = watch_of(linear(bias=-2.5))()
    assert found["sum_gap"] == pytest.approx(2.5, abs=1e-4)
    assert found["map_correlation"] == pytest.approx(1, abs=1e-6), "of which the map knows nothing"
    assert watch_of(linear(bias=-1e4))()["agreement"] == 0


def test_relevance_outside_is_its_share_beyond_the_mask() -> None:
    shape = (ENTRIES, 1, SIZE, SIZE)
    assert watch_of(linear(), masks=np.ones(shape, dtype=np.uint8))()["relevance_outside"] == 0
    left = np.zeros(shape, dtype=np.uint8)
    left[..., : SIZE // 2] = 1
    shares = [watch_of(linear(), masks=mask)()["relevance_outside"] for mask in (left, 1 - left)]
    assert sum(shares) == pytest.approx(1)
    assert 0 < shares[0] < 1


def test_a_radiograph_without_an_answer_is_left_out() -> None:
    masks = np.ones((ENTRIES, 1, SIZE, SIZE), dtype=np.uint8)
    masks[0] = 0
    assert watch_of(linear(), masks=masks)()["relevance_outside"] == 0
    assert math.isnan(watch_of(linear(), masks=0 * masks)()["relevance_outside"])


def test_without_validation_radiographs_there_is_no_answer() -> None:
    found = watch_of(linear(), entries=0)()
    assert set(found) == {"map_correlation", "relevance_outside", "sum_gap", "agreement"}
    assert all(math.isnan(value) for value in found.values())


def test_watching_touches_neither_the_student_nor_what_is_drawn_next() -> None:
    network = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Dropout(), nn.LazyLinear(1)
    )
    network(torch.rand(2, 1, SIZE, SIZE))
    network.zero_grad()
    watch = watch_of(network)
    before: dict[str, Tensor] = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    drawn = torch.get_rng_state()
    assert watch() == watch()
    assert torch.equal(drawn, torch.get_rng_state())
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())


@pytest.mark.parametrize("count", [0, 1, MOST, MOST + 1, 1000])
def test_some_are_at_most_64_from_end_to_end(count: int) -> None:
    found = some_of(np.arange(count))
    assert len(found) <= MOST
    assert len(found) >= min(count, MOST // 2)
    assert count == 0 or (found[0] == 0 and found[-1] >= count - 1 - count // (MOST // 2))
