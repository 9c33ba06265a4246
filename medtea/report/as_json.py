"""The report for machines: the same sections and blocks as the page, without its pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from medtea.report.blocks import Section

DRAWN = {"svg", "uri", "outline", "width", "height"}
"""Fields that hold a drawing; its file stands beside the report."""


def json_of(title: str, task: str, sections: Sequence[Section]) -> dict[str, Any]:
    """Every block by its kind, every cell with its text, detail and record."""
    return {"title": title, "task": task, "sections": [_plain(section) for section in sections]}


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        kind = {"kind": value.kind} if hasattr(value, "kind") else {}
        kept = (one.name for one in fields(value) if one.name not in DRAWN)
        return kind | {name: _plain(getattr(value, name)) for name in kept}
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(one) for one in value]
    return value
