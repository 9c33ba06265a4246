"""What was made of each file, kept from one ingest to the next: no file that has not changed is decoded twice.

One SQLite file beside the stages' folders, which a stage that begins afresh empties. An answer is on disk before the
next one is asked for, so that a killed ingest goes on where it was. Nothing in it says whose file it was.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from medtea.core.errors import DataError
from medtea.core.work import digest_of
from medtea.ingest.code import code
from medtea.ingest.worker import FILE, LIMIT, PASSING
from medtea.ingest.workers import Limits, Reply

SCHEMA = "CREATE TABLE IF NOT EXISTS done (entry TEXT PRIMARY KEY, facts TEXT, refused TEXT, kind TEXT, blob BLOB)"


def entry_of(file: str, states: object, how: Mapping[str, Any]) -> str:
    """What an answer is found under: the file's digest, its state and its mask's, the settings, and the code.

    Args:
        file: See `file_digest`.
        states: Sizes and times of change, see `state_of`.
        how: The settings that matter for its pixels.
    """
    return digest_of([file, states, how, code()])[:32]


class Store:
    """Answers by entry, for one process at a time."""

    def __init__(self, path: Path, limits: Limits, *, patience_seconds: float = 5) -> None:
        """Open the store, or make it.

        Args:
            path: Its file; what is no readable store is begun anew.
            limits: A file that broke other limits than these is tried again.
            patience_seconds: How long another process is waited for.

        Raises:
            DataError: another process has it open, or it cannot be written.
        """
        self._limit_kind = f"{LIMIT} {limits.seconds_per_file:g} {limits.memory_per_file_mb}"
        self._passing: dict[str, Reply] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._database = _opened(path, patience_seconds)
        except sqlite3.OperationalError as problem:
            raise _unusable(problem) from None
        except sqlite3.DatabaseError:  # damaged: what it held can be made again
            for left in path.parent.glob(f"{path.name}*"):
                left.unlink()
            self._database = _opened(path, patience_seconds)

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def is_refused(self, entry: str) -> bool | None:
        """Whether the file was refused; None where there is no answer yet."""
        known = "SELECT refused IS NOT NULL FROM done WHERE entry = ? AND kind IN (?, ?)"
        found = self._database.execute(known, (entry, FILE, self._limit_kind)).fetchone()
        return None if found is None else bool(found[0])

    def __getitem__(self, entry: str) -> Reply:
        """The answer that was put there, without its pictures."""
        if entry in self._passing:
            return self._passing[entry]
        found = self._database.execute("SELECT facts, refused, kind FROM done WHERE entry = ?", (entry,)).fetchone()
        return Reply(json.loads(found[0]), refused=found[1], kind=LIMIT if found[2] == self._limit_kind else FILE)

    def blob(self, entry: str) -> bytes:
        """The pictures of an answer that is no refusal."""
        return bytes(self._database.execute("SELECT blob FROM done WHERE entry = ?", (entry,)).fetchone()[0])

    def put(self, entry: str, reply: Reply) -> None:
        """Keep an answer; one that may be another next time is kept for this ingest alone.

        Raises:
            DataError: it cannot be written.
        """
        if reply.kind == PASSING:
            self._passing[entry] = reply
            return
        kind = self._limit_kind if reply.kind == LIMIT else FILE
        try:
            self._database.execute(
                "INSERT OR REPLACE INTO done VALUES (?, ?, ?, ?, ?)",
                (entry, json.dumps(reply.facts), reply.refused, kind, reply.blob),
            )
        except sqlite3.OperationalError as problem:
            raise _unusable(problem) from None

    def keep_only(self, entries: Iterable[str]) -> None:
        """Forget every other answer: of files that are gone, that have changed, or under other settings."""
        self._database.execute("CREATE TEMP TABLE wanted (entry TEXT PRIMARY KEY)")
        self._database.executemany("INSERT OR IGNORE INTO wanted VALUES (?)", ((entry,) for entry in entries))
        gone = self._database.execute("DELETE FROM done WHERE entry NOT IN (SELECT entry FROM wanted)").rowcount
        self._database.execute("DROP TABLE wanted")
        if gone:
            self._database.execute("VACUUM")  # a picture that was withdrawn is not to be found in the file either


def _opened(path: Path, patience_seconds: float) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=patience_seconds, isolation_level=None)
    try:
        # One process at a time needs no shared memory, which network drives do not have.
        database.execute("PRAGMA locking_mode = EXCLUSIVE")
        # Every answer is written to the journal at once, where it outlives the process, and to the disk now and then.
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
        database.execute(SCHEMA)
    except sqlite3.Error:
        database.close()
        raise
    return database


def _unusable(problem: sqlite3.OperationalError) -> DataError:
    if "locked" in str(problem):
        return DataError("Another ingest is at work in this run folder. Wait for it, or give another one with --to.")
    return DataError("The run folder cannot be written (ingest's store). Is its disk full?")
