"""How well copies of real radiographs are found, how near strangers come, and how long it takes.

    python benchmarks/ingest/duplicates.py TABLE.csv           # recall and distances: some minutes for 2,600 images
    python benchmarks/ingest/duplicates.py --count 100000      # time, on mixtures of phantoms

Counts and distances are printed, no picture and no name.
"""

from __future__ import annotations

import argparse
import io
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from medtea.core.errors import DataError
from medtea.data.phantom import draw_phantom
from medtea.data.reader import read_radiograph
from medtea.ingest import duplicates
from medtea.ingest.duplicates import near_pairs
from medtea.ingest.quality import prepare
from medtea.ingest.sources import table
from medtea.ingest.sources.source import Candidate

Floats = np.ndarray
SIZE, PLANTED, SEED = 96, 200, 0


def jpeg(picture: Floats, quality: int) -> Floats:
    packed = io.BytesIO()
    Image.fromarray((picture * 255).round().astype(np.uint8)).save(packed, "JPEG", quality=quality)
    return np.asarray(Image.open(packed), dtype=np.float32) / 255


def window(picture: Floats, generator: np.random.Generator) -> Floats:
    low, high = generator.uniform(0, 0.15), generator.uniform(0.75, 1)
    return np.clip((picture - low) / (high - low), 0, 1)


def cropped(picture: Floats, generator: np.random.Generator, share: float = 0.05) -> Floats:
    lost = [int(side * share) for side in picture.shape]
    top, left = (int(generator.integers(0, number + 1)) for number in lost)
    return picture[top : len(picture) - lost[0] + top, left : picture.shape[1] - lost[1] + left]


def halved(picture: Floats) -> Floats:
    size = (max(picture.shape[1] // 2, 33), max(picture.shape[0] // 2, 33))
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BOX))


CHANGES: dict[str, Callable[[Floats, np.random.Generator], Floats]] = {
    "JPEG, quality 50": lambda x, _: jpeg(x, 50),
    "gamma 0.5": lambda x, _: x**0.5,
    "gamma 2": lambda x, _: x**2,
    "a random window": window,
    "a crop by 5 %": cropped,
    "half the size": lambda x, _: halved(x),
    "window, gamma 1.5, crop by 5 %, JPEG 50": lambda x, g: jpeg(cropped(window(x, g) ** 1.5, g), 50),
}


def recall(path: Path) -> None:
    pictures, owners, paths = [], [], []
    for one in table.Source(table.Settings(path=path), workspace=path.parent, seed=SEED).find():
        if isinstance(one, Candidate):
            try:
                pictures.append(prepare(read_radiograph(one.path), None, size=SIZE)[0])
            except DataError:
                continue
            owners.append((one.hospital, one.patient))
            paths.append(one.path)
    begun = time.perf_counter()
    pairs = near_pairs(pictures)
    same = sum(owners[pair.first] == owners[pair.second] for pair in pairs)
    print(f"{len(pictures)} radiographs: {time.perf_counter() - begun:.0f} s, pairs nearer than {duplicates.NEAR}:")
    print(f"  of one patient {same}, of different patients {len(pairs) - same}")
    chosen = np.random.default_rng(SEED).choice(len(pictures), min(PLANTED, len(pictures)), replace=False)
    for name, change in CHANGES.items():
        generator = np.random.default_rng(SEED)
        planted = []
        for row in chosen:
            changed = np.clip(change(read_radiograph(paths[row]), generator), 0, 1).astype(np.float32)
            planted.append(prepare(changed, None, size=SIZE)[0])
        found = {(pair.first, pair.second) for pair in near_pairs([*pictures, *planted])}
        right = sum((int(row), len(pictures) + place) in found for place, row in enumerate(chosen))
        print(f"  found of {len(chosen)} copies by {name}: {right}", flush=True)


def seconds(count: int) -> None:
    generator = np.random.default_rng(SEED)
    drawn = [draw_phantom(generator, size=SIZE, diseased=bool(one % 2)).radiograph for one in range(200)]
    stock = np.stack(drawn).astype(np.float32)
    mixed = np.empty((count, SIZE, SIZE), dtype=np.float16)
    for row in range(count):
        one, other = generator.integers(0, len(stock), 2)
        noise = np.asarray(Image.fromarray(generator.normal(0, 1, (12, 12)).astype(np.float32)).resize((SIZE, SIZE)))
        mixed[row] = np.clip(0.5 * stock[one] + 0.5 * stock[other][:, ::-1] + 0.15 * noise, 0, 1)
    begun = time.perf_counter()
    pairs = near_pairs(mixed)
    print(f"{count} mixtures: {time.perf_counter() - begun:.0f} s, {len(pairs)} pairs")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("table", nargs="?", type=Path, help="a CSV as the source `table` reads it")
    options.add_argument("--count", type=int, default=0, help="how many mixtures of phantoms to compare")
    given = options.parse_args()
    if given.table:
        recall(given.table)
    if given.count:
        seconds(given.count)


if __name__ == "__main__":
    main()
