"""Index rows and fields asked for become batches; what was not asked for is not handed out."""

from __future__ import annotations

import copy
import mmap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from medtea.core.errors import ConfigError, UsageError
from medtea.core.names import Field
from medtea.core.work import read_array

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class StoredHeatmaps:
    """The teacher's maps by layer: arrays (entries, copies, channels, height, width) and their scales.

    `epsilon` is the ε they were made with: one number, or (entries, copies).
    """

    maps: Mapping[str, tuple[Array, float]]
    epsilon: float | Array = 0.0


class Batch:
    """The fields of some radiographs; a field that was not declared cannot be had from it.

    Attributes:
        rows: Index rows of these radiographs.
        names: For messages, what the index calls the radiographs of the whole batch, other processes' share included.
    """

    def __init__(
        self,
        rows: Array,
        fields: Mapping[Field, Tensor],
        heatmaps: Mapping[str, Tensor],
        names: Sequence[str] = (),
        epsilon: float | Tensor = 0.0,
    ) -> None:
        """Hold what the loader took."""
        self._epsilon = epsilon
        self.rows = rows
        self.names = tuple(names)
        self._fields = dict(fields)
        self._heatmaps = dict(heatmaps)

    def __len__(self) -> int:
        """Number of radiographs."""
        return len(self.rows)

    def __getitem__(self, field: Field) -> Tensor:
        """One field's values.

        Raises:
            UsageError: it was not asked for, so the method may not see it.
        """
        if field not in self._fields:
            raise UsageError(
                f"'{field}' was not asked for, so it may not be seen. Declare it in `sees`; "
                f"this batch has: {', '.join(sorted(self._fields)) or 'nothing'}."
            )
        return self._fields[field]

    @property
    def radiograph(self) -> Tensor:
        """(batch, 1, size, size) in [0, 1]."""
        return self[Field.RADIOGRAPH]

    @property
    def teacher_heatmaps(self) -> dict[str, Tensor]:
        """The teacher's maps by layer, (batch, channels, height, width).

        Raises:
            UsageError: they were not asked for.
        """
        if not self._heatmaps:
            raise UsageError(f"'{Field.TEACHER_HEATMAP}' was not asked for, so it may not be seen.")
        return self._heatmaps

    @property
    def heatmap_epsilon(self) -> float | Tensor:
        """The ε of the teacher's maps, one number or (batch,): a student's maps are made with the same.

        Raises:
            UsageError: the maps were not asked for.
        """
        return self._epsilon if self.teacher_heatmaps else 0.0


