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
from medtea.lrp import HeatmapPass, over_channels
from medtea.lrp.cotangents import random_mix
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
    teacher: Teacher[Any],
    bank: Bank,
    *,
    layers: Sequence[str],
    epsilon: Array,
    relative: bool,
    device: torch.device,
    cotangent: Array | None = None,
    copies: int = 1,
) -> None:
    """Write the signed relevance of the teacher's logit at the input and at `layers`, and the logits, for every copy.

    What biases and ε absorb of each logit is stored beside them. The teacher is in evaluation mode, always: with batch
    statistics one radiograph's map would depend on the others.

    Args:
        teacher: Trained.
        bank: Holds the copies.
        layers: Hidden layers.
        epsilon: One number, or (entries, copies).
        relative: ε counts in means of |a| of each layer.
        device: Where to compute.
        cotangent: (entries, copies, K): which mix of logits each map explains; None for one logit.
        copies: Maps of each entry, at least as many as the bank has copies.
    """
    teacher.network.eval()
    fields = bank_fields(bank)
    entries, held = fields[Field.RADIOGRAPH].shape[:2]
    copies = max(copies, held)
    logits: list[list[Array]] = []
    heatmaps: HeatmapPass | None = None
    writer: HeatmapWriter | None = None
    parts = list(batches_of_entries(entries, BATCH))
    for part in track(parts, "teacher's heatmaps"):
        logits.append([])
        for copy in range(copies):
            batch = _batch(bank, fields, part, copy % held, device)
            shown = teacher.shown(batch)
            heatmaps = heatmaps or HeatmapPass(teacher.network, shown[:2], layers, biases=True)
            drawn = torch.from_numpy(epsilon[part, copy]).to(device) if epsilon.ndim else float(epsilon)
            mix = shown.new_ones(len(shown), 1)
            mix = mix if cotangent is None else torch.from_numpy(cotangent[part, copy]).to(mix)
            result = heatmaps(shown, mix, epsilon=drawn, relative=relative)
            found_maps = {**result.maps, INPUT: over_channels(result.maps[INPUT]), BIASES: result.absorbed}
            maps = {layer: found.cpu().numpy() for layer, found in found_maps.items()}
            if writer is None:
                scales = {layer: SCALE_MARGIN * float(np.abs(found).max() or 1.0) for layer, found in maps.items()}
                writer = HeatmapWriter(bank, copies, {layer: found.shape[1:] for layer, found in maps.items()}, scales)
            writer.write(part, copy, maps)
            logits[-1].append(result.logits.cpu().numpy())
    of_copies = [np.stack(of_part[:held], axis=1) for of_part in logits]
    write_array(bank.folder / f"{Field.TEACHER_LOGIT}.npy", np.concatenate(of_copies).astype(np.float32))
    write_array(bank.folder / "epsilon.npy", epsilon)
    if cotangent is not None:
        write_array(bank.folder / "cotangent.npy", cotangent)
    if writer is not None:
        writer.close()


def drawn_cotangent(entries: int, copies: int, logits: int, seed: int) -> Array | None:
    """A ±1 mix of the logits for every map, (entries, copies, K); None for one logit (see lrp/cotangents.py)."""
    if logits == 1:
        return None
    generator = torch.Generator().manual_seed(seed)
    return random_mix(entries * copies, logits, generator).numpy().astype(np.float32).reshape(entries, copies, logits)


def _batch(bank: Bank, fields: dict[Field, Array], part: slice, copy: int, device: torch.device) -> Batch:
    tensors = {}
    for field, array in fields.items():
        taken = torch.from_numpy(array[part, copy].astype(np.float32)).to(device)
        tensors[field] = taken[:, None] if taken.ndim == 3 else taken
    return Batch(bank.rows[part], tensors, {})


def bytes_per_radiograph(
    network: nn.Module, example: Tensor, layers: Sequence[str], *, copies: int, maps_of_each: int
) -> int:
    """What the bank will take on disk for each radiograph: its copies, masks and maps (2 bytes a value; masks 1)."""
    with torch.no_grad():
        cotangent = torch.ones_like(network(example))
        result = HeatmapPass(network, example, layers)(example, cotangent)
    maps = sum(found[0].numel() for found in result.maps.values())
    return int(maps_of_each * 2 * maps + copies * 3 * example[0].numel())
