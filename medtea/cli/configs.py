"""Configs: found by path or name, with what --set, --from and --model change, as filled-in settings."""

from __future__ import annotations

import importlib
import importlib.resources
import itertools
import json
import os
from pathlib import Path
from typing import Any

from medtea.core import bay
from medtea.core.errors import ConfigError, UsageError, nearest
from medtea.core.pseudonyms import key_file
from medtea.core.settings import expand, override, parse, read_yaml
from medtea.ingest import sources


def load(config: Path, assignments: list[str]) -> tuple[Any, Any]:
    """The pipeline's module and its filled-in settings.

    Raises:
        ConfigError: the config, an override or a setting is wrong.
    """
    return load_content(override(read_yaml(find(config)), assignments))


def load_content(content: dict[str, Any]) -> tuple[Any, Any]:
    """The same of a config that is read already."""
    module = pipeline_of(str(content.get("pipeline", "cross_hospital")))
    expand(content)  # a variable that is not set is said now; settings keep ${NAME}, since a path is of one machine
    return module, parse(module.Settings, content)


def pipeline_of(name: str) -> Any:
    """The module of a pipeline.

    Raises:
        ConfigError: there is no such pipeline.
    """
    pipelines = importlib.import_module("medtea.pipelines")
    known = [path.stem for path in Path(str(pipelines.__path__[0])).glob("*.py") if path.stem != "__init__"]
    if name not in known:
        raise ConfigError(f"pipeline: '{name}' is not known. {nearest(name, known)}")
    return importlib.import_module(f"medtea.pipelines.{name}")


def source_of(config: Path, name: str | None) -> list[str]:
    """The assignments that `--from NAME` stands for.

    Raises:
        UsageError: there is no such source, or its options stand nowhere.
    """
    if name is None:
        return []
    if name not in bay.names(sources):
        raise UsageError(f"--from '{name}': there is no such source. {nearest(name, bay.names(sources))}")
    ingest = read_yaml(find(config)).get("ingest")
    if isinstance(ingest, dict) and ingest.get("source") == name:
        return []
    path = key_file(os.environ).with_name(f"{name}.yaml")
    if not path.is_file():
        raise UsageError(
            f"--from {name}: its options stand neither in the config, whose source is another, nor in the file "
            f"medtea/{name}.yaml of your configuration folder. Write them there, as they would stand below "
            "ingest.options."
        )
    return [f"ingest.source={name}", f"ingest.options={json.dumps(read_yaml(path), default=str)}"]


def models_of(config: Path, given: list[str]) -> list[str]:
    """The assignment that each `--model` adds to."""
    if not given:
        return []
    evaluate = read_yaml(find(config)).get("evaluate")
    models = list(evaluate.get("models") or []) if isinstance(evaluate, dict) else []
    models += [model_content(text) for text in given]
    return [f"evaluate.models={json.dumps(models, default=str)}"]


def model_content(text: str) -> dict[str, Any]:
    """What [NAME=]PATH says of a network; the rest of its settings lie beside it in a YAML of its name.

    Of a folder they lie in it, as preprocessing.yaml.
    """
    name, equals, rest = text.partition("=")
    path = Path(rest if equals else text)
    beside = path / "preprocessing.yaml" if path.is_dir() else path.with_suffix(".yaml")
    found = read_yaml(beside) if beside.is_file() else {}
    return found | {"path": str(path)} | ({"name": name} if equals else {})


def own_configs() -> list[Path]:
    """The experiments that come along; a policy is none."""
    folder = Path(str(importlib.resources.files("medtea.configs")))
    return sorted(path for path in folder.glob("*.yaml") if "pipeline" in read_yaml(path))


def find(config: Path) -> Path:
    """The config as a file, or by name among those that come along."""
    if config.is_file():
        return config
    own = {path.stem: path for path in own_configs()}
    if config.stem in own and len(config.parts) == 1:
        return own[config.stem]
    raise ConfigError(f"There is no config '{config}'. Give a YAML file, or a name. {nearest(config.stem, own)}")


def first_comment(path: Path) -> str:
    """The first sentence of the comment that a config opens with."""
    opening = itertools.takewhile(lambda line: line.startswith("#"), path.read_text(encoding="utf-8").splitlines())
    return " ".join(line.lstrip("# ") for line in opening).partition(". ")[0].rstrip(".") + "."
