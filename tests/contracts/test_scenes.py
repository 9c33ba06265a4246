"""One contract for every set of the bay: what it leaves is what ingest leaves, in colour, and nothing of the files."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from oracles.made_digits import made_digits
from oracles.made_run import silent_work
from oracles.made_scenes import coco_arrays, made_waterbirds, write_coco

from medtea.core import bay
from medtea.core.errors import ConfigError
from medtea.core.names import IndexArtefact, Role, Split
from medtea.core.settings import parse
from medtea.core.work import read_array, read_json
from medtea.data.index import read_index, refuse_leaks
from medtea.scenes import sets
from medtea.scenes.stage import Settings, run


def digits(folder: Path) -> dict[str, Any]:
    made_digits(folder, train=400, test=60)
    return {"train": 200, "validation": 60, "test": 60, "unbiased": 40}


def birds(folder: Path) -> dict[str, Any]:
    rows = made_waterbirds(folder)
    (folder / str(rows[3]["img_filename"])).write_bytes(b"no picture")
    return {"size": 32}


def places(folder: Path) -> dict[str, Any]:
    files = coco_arrays()
    files["train"]["images"][2, 0, 0, 0] = np.nan
    write_coco(folder, files)
    return {}


# A new set adds a line here; one without fails the first test. Each but the first has one image that cannot be used.
MADE: dict[str, Callable[[Path], dict[str, Any]]] = {
    "coloured_mnist": digits,
    "waterbirds": birds,
    "coco_on_places": places,
}
REFUSED = {"coloured_mnist": 0, "waterbirds": 1, "coco_on_places": 1}
NAMES = sorted(MADE)


@pytest.fixture
def made(tmp_path: Path) -> Callable[[str], Settings]:
    def settings(name: str) -> Settings:
        (tmp_path / "Doe1").mkdir(exist_ok=True)
        options = MADE[name](tmp_path / "Doe1")
        return parse(Settings, {"set": name, "options": {"path": str(tmp_path / "Doe1"), **options}}, "scenes")

    return settings


def listing(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_set_of_the_bay_is_held_to_the_contract() -> None:
    assert bay.names(sets) == NAMES


def test_an_unknown_set_or_option_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'waterbirds'"):
        parse(Settings, {"set": "waterbird"}, "scenes")
    with pytest.raises(ConfigError, match="Did you mean 'unbiased'"):
        parse(Settings, {"set": "coloured_mnist", "options": {"path": "here", "unbiase": 3}}, "scenes")


@pytest.mark.parametrize("name", NAMES)
def test_a_set_leaves_an_index_and_arrays_of_one_row_an_image(
    name: str, made: Callable[[str], Settings], tmp_path: Path
) -> None:
    settings = made(name)
    before = listing(tmp_path / "Doe1")
    index = run(silent_work(tmp_path / "run"), settings)
    assert listing(tmp_path / "Doe1") == before, "a set changes nothing that it reads"

    table = read_index(index.index)
    count = len(table)
    images, masks, twins = (read_array(path) for path in (index.radiographs, index.given_masks, index.twins))
    assert images.dtype == twins.dtype == np.float16
    assert masks.dtype == np.uint8
    assert images.shape == twins.shape == (count, 3, *masks.shape[1:])
    assert masks.shape == (count, images.shape[2], images.shape[2])
    for array in (images, twins):
        assert array.min() >= 0
        assert array.max() <= 1
    assert set(np.unique(masks)) == {0, 1}
    assert table["has_mask"].all()
    assert (images != twins).any(axis=(1, 2, 3)).all(), "every image has something that its twin has not"

    assert list(table["radiograph"]) == [f"r{number:06d}" for number in range(1, count + 1)]
    assert table["file"].is_unique
    assert set(table["label"]) == set(range(table["label"].max() + 1))
    refuse_leaks(table)
    by_environment = table.groupby("hospital")["role"].nunique()
    assert (by_environment == 1).all(), "an environment has one role"
    assert table.loc[table["role"].eq(Role.EXTERNAL), "split"].eq(Split.TEST).all()
    for role, split in ((Role.TRAIN, Split.TRAIN), (Role.TRAIN, Split.VALIDATION), (Role.TRAIN, Split.TEST)):
        assert (table["role"].eq(role) & table["split"].eq(split)).any()
    assert table["role"].eq(Role.EXTERNAL).any()
    tested = table[table["split"].eq(Split.TEST)]
    assert (tested.groupby("group")["role"].nunique() == 1).all(), "a test group is IID or it is not"


@pytest.mark.parametrize("name", NAMES)
def test_what_is_accepted_and_refused_is_what_was_found(
    name: str, made: Callable[[str], Settings], tmp_path: Path
) -> None:
    index = run(silent_work(tmp_path / "run"), made(name))
    facts = read_json(index.folder / "record.json")["facts"]
    refused, flow = rows_of(index.refused), rows_of(index.flow)
    assert len(refused) == facts["refused"] == REFUSED[name]
    assert facts["found"] == facts["accepted"] + facts["refused"]
    for column in ("found", "refused", "accepted"):
        assert sum(int(row[column]) for row in flow) == facts[column]
    assert {row["hospital"] for row in flow} >= set(read_index(index.index)["hospital"])
    for row in refused:
        assert re.fullmatch("[0-9a-f]{12}", row["file"])
        assert row["reason"].endswith(".")
        assert not re.search(r"Doe|\.jpg|\.npz|/", row["reason"])


@pytest.mark.parametrize("name", NAMES)
def test_no_path_is_left_where_a_variable_was_written(
    name: str, made: Callable[[str], Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = made(name)
    monkeypatch.setenv("MADE_SET", str(tmp_path / "Doe1"))
    options = written.options | {"path": "${MADE_SET}"}
    index = run(silent_work(tmp_path / "run"), Settings(set=name, options=options))
    assert not any(b"Doe1" in path.read_bytes() for path in index.folder.rglob("*") if path.is_file())


def contents(index: IndexArtefact) -> list[bytes]:
    return [path.read_bytes() for path in (index.index, index.radiographs, index.given_masks, index.twins)]


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_set_and_is_not_made_twice(
    name: str, made: Callable[[str], Settings], tmp_path: Path
) -> None:
    settings = made(name)
    first, second = silent_work(tmp_path / "first", seed=3), silent_work(tmp_path / "second", seed=3)
    assert contents(run(first, settings)) == contents(run(second, settings))
    run(first, settings)
    assert first.ran == ["scenes"], "its record matches"


@pytest.mark.parametrize("name", NAMES)
def test_a_set_is_made_again_when_a_file_of_it_changed(
    name: str, made: Callable[[str], Settings], tmp_path: Path
) -> None:
    settings, work = made(name), silent_work(tmp_path / "run")
    run(work, settings)
    if name == "coloured_mnist":
        made_digits(tmp_path / "Doe1", train=400, test=60, seed=1)
    else:
        some = next(path for path in sorted((tmp_path / "Doe1").rglob("*")) if path.suffix in {".jpg", ".npz"})
        some.write_bytes(some.read_bytes() + b"\0")
    run(work, settings)
    assert work.ran == ["scenes", "scenes"]
