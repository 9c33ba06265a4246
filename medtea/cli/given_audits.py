"""`medtea audit MODEL DATA` as the config that it stands for: a network of others, and radiographs in any form."""

from __future__ import annotations

import csv
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from medtea.audit.asked import AuditedGroup, Need
from medtea.audit.stage import given_network
from medtea.cli.configs import find, load_content, model_content
from medtea.core.errors import ConfigError, UsageError
from medtea.core.settings import override, parse, read_yaml
from medtea.ingest.scan import accepting
from medtea.ingest.sources import table
from medtea.ingest.sources.source import Candidate
from medtea.ingest.stage import open_labels, open_pool, open_source
from medtea.ingest.workers import as_current
from medtea.segment.borrowed import NONE, WAYS, segmenter_of
from medtea.training.given.model import Settings as GivenModel
from medtea.training.given_network import size_taken

MANIFEST, LABELS = "manifest.csv", "labels.csv"
FROM_RUN = ("size", "fit", "reading")
"""What of ingest a network of a medtea run was trained with, and is to be shown again."""
BATCH = 8
"""Grey images by which a forward pass is timed."""
OPTIONAL = ("patient", "finding", "view", "mask")
"""Columns of a table that need not be there."""


def given_audit(
    models: Sequence[str], data: Path, assignments: Sequence[str], *, masks: str | None, findings: dict[str, list[str]]
) -> tuple[Any, Any]:
    """The pipeline audit_model and its filled-in settings.

    Args:
        models: [NAME=]PATH each, the first one is MODEL.
        data: A folder, a table (CSV), or an experiment's config, whose ingest is taken as it is.
        assignments: What --set says, which goes above all else.
        masks: What --masks says.
        findings: `positive` and `negative`, as far as they were given.

    Raises:
        UsageError: there is no such data, or nobody says how many pixels the network takes.
        ConfigError: a setting is wrong, or the network cannot be opened.
    """
    content: dict[str, Any] = {"pipeline": "audit_model", "models": [model_content(text) for text in models]}
    content |= _data(data)
    content["ingest"] |= {name: words for name, words in findings.items() if words}
    run_folder = _run_of(Path(content["models"][0]["path"]))
    if masks is not None:
        content["masks"] = masks
    elif run_folder is not None and segmenter_of(run_folder) is not None:
        content["masks"] = str(run_folder)
    trained = read_yaml(run_folder / "settings.yaml").get("ingest", {}) if run_folder else {}
    content["ingest"] |= {name: trained[name] for name in FROM_RUN if name in trained}
    content = override(content, assignments)
    if "size" not in content["ingest"]:
        content["ingest"]["size"] = _size(content)
    module, settings = load_content(content)
    for model in settings.models:  # what does not fit is told before a radiograph is read
        given_network(model, size=settings.ingest.size, device=torch.device("cpu"))
    return module, settings


@dataclass(frozen=True)
class Survey:
    """What there is to audit with, before it is done.

    Attributes:
        found: Files of each hospital that may become radiographs.
        lacking: Why a need of the probes is not met; None where nobody looked.
        seconds: Of one forward pass of one radiograph, here and now, the mean over the networks.
    """

    found: Mapping[str, int] = field(default_factory=dict)
    lacking: Mapping[str, str] | None = None
    seconds: float = 0.0

    def in_words(self, most: int, passes: float) -> str:
        """How many radiographs, and how long it takes."""
        asked = sum(min(count, most) for count in self.found.values())
        places = ", ".join(f"{hospital} {count}" for hospital, count in sorted(self.found.items())) or "none"
        return f"Found: {places}. About {asked * passes * self.seconds / 60:.1f} minutes of network passes here."


