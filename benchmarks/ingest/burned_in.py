"""How often text on the border is seen: planted names, a single letter, and the radiographs as they are, by hospital.

    python benchmarks/ingest/burned_in.py TABLE.csv

What is flagged of radiographs as they are is not all wrong: some carry words of their own.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from medtea.core.errors import DataError
from medtea.data.border_text import text_on_border
from medtea.data.reader import read_radiograph
from medtea.ingest.sources import table
from medtea.ingest.sources.source import Candidate

PER_HOSPITAL, LARGE, SEED = 100, 1600, 0


def written(picture: np.ndarray, text: str, height: int, generator: np.random.Generator) -> np.ndarray:
    """The text in white at a random place at the top or the bottom."""
    rows, columns = picture.shape
    font = ImageFont.load_default(height)
    left, top, right, bottom = font.getbbox(text)
    canvas = Image.new("L", (columns, rows))
    x = int(generator.integers(2, max(3, columns - (right - left) - 2)))
    y = int(generator.integers(2, max(3, rows // 8)))
    y = y if generator.random() < 0.5 else rows - int(bottom - top) - y
    ImageDraw.Draw(canvas).text((x - left, y - top), text, fill=255, font=font)
    return np.maximum(picture, np.asarray(canvas, dtype=np.float32) / 255)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("table", type=Path, help="a CSV as the source `table` reads it")
    path = options.parse_args().table
    of_hospital = defaultdict(list)
    for one in table.Source(table.Settings(path=path), workspace=path.parent, seed=SEED).find():
        if isinstance(one, Candidate):
            of_hospital[one.hospital].append(one.path)
    for hospital, paths in of_hospital.items():
        generator = np.random.default_rng(SEED)
        seen: dict[str, list[bool]] = defaultdict(list)
        for place in generator.permutation(len(paths))[:PER_HOSPITAL]:
            try:
                picture = read_radiograph(paths[place])
            except DataError:
                continue
            factor = LARGE / max(picture.shape)
            size = (round(picture.shape[1] * factor), round(picture.shape[0] * factor))
            large = np.clip(np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC)), 0, 1)
            name, height = "MUELLER ANNA 27.04.1931", int(generator.integers(9, 15))
            seen["as it is"].append(text_on_border(picture).is_text)
            seen["with a name and a date"].append(text_on_border(written(picture, name, height, generator)).is_text)
            seen["with an L"].append(text_on_border(written(picture, "L", 18, generator)).is_text)
            seen["large, with a name"].append(text_on_border(written(large, name, 4 * height, generator)).is_text)
        shares = "; ".join(f"{what} {np.mean(those):.0%}" for what, those in seen.items())
        print(f"{hospital} ({len(seen['as it is'])}): text is seen {shares}", flush=True)


if __name__ == "__main__":
    main()
