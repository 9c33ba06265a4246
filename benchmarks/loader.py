"""Whether loading could hold training back: radiographs per second from the bank, beside those that a step trains on.

The loader hands out what TEA asks for: a copy of the radiograph, and the teacher's maps at the input and the hidden
layers, from memory-mapped files. They have been read once before, as in every epoch but the first: where the bank is
larger than the machine's memory, the disk decides. One batch is loaded, one TEA step (input and hidden maps, ε = 0)
is made, in turn; the number is the median over rounds of step / load.

    python benchmarks/loader.py                # a minute or two on two cores
    python benchmarks/loader.py --quick        # seconds, to see that it works

docs/performance.md says what each number means.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lrp_step import Subject, Training
from maps import made_bank
from measuring import SEED, alternate, finish, parsed, parser, ratios, table

from medtea.core.names import Field
from medtea.data.bank import Bank, HeatmapWriter, bank_fields
from medtea.data.loader import Batch, Loader, StoredHeatmaps
from medtea.distil.methods.tea import Method

ENTRIES, QUICK_ENTRIES = 512, 16
SUBJECT, QUICK_SUBJECT = Subject("resnet18", 224, 8), Subject("small_resnet", 32, 4)


@dataclass
class Endless:
    """Batches without end, epoch after epoch."""

    loader: Loader

    def __iter__(self) -> Iterator[Batch]:
        while True:
            yield from self.loader


def filled(folder: Path, training: Training, entries: int) -> Bank:
    """A bank whose maps have the right shapes and are noise: what is in them takes no time."""
    bank = made_bank(folder, training.subject.pixels, entries)
    shapes = {layer: heatmap.shape[1:] for layer, heatmap in training.teacher.items()}
    writer = HeatmapWriter(bank, 1, shapes, dict.fromkeys(shapes, 4.0))
    draw = np.random.default_rng(SEED)
    for entry in range(entries):
        maps = {layer: draw.standard_normal((1, *shape), dtype=np.float32) for layer, shape in shapes.items()}
        writer.write(slice(entry, entry + 1), 0, maps)
    writer.close()
    return bank


def endless(bank: Bank, batch: int) -> Iterator[Batch]:
    """Shuffled batches of what TEA asks for."""
    entries = np.arange(len(bank.rows))
    loader = Loader(
        bank_fields(bank),
        asks=Method.sees,
        entries=entries,
        rows=bank.rows,
        batch_size=batch,
        heatmaps=StoredHeatmaps({layer: bank.heatmap(layer) for layer in bank.layers}),
        generator=np.random.default_rng(SEED),
    )
    return iter(Endless(loader))


def measured(subject: Subject, entries: int, rounds: int) -> dict[str, Any]:
    """Rates of loading and of training, and their ratio."""
    training = Training(subject, torch.device("cpu"), subject.layers)
    with tempfile.TemporaryDirectory() as folder:
        batches = endless(filled(Path(folder), training, entries), subject.batch)
        for _ in range(-(-entries // subject.batch)):
            first = next(batches)
        assert {layer: heatmap.shape for layer, heatmap in first.teacher_heatmaps.items()} == {
            layer: heatmap.shape for layer, heatmap in training.teacher.items()
        }
        assert first[Field.RADIOGRAPH].shape == training.x.shape
        found = alternate({"load": lambda: next(batches), "train": training.heatmaps}, rounds)
    both = {name: ratios(found, name, "load") for name in ("load", "train")}
    return {
        "network": subject.name,
        "pixels": subject.pixels,
        "batch": subject.batch,
        "entries": entries,
        "loaded_per_second": subject.batch / both["load"]["wall_seconds"],
        "trained_per_second": subject.batch / both["train"]["wall_seconds"],
        "ratio": both["train"]["wall_ratio"],
    }


COLUMNS = {
    "network": "left",
    "pixels": "right",
    "batch": "right",
    "loaded per second": "right",
    "trained on per second": "right",
    "loading is faster by": "right",
}


def rows(found: dict[str, Any]) -> list[str]:
    """The results as a Markdown table."""
    lines = [
        [
            row["network"],
            str(row["pixels"]),
            str(row["batch"]),
            f"{row['loaded_per_second']:.0f}",
            f"{row['trained_per_second']:.1f}",
            f"{row['ratio']:.0f} times",
        ]
        for row in found["results"]
    ]
    return table(COLUMNS, lines)


def main(arguments: Sequence[str] | None = None) -> None:
    asked = parsed(parser(__doc__ or "", "loader"), arguments)
    subject, entries = (QUICK_SUBJECT, QUICK_ENTRIES) if asked.quick else (SUBJECT, ENTRIES)
    print(f"{entries} radiographs of {subject.pixels} pixels; {asked.rounds} batches and steps", flush=True)
    finish(asked, rows, [measured(subject, entries, asked.rounds)])


if __name__ == "__main__":
    main()
