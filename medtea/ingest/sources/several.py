"""Several sources as one: train at one public set and test at another, or at a hospital's own tree.

Hospitals of all parts are named as in their own sources. Sets number their patients independently: set
`ingest.patient_ids: per_hospital`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import Field as Bound
from pydantic import model_validator

from medtea.core import bay
from medtea.core.settings import StrictSettings, parse
from medtea.core.work import digest_of
from medtea.ingest import sources
from medtea.ingest.sources.source import Candidate, Refused, file_digest
from medtea.ingest.sources.source import Source as AnySource


class Part(StrictSettings):
    """One of the sources, as in the section `ingest` of a config."""

    source: str
    options: dict[str, Any] = Bound(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _filled_options(cls, content: Any) -> Any:
        """Check the part's own settings, and write their defaults down."""
        if not isinstance(content, dict) or not isinstance(content.get("source"), str):
            return content
        module = bay.load(sources, content["source"], "ingest.options.parts.source")
        options = parse(module.Settings, content.get("options") or {}, f"ingest.options of {content['source']}")
        return content | {"options": options.model_dump(mode="json")}


class Settings(StrictSettings):
    """Which sources."""

    parts: tuple[Part, ...] = Bound(min_length=1)
    """In the order in which their files come."""


class Source:
    """What each part finds, one part after the other."""

    def __init__(self, settings: Settings, *, workspace: Path, seed: int) -> None:
        self.parts: list[AnySource] = []
        for number, part in enumerate(settings.parts):
            module = bay.load(sources, part.source, "ingest.options.parts.source")
            options = parse(module.Settings, part.options)
            self.parts.append(module.Source(options, workspace=workspace / str(number), seed=seed))

    def find(self) -> Iterator[Candidate | Refused]:
        """See the contract; digests tell the parts apart."""
        for number, part in enumerate(self.parts):
            yield from (replace(one, file=_of_part(number, one.file)) for one in part.find())

    def where(self, file: str) -> Path | None:
        """See the contract."""
        for number, part in enumerate(self.parts):
            for one in part.find():
                if _of_part(number, one.file) == file:
                    return part.where(one.file)
        return None

    def fingerprint(self) -> str:
        """See the contract."""
        return digest_of([part.fingerprint() for part in self.parts])


def _of_part(number: int, file: str) -> str:
    return file_digest(Path(str(number)) / file)
