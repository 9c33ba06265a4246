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

    `epsilon` is the ε they were made with: one number, or (entries, copies). `cotangent` is the mix of logits that they
    explain, (entries, copies, K); None where there is one logit.
    """

    maps: Mapping[str, tuple[Array, float]]
    epsilon: float | Array = 0.0
    cotangent: Array | None = None


class Batch:
    """The fields of some radiographs; a field that was not declared cannot be had from it.

    Attributes:
        rows: Index rows of these radiographs.
        names: For messages, what the index calls the radiographs of the whole batch, other processes' share included.
        for_teacher: The same radiographs with what the teacher is shown of them, where a teacher is asked on the way;
            for the teacher alone, not for the method.
    """

    def __init__(
        self,
        rows: Array,
        fields: Mapping[Field, Tensor],
        heatmaps: Mapping[str, Tensor],
        names: Sequence[str] = (),
        epsilon: float | Tensor = 0.0,
        cotangent: Tensor | None = None,
        for_teacher: Batch | None = None,
    ) -> None:
        """Hold what the loader took."""
        self._epsilon = epsilon
        self._cotangent = cotangent
        self.for_teacher = for_teacher
        self.rows = rows
        self.names = tuple(names)
        self._fields = dict(fields)
        self._heatmaps = dict(heatmaps)

    def __len__(self) -> int:
        """Number of radiographs."""
        return len(self.rows)

    def has(self, field: Field) -> bool:
        """Whether the field was asked for."""
        return field in self._fields

    def only(self, fields: frozenset[Field]) -> Batch:
        """The same radiographs with no more than these fields."""
        return Batch(self.rows, {field: self[field] for field in fields}, {}, self.names)

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
        """(batch, channels, size, size) in [0, 1]; a radiograph has one channel, a scene three."""
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

    @property
    def heatmap_cotangent(self) -> Tensor:
        """The mix of logits that the teacher's maps explain, (batch, K); ones where there is one logit.

        Raises:
            UsageError: the maps were not asked for.
        """
        some = next(iter(self.teacher_heatmaps.values()))
        return some.new_ones(len(self), 1) if self._cotangent is None else self._cotangent


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
        teacher_asks: frozenset[Field] = frozenset(),
        names: Iterable[str] | None = None,
        heatmaps: StoredHeatmaps | None = None,
        generator: np.random.Generator | None = None,
        device: torch.device | None = None,
    ) -> None:
        """Hand out exactly the fields in `asks`.

        Args:
            arrays: By field: images (entries, copies, size, size) or (entries, copies, channels, size, size), else
                (entries,) or (entries, copies, ...). What has fewer copies than another is drawn from again.
            asks: What the method declares to see.
            entries: Which entries of the arrays to go through.
            rows: Index row of every entry of the arrays.
            batch_size: Radiographs per batch; when shuffled, an incomplete last batch is left out of that epoch.
            teacher_asks: What a teacher that is asked on the way is shown; no method sees it.
            names: What the index calls the radiograph of every entry ("r000123"); None: only its row is known.
            heatmaps: The teacher's maps, handed out only if TEACHER_HEATMAP is asked for.
            generator: Draws order and copy; None: in order, copy 0.
            device: Where the tensors go.

        Raises:
            UsageError: a field is asked for that is not there.
        """
        absent = [field for field in asks | teacher_asks if field in CARRIED and field not in arrays]
        if Field.TEACHER_HEATMAP in asks and heatmaps is None:
            absent.append(Field.TEACHER_HEATMAP)
        if absent:
            raise UsageError(f"Asked to see {', '.join(sorted(absent))}, which this data does not hold.")
        self._arrays = {field: arrays[field] for field in asks if field in CARRIED}
        self._teacher_arrays = {field: arrays[field] for field in teacher_asks if field in CARRIED}
        self._heatmaps = heatmaps.maps if heatmaps is not None and Field.TEACHER_HEATMAP in asks else {}
        self._epsilon = heatmaps.epsilon if heatmaps is not None else 0.0
        self._cotangent = heatmaps.cotangent if heatmaps is not None else None
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
        fields = {field: self._take(field, array, entries, copies) for field, array in self._arrays.items()}
        maps = {
            layer: self._tensor(_of(array, entries, copies)).mul_(scale)
            for layer, (array, scale) in self._heatmaps.items()
        }
        epsilon = self._epsilon
        return Batch(
            self._rows[entries],
            fields,
            maps,
            names,
            epsilon if isinstance(epsilon, float) else self._tensor(_of(epsilon, entries, copies)),
            None if self._cotangent is None else self._tensor(_of(self._cotangent, entries, copies)),
            self._for_teacher(fields, entries, copies),
        )

    def _for_teacher(self, fields: Mapping[Field, Tensor], entries: Array, copies: Array) -> Batch | None:
        if not self._teacher_arrays:
            return None
        shown = {
            field: fields[field] if field in fields else self._take(field, array, entries, copies)
            for field, array in self._teacher_arrays.items()
        }
        return Batch(self._rows[entries], shown, {})

    def _copies(self) -> int:
        maps = [array for array, _ in self._heatmaps.values()]
        drawn = [*self._arrays.values(), *self._teacher_arrays.values(), *maps]
        return max((array.shape[1] for array in drawn if array.ndim > 1), default=1)

    def _take(self, field: Field, array: Array, entries: Array, copies: Array) -> Tensor:
        taken = self._tensor(array[entries] if array.ndim == 1 else _of(array, entries, copies))
        return taken[:, None] if field in IMAGES and taken.ndim == 3 else taken

    def _tensor(self, values: Array) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(self._device).float()

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {
            "_arrays": {field: _place(array) for field, array in self._arrays.items()},
            "_teacher_arrays": {field: _place(array) for field, array in self._teacher_arrays.items()},
            "_heatmaps": {layer: (_place(array), scale) for layer, (array, scale) in self._heatmaps.items()},
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._arrays = {field: _opened(place) for field, place in self._arrays.items()}
        self._teacher_arrays = {field: _opened(place) for field, place in self._teacher_arrays.items()}
        self._heatmaps = {layer: (_opened(place), scale) for layer, (place, scale) in self._heatmaps.items()}


def _of(array: Array, entries: Array, copies: Array) -> Array:
    """The drawn copy of each entry; an array with fewer copies has its own again and again."""
    return np.asarray(array[entries, copies % array.shape[1]])


def _place(array: Array) -> Array | Path:
    """The file of an array that is a whole memory-mapped file; any other array itself."""
    base: Any = array.base  # of a part of the file, the whole
    return Path(str(array.filename)) if isinstance(array, np.memmap) and isinstance(base, mmap.mmap) else array


def _opened(place: Array | Path) -> Array:
    return read_array(place) if isinstance(place, Path) else place


IMAGES = frozenset({Field.RADIOGRAPH, Field.LUNG_MASK, Field.TWIN})
"""Fields on the radiograph's grid; they come with a channel axis."""

CARRIED = IMAGES | {Field.LABEL, Field.HOSPITAL, Field.UNBIASED, Field.TEACHER_LOGIT}
"""Fields that travel per radiograph as an array. Heatmaps travel by layer; the teacher's head is given once."""
