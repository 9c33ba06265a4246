"""The teacher's heatmaps of every copy in the bank, computed once and stored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from medtea.core.names import BIASES, INPUT, Field
from medtea.core.progress import track
from medtea.core.work import write_array
from medtea.data.bank import Bank, HeatmapWriter, bank_fields, batches_of_entries
from medtea.data.loader import Batch
from medtea.lrp import HeatmapPass
from medtea.teach.teachers.teacher import Teacher

Array = np.ndarray[Any, Any]
BATCH = 64
SCALE_MARGIN = 4.0
"""The stored scale is the first batch's largest magnitude times this; float16 holds 65504, so more fits as well."""


def drawn_epsilon(epsilon: float | tuple[float, float], entries: int, copies: int, seed: int) -> Array:
    """One number as it is; of a range (low, high), a log-uniform draw per radiograph and copy, (entries, copies).

    The paper draws anew at every step; here the teacher's maps are stored, so a copy keeps its ε.
    """
    if isinstance(epsilon, float | int):
        return np.asarray(epsilon, dtype=np.float32)
    low, high = np.log(epsilon)
    return np.exp(np.random.default_rng(seed).uniform(low, high, (entries, copies))).astype(np.float32)


@torch.no_grad()
def store_heatmaps(
    teacher: Teacher, bank: Bank, *, layers: Sequence[str], epsilon: Array, relative: bool, device: torch.device
) -> None:
    """Write the signed relevance of the teacher's logit at the input and at `layers`, and the logit, for every copy.

    What biases and ε absorb of each logit is stored beside them. `epsilon` is one number, or (entries, copies), and
    `relative` says whether it counts in means of |a| of each layer. The teacher is in evaluation mode, always: with
    batch statistics one radiograph's map would depend on the others.
    """
    teacher.network.eval()
    fields = bank_fields(bank)
    entries, copies = fields[Field.RADIOGRAPH].shape[:2]
    logits = np.zeros((entries, copies), dtype=np.float32)
    heatmaps: HeatmapPass | None = None
    writer: HeatmapWriter | None = None
    parts = list(batches_of_entries(entries, BATCH))
    for part in track(parts, "teacher's heatmaps"):
        for copy in range(copies):
            batch = _batch(bank, fields, part, copy, device)
            shown = teacher.shown(batch)
            heatmaps = heatmaps or HeatmapPass(teacher.network, shown[:2], layers, biases=True)
            drawn = torch.from_numpy(epsilon[part, copy]).to(device) if epsilon.ndim else float(epsilon)
            result = heatmaps(shown, torch.ones(len(shown), 1, device=device), epsilon=drawn, relative=relative)
            found_maps = {**result.maps, BIASES: result.absorbed}
            maps = {layer: found.cpu().numpy() for layer, found in found_maps.items()}
            if writer is None:
                scales = {layer: SCALE_MARGIN * float(np.abs(found).max() or 1.0) for layer, found in maps.items()}
                writer = HeatmapWriter(bank, {layer: found.shape[1:] for layer, found in maps.items()}, scales)
            writer.write(part, copy, maps)
            logits[part, copy] = result.logits[:, 0].cpu().numpy()
    write_array(bank.folder / f"{Field.TEACHER_LOGIT}.npy", logits)
    write_array(bank.folder / "epsilon.npy", epsilon)
    if writer is not None:
        writer.close()


def _batch(
    bank: Bank, fields: dict[Field, np.ndarray[Any, Any]], part: slice, copy: int, device: torch.device
) -> Batch:
    tensors = {
        field: torch.from_numpy(array[part, copy].astype(np.float32))[:, None].to(device)
        for field, array in fields.items()
    }
    return Batch(bank.rows[part], tensors, {})


def bytes_per_radiograph(network: nn.Module, example: Tensor, layers: Sequence[str], copies: int) -> int:
    """What the bank will take on disk for each radiograph: its copies, masks and maps (2 bytes a value; masks 1)."""
    with torch.no_grad():
        result = HeatmapPass(network, example, layers)(example, torch.ones(len(example), 1, device=example.device))
    maps = sum(found[0].numel() for found in result.maps.values())
    per_copy: int = 2 * maps + 3 * result.maps[INPUT][0].numel()
    return copies * per_copy
