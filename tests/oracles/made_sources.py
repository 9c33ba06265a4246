"""Small made sources: a table of pictures of two hospitals, and settings for every file of the bay."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from PIL import Image

COLUMNS = ("image", "hospital", "patient_id", "view", "finding", "mask")


def made_picture(seed: int, rows: int = 40, columns: int = 36) -> np.ndarray:
    """8-bit grey values over the whole range."""
    picture = np.random.default_rng(seed).integers(0, 256, (rows, columns)).astype(np.uint8)
    picture[0, :2] = 0, 255
    return picture


def write_table(folder: Path, rows: list[dict[str, str]]) -> Path:
    """The CSV with these rows."""
    path = folder / "table.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="")
        writer.writeheader()
        writer.writerows(rows)
    return path


def made_table(folder: Path, *, per_hospital: int = 3, hospitals: tuple[str, ...] = ("alpha", "beta")) -> Path:
    """A table of pictures; every second one has a mask, and the first patient of each hospital two images."""
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    rows = []
    for hospital in hospitals:
        for number in range(per_hospital):
            picture = made_picture(len(rows))
            name = f"{hospital}-{number}.png"
            Image.fromarray(picture).save(folder / "images" / name)
            mask = ""
            if number % 2 == 0:
                mask = f"masks/{name}"
                Image.fromarray((picture > 128).astype(np.uint8) * 255).save(folder / mask)
            rows.append(
                {
                    "image": f"images/{name}",
                    "hospital": hospital,
                    "patient_id": f"{hospital}/Doe{max(number, 1)}",
                    "view": ("PA", "AP", "")[number % 3],
                    "finding": ("Normal", "Tuberculosis")[number % 2],
                    "mask": mask,
                }
            )
    return write_table(folder, rows)
