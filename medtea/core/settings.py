"""YAML to typed, frozen settings; an unknown key is refused with the nearest name. The only importer of yaml."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from medtea.core.errors import ConfigError, nearest

NOT_YAML = (yaml.YAMLError, ValueError)
"""What yaml.safe_load raises: its own kind, and ValueError for a date or number that does not exist."""
VARIABLE = re.compile(r"\$\{(\w+)\}")


class StrictSettings(BaseModel):
    """Settings of one room: frozen, every default written down, an unknown key refused, every number finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=(), allow_inf_nan=False)


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
    except NOT_YAML as error:
        raise ConfigError(f"'{path.name}' is not YAML{_yaml_fault(error, text)}.") from error
    if not isinstance(content, dict):
        raise ConfigError(f"'{path.name}' holds no sections. A config is 'section:' lines with settings below them.")
    return content


def _yaml_fault(error: Exception, text: str) -> str:
    """Where and what, as far as PyYAML knows: it has a mark, or for a forbidden character its position."""
    mark = getattr(error, "problem_mark", None)
    if mark is not None:
        return f" at line {mark.line + 1}, column {mark.column + 1}: {getattr(error, 'problem', None) or 'unreadable'}"
    position = getattr(error, "position", None)
    if position is not None:
        return f" at line {text.count(chr(10), 0, position) + 1}: a character that YAML does not allow"
    return f": {error}"


def to_yaml(content: Mapping[str, Any]) -> str:
    """Settings as YAML text, in the order given."""
    return yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True)


def override(content: dict[str, Any], assignments: Sequence[str]) -> dict[str, Any]:
    """A copy of `content` with 'a.b.0.c=value' assignments applied; values are read as YAML.

    Raises:
        ConfigError: an assignment has no '=', or its path runs into a value that has no parts.
    """
    result: dict[str, Any] = _copied(content)
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        if not equals or not path:
            raise ConfigError(f"--set '{assignment}' has no '='. Write --set section.key=value.")
        parts = path.split(".")
        place: Any = result
        for depth in range(len(parts) - 1):
            place = _step(place, parts, depth)
        try:
            value = yaml.safe_load(text)
        except NOT_YAML as error:
            raise ConfigError(f"--set {path}: the value '{text}' is not YAML.") from error
        place[_key(place, parts, len(parts) - 1)] = value
    return result


def _copied(value: Any) -> Any:
    """A copy in which a YAML alias is a copy of its own, so that changing one place changes no other."""
    if isinstance(value, dict):
        return {key: _copied(part) for key, part in value.items()}
    return [_copied(part) for part in value] if isinstance(value, list) else value


def _key(place: Any, parts: Sequence[str], depth: int) -> int | str:
    """The key of parts[depth] in the mapping or list that the parts before it lead to."""
    part, path = parts[depth], ".".join(parts)
    if isinstance(place, dict):
        return part
    if not isinstance(place, list):
        raise ConfigError(f"--set {path}: '{parts[depth - 1]}' is a single value, it has no part '{part}'.")
    if not part.isdecimal() or int(part) >= len(place):
        raise ConfigError(f"--set {path}: '{part}' is no position in a list of {len(place)} (0 is the first).")
    return int(part)


def _step(place: Any, parts: Sequence[str], depth: int) -> Any:
    key = _key(place, parts, depth)
    if isinstance(place, dict) and place.get(key) is None:
        place[key] = {}
    return place[key]


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
    where = ".".join(([place] if place else []) + location) or "The config"
    if fault["type"] == "extra_forbidden":
        return f"{where}: no such setting. {nearest(location[-1], _names_at(model, location[:-1]))}"
    if fault["type"] == "missing":
        return f"{where}: this setting is needed and has no default."
    message = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "model_type":
        message = "write 'setting: value' lines below it"
    stop = "" if message.endswith((".", "?")) else "."
    return f"{where}: {_shown(fault['input'])} is not allowed; {message[0].lower()}{message[1:]}{stop}"


def _shown(value: Any) -> str:
    """The value on one line; of a long one its beginning."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _names_at(model: type[BaseModel], location: Sequence[str]) -> list[str]:
    """The setting names that exist at a place inside `model`; list positions and keys lead into what is listed."""
    here: list[type[BaseModel]] = [model]
    for part in location:
        fields = [found.model_fields[part].annotation for found in here if part in found.model_fields]
        here = [inner for annotation in fields for inner in _models_in(annotation)] or here
    return sorted({name for found in here for name in found.model_fields})


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    """The settings models that a type mentions: itself, or inside a list, a mapping or a union."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]
