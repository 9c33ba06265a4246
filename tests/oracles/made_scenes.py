"""Small sets of images made by code, in the layouts in which the real ones are distributed."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

COLUMNS = ("img_id", "img_filename", "y", "split", "place", "place_filename")
BIRD = (slice(20, 40), slice(30, 60))
"""Where every made bird is, in a picture of 60 x 90."""
OBJECT = (slice(8, 24), slice(8, 24))


def write_metadata(folder: Path, rows: Sequence[dict[str, object]]) -> None:
    """Waterbirds' table, with these rows."""
    with (folder / "metadata.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="")
        writer.writeheader()
        writer.writerows(rows)


def made_waterbirds(folder: Path, *, each: int = 5, segmentations: bool = True) -> list[dict[str, object]]:
    """`each` pictures of every bird, place and split; birds are red or yellow, land is green and water blue."""
    rows: list[dict[str, object]] = []
    for split, bird, place in itertools.product(range(3), range(2), range(2)):
        for _ in range(each):
            number = len(rows) + 1
            name = f"{bird:03d}.Made_Species/Made_{number:04d}.jpg"
            picture = np.zeros((60, 90, 3), dtype=np.uint8)
            picture[...] = (0, 160, 0) if place == 0 else (0, 0, 200)
            picture[BIRD] = (200, 20, 20) if bird == 0 else (220, 220, 0)
            picture[0, 0] = number, number, number
            outline = np.zeros((60, 90), dtype=np.uint8)
            outline[BIRD] = 255
            for below, content in ((name, picture), (f"segmentations/{name[:-4]}.png", outline)):
                if segmentations or below == name:
                    (folder / below).parent.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(content).save(folder / below, quality=95)
            place_name = f"/{'lb'[place]}/made/{number}.jpg"
            row = {"img_id": number, "img_filename": name, "y": bird, "split": split, "place": place}
            rows.append(row | {"place_filename": place_name})
    write_metadata(folder, rows)
    return rows


def coco_arrays(*, each: int = 2, masks: bool = True, seed: int = 0) -> dict[str, dict[str, np.ndarray]]:
    """COCO-on-Places' arrays by file: grey objects of the class's brightness before places of one colour each."""
    generator = np.random.default_rng(seed)
    files = {}
    for name in ("train", "validtest", "idtest", "oodtest", "sgtest"):
        labels = np.repeat(np.arange(9), each).astype(np.int32)
        groups = (np.arange(len(labels)) % 5 == 4).astype(np.int32)
        images = np.empty((len(labels), 3, 32, 32), dtype=np.float32)
        images[...] = generator.random((len(labels), 3, 1, 1))
        images[:, :, *OBJECT] = ((labels + 1) / 10)[:, None, None, None]
        inside = np.zeros((len(labels), 32, 32), dtype=np.float32)
        inside[:, *OBJECT] = 1
        files[name] = {"images": images, "y": labels}
        if name in ("train", "validtest", "idtest"):
            files[name]["g"] = groups
        if masks:
            files[name]["masks"] = inside
    return files


def write_coco(folder: Path, files: dict[str, dict[str, np.ndarray]]) -> Path:
    """The arrays as .npz, and the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, arrays in files.items():
        np.savez(folder / f"{name}.npz", **arrays)
    return folder