def surveyed(settings: Any) -> Survey:
    """What the data and the networks of an audit allow, without decoding a radiograph.

    Raises:
        ConfigError: the data or a network cannot be opened.
    """
    size = settings.ingest.size
    with (
        tempfile.TemporaryDirectory() as folder,
        open_pool(settings.ingest) as pool,
        as_current(pool),
        accepting(settings.ingest.reading.accept),
    ):
        found = list(open_source(settings.ingest, Path(folder), settings.seed).find())
        joined = open_labels(settings.ingest)
        found = list(joined.joined(found)) if joined else found
    usable = [one for one in found if isinstance(one, Candidate)]
    labels = {settings.ingest.label(one.finding) for one in usable} - {None}
    lacking: dict[str, str] = {}
    if len(labels) < 2:
        lacking[Need.LABELS] = "labels of both classes are not there (--positive, --negative)"
    if settings.masks == NONE or (settings.masks in WAYS and not any(one.masks for one in usable)):
        lacking[Need.LUNG_MASKS] = "there are no lung masks (--masks)"
    if len({one.hospital for one in usable}) < 2:
        lacking[Need.SEVERAL_HOSPITALS] = "there is one hospital"
    blank = np.zeros((BATCH, size, size), dtype=np.float32)
    group = AuditedGroup("", blank, np.ones_like(blank), np.zeros(BATCH, dtype=int), [""] * BATCH)
    seconds = []
    for model in settings.models:
        network = given_network(model, size=size, device=torch.device("cpu"))
        begun = time.perf_counter()
        network.scores(blank, group.lung_masks)
        seconds.append((time.perf_counter() - begun) / BATCH)
        for need in (Need.LAYERS, Need.FEATURES, Need.HEATMAPS):
            reason = network.lacks(frozenset({need}), group)
            if reason is not None:
                lacking[need] = f"{model.name}: {reason}"
    return Survey(Counter(one.hospital for one in usable), lacking, float(np.mean(seconds)))


def _data(data: Path) -> dict[str, Any]:
    """The sections that DATA stands for."""
    if data.is_dir():
        if (data / MANIFEST).is_file():
            return _data(data / MANIFEST)
        source = "dicom_tree" if (data / LABELS).is_file() else "image_folder"
        return {"ingest": {"source": source, "options": {"root": str(data)}}}
    if data.suffix.lower() == ".csv":
        return {"ingest": {"source": "table", "options": {"path": str(data)} | _missing_columns(data)}}
    try:
        config = read_yaml(find(data))
    except ConfigError as error:
        raise UsageError(
            "DATA: nothing lies at its path. Give a folder of radiographs, a table (CSV), or an experiment's YAML."
        ) from error
    if not isinstance(config.get("ingest"), dict):
        raise UsageError("DATA: the config has no section `ingest`, which says where radiographs are.")
    kept = {name: config[name] for name in ("seed", "device", "segment") if name in config}
    return kept | {"ingest": dict(config["ingest"])}


def _missing_columns(path: Path) -> dict[str, None]:
    """Columns with their usual names that the table does not have, as options that say so."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            there = next(csv.reader(file), [])
    except (OSError, UnicodeDecodeError, csv.Error):
        return {}  # the source tells what is wrong with it
    usual = table.Settings.model_fields
    return {name: None for name in OPTIONAL if usual[name].default not in there}


def _run_of(path: Path) -> Path | None:
    """The run folder that a network of it lies in, None for any other model."""
    if not (path / "card.json").is_file():
        return None
    above = path.resolve().parents[0 if path.name == "teach" else 1]
    return above if (above / "settings.yaml").is_file() else None


def _size(content: dict[str, Any]) -> int:
    """Rows and columns of the radiographs: as many as the first network that says so takes."""
    for place, given in enumerate(content["models"]):
        found = size_taken(parse(GivenModel, given, f"models.{place}"))
        if found is not None:
            return found
    raise UsageError(
        "Nothing says how many pixels the network takes. Set `size` in the YAML beside it (docs/given_models.md), or "
        "--set ingest.size=224."
    )
