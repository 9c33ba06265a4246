"""The run folder: stages that leave a record, are skipped when nothing changed, and write whole files or none."""

from __future__ import annotations

import csv
import datetime
import hashlib
import importlib.metadata
import json
import math
import os
import platform
import shutil
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from pydantic import BaseModel
from safetensors import SafetensorError
from safetensors.torch import load, save

from medtea.core.errors import RecordError
from medtea.core.names import Artefact
from medtea.core.tracking import Tracker

VERSION = importlib.metadata.version("medtea")
RECORD = "record.json"
STARTED = "started.json"
PARTIAL = ".partial"
"""How the name of a temporary file ends; a killed process leaves it behind."""


def write_atomically(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write through a temporary file, flush to disk, then rename: a reader finds the old file or the whole new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # not by mkstemp, whose files nobody but their owner may read: a report made in a container is read outside it
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}{PARTIAL}")
    try:
        with temporary.open("xb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    write_atomically(path, lambda file: file.write(text.encode()))


def write_json(path: Path, content: object) -> None:
    """Write JSON atomically; NaN is refused, since "no answer" is null."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_csv(path: Path, rows: Sequence[Mapping[str, object]], columns: Sequence[str]) -> None:
    """Write rows as CSV atomically, with the columns in the order given."""

    def write(file: IO[bytes]) -> None:
        lines = [list(columns)] + [[row.get(column, "") for column in columns] for row in rows]
        with tempfile.TemporaryFile("w+", encoding="utf-8", newline="") as text:
            csv.writer(text).writerows(lines)
            text.seek(0)
            file.write(text.read().encode())

    write_atomically(path, write)


def write_array(path: Path, array: np.ndarray[Any, Any]) -> None:
    """Write a NumPy array atomically as .npy (no pickled objects)."""
    write_atomically(path, lambda file: np.save(file, array, allow_pickle=False))


def read_array(path: Path) -> np.ndarray[Any, Any]:
    """An array of the run folder, memory-mapped and read-only; no pickled objects."""
    return np.load(path, mmap_mode="r", allow_pickle=False)  # type: ignore[no-any-return]


def write_weights(path: Path, network: torch.nn.Module) -> None:
    """Write a network's state as safetensors, atomically."""
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    write_atomically(path, lambda file: file.write(save(state)))


def read_weights(path: Path, network: torch.nn.Module) -> None:
    """Load a safetensors file into `network`.

    Raises:
        RecordError: the file is missing, damaged, or holds another network's weights.
    """
    try:
        network.load_state_dict(load(path.read_bytes()))
    except (OSError, SafetensorError) as error:
        raise RecordError(
            f"'{path.name}' is missing or no readable safetensors file; remove its stage's folder and run again."
        ) from error
    except RuntimeError as error:  # load_state_dict: other names or shapes
        raise RecordError(
            f"'{path.name}' holds another network's weights; remove its stage's folder and run again."
        ) from error


def read_json(path: Path) -> Any:
    """What a JSON file of the run folder holds.

    Raises:
        RecordError: missing or damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RecordError(
            f"'{path.parent.name}/{path.name}' is missing or damaged; remove that stage's folder and run again."
        ) from error


def digest_of(content: object) -> str:
    """SHA-256 of a JSON-able value, independent of key order."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


def digest_of_file(path: Path) -> str:
    """SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest_of_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def code_commit() -> str:
    """The git commit of the code, with '+' when files differ from it; 'unknown' outside a checkout."""
    folder = Path(__file__).resolve().parents[2]
    git = ["git", "-C", str(folder)]
    try:
        head = subprocess.run([*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True)
        changed = subprocess.run(
            [*git, "status", "--porcelain", "--", "medtea", "pipelines", "configs"],
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head.stdout.strip() + ("+" if changed.stdout.strip() else "")


def provenance() -> dict[str, Any]:
    """Date, machine, versions and commit: what every record and result carries. No host or user name."""
    packages = ("torch", "monai", "numpy", "pydicom", "mlflow", "scikit-learn")
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "machine": {
            "processor": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
            "threads": torch.get_num_threads(),
            "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        },
        "versions": {
            "medtea": VERSION,
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in packages},
        },
        "commit": code_commit(),
    }


@dataclass
class Stage:
    """One stage's folder while it is at work. `is_finished` says that its record matches and nothing is to be done.

    With `by_content` later stages will know it by what its files hold: made anew with the same outcome (a source that
    was copied or touched), it makes none of them run again.
    """

    folder: Path
    identity: dict[str, Any]
    is_finished: bool
    say: Callable[[str], None]
    begun: float = field(default_factory=time.perf_counter)
    by_content: bool = False

    @property
    def digest(self) -> str:
        """Digest of stage name, settings, inputs, seed and code version: the same means the same result."""
        return digest_of(self.identity)

    def finish(self, **facts: object) -> None:
        """Write the record, last of all: from now on the stage is skipped. Of the facts, NaN becomes null."""
        seconds = time.perf_counter() - self.begun
        outputs = [
            path
            for path in sorted(self.folder.rglob("*"))
            if path.is_file() and path.name not in (RECORD, STARTED) and not path.name.startswith(".")
        ]
        record = {
            "digest": self.digest,
            **({"content": self._content(outputs)} if self.by_content else {}),
            **self.identity,
            "outputs_bytes": {str(path.relative_to(self.folder)): path.stat().st_size for path in outputs},
            "seconds": round(seconds, 2),
            "facts": _answers(facts),
            "made_with": provenance(),
        }
        write_json(self.folder / RECORD, record)
        self.say(f"{self.identity['stage']}: done in {seconds:.0f} s")

    def _content(self, outputs: Sequence[Path]) -> str:
        """Digest of what the files hold, with the stage's name."""
        held = {str(path.relative_to(self.folder)): _digest_of_file(path) for path in outputs}
        return digest_of({"stage": self.identity["stage"], "files": held})


@dataclass
class Work:
    """One run: its folder, its seed, where it is tracked, and how it speaks to the person waiting."""

    folder: Path
    seed: int
    tracker: Tracker
    say: Callable[[str], None] = print
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    ran: list[str] = field(default_factory=list)

    def stage(self, name: str, settings: BaseModel, inputs: Iterable[Artefact] = (), source: str = "") -> Stage:
        """Open the stage `name` ("segment", "distil/tea"): finished already, to be continued, or begun afresh.

        A folder that was started with other settings, inputs, seed or version is emptied first; one that was
        started with the same ones is left as it stands, so that training goes on from its checkpoint.

        Args:
            name: Folder below the run folder.
            settings: The stage's filled-in settings.
            inputs: The artefacts that it reads.
            source: Digest of what lies outside the run folder (the listing of the data).

        Raises:
            RecordError: the run folder has a folder of that name that medtea did not write.
        """
        folder = self.folder / name
        identity = {
            "stage": name,
            "settings": settings.model_dump(mode="json"),
            "inputs": {artefact.folder.name: artefact.digest for artefact in inputs},
            "source": source,
            "seed": self.seed,
            "version": VERSION,
        }
        digest = digest_of(identity)
        if _digest_in(folder / RECORD) == digest:
            self.say(f"{name}: nothing to do, its record matches")
            return Stage(folder, identity, is_finished=True, say=self.say)
        if _is_foreign(folder):
            raise RecordError(
                f"The run folder already has a '{name}' that medtea did not write. Give another folder with --to."
            )
        (folder / RECORD).unlink(missing_ok=True)
        if _digest_in(folder / STARTED) != digest:
            _empty(folder)
        for left_over in folder.rglob(f".*{PARTIAL}"):
            left_over.unlink()
        write_json(folder / STARTED, {"digest": digest})
        self.ran.append(name)
        return Stage(folder, identity, is_finished=False, say=self.say)


def _is_foreign(folder: Path) -> bool:
    """Whether something of that name is there that no stage began; a folder that is still empty is as good as ours."""
    if not folder.is_dir():
        return folder.exists()
    if _digest_in(folder / STARTED) or _digest_in(folder / RECORD):
        return False
    return any(not path.name.endswith(PARTIAL) for path in folder.iterdir())


def _empty(folder: Path) -> None:
    """Remove what a stage left, but not that it began: killed here, the folder must still be known as ours."""
    for path in folder.iterdir() if folder.exists() else ():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != STARTED:
            path.unlink()


def _answers(value: Any) -> Any:
    """The value with null for every number that is not finite."""
    if isinstance(value, Mapping):
        return {key: _answers(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_answers(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _digest_in(path: Path) -> str | None:
    """The digest a record names; None when there is no readable one, which is as good as not started."""
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["digest"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
