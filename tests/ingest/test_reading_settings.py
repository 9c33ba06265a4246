"""`ingest.reading` reaches every step: which files are found, how their pixels go, and their masks with them."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pydicom
import pytest
from oracles.made_run import silent_work
from PIL import Image

from medtea.core.settings import parse
from medtea.data.dicom_files import VENDORS, write_radiograph
from medtea.data.index import read_index
from medtea.data.phantom import draw_phantom
from medtea.ingest.stage import Settings, run


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDTEA_KEY", "a key for tests only")


def made_tree(root: Path) -> Path:
    """Twelve phantoms with masks, the second stored mirrored with its mask, the third a lateral."""
    (root / "alpha").mkdir(parents=True)
    (root / "masks").mkdir()
    with (root / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["sop_instance_uid", "finding", "mask"])
        for number in range(12):
            drawn = draw_phantom(np.random.default_rng(number), size=64, diseased=bool(number % 2))
            lungs, picture, path = drawn.lung_mask, drawn.radiograph, root / "alpha" / f"{number:02d}"
            if number == 1:
                lungs, picture = lungs[:, ::-1], picture[:, ::-1]
            uid = write_radiograph(path, picture, vendor=VENDORS[0], patient=f"p{number}", study="s")
            dataset = pydicom.dcmread(path)
            if number == 1:
                dataset.PatientOrientation = ["R", "F"]
            if number == 2:
                dataset.ViewPosition, dataset.ViewCodeSequence = "LL", []
            dataset.save_as(path)
            Image.fromarray(lungs.astype(np.uint8) * 255).save(root / "masks" / f"{number:02d}.png")
            writer.writerow([uid, "Tuberculosis" if number % 2 else "Normal", f"masks/{number:02d}.png"])
    return root


def ingested(root: Path, run_folder: Path, **reading: object) -> tuple[list[str], np.ndarray, np.ndarray, str]:
    """Views, pictures, masks, and what was refused."""
    content = {
        "source": "dicom_tree",
        "options": {"root": str(root)},
        "positive": ["Tuberculosis"],
        "negative": ["Normal"],
        "train": ["alpha"],
        "size": 64,
        "reading": reading,
    }
    index = run(silent_work(run_folder), parse(Settings, content, "ingest"))
    views = read_index(index.index)["view"].tolist()
    return views, np.load(index.radiographs), np.load(index.given_masks), index.refused.read_text()


def test_a_lateral_is_refused_or_taken_as_chosen(tmp_path: Path) -> None:
    root = made_tree(tmp_path / "tree")
    views, _, _, refused = ingested(root, tmp_path / "usual")
    assert views == ["PA"] * 11
    assert "ViewPosition (0018,5101) is 'LL'" in refused
    views, _, _, refused = ingested(root, tmp_path / "kept", accept={"lateral": "keep"})
    assert views == ["PA", "PA", "not frontal", *["PA"] * 9]
    assert "LL" not in refused


def test_a_mirrored_radiograph_is_turned_with_its_mask_or_left_with_it(tmp_path: Path) -> None:
    root = made_tree(tmp_path / "tree")
    _, pictures, masks, _ = ingested(root, tmp_path / "turned")
    _, left_pictures, left_masks, _ = ingested(root, tmp_path / "left", orientation="flag")
    np.testing.assert_allclose(left_pictures[1], pictures[1][:, ::-1], atol=0.02)  # cropping and resizing by a line
    np.testing.assert_array_equal(left_masks[1], masks[1][:, ::-1])
    assert (masks[1] != left_masks[1]).any()
    np.testing.assert_array_equal(left_pictures[0], pictures[0])
    drawn = draw_phantom(np.random.default_rng(1), size=64, diseased=True)
    assert (masks[1].astype(bool) == drawn.lung_mask).mean() > 0.95
