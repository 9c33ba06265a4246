"""A table, and the same data sent through DICOM in six vendors' manners, give one index and one set of pixels."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from oracles.made_run import silent_work
from oracles.made_sources import write_table
from PIL import Image

from medtea.core.settings import parse
from medtea.data.dicom_files import VENDORS
from medtea.data.index import read_index
from medtea.data.phantom import draw_phantom
from medtea.ingest.dicomize import dicomize
from medtea.ingest.sources import table
from medtea.ingest.stage import Settings, run

SHARED = Path(os.environ.get("MEDTEA_SHARED", Path(__file__).resolve().parents[3] / "shared"))
HOSPITALS = ("alpha", "beta", "delta", "gamma", "kappa", "omega")
GREY = 1 / 255
"""Half a step of the coarsest vendor is 1/510; scaling between percentiles and float16 may double it."""

Read = tuple[pd.DataFrame, np.ndarray, np.ndarray]


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDTEA_KEY", "a key for tests only")


def phantoms(folder: Path, per_hospital: int) -> Path:
    """Phantom pictures in a table that names hospitals in turn and patients in no order."""
    (folder / "images").mkdir(parents=True)
    rows = []
    for number in range(per_hospital * len(HOSPITALS)):
        drawn = draw_phantom(np.random.default_rng(number), size=64, diseased=bool(number % 2))
        name = f"{(number * 7919) % 1000:03d}.png"
        Image.fromarray(np.round(drawn.radiograph * 255).astype(np.uint8)).save(folder / "images" / name)
        Image.fromarray(drawn.lung_mask.astype(np.uint8) * 255).save(folder / f"mask-{name}")
        rows.append(
            {
                "image": f"images/{name}",
                "hospital": HOSPITALS[number % len(HOSPITALS)],
                "patient_id": f"{(number * 31) % 97}-{number}",
                "view": ("PA", "AP", "")[number % 3],
                "finding": ("Normal", "Effusion|Tuberculosis", "")[number % 3],
                "mask": f"mask-{name}" if number % 4 else "",
            }
        )
    return write_table(folder, rows)


def read(folder: Path, source: str, options: dict[str, object], hospitals: tuple[str, ...]) -> Read:
    content = {
        "source": source,
        "options": options,
        "positive": ["Tuberculosis"],
        "negative": ["Normal"],
        "train": hospitals[:-1],
        "external": hospitals[-1:],
        "size": 48,
    }
    index = run(silent_work(folder), parse(Settings, content, "ingest"))
    return read_index(index.index), np.load(index.radiographs), np.load(index.given_masks)


def compare(path: Path, tmp_path: Path, hospitals: tuple[str, ...]) -> Read:
    dicomize(table.Settings(path=path, hospitals=hospitals), tmp_path / "tree")
    options = {"path": str(path), "hospitals": hospitals}
    direct = read(tmp_path / "direct", "table", options, hospitals)
    through = read(tmp_path / "through", "dicom_tree", {"root": str(tmp_path / "tree")}, hospitals)
    # A stable sort: by hospital, and within one in the order of the table.
    order = np.argsort(direct[0]["hospital"].to_numpy(), kind="stable")
    sorted_table = direct[0].iloc[order].reset_index(drop=True)
    for column in ("hospital", "patient", "label", "view", "has_mask", "role", "split", "group"):
        assert sorted_table[column].tolist() == through[0][column].tolist(), column
    np.testing.assert_array_equal(through[2], direct[2][order])
    difference = np.abs(through[1].astype(float) - direct[1][order].astype(float))
    assert difference.max() <= GREY
    return through


def test_phantoms_sent_through_dicom_give_the_same_index_and_pixels(tmp_path: Path) -> None:
    found, *_ = compare(phantoms(tmp_path / "t", 12), tmp_path, HOSPITALS)
    assert found["device"].nunique() == len(VENDORS)
    assert found.groupby("split").size().ge(1).all()
    assert set(found.loc[found["role"].eq("train"), "split"]) == {"train", "val", "test"}


@pytest.mark.slow
@pytest.mark.skipif(not (SHARED / "data/cxr/manifest.csv").is_file(), reason="the shared radiographs are not here")
def test_shared_radiographs_sent_through_dicom_give_the_same_index_and_pixels(tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    shared = SHARED / "data/cxr"
    with (shared / "manifest.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    chosen = [
        row for name in ("montgomery", "shenzhen") for row in [one for one in rows if one["hospital"] == name][:12]
    ]
    for row in chosen:
        for column in ("image", "mask"):
            if row[column]:
                target = tmp_path / "t" / row[column]
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes((shared / row[column]).read_bytes())
    path = tmp_path / "t" / "manifest.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(chosen)
    found, *_ = compare(path, tmp_path, ("montgomery", "shenzhen"))
    assert len(found) == 24
