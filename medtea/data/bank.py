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

from medtea.core.errors import UsageError
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
    def cotangent(self) -> Array | None:
        """The mix of logits that each heatmap explains, (entries, copies, K); None where there is one logit."""
        return self.array("cotangent") if (self.folder / "cotangent.npy").exists() else None

    @property
    def layers(self) -> list[str]:
        """What is stored: the heatmaps at the input and hidden layers, and the biases."""
        return list(read_json(self.folder / "heatmap_scales.json"))


def make_bank(
    folder: Path,
    *,
    radiographs: Array,
    lung_masks: Array,
    twins: Array | None = None,
    rows: Array,
    copies: int,
    settings: AugmentSettings,
    seed: int,
) -> Bank:
    """Write `copies` copies of the radiographs and masks at `rows`; entry order is that of `rows`.

    Args:
        folder: Where the bank goes.
        radiographs: (n, size, size) or (n, channels, size, size) in [0, 1].
        lung_masks: (n, size, size), 0 or 1.
        twins: Debiased twins, shape of the radiographs; changed as they are.
        rows: (entries,) rows to take.
        copies: At least 1; the first is the radiograph unchanged.
        settings: How far the copies may differ.
        seed: The run's seed.

    Raises:
        UsageError: colour images in more than one copy; augmentation here is for radiographs.
    """
    if copies > 1 and radiographs.ndim > 3:
        raise UsageError("Scenes are not augmented; make their bank with one copy.")
    size = radiographs.shape[-1]
    folder.mkdir(parents=True, exist_ok=True)
    images = _opened(folder, Field.RADIOGRAPH, np.float16, (len(rows), copies, *radiographs.shape[1:]))
    masks = _opened(folder, Field.LUNG_MASK, np.uint8, (len(rows), copies, *lung_masks.shape[1:]))
    kept: dict[str, tuple[Array, Array]] = {
        Field.RADIOGRAPH: (images, radiographs),
        Field.LUNG_MASK: (masks, lung_masks),
    }
    if twins is not None:
        kept[Field.TWIN] = (_opened(folder, Field.TWIN, np.float16, images.shape), twins)
    transforms = augmentation(settings, size, named_seed(seed, "bank") % 2**32)
    for entry, row in enumerate(track(rows, "augmented copies" if copies > 1 else "images")):
        own = {field: source[row] for field, (_, source) in kept.items()}
        for copy in range(copies):
            for field, image in (augmented_copy(transforms, own) if copy else own).items():
                kept[field][0][entry, copy] = image
    write_array(folder / "rows.npy", np.asarray(rows))
    return Bank(folder)


def _opened(folder: Path, field: Field, kind: type[np.generic], shape: tuple[int, ...]) -> Array:
    return open_memmap(folder / f"{field}.npy", mode="w+", dtype=kind, shape=shape)


class HeatmapWriter:
    """Collects the teacher's maps batch by batch into memory-mapped float16 arrays, one a layer."""

    def __init__(
        self, bank: Bank, copies: int, shapes: Mapping[str, Sequence[int]], scales: Mapping[str, float]
    ) -> None:
        """Open one array a layer.

        Args:
            bank: The bank that the maps belong to.
            copies: Maps of each entry.
            shapes: Shape of one map by layer, (channels, height, width).
            scales: Largest magnitude expected by layer: float16 loses what is far below 1, so maps are stored
                divided by it.
        """
        entries = len(bank.rows)
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
    held = (Field.RADIOGRAPH, Field.LUNG_MASK, Field.TWIN)
    return {field: bank.array(field) for field in held if (bank.folder / f"{field}.npy").exists()}
