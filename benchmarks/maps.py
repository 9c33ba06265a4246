"""How fast the teacher's heatmaps are stored: the whole of medtea.teach.heatmaps.store_heatmaps, on a made bank.

Storing n radiographs takes once + n / rate seconds: `once` is the tracing of the network and the opening of the files,
`rate` the radiographs per second from then on. Both come from storing few and many, the median over repeats. A
radiograph counts once per augmented copy, since every copy has heatmaps of its own.

    python benchmarks/maps.py                  # about five minutes on two cores
    python benchmarks/maps.py --quick          # seconds, to see that it works

docs/performance.md says what each number means.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import SEED, finish, parsed, parser, table

from medtea.data.augment import AugmentSettings
from medtea.data.bank import Bank, make_bank
from medtea.teach.heatmaps import BATCH, drawn_epsilon, store_heatmaps
from medtea.teach.teachers.masked_classifier import Settings, Teacher
from medtea.training.networks import BACKBONES, build_classifier

REPEATS = 3


@dataclass(frozen=True)
class Amount:
    """A network, the side of its radiographs, and how many are stored: few, then many."""

    name: str
    pixels: int
    few: int
    many: int


AMOUNTS = (Amount("small_resnet", 96, BATCH, 8 * BATCH), Amount("resnet18", 224, BATCH, 3 * BATCH))
QUICK = (Amount("small_resnet", 32, 4, 16),)


def made_bank(folder: Path, pixels: int, entries: int) -> Bank:
    """Noise with two lungs, one copy each."""
    draw = np.random.default_rng(SEED)
    masks = np.zeros((entries, pixels, pixels), dtype=np.uint8)
    masks[:, pixels // 4 : -pixels // 4, pixels // 8 : 3 * pixels // 8] = 1
    masks[:, pixels // 4 : -pixels // 4, -3 * pixels // 8 : -pixels // 8] = 1
    radiographs = draw.random((entries, pixels, pixels), dtype=np.float32).astype(np.float16)
    rows = np.arange(entries)
    settings = AugmentSettings()
    return make_bank(
        folder, radiographs=radiographs, lung_masks=masks, rows=rows, copies=1, settings=settings, seed=SEED
    )


def stored(amount: Amount, entries: int) -> tuple[float, dict[str, int]]:
    """Seconds to store the maps of `entries` radiographs at the input and the hidden layers, and bytes by file."""
    with tempfile.TemporaryDirectory() as folder:
        bank = made_bank(Path(folder), amount.pixels, entries)
        teacher = Teacher(build_classifier(amount.name, SEED), Settings())
        layers = BACKBONES[amount.name].layers
        epsilon = drawn_epsilon(0.0, entries, 1, SEED)
        start = time.perf_counter()
        store_heatmaps(teacher, bank, layers=layers, epsilon=epsilon, relative=False, device=torch.device("cpu"))
        seconds = time.perf_counter() - start
        return seconds, {path.name: path.stat().st_size for path in Path(folder).glob("*.npy")}


def measured(amount: Amount, repeats: int) -> dict[str, Any]:
    """Rate, seconds once, and bytes per radiograph copy."""
    rates, once = [], []
    sizes: dict[str, int] = {}
    for _ in range(repeats):
        few, _sizes = stored(amount, amount.few)
        many, sizes = stored(amount, amount.many)
        rates.append((amount.many - amount.few) / (many - few))
        once.append(few - amount.few / rates[-1])
    maps = sum(size for name, size in sizes.items() if name.startswith("heatmap_"))
    return {
        "network": amount.name,
        "pixels": amount.pixels,
        "layers": len(BACKBONES[amount.name].layers),
        "stored": amount.many,
        "per_second": statistics.median(rates),
        "once_seconds": statistics.median(once),
        "map_bytes": maps / amount.many,
        "bank_bytes": sum(sizes.values()) / amount.many,
    }


COLUMNS = {
    "network": "left",
    "pixels": "right",
    "maps": "right",
    "radiographs per second": "right",
    "seconds once": "right",
    "kB of maps per radiograph": "right",
    "kB in all per radiograph": "right",
}


def rows(found: dict[str, Any]) -> list[str]:
    """The results as a Markdown table."""
    lines = [
        [
            row["network"],
            str(row["pixels"]),
            str(1 + row["layers"]),
            f"{row['per_second']:.1f}",
            f"{row['once_seconds']:.1f}",
            f"{row['map_bytes'] / 1000:.0f}",
            f"{row['bank_bytes'] / 1000:.0f}",
        ]
        for row in found["results"]
    ]
    return table(COLUMNS, lines)


def main(arguments: Sequence[str] | None = None) -> None:
    made = parser(__doc__ or "", "maps", rounds=REPEATS)
    asked = parsed(made, arguments)
    results = []
    for amount in QUICK if asked.quick else AMOUNTS:
        print(f"{amount.name}, {amount.pixels} pixels: {amount.few} and {amount.many} radiographs", flush=True)
        results.append(measured(amount, asked.rounds))
    finish(asked, rows, results)


if __name__ == "__main__":
    main()
