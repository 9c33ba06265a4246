"""`medtea audit MODEL DATA` as the config that it stands for: a network of others, and radiographs in any form."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from medtea.cli.configs import find, load_content, model_content
from medtea.core.errors import ConfigError, UsageError
from medtea.core.settings import override, parse, read_yaml
from medtea.ingest.sources import table
from medtea.segment.borrowed import segmenter_of
from medtea.training.given.model import Settings as GivenModel
from medtea.training.given_network import open_given, size_taken

MANIFEST, LABELS = "manifest.csv", "labels.csv"
FROM_RUN = ("size", "fit", "reading")
"""What of ingest a network of a medtea run was trained with, and is to be shown again."""
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
        open_given(model, size=settings.ingest.size, device=torch.device("cpu"))
    return module, settings


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
            f"DATA: there is no '{data.name}'. Give a folder of radiographs, a table (CSV), or an experiment's YAML."
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
