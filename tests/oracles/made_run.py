"""Pieces of a run made by code: an index with phantom radiographs, and the settings of a run that takes seconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from medtea.core.names import IndexArtefact
from medtea.core.settings import StrictSettings, to_yaml
from medtea.core.tracking import NullTracker
from medtea.core.work import Work, write_array, write_text
from medtea.data.index import write_index
from medtea.data.phantom import draw_phantom

SIZE = 64


class NoSettings(StrictSettings):
    """A stage that was made by hand has none."""


def silent_work(folder: Path, seed: int = 0) -> Work:
    """A run that tracks nothing and says nothing."""
    return Work(folder, seed, NullTracker(), say=lambda _: None)


def index_row(number: int, **given: object) -> dict[str, Any]:
    """One row of an index; label and finding alternate."""
    name = f"{number:06d}"
    return {
        "radiograph": f"r{name}",
        "hospital": "north",
        "patient": f"p{name}",
        "study": f"s{name}",
        "view": "PA",
        "device": "made",
        "label": number % 2,
        "has_mask": True,
        "role": "train",
        "split": "train",
        "group": given.get("hospital", "north"),
        "file": f"f{name}",
        "digest": f"d{name}",
    } | given


def made_index(work: Work, rows: Sequence[Mapping[str, Any]]) -> IndexArtefact:
    """The artefact of ingest, with a phantom and its exact lung mask in each row."""
    stage = work.stage("ingest", NoSettings(), source=str(rows))
    index = IndexArtefact(stage.folder)
    table = pd.DataFrame(list(rows))
    pictures = np.zeros((len(table), SIZE, SIZE), dtype=np.float16)
    masks = np.zeros(pictures.shape, dtype=np.uint8)
    for row, has_mask in enumerate(table["has_mask"]):
        diseased = bool(table["label"].fillna(0).iloc[row])
        drawn = draw_phantom(np.random.default_rng(row), size=SIZE, diseased=diseased)
        pictures[row] = drawn.radiograph
        masks[row] = drawn.lung_mask * has_mask
    write_index(index.index, table)
    write_array(index.radiographs, pictures)
    write_array(index.given_masks, masks)
    write_text(index.refused, "file,hospital,reason\n")
    write_text(index.flow, "hospital,role,found,refused,accepted,labelled,positive,patients\n")
    stage.finish()
    return index


LOOP = {"epochs": 2, "batch_size": 8}


def tiny_config(**ingest: Any) -> dict[str, Any]:
    """Two phantom hospitals through every stage in a few seconds; what it finds means nothing."""
    return {
        "pipeline": "cross_hospital",
        "ingest": {
            "source": "phantom",
            "options": {
                "size": SIZE,
                "hospitals": {"northgate": {"patients": 24}, "hillcrest": {"patients": 10, "agreement": 0.0}},
            },
            "positive": ["Nodules"],
            "negative": ["Normal"],
            "train": ["northgate"],
            "external": ["hillcrest"],
            "size": SIZE,
        }
        | ingest,
        "segment": {
            "channels": [4, 8],
            "copies": 1,
            "loop": {"epochs": 2, "batch_size": 8},
            # a segmenter that has seen this little finds anything; these bounds let all of it pass
            "checks": {"area": [0.0001, 1.0], "balance": 0, "border": 1, "black": 1, "fragment": 1},
        },
        "teach": {"copies": 2, "loop": LOOP},
        "distil": [{"method": "tea", "loop": LOOP}, {"method": "erm", "loop": LOOP}],
        "evaluate": {"replicates": 100},
        "audit": {"radiographs": 6, "pictures": 2, "probes": {"background_relevance": {}}},
    }


def write_config(path: Path, content: Mapping[str, Any]) -> Path:
    """The config as YAML."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, to_yaml(content))
    return path
