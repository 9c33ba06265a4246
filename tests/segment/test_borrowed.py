"""Lung masks where nothing else is trained: the data's own, learned from them, of another run, or none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from oracles.audited import SIZE, lungs

from medtea.core.errors import ConfigError, DataError
from medtea.core.names import IndexArtefact, Role, Split
from medtea.core.settings import StrictSettings, to_yaml
from medtea.core.tracking import NullTracker
from medtea.core.work import Work, read_array, write_array, write_text
from medtea.data.index import COLUMNS, read_plausible, write_index
from medtea.segment import borrowed
from medtea.segment.stage import Settings

COUNT = 24
SMALL = Settings(channels=(4, 8), copies=1, loop={"epochs": 1, "batch_size": 8})


def work_with(folder: Path, *, masks: int) -> tuple[Work, IndexArtefact, list[str]]:
    """Radiographs of an external hospital, of which the first so many have a mask."""
    said: list[str] = []
    work = Work(folder, 0, NullTracker(), say=said.append)
    stage = work.stage("ingest", StrictSettings())
    index = IndexArtefact(stage.folder)
    generator = np.random.default_rng(0)
    pictures = (0.6 - 0.3 * lungs() + 0.05 * generator.random((COUNT, SIZE, SIZE))).astype(np.float16)
    given = np.repeat(lungs()[None], COUNT, axis=0)
    given[masks:] = 0
    write_array(index.radiographs, pictures)
    write_array(index.given_masks, given)
    same = {"hospital": "north", "group": "north", "role": Role.EXTERNAL.value, "split": Split.TEST.value}
    table = pd.DataFrame([dict.fromkeys(COLUMNS, "") | same] * COUNT).assign(
        label=pd.NA,
        has_mask=np.arange(COUNT) < masks,
        **{name: [f"{name}{number}" for number in range(COUNT)] for name in ("radiograph", "patient", "digest")},
    )
    write_index(index.index, table)
    stage.finish()
    return work, index, said


def test_given_masks_are_used_as_they_are_and_a_radiograph_without_one_is_left_out(tmp_path: Path) -> None:
    work, index, _ = work_with(tmp_path, masks=10)
    found = borrowed.run(work, SMALL, index, "given")
    assert found is not None
    assert read_plausible(found).tolist() == [True] * 10 + [False] * 14
    assert (read_array(found.lung_masks)[:10] == lungs()).all()
    assert pd.read_csv(found.masks)["dice"].isna().all(), "a mask is not compared with itself"
    assert set(pd.read_csv(found.masks)["reason"].dropna()) == {"no lung was found"}


@pytest.mark.parametrize(("masks", "way"), [(COUNT, "given"), (COUNT - 1, "learned"), (borrowed.FEWEST - 1, "none")])
def test_what_auto_means_depends_on_how_many_masks_there_are(tmp_path: Path, masks: int, way: str) -> None:
    work, index, said = work_with(tmp_path, masks=masks)
    found = borrowed.run(work, SMALL, index, "auto")
    assert said[-1 if way == "none" else 1].endswith(f": {way}")
    assert (found is None) == (way == "none")
    if found is not None:
        assert found.segmenter.exists() == (way == "learned")


def test_another_runs_segmenter_is_used_at_its_own_size(tmp_path: Path) -> None:
    work, index, _ = work_with(tmp_path / "first", masks=COUNT)
    first = borrowed.run(work, SMALL, index, "learned")
    assert first is not None
    write_text(tmp_path / "first" / "settings.yaml", to_yaml({"ingest": {"size": SIZE // 2}}))
    work, index, _ = work_with(tmp_path / "second", masks=4)
    found = borrowed.run(work, Settings(), index, str(tmp_path / "first"))
    assert found is not None
    assert read_array(found.lung_masks).shape == (COUNT, SIZE, SIZE)
    assert not found.segmenter.exists()
    assert borrowed.segmenter_of(tmp_path / "first") == tmp_path / "first"
    assert borrowed.segmenter_of(tmp_path / "second") is None
    said: list[str] = []
    work.say = said.append
    borrowed.run(work, Settings(), index, str(tmp_path / "first"))
    assert said == ["segment: nothing to do, its record matches"]


def test_masks_that_are_not_there_are_refused(tmp_path: Path) -> None:
    work, index, _ = work_with(tmp_path, masks=0)
    for way in ("given", "learned"):
        with pytest.raises(DataError, match=f"masks: {way} needs lung masks, and no radiograph has one"):
            borrowed.run(work, SMALL, index, way)
    with pytest.raises(ConfigError, match="holds no finished segmenter"):
        borrowed.run(work, SMALL, index, str(tmp_path / "nowhere"))
    assert borrowed.run(work, SMALL, index, "none") is None
