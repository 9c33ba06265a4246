"""The height of a pixel of the run's grid: what the file says of its rows, after the crop and the resizing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from oracles.made_archives import change, made_images

from medtea.core.errors import RecordError
from medtea.data.acquisition import read_grid_row_mm, write_facts
from medtea.data.choices import Choices
from medtea.data.facts import Facts
from medtea.ingest.decode import decode, state_of
from medtea.ingest.quality import rows_of

HOW = {"size": 32, "fit": "stretch", "reading": Choices().model_dump(), "lung_segments": (), "burned_in": "flag"}


def height_of(path: Path, **how: object) -> float | None:
    asked = HOW | how
    facts, _ = decode(path=str(path), masks=[], said={}, text="", states=[state_of(str(path))], how=asked)
    found: float | None = facts["reading"]["grid_row_mm"]
    return found


def test_rows_of_a_box_are_its_own_or_the_padded_squares() -> None:
    box = slice(10, 50), slice(0, 80)
    assert (rows_of(box), rows_of(box, "pad")) == (40, 80)


def test_the_grids_pixel_is_as_many_rows_high_as_it_stands_for(tmp_path: Path) -> None:
    made_images(tmp_path, count=1, rows=64)
    path = tmp_path / "000"
    change(path, PixelSpacing=[0.5, 0.5])
    # 64 noisy rows, none of them empty, on 32: two rows of 0.5 mm each
    assert height_of(path) == pytest.approx(1.0)
    assert height_of(path, size=64) == pytest.approx(0.5)


def test_without_a_spacing_it_is_not_known_and_stays_so_in_the_table(tmp_path: Path) -> None:
    rows = [Facts().columns(), Facts(grid_row_mm=1.5).columns()]
    write_facts(tmp_path / "reading.parquet", ["r1", "r2"], rows)
    found = read_grid_row_mm(tmp_path / "reading.parquet")
    assert np.isnan(found[0])
    assert found[1] == 1.5
    pd.DataFrame({"radiograph": ["r1"]}).to_parquet(tmp_path / "old.parquet")
    with pytest.raises(RecordError, match="of an earlier version"):
        read_grid_row_mm(tmp_path / "old.parquet")