class Loader:
    """Batches over some entries of the arrays, shuffled with a copy drawn per entry, or in order with copy 0.

    It can be sent to another process: of a memory-mapped array only the file's place travels.
    """

    def __init__(
        self,
        arrays: Mapping[Field, Array],
        *,
        asks: frozenset[Field],
        entries: Array,
        rows: Array,
        batch_size: int,
        names: Iterable[str] | None = None,
        heatmaps: StoredHeatmaps | None = None,
        generator: np.random.Generator | None = None,
        device: torch.device | None = None,
    ) -> None:
        """Hand out exactly the fields in `asks`.

        Args:
            arrays: By field, (entries, copies, size, size) or (entries,).
            asks: What the method declares to see.
            entries: Which entries of the arrays to go through.
            rows: Index row of every entry of the arrays.
            batch_size: Radiographs per batch; when shuffled, an incomplete last batch is left out of that epoch.
            names: What the index calls the radiograph of every entry ("r000123"); None: only its row is known.
            heatmaps: The teacher's maps, handed out only if TEACHER_HEATMAP is asked for.
            generator: Draws order and copy; None: in order, copy 0.
            device: Where the tensors go.

        Raises:
            UsageError: a field is asked for that is not there.
        """
        absent = [field for field in asks if field in CARRIED and field not in arrays]
        if Field.TEACHER_HEATMAP in asks and heatmaps is None:
            absent.append(Field.TEACHER_HEATMAP)
        if absent:
            raise UsageError(f"Asked to see {', '.join(sorted(absent))}, which this data does not hold.")
        self._arrays = {field: arrays[field] for field in asks if field in CARRIED}
        self._heatmaps = heatmaps.maps if heatmaps is not None and Field.TEACHER_HEATMAP in asks else {}
        self._epsilon = heatmaps.epsilon if heatmaps is not None else 0.0
        self._entries = np.asarray(entries)
        self._rows = np.asarray(rows)
        self._names = [f"row {row}" for row in self._rows] if names is None else list(names)
        self._batch_size = min(batch_size, max(len(self._entries), 1))
        self._part, self._parts = 0, 1
        self.generator = generator
        self._device = device or torch.device("cpu")

    def __len__(self) -> int:
        """Batches per epoch."""
        whole = len(self._entries) // self._batch_size
        return whole if self.generator is not None else -(-len(self._entries) // self._batch_size)

    def __iter__(self) -> Iterator[Batch]:
        """One epoch."""
        return self.epoch()

    def epoch(self, start: int = 0) -> Iterator[Batch]:
        """One epoch from its batch number `start` on; what comes before is drawn all the same, but not read."""
        order = self._entries if self.generator is None else self.generator.permutation(self._entries)
        for number in range(len(self)):
            entries = order[number * self._batch_size : (number + 1) * self._batch_size]
            copies = self._drawn_copies(len(entries))
            if number >= start:
                yield self._batch(entries, copies)

    @property
    def order(self) -> dict[str, Any]:
        """The generator's state, from which the coming epochs follow; set it to have them again."""
        return {} if self.generator is None else dict(self.generator.bit_generator.state)

    @order.setter
    def order(self, state: Mapping[str, Any]) -> None:
        if self.generator is not None:
            self.generator.bit_generator.state = dict(state)

    def draw_seed(self) -> int:
        """A seed for whatever else the training draws; 0 when nothing is shuffled."""
        return 0 if self.generator is None else int(self.generator.integers(2**31))

    def shared(self, part: int, parts: int) -> Loader:
        """The same batches in the same order, but of each only the `part`-th of `parts` equal shares.

        Raises:
            ConfigError: a batch cannot be shared equally.
        """
        if parts == 1:
            return self
        size = self._batch_size
        if size == len(self._entries):
            size -= size % parts  # a batch cut short by the data is cut to what can be shared
        if size == 0 or size % parts:
            raise ConfigError(
                f"batch_size: {self._batch_size} radiographs cannot be shared equally by {parts} processes. "
                "Set a multiple of their number, or start fewer."
            )
        loader = copy.copy(self)
        loader._batch_size, loader._part, loader._parts = size, part, parts
        return loader

    def _drawn_copies(self, count: int) -> Array:
        copies = self._copies()
        if self.generator is None or copies == 1:
            return np.zeros(count, dtype=int)
        return self.generator.integers(copies, size=count)

    def _batch(self, entries: Array, copies: Array) -> Batch:
        names = [self._names[entry] for entry in entries]
        share = len(entries) // self._parts
        mine = slice(self._part * share, (self._part + 1) * share)
        entries, copies = entries[mine], copies[mine]
        fields = {field: self._take(array, entries, copies) for field, array in self._arrays.items()}
        maps = {
            layer: self._tensor(array[entries, copies]).mul_(scale) for layer, (array, scale) in self._heatmaps.items()
        }
        epsilon = self._epsilon if isinstance(self._epsilon, float) else self._tensor(self._epsilon[entries, copies])
        return Batch(self._rows[entries], fields, maps, names, epsilon)

    def _copies(self) -> int:
        maps = [array for array, _ in self._heatmaps.values()]
        return max((array.shape[1] for array in [*self._arrays.values(), *maps] if array.ndim > 1), default=1)

    def _take(self, array: Array, entries: Array, copies: Array) -> Tensor:
        if array.ndim == 1:
            return self._tensor(array[entries])
        if array.ndim == 2:
            return self._tensor(array[entries, copies])
        return self._tensor(array[entries, copies])[:, None]

    def _tensor(self, values: Array) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(self._device).float()

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {
            "_arrays": {field: _place(array) for field, array in self._arrays.items()},
            "_heatmaps": {layer: (_place(array), scale) for layer, (array, scale) in self._heatmaps.items()},
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._arrays = {field: _opened(place) for field, place in self._arrays.items()}
        self._heatmaps = {layer: (_opened(place), scale) for layer, (place, scale) in self._heatmaps.items()}


def _place(array: Array) -> Array | Path:
    """The file of an array that is a whole memory-mapped file; any other array itself."""
    base: Any = array.base  # of a part of the file, the whole
    return Path(str(array.filename)) if isinstance(array, np.memmap) and isinstance(base, mmap.mmap) else array


def _opened(place: Array | Path) -> Array:
    return read_array(place) if isinstance(place, Path) else place


CARRIED = frozenset(
    {Field.RADIOGRAPH, Field.LABEL, Field.LUNG_MASK, Field.HOSPITAL, Field.TEACHER_LOGIT},
)
"""Fields that travel per radiograph as an array. Heatmaps travel by layer; the teacher's head is given once."""
