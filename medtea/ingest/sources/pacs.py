"""Hospitals' archives (PACS) by DICOMweb or DIMSE: a query is listed and received into a private cache, then read."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from medtea.core.errors import ConfigError, DataError
from medtea.core.settings import StrictSettings
from medtea.core.work import digest_of, write_json
from medtea.ingest.pacs.cache import Shelf, default_cache
from medtea.ingest.pacs.fetch import Archive, fetch
from medtea.ingest.pacs.settings import HOSPITAL, Hospital, Manners, Own, Query
from medtea.ingest.sources import dicom_tree
from medtea.ingest.sources.source import Candidate, Refused, file_digest, fingerprint_of

REMEMBERED = "pacs.json"
FREE = frozenset({"cache", "own", "manners", "offline"})
"""Options that change nothing of what comes out, but for what `fingerprint` sees."""


class Settings(StrictSettings):
    """Whom to ask for what, and where it is received; docs/pacs.md goes through it."""

    hospitals: dict[str, Hospital] = Field(min_length=1)
    """By name: protocol, address, and what the protocol needs."""
    query: Query = Query()
    """Which images, of every hospital that has no query of its own."""
    cache: Path | None = None
    """Folder that images are received into, readable by its owner alone: they hold names. Never inside a run folder.
    Default: medtea/pacs in the user's cache folder."""
    labels: Path | None = None
    """CSV keyed by SOPInstanceUID, as for dicom_tree; masks that it names lie in its folder or below."""
    own: Own = Own()
    """Our AE title, address and port, for DIMSE."""
    manners: Manners = Manners()
    """How gently and how patiently each hospital is asked."""
    offline: bool = False
    """Ask nobody: what the cache holds of the query is all there is, and the rest is refused."""

    @field_validator("hospitals")
    @classmethod
    def _are_folders(cls, hospitals: dict[str, Any]) -> dict[str, Any]:
        for name in hospitals:
            if not HOSPITAL.fullmatch(name) or name == dicom_tree.MASKS:
                raise ValueError(f"'{name}' cannot be a hospital's name here: letters, digits, space, dot, - and _")
        return hospitals


class Source:
    """What the query matches as candidates, once it is received."""

    def __init__(self, settings: Settings, *, workspace: Path, seed: int) -> None:
        self.settings = settings
        self.cache = (settings.cache or default_cache(os.environ)).absolute()
        if self.cache.is_relative_to(workspace.parent.absolute()):
            raise ConfigError("cache: it lies in the run folder, which holds no names. Name a folder elsewhere.")
        self.workspace, self.seed = workspace, seed
        self._is_complete = False

    def find(self) -> Iterator[Candidate | Refused]:
        """Receives what is missing first; see the contract.

        Raises:
            DataError: a hospital's images are not all here; what was received stays.
        """
        self.receive()
        self._remember()
        tree = _Wanted(
            dicom_tree.Settings(
                root=self.cache, labels=str(self.settings.labels.absolute()) if self.settings.labels else None
            ),
            workspace=self.workspace,
            seed=self.seed,
        )
        tree.wanted = self._here()
        if self.settings.labels:
            tree.mask_root = self.settings.labels.absolute().parent
        yield from tree.find()
        for name, path, reason in self._wanted():
            if not path.is_file():
                yield Refused(self._file(path), name, reason or "The image was not received from the archive.")

    def where(self, file: str) -> Path | None:
        """See the contract; where an image that was not received would be."""
        return next((path for _, path, _ in self._wanted() if self._file(path) == file), None)

    def fingerprint(self) -> str:
        """Receives what is missing first; changes with what is wanted and what is here, not with the cache's place.

        When the user has removed every hospital's images, it is what it was for this run: a finished ingest stays
        finished, and no archive is asked.
        """
        labels = self.settings.labels
        table = fingerprint_of(labels.parent, [labels], settings=None) if labels else ""
        return digest_of({"images": self._images(), "labels": table})

    def _images(self) -> str:
        remembered = _remembered(self.workspace / REMEMBERED)
        is_removed = not any((self.cache / name).is_dir() for name in self.settings.hospitals)
        if is_removed and remembered.get("asked") == self._asked():
            return remembered["images"]
        self.receive()
        return self._remember()

    def _remember(self) -> str:
        """Digest of what is wanted and here, written down for this run."""
        wanted = [[self._file(path), reason] for _, path, reason in self._wanted()]
        images = digest_of([wanted, fingerprint_of(self.cache, self._here(), settings=None)])
        content = {"asked": self._asked(), "images": images}
        if _remembered(self.workspace / REMEMBERED) != content:
            write_json(self.workspace / REMEMBERED, content)
        return images

    def receive(self, *, again: bool = False) -> None:
        """Every hospital in turn; one that fails does not keep the next from being asked.

        Args:
            again: Ask for what the query matches although it was answered to its end before.

        Raises:
            DataError: naming each hospital that failed, and how many images are missing.
        """
        if self._is_complete or self.settings.offline:
            return
        problems = [problem for archive in self.archives() if (problem := fetch(archive, self.cache, again=again))]
        if problems:
            raise DataError(
                f"{' '.join(problems)} What was received stays: start again to go on, or set "
                "ingest.options.offline: true to use what is here."
            )
        self._is_complete = True

    def archives(self) -> list[Archive]:
        """The hospitals, in the order of the settings."""
        settings = self.settings
        return [
            Archive(name, hospital, hospital.query or settings.query, settings.own, settings.manners)
            for name, hospital in settings.hospitals.items()
        ]

    def _asked(self) -> str:
        return digest_of([archive.digest for archive in self.archives()])

    def _wanted(self) -> Iterator[tuple[str, Path, str]]:
        """Hospital, path and reason not to have it, of every image of the query."""
        for archive in self.archives():
            shelf = Shelf(self.cache, archive.name, archive.digest)
            for instance, reason in shelf.wanted():
                yield archive.name, shelf.path(instance.uid), reason

    def _here(self) -> list[Path]:
        return sorted(path for _, path, _ in self._wanted() if path.is_file())

    def _file(self, path: Path) -> str:
        return file_digest(path.relative_to(self.cache))


def _remembered(path: Path) -> dict[str, str]:
    """What a run remembers of the images that it was made of; nothing where it does not."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


class _Wanted(dicom_tree.Source):
    """The part of the cache that one query wants, read as any tree of DICOM files."""

    wanted: list[Path]

    def _files(self) -> list[Path]:
        return self.wanted
