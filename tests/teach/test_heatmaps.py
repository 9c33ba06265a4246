"""What is stored of the teacher: its maps at the ε of each copy, and what its biases absorb."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from oracles.made_batches import LAYERS, made_arrays, small_network

from medtea.core.errors import ConfigError
from medtea.core.names import BIASES, INPUT, Field
from medtea.core.settings import parse
from medtea.data.augment import AugmentSettings
from medtea.data.bank import Bank, make_bank
from medtea.data.loader import Batch
from medtea.lrp import HeatmapPass
from medtea.teach.heatmaps import drawn_epsilon, store_heatmaps
from medtea.teach.stage import Settings
from medtea.teach.teachers.masked_classifier import Settings as TeacherSettings
from medtea.teach.teachers.masked_classifier import Teacher

COPIES = 2


def made_bank(folder: Path) -> Bank:
    arrays = made_arrays(6)
    return make_bank(
        folder,
        radiographs=arrays[Field.RADIOGRAPH][:, 0],
        lung_masks=arrays[Field.LUNG_MASK][:, 0],
        rows=np.arange(6),
        copies=COPIES,
        settings=AugmentSettings(),
        seed=0,
    )


@pytest.mark.parametrize("relative", [False, True])
@pytest.mark.parametrize("epsilon", [0.0, (0.001, 0.5)])
def test_each_copys_map_is_the_teachers_at_that_copys_epsilon(
    tmp_path: Path, epsilon: float | tuple[float, float], relative: bool
) -> None:
    bank, teacher = made_bank(tmp_path), Teacher(small_network(0), TeacherSettings())
    drawn = drawn_epsilon(epsilon, 6, COPIES, seed=3)
    store_heatmaps(teacher, bank, layers=LAYERS, epsilon=drawn, relative=relative, device=torch.device("cpu"))
    assert bank.layers == [INPUT, *LAYERS, BIASES]
    heatmap_pass = None
    for entry in range(6):
        for copy in range(COPIES):
            x, mask = (torch.from_numpy(bank.array(name)[entry, copy].astype(np.float32))[None, None]
                       for name in ("radiograph", "lung_mask"))  # fmt: skip
            own = 0.0 if epsilon == 0.0 else torch.tensor(bank.epsilon[entry : entry + 1, copy])
            shown = teacher.shown(Batch(np.array([entry]), {Field.RADIOGRAPH: x, Field.LUNG_MASK: mask}, {}))
            heatmap_pass = heatmap_pass or HeatmapPass(teacher.network, shown)
            with torch.no_grad():
                wanted = heatmap_pass(shown, torch.ones(1, 1), epsilon=own, relative=relative)
            (stored, scale), (absorbed, bias_scale) = bank.heatmap(INPUT), bank.heatmap(BIASES)
            found = torch.from_numpy(stored[entry, copy].astype(np.float32)) * scale
            # float16 keeps 11 bits of each number; where relevance of both signs meets, float32 keeps fewer
            torch.testing.assert_close(found, wanted.maps[INPUT][0], rtol=2e-3, atol=3e-4 * float(found.abs().max()))
            total = found.sum() + float(absorbed[entry, copy, 0]) * bias_scale
            logit = bank.array(Field.TEACHER_LOGIT)[entry, copy]
            assert float(total) == pytest.approx(logit, abs=2e-3 * (float(found.abs().sum()) + bias_scale))


def test_a_range_of_epsilon_is_drawn_log_uniformly_and_again_the_same() -> None:
    drawn = drawn_epsilon((1e-3, 1e-1), 4000, 2, seed=0)
    assert drawn.shape == (4000, 2)
    assert drawn.min() >= 1e-3
    assert drawn.max() <= 1e-1
    assert np.median(drawn) == pytest.approx(1e-2, rel=0.1)
    assert np.array_equal(drawn, drawn_epsilon((1e-3, 1e-1), 4000, 2, seed=0))
    assert not np.array_equal(drawn, drawn_epsilon((1e-3, 1e-1), 4000, 2, seed=1))


@pytest.mark.parametrize("given", [-0.1, [0.1, 0.01], [0.0, 0.1], [0.1]])
def test_an_epsilon_that_cannot_be_is_refused(given: object) -> None:
    with pytest.raises(ConfigError, match=r"teach\.epsilon"):
        parse(Settings, {"epsilon": given}, "teach")
    assert parse(Settings, {"epsilon": [0.001, 0.01]}, "teach").epsilon == (0.001, 0.01)
