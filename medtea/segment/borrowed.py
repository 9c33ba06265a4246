"""Lung masks for radiographs that nothing is trained on: given, of another run's segmenter, or of one of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch.nn.functional import interpolate

from medtea.core.errors import ConfigError, DataError
from medtea.core.names import IndexArtefact, LungsArtefact, Role, Split
from medtea.core.seeds import numpy_generator
from medtea.core.settings import parse, read_yaml
from medtea.core.work import Stage, Work, read_array, read_json, read_weights, write_array, write_csv, write_json
from medtea.data.index import read_index
from medtea.segment.stage import Settings, by_hospital, checked
from medtea.segment.stage import run as learn
from medtea.training.networks import build_segmenter
from medtea.training.predict import predict_masks

Array = np.ndarray[Any, Any]
AUTO, GIVEN, LEARNED, NONE = "auto", "given", "learned", "none"
WAYS = (AUTO, GIVEN, LEARNED, NONE)
"""Of `masks`; anything else is the folder of a run."""
FEWEST = 20
"""Given masks, below which no segmenter is learned unless that is asked for."""


def run(work: Work, settings: Settings, index: IndexArtefact, masks: str) -> LungsArtefact | None:
    """Leave a checked mask for every radiograph, and how it compares with a given one; None where there are no masks.

    Args:
        work: The run.
        settings: Of the segmenter that is learned, and of the checks.
        index: The radiographs.
        masks: "given": those of the data alone; a radiograph without one is left out. "learned": a segmenter learns
            from the given ones. "none". Or the folder of a run, whose segmenter is used, as it is, at the size that it
            was trained at. "auto": given where all have one, learned where FEWEST have, else none.

    Raises:
        ConfigError: there is no such run, or its segmenter is not there.
        DataError: masks are to be used that are not there.
    """
    table = read_index(index.index)
    count = int(table["has_mask"].sum())
    if masks == AUTO:
        masks = GIVEN if count == len(table) else LEARNED if count >= FEWEST else NONE
        work.say(f"lung masks: {count} of {len(table)} radiographs have one: {masks}")
    if masks == NONE:
        return None
    if masks in (GIVEN, LEARNED) and not count:
        raise DataError(f"masks: {masks} needs lung masks, and no radiograph has one. Give a run's folder, or none.")
    if masks == LEARNED:
        return learn(work, settings, index, splits=_splits(table, work.seed))
    other = None if masks == GIVEN else _Other(Path(masks))
    stage = work.stage("segment", settings.checks, [index], source=GIVEN if other is None else other.digest)
    lungs = LungsArtefact(stage.folder)
    if not stage.is_finished:
        given = read_array(index.given_masks)
        radiographs = read_array(index.radiographs)
        if other is None:
            found, used = np.asarray(given), settings
            table = table.assign(has_mask=False)  # a mask is not compared with itself
        else:
            found, used = other.probabilities(radiographs, work.device), other.settings
        _leave(work, stage, lungs, table, checked(found, used, table, radiographs, given, clean=other is not None))
    return lungs


def segmenter_of(run_folder: Path) -> Path | None:
    """The run folder if it has a segmenter that is finished."""
    lungs = LungsArtefact(run_folder / "segment")
    return run_folder if lungs.segmenter.is_file() and (lungs.folder / "record.json").is_file() else None


def _leave(
    work: Work, stage: Stage, lungs: LungsArtefact, table: pd.DataFrame, made: tuple[Array, list[dict[str, object]]]
) -> None:
    masks, listing = made
    write_array(lungs.lung_masks, masks)
    write_csv(lungs.masks, listing, list(listing[0]))
    write_json(lungs.metrics, by_hospital(pd.DataFrame(listing), table, np.array([], dtype=int), seed=work.seed))
    stage.finish(implausible=sum(not row["plausible"] for row in listing), radiographs=len(listing))


def _splits(table: pd.DataFrame, seed: int) -> pd.DataFrame:
    """The index as a segmenter is to see it: of the patients with a mask a sixth is to select on."""
    patients = sorted(set(table.loc[table["has_mask"], "patient"]))
    held_out = set(numpy_generator(seed, "segment/split").permutation(patients)[: max(1, len(patients) // 6)])
    split = np.where(table["patient"].isin(held_out), Split.VALIDATION, Split.TRAIN)
    return table.assign(split=split, role=Role.EXTRA)


class _Other:
    """The segmenter of another run."""

    def __init__(self, folder: Path) -> None:
        if segmenter_of(folder) is None:
            raise ConfigError(
                f"masks: the folder holds no finished segmenter (segment/segmenter.safetensors). Give a run folder, or "
                f"one of {', '.join(WAYS)}."
            )
        self.lungs = LungsArtefact(folder / "segment")
        self.digest = self.lungs.digest
        record = read_json(self.lungs.folder / "record.json")
        self.settings: Settings = parse(Settings, record["settings"], "segment")
        self.size = int(read_yaml(folder / "settings.yaml")["ingest"]["size"])

    def probabilities(self, radiographs: Array, device: torch.device) -> Array:
        """Of lung, (n, size, size), at the radiographs' own size."""
        network = build_segmenter(self.settings.channels, 0).to(device)
        read_weights(self.lungs.segmenter, network)
        size = radiographs.shape[-1]
        shown = _resized(radiographs, self.size)
        return _resized(predict_masks(network, shown, np.arange(len(shown))), size)


def _resized(pictures: Array, size: int) -> Array:
    if pictures.shape[-1] == size:
        return pictures
    images = torch.from_numpy(np.asarray(pictures, dtype=np.float32))[:, None]
    smaller = size < pictures.shape[-1]
    found: Array = interpolate(images, (size, size), mode="bilinear", antialias=smaller)[:, 0].numpy()
    return found
