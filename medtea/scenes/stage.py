"""A set of images with a known shortcut becomes an index and arrays, as ingest leaves them of radiographs."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.lib.format import open_memmap
from pydantic import Field as Bound
from pydantic import model_validator

from medtea.core import bay
from medtea.core.errors import DataError
from medtea.core.names import IndexArtefact
from medtea.core.progress import track
from medtea.core.settings import StrictSettings, expand, parse
from medtea.core.work import Work, read_array, write_array, write_csv
from medtea.data.index import write_index
from medtea.scenes import sets
from medtea.scenes.sets.scene_set import Scene, SceneSet

Array = np.ndarray[Any, Any]


class Settings(StrictSettings):
    """Which set, and how it is made or read.

    Attributes:
        set: A file of medtea/scenes/sets.
        options: The set's own settings (see its file).
    """

    set: str
    options: dict[str, Any] = Bound(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _filled_options(cls, content: Any) -> Any:
        """Check the set's own settings, and write their defaults down; a variable in a path stays a variable."""
        if not isinstance(content, dict) or not isinstance(content.get("set"), str):
            return content
        module = bay.load(sets, content["set"], "scenes.set")
        options = parse(module.Settings, content.get("options") or {}, f"scenes.{content['set']}.options")
        return content | {"options": options.model_dump(mode="json")}


def run(work: Work, settings: Settings) -> IndexArtefact:
    """Leave the index, the arrays, refused.csv and flow.csv.

    Raises:
        DataError: the set is not as it is distributed, nothing of it can be used, or a picture is in training and test.
    """
    module = bay.load(sets, settings.set, "scenes.set")
    options = parse(module.Settings, expand(settings.options), f"scenes.{settings.set}.options")
    scene_set: SceneSet[Any] = module.SceneSet(options, work.seed)
    stage = work.stage("scenes", settings, source=scene_set.fingerprint())
    index = IndexArtefact(stage.folder)
    if stage.is_finished:
        return index
    scenes = scene_set.scenes()
    table, refused = _read(index, scene_set, scenes)
    write_csv(index.refused, refused, ["file", "hospital", "reason"])
    if table.empty:
        first = f" The first reason: {refused[0]['reason']}" if refused else ""
        raise DataError(f"None of the {len(scenes)} images of '{settings.set}' can be used.{first}")
    write_csv(index.flow, _flow(scenes, table), FLOW)
    write_index(index.index, table)
    for artefact in (index.refused, index.flow):
        work.tracker.artefact(artefact)
    work.tracker.params({"index.digest": hashlib.sha256(index.index.read_bytes()).hexdigest()})
    work.say(f"scenes: {len(scenes)} images found, {len(table)} accepted, {len(refused)} refused (scenes/refused.csv)")
    stage.finish(found=len(scenes), accepted=len(table), refused=len(refused))
    return index


def _read(
    index: IndexArtefact, scene_set: SceneSet[Any], scenes: Sequence[Scene]
) -> tuple[pd.DataFrame, list[dict[str, str]]]:
    """Write the arrays; the index's rows of what could be read, and the refused."""
    count, size = max(len(scenes), 1), scene_set.size
    images = open_memmap(index.radiographs, mode="w+", dtype=np.float16, shape=(count, 3, size, size))
    masks = open_memmap(index.given_masks, mode="w+", dtype=np.uint8, shape=(count, size, size))
    twins = open_memmap(index.twins, mode="w+", dtype=np.float16, shape=images.shape) if scene_set.has_twins else None
    rows: list[dict[str, Any]] = []
    refused: list[dict[str, str]] = []
    for number in track(range(len(scenes)), "reading images"):
        scene, row = scenes[number], len(rows)
        try:
            picture = scene_set.picture(number)
        except DataError as error:
            refused.append({"file": scene.file, "hospital": scene.environment, "reason": str(error)})
            continue
        images[row], masks[row] = picture.image, picture.mask
        if twins is not None:
            twins[row] = picture.twin
        rows.append(_row(scene, row, digest=hashlib.sha256(images[row].tobytes()).hexdigest(), mask=picture.mask))
    for path, array in ((index.radiographs, images), (index.given_masks, masks), (index.twins, twins)):
        if array is None:
            continue
        array.flush()
        if refused:
            write_array(path, np.asarray(read_array(path)[: len(rows)]))
    return pd.DataFrame(rows), refused


def _row(scene: Scene, row: int, *, digest: str, mask: Array) -> dict[str, Any]:
    return {
        "radiograph": f"r{row + 1:06d}",
        "hospital": scene.environment,
        "patient": scene.picture,
        "study": scene.picture,
        "view": "unknown",
        "device": "unknown",
        "label": scene.label,
        "has_mask": bool(mask.any()),
        "role": scene.role.value,
        "split": scene.split.value,
        "group": scene.group,
        "file": scene.file,
        "digest": digest,
    }


FLOW = ("hospital", "role", "found", "refused", "accepted", "labelled", "positive", "patients")


def _flow(scenes: Sequence[Scene], table: pd.DataFrame) -> list[dict[str, Any]]:
    """How many images of each environment came how far: found = accepted + refused."""
    found = pd.Series([scene.environment for scene in scenes]).value_counts()
    rows = []
    for environment in sorted(found.index):
        part = table[table["hospital"] == environment]
        rows.append(
            {
                "hospital": environment,
                "role": part["role"].iloc[0] if len(part) else "",
                "found": int(found[environment]),
                "refused": int(found[environment]) - len(part),
                "accepted": len(part),
                "labelled": len(part),
                "positive": int(part["label"].gt(0).sum()),
                "patients": int(part["patient"].nunique()),
            }
        )
    return rows
