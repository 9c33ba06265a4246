"""Index rows and fields asked for become batches; what was not asked for is not handed out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from medtea.core.errors import UsageError
from medtea.core.names import Field

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class StoredHeatmaps:
    """The teacher's maps by layer: arrays (entries, copies, channels, height, width) and their scales."""

    maps: Mapping[str, tuple[Array, float]]


class Batch:
    """The fields of some radiographs; a field that was not declared cannot be had from it."""

    def __init__(self, rows: Array, fields: Mapping[Field, Tensor], heatmaps: Mapping[str, Tensor]) -> None:
        """Hold what the loader took."""
        self.rows = rows
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


class Loader:
    """Batches over some entries of the arrays, shuffled with a copy drawn per entry, or in order with copy 0."""

    def __init__(
        self,
        arrays: Mapping[Field, Array],
        *,
        asks: frozenset[Field],
        entries: Array,
        rows: Array,
        batch_size: int,
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
        self._entries = np.asarray(entries)
        self._rows = np.asarray(rows)
        self._batch_size = min(batch_size, max(len(self._entries), 1))
        self.generator = generator
        self._device = device or torch.device("cpu")

    def __len__(self) -> int:
        """Batches per epoch."""
        whole = len(self._entries) // self._batch_size
        return whole if self.generator is not None else -(-len(self._entries) // self._batch_size)

    def __iter__(self) -> Iterator[Batch]:
        """One epoch."""
        order = self._entries if self.generator is None else self.generator.permutation(self._entries)
        for start in range(0, len(self) * self._batch_size, self._batch_size):
            yield self._batch(order[start : start + self._batch_size])

    def _batch(self, entries: Array) -> Batch:
        copies = self._copies()
        drawn = (
            np.zeros(len(entries), dtype=int)
            if self.generator is None or copies == 1
            else self.generator.integers(copies, size=len(entries))
        )
        fields = {field: self._take(array, entries, drawn) for field, array in self._arrays.items()}
        maps = {
            layer: self._tensor(array[entries, drawn]).mul_(scale) for layer, (array, scale) in self._heatmaps.items()
        }
        return Batch(self._rows[entries], fields, maps)

    def _copies(self) -> int:
        maps = [array for array, _ in self._heatmaps.values()]
        return max((array.shape[1] for array in [*self._arrays.values(), *maps] if array.ndim > 1), default=1)

    def _take(self, array: Array, entries: Array, drawn: Array) -> Tensor:
        if array.ndim == 1:
            return self._tensor(array[entries])
        if array.ndim == 2:
            return self._tensor(array[entries, drawn])
        return self._tensor(array[entries, drawn])[:, None]

    def _tensor(self, values: Array) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(self._device).float()


CARRIED = frozenset(
    {Field.RADIOGRAPH, Field.LABEL, Field.LUNG_MASK, Field.HOSPITAL, Field.TEACHER_LOGIT},
)
"""Fields that travel per radiograph as an array. Heatmaps travel by layer; the teacher's head is given once."""
