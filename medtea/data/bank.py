"""The bank: every training and validation radiograph in several augmented copies, made once for all methods.

Copy 0 is the radiograph itself. All methods train on the same copies, so that a difference between two methods is
no difference of augmentation, and the teacher's heatmap of each copy needs to be computed only once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap

from medtea.core.names import Field
from medtea.core.progress import track
from medtea.core.seeds import named_seed
from medtea.core.work import read_array, read_json, write_array, write_json
from medtea.data.augment import AugmentSettings, augmentation, augmented_copy

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Bank:
    """Arrays (entries, copies, ...) by field name, and the index row of each entry."""

    folder: Path

    @cached_property
    def rows(self) -> Array:
        """Index row of each entry, (entries,)."""
        return np.load(self.folder / "rows.npy", allow_pickle=False)  # type: ignore[no-any-return]

    def array(self, name: str) -> Array:
        """One field's values, memory-mapped."""
        return read_array(self.folder / f"{name}.npy")

    def heatmap(self, layer: str) -> tuple[Array, float]:
        """The teacher's maps at `layer`, stored as float16 divided by a scale, and that scale."""
        scales = read_json(self.folder / "heatmap_scales.json")
        return self.array(f"heatmap_{layer}"), float(scales[layer])

    @property
    def epsilon(self) -> float | Array:
        """The ε that the heatmaps were made with: one number, or (entries, copies)."""
        drawn = self.array("epsilon")
        return float(drawn) if drawn.ndim == 0 else drawn

    @property
    def layers(self) -> list[str]:
        """What is stored: the heatmaps at the input and hidden layers, and the biases."""
        return list(read_json(self.folder / "heatmap_scales.json"))


def make_bank(
    folder: Path,
    *,
    radiographs: Array,
    lung_masks: Array,
    rows: Array,
    copies: int,
    settings: AugmentSettings,
    seed: int,
) -> Bank:
    """Write `copies` copies of the radiographs and masks at `rows`; entry order is that of `rows`.

    Args:
        folder: Where the bank goes.
        radiographs: (n, size, size) in [0, 1].
        lung_masks: Same shape, 0 or 1.
        rows: (entries,) rows to take.
        copies: At least 1; the first is the radiograph unchanged.
        settings: How far the copies may differ.
        seed: The run's seed.
    """
    size = radiographs.shape[-1]
    folder.mkdir(parents=True, exist_ok=True)
    shape = (len(rows), copies, size, size)
    images = open_memmap(folder / "radiograph.npy", mode="w+", dtype=np.float16, shape=shape)
    masks = open_memmap(folder / "lung_mask.npy", mode="w+", dtype=np.uint8, shape=shape)
    transforms = augmentation(settings, size, named_seed(seed, "bank") % 2**32)
    for entry, row in enumerate(track(rows, "augmented copies")):
        images[entry, 0], masks[entry, 0] = radiographs[row], lung_masks[row]
        for copy in range(1, copies):
            images[entry, copy], masks[entry, copy] = augmented_copy(transforms, radiographs[row], lung_masks[row])
    images.flush()
    masks.flush()
    write_array(folder / "rows.npy", np.asarray(rows))
    return Bank(folder)


class HeatmapWriter:
    """Collects the teacher's maps batch by batch into memory-mapped float16 arrays, one a layer."""

    def __init__(self, bank: Bank, shapes: Mapping[str, Sequence[int]], scales: Mapping[str, float]) -> None:
        """Open one array a layer.

        Args:
            bank: The bank that the maps belong to.
            shapes: Shape of one map by layer, (channels, height, width).
            scales: Largest magnitude expected by layer: float16 loses what is far below 1, so maps are stored
                divided by it.
        """
        entries, copies = bank.array("radiograph").shape[:2]
        self._scales = dict(scales)
        self._folder = bank.folder
        self._maps = {
            layer: open_memmap(
                bank.folder / f"heatmap_{layer}.npy", mode="w+", dtype=np.float16, shape=(entries, copies, *shape)
            )
            for layer, shape in shapes.items()
        }

    def write(self, entries: slice, copy: int, maps: Mapping[str, Array]) -> None:
        """Store the maps of some entries' copy."""
        for layer, values in maps.items():
            self._maps[layer][entries, copy] = values / self._scales[layer]

    def close(self) -> None:
        """Flush the arrays and write their scales, last: a bank without scales is not finished."""
        for array in self._maps.values():
            array.flush()
        write_json(self._folder / "heatmap_scales.json", self._scales)


def batches_of_entries(entries: int, batch_size: int) -> Iterator[slice]:
    """Consecutive slices that cover all entries."""
    for start in range(0, entries, batch_size):
        yield slice(start, min(start + batch_size, entries))


def bank_fields(bank: Bank) -> dict[Field, Array]:
    """The fields that the bank itself holds."""
    return {Field.RADIOGRAPH: bank.array("radiograph"), Field.LUNG_MASK: bank.array("lung_mask")}
