"""YAML to typed, frozen settings; an unknown key is refused with the nearest name. The only importer of yaml."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from medtea.core.errors import ConfigError, nearest

VARIABLE = re.compile(r"\$\{(\w+)\}")


class StrictSettings(BaseModel):
    """Settings of one room: frozen, every default written down, an unknown key refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


S = TypeVar("S", bound=BaseModel)


def read_yaml(path: Path) -> dict[str, Any]:
    """The sections of one experiment's YAML, before types and variables.

    Raises:
        ConfigError: no such file, not YAML, or not a mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"The config '{path}' cannot be read ({type(error).__name__}). Give a YAML file.") from error
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ConfigError(f"'{path.name}' is not YAML{place}: {getattr(error, 'problem', 'unreadable')}.") from error
    if not isinstance(content, dict):
        raise ConfigError(f"'{path.name}' holds no sections. A config is 'section:' lines with settings below them.")
    return content


def to_yaml(content: Mapping[str, Any]) -> str:
    """Settings as YAML text, in the order given."""
    return yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True)


def override(content: dict[str, Any], assignments: Sequence[str]) -> dict[str, Any]:
    """A copy of `content` with 'a.b.0.c=value' assignments applied; values are read as YAML.

    Raises:
        ConfigError: an assignment has no '=', or its path runs into a value that has no parts.
    """
    result: dict[str, Any] = yaml.safe_load(yaml.safe_dump(content))
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        if not equals or not path:
            raise ConfigError(f"--set '{assignment}' has no '='. Write --set section.key=value.")
        *parents, last = path.split(".")
        place: Any = result
        for part in parents:
            place = _step(place, part, path)
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigError(f"--set {path}: the value '{text}' is not YAML.") from error
        if isinstance(place, list):
            place[_position(place, last, path)] = value
        elif isinstance(place, dict):
            place[last] = value
        else:
            raise ConfigError(f"--set {path}: '{parents[-1]}' is a single value, it has no part '{last}'.")
    return result


def _position(place: list[Any], part: str, path: str) -> int:
    if not part.isdigit() or int(part) >= len(place):
        raise ConfigError(f"--set {path}: '{part}' is no position in a list of {len(place)} (0 is the first).")
    return int(part)


def _step(place: Any, part: str, path: str) -> Any:
    if isinstance(place, list):
        return place[_position(place, part, path)]
    if not isinstance(place, dict):
        raise ConfigError(f"--set {path}: there is nothing below '{part}', it is a single value.")
    if place.get(part) is None:
        place[part] = {}
    return place[part]


def expand(value: Any, environment: Mapping[str, str] | None = None) -> Any:
    """`value` with every ${NAME} in its strings replaced by the environment variable.

    Raises:
        ConfigError: a variable is not set; the message says how to set it.
    """
    known = os.environ if environment is None else environment
    if isinstance(value, dict):
        return {key: expand(part, known) for key, part in value.items()}
    if isinstance(value, list):
        return [expand(part, known) for part in value]
    if not isinstance(value, str):
        return value

    def replacement(match: re.Match[str]) -> str:
        name = match.group(1)
        if not known.get(name):
            raise ConfigError(
                f"The config asks for the folder ${{{name}}}, and the environment variable {name} is not set. "
                f"Set it to the folder of your data: export {name}=/path/to/data"
            )
        return known[name]

    return VARIABLE.sub(replacement, value)


def parse(model: type[S], content: Mapping[str, Any], place: str = "") -> S:
    """`content` as settings of type `model`.

    Raises:
        ConfigError: one line per fault, each with the place, the value and what is allowed.
    """
    try:
        return model.model_validate(content)
    except ValidationError as error:
        lines = [_fault(model, fault, place) for fault in error.errors()]
        raise ConfigError("\n".join(lines)) from error


def _fault(model: type[BaseModel], fault: Any, place: str) -> str:
    location = [str(part) for part in fault["loc"]]
    where = ".".join(([place] if place else []) + location)
    if fault["type"] == "extra_forbidden":
        return f"{where}: no such setting. {nearest(location[-1], _names_at(model, location[:-1]))}"
    if fault["type"] == "missing":
        return f"{where}: this setting is needed and has no default."
    message = fault["msg"][0].lower() + fault["msg"][1:]
    return f"{where}: {fault['input']!r} is not allowed; {message}."


def _names_at(model: type[BaseModel], location: Sequence[str]) -> list[str]:
    """The setting names that exist at a place inside `model` (empty when the place is not a settings model)."""
    here: type[BaseModel] = model
    for part in location:
        field = here.model_fields.get(part)
        if field is None:
            continue
        candidates = [field.annotation, *getattr(field.annotation, "__args__", ())]
        inner = [kind for kind in candidates if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if inner:
            here = inner[0]
    return list(here.model_fields)
