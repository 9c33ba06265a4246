"""The folder that images of archives are received into, and the list of those wanted; it holds names, so it is private.

<cache>/<hospital>/<digest of the SOPInstanceUID>.dcm, one file per instance, whole or not there at all: a file that is
there is an image that was received, whatever ended the process. <cache>/<hospital>/.wanted.sqlite lists what the
queries matched.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import IO

from medtea.core.errors import ConfigError, DataError
from medtea.core.work import PARTIAL, write_atomically
from medtea.ingest.pacs.protocol import Instance

LIST, LOCK, SUFFIX = ".wanted.sqlite", ".lock", ".dcm"
DIGITS = 40  # hexadecimal, of SHA-256
TABLES = """
CREATE TABLE IF NOT EXISTS queries (query TEXT PRIMARY KEY, is_listed INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS studies (query TEXT, study TEXT, is_listed INTEGER NOT NULL, PRIMARY KEY (query, study));
CREATE TABLE IF NOT EXISTS wanted (
    query TEXT, uid TEXT, study TEXT, series TEXT, kind TEXT, reason TEXT NOT NULL, PRIMARY KEY (query, uid)
);
"""


def default_cache(environment: Mapping[str, str]) -> Path:
    """$XDG_CACHE_HOME/medtea/pacs, by default ~/.cache/medtea/pacs."""
    folder = environment.get("XDG_CACHE_HOME") or ""
    return (Path(folder) if folder else Path.home() / ".cache") / "medtea" / "pacs"


def file_name(uid: str) -> str:
    """What an instance's file is called: nothing of its contents but a digest."""
    return hashlib.sha256(uid.encode()).hexdigest()[:DIGITS] + SUFFIX


class Shelf:
    """One hospital's part of the cache, and what one query wants of it."""

    def __init__(self, cache: Path, hospital: str, query: str) -> None:
        """Looks at nothing yet.

        Args:
            cache: The whole cache's folder.
            hospital: Its name, which is the folder's.
            query: Digest of archive and query.
        """
        self.folder, self.query = cache / hospital, query

    def path(self, uid: str) -> Path:
        """Where an instance's file is, or would be."""
        return self.folder / file_name(uid)

    def received(self) -> set[str]:
        """Names of the files that are there, of any query."""
        if not self.folder.is_dir():
            return set()
        return {entry.name for entry in os.scandir(self.folder) if entry.name.endswith(SUFFIX) and entry.is_file()}

    @property
    def is_listed(self) -> bool:
        """Whether the query was answered to its end."""
        found = self._read("SELECT is_listed FROM queries WHERE query = ?")
        return bool(found and found[0][0])

    def wanted(self) -> list[tuple[Instance, str]]:
        """The query's instances, sorted, each with why it cannot be had, or ""."""
        rows = self._read(
            "SELECT study, series, uid, kind, reason FROM wanted WHERE query = ? ORDER BY study, series, uid"
        )
        return [(Instance(*row[:4]), str(row[4])) for row in rows]

    def missing(self) -> list[Instance]:
        """What is wanted, not there, and not known to be out of reach."""
        here = self.received()
        return [one for one, reason in self.wanted() if not reason and file_name(one.uid) not in here]

    def _read(self, statement: str) -> list[tuple[str, ...]]:
        path = self.folder / LIST
        if not path.is_file():
            return []
        try:
            with closing(sqlite3.connect(path, timeout=30)) as database:
                return database.execute(statement, (self.query,)).fetchall()
        except sqlite3.Error as problem:
            raise _damaged(problem) from None

    def open(self) -> OpenShelf:
        """The shelf for receiving; of two programs, the second one is refused."""
        return OpenShelf(self)


class OpenShelf:
    """A shelf that is being filled, by this process alone."""

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf

    def __enter__(self) -> OpenShelf:
        """Make what is missing, remove what a killed process left half-written.

        Raises:
            ConfigError: the folder cannot be used, others can read it, or another medtea is filling it.
        """
        folder = self.shelf.folder
        try:
            make_private(folder.parent)
            make_private(folder)
            self._lock: IO[bytes] = (folder / LOCK).open("wb")
        except OSError as problem:
            raise ConfigError(
                f"cache: the folder cannot be used ({type(problem).__name__}). Name one that you may write to."
            ) from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.close()
            raise ConfigError(
                f"Another medtea is receiving from '{folder.name}' into this cache. Wait for its end, or stop it."
            ) from None
        for left_over in folder.glob(f".*{PARTIAL}"):
            left_over.unlink()
        try:
            self.database = sqlite3.connect(folder / LIST, timeout=30)
            self.database.executescript(TABLES)
        except sqlite3.Error as problem:
            self._lock.close()
            raise _damaged(problem) from None
        return self

    def __exit__(self, *_: object) -> None:
        """Let others in."""
        self.database.close()
        self._lock.close()

    def forget_answers(self) -> None:
        """Have the query asked again, and what could not be had; what was received stays."""
        with self.database:
            for statement in (
                "DELETE FROM queries WHERE query = ?",
                "DELETE FROM studies WHERE query = ?",
                "UPDATE wanted SET reason = '' WHERE query = ?",
            ):
                self.database.execute(statement, (self.shelf.query,))

    def add_studies(self, studies: Iterable[str]) -> None:
        """What the first step of the query found, all of it."""
        rows = [(self.shelf.query, study) for study in studies]
        with self.database:
            self.database.executemany("INSERT OR IGNORE INTO studies VALUES (?, ?, 0)", rows)
            self.database.execute("INSERT OR IGNORE INTO queries VALUES (?, 0)", (self.shelf.query,))

    def unlisted_studies(self) -> list[str] | None:
        """Studies whose images are not listed yet, sorted; None when the studies themselves were not asked for."""
        if not self._one("SELECT COUNT(*) FROM queries WHERE query = ?"):
            return None
        rows = self.database.execute(
            "SELECT study FROM studies WHERE query = ? AND is_listed = 0 ORDER BY study", (self.shelf.query,)
        )
        return [str(row[0]) for row in rows]

    def add_instances(self, study: str, instances: Iterable[Instance]) -> None:
        """The images of a study, which is listed with that."""
        rows = [(self.shelf.query, one.uid, one.study, one.series, one.kind) for one in instances]
        with self.database:
            self.database.executemany("INSERT OR IGNORE INTO wanted VALUES (?, ?, ?, ?, ?, '')", rows)
            self.database.execute(
                "UPDATE studies SET is_listed = 1 WHERE query = ? AND study = ?", (self.shelf.query, study)
            )

    def finish_listing(self) -> None:
        """The query is answered."""
        with self.database:
            self.database.execute("UPDATE queries SET is_listed = 1 WHERE query = ?", (self.shelf.query,))

    def count(self) -> int:
        """Images wanted so far."""
        return self._one("SELECT COUNT(*) FROM wanted WHERE query = ?")

    def give_up(self, reasons: Mapping[str, str]) -> None:
        """Note why instances, by UID, cannot be had; they are not asked for again."""
        with self.database:
            self.database.executemany(
                "UPDATE wanted SET reason = ? WHERE query = ? AND uid = ?",
                [(reason, self.shelf.query, uid) for uid, reason in reasons.items()],
            )

    def write(self, uid: str, data: bytes) -> None:
        """One received file, whole or not at all; safe in any thread."""
        path = self.shelf.path(uid)
        if not path.exists():
            write_atomically(path, lambda file: file.write(data))

    def _one(self, statement: str) -> int:
        return int(self.database.execute(statement, (self.shelf.query,)).fetchone()[0])


def make_private(folder: Path) -> None:
    """Make the folder for its owner alone; one that is there and that others can read is refused.

    Raises:
        ConfigError: others can read it.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if folder.stat().st_mode & 0o077:
        raise ConfigError(
            "cache: the folder can be read by others, and images hold names. Set its mode to 700 (chmod 700), or name "
            "a new folder."
        )


def _damaged(problem: Exception) -> DataError:
    return DataError(
        f"The list of wanted images in the cache cannot be used ({type(problem).__name__}). Remove the file {LIST} "
        "from the hospital's folder of the cache: the query is asked again, and images that were received stay."
    )
