"""A process that opens files for ingest: what a file does to it, by crash, hang or hunger, costs that one file.

`python -m medtea.ingest.worker FD` is the nursery: it imports once what decoding needs (no torch, no pandas) and forks
a worker whenever medtea.ingest.workers asks for one. Jobs and answers are JSON, and pictures plain bytes: a decoder
that a hostile file has taken over can answer wrongly, but it cannot make the main process run anything.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import resource
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from medtea.core.errors import DataError
from medtea.data.pixels import quiet_pydicom
from medtea.ingest.decode import ChangedError, decode, read_fields

Answer = tuple[Mapping[str, Any], bytes]
Task = Callable[..., Answer]

TASKS: dict[str, Task] = {"decode": decode, "headers": read_fields}
"""What can be asked for, by name; each takes the job's JSON values by keyword."""
FORK, END = b"F", b"E"
PID = struct.Struct("<q")
SECONDS_TO_DIE = 5.0
"""How long a killed worker is waited for: one that hangs in a network drive's driver cannot be killed."""


def packed(facts: Mapping[str, Any], blob: bytes = b"") -> bytes:
    """A message: JSON, and bytes after it."""
    text = json.dumps(facts).encode()
    return len(text).to_bytes(4, "little") + text + blob


def unpacked(message: bytes) -> tuple[dict[str, Any], bytes]:
    """What `packed` was given.

    Raises:
        ValueError: it is no such message.
    """
    length = int.from_bytes(message[:4], "little")
    facts = json.loads(message[4 : 4 + length])
    if not isinstance(facts, dict):
        raise ValueError("a message is a JSON object and bytes after it")
    return facts, message[4 + length :]


def answer(tasks: Mapping[str, Task], job: dict[str, Any]) -> bytes:
    """Do one job within its limits; a time-out ends the process.

    The answer holds `refused`, a reason, where the file cannot be used, and then `kind`, see `kind_of`.
    """
    task, seconds, memory_mb = tasks[job.pop("task")], job.pop("seconds"), job.pop("memory_mb")
    # The kernel ends the process, whatever it is busy with; SIGALRM tells workers.py why.
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        with _memory_limit(memory_mb * 2**20):
            facts, blob = task(**job)
        return packed(facts, blob)
    except BaseException as problem:  # nothing that a file does may end a run; pyo3's PanicException is no Exception
        kind = kind_of(problem)
        if kind == LIMIT:
            reason = f"Decoding needs more memory than {memory_mb:,} MB (memory_per_file_mb)."
        elif type(problem).__name__ == PANIC:
            reason, kind = f"The decoder crashed ({PANIC}); the file is damaged, or made to do harm.", FILE
        elif kind == UNEXPECTED:
            reason = f"The file cannot be read ({type(problem).__name__})."
        else:
            reason = str(problem)
        return packed({"refused": reason, "kind": kind})
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


PANIC = "PanicException"
"""What becomes of a decoder in Rust that finds itself in the wrong; pyo3 derives it from BaseException."""
FILE, LIMIT, PASSING, UNEXPECTED = "file", "limit", "passing", "unexpected"


def kind_of(problem: BaseException) -> str:
    """What a refusal is for: the file itself, a limit, something that may pass, or what no reader had foreseen.

    A reader says in its own words what it could not do; the exception that it met stands behind it.
    """
    behind: BaseException | None = problem
    while behind is not None:
        if isinstance(behind, MemoryError):
            return LIMIT
        # Pillow raises OSError for damaged pictures, without a number.
        if isinstance(behind, ChangedError) or (isinstance(behind, OSError) and behind.errno is not None):
            return PASSING
        behind = behind.__cause__ or behind.__context__
    return FILE if isinstance(problem, DataError) else UNEXPECTED


@contextlib.contextmanager
def _memory_limit(more_bytes: int) -> Iterator[None]:
    """Within it the process may take so much more address space than it has; ignored where /proc does not tell it."""
    before = soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    try:
        has = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    except OSError:
        yield
        return
    most = min([has + more_bytes, *(limit for limit in before if limit != resource.RLIM_INFINITY)])
    resource.setrlimit(resource.RLIMIT_AS, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def work(door: Connection, tasks: Mapping[str, Task]) -> None:
    """Answer jobs until the other side is gone."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    with contextlib.suppress(EOFError, OSError):
        while True:
            job, _ = unpacked(door.recv_bytes())
            door.send_bytes(answer(tasks, job))


def nursery(door: socket.socket, tasks: Mapping[str, Task]) -> None:
    """Fork and end workers as told, until the other side is gone. Returns in the parent alone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the main process's to handle
    gc.freeze()  # what is imported stays: no collection in a worker looks at it again
    while True:
        request, descriptors, _, _ = socket.recv_fds(door, 1 + PID.size, 1)
        if not request:
            return
        if request[:1] == FORK:
            pid = os.fork()
            if pid == 0:
                try:
                    door.close()
                    work(Connection(descriptors[0]), tasks)
                finally:
                    os._exit(0)  # never back into the nursery's own work
            os.close(descriptors[0])
            door.sendall(PID.pack(pid))
        else:
            door.sendall(PID.pack(_ended(PID.unpack(request[1:])[0])))


def _ended(pid: int) -> int:
    """Kill a worker that still runs; the signal that ended it, 0 if none did."""
    status = os.waitpid(pid, os.WNOHANG)
    if status[0] == 0:
        os.kill(pid, signal.SIGKILL)
    until = time.monotonic() + SECONDS_TO_DIE
    while status[0] == 0 and time.monotonic() < until:
        time.sleep(0.002)
        status = os.waitpid(pid, os.WNOHANG)
    return os.WTERMSIG(status[1]) if status[0] and os.WIFSIGNALED(status[1]) else 0


def serve(tasks: Mapping[str, Task]) -> None:
    """Be the nursery at the socket whose number is the last word of the command line."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # what a crash would leave on the disk is a patient's picture
    with quiet_pydicom(), socket.socket(fileno=int(sys.argv[-1])) as door:
        nursery(door, tasks)


if __name__ == "__main__":
    serve(TASKS)
