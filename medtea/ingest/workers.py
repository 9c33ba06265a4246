"""Worker processes that open files: each file within a limit of time and memory, and whoever breaks it replaced.

No library does this as it is needed: concurrent.futures gives up with its first dead worker, pebble and loky import the
main program, torch with it, into every worker, and all pickle what comes back (docs/decisions/0011).
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Protocol

from medtea.core.errors import ConfigError, DataError
from medtea.ingest.worker import END, FILE, FORK, LIMIT, PID, packed, unpacked

Job = Mapping[str, Any]
GRACE_SECONDS = 5.0
"""A worker ends itself at its limit; one that does not in this time is killed."""
KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(2**30), "MALLOC_TRIM_THRESHOLD_": str(2**32)}
"""glibc: a picture's memory is used again for the next one's; to get it from the system anew takes as long as RLE."""
AHEAD = 1
"""Jobs that a worker has waiting beside the one that it does, so that it never waits itself."""
LONGEST_ANSWER = 2**28
"""Bytes; ingest's largest picture has 2 MiB and its mask 1 MiB, a whole radiograph that is released up to 128 MB."""
JOBS_PER_WORKER = 2_000
"""A worker is replaced after so many: what a C library loses of its memory goes with it."""


@dataclass(frozen=True)
class Limits:
    """How many processes, and what each file may take."""

    processes: int = field(default_factory=lambda: usable_cores())
    seconds_per_file: float = 60.0
    memory_per_file_mb: int = 4_096


@dataclass(frozen=True)
class Reply:
    """What became of one job.

    Attributes:
        facts: What the task found out; empty where the file is refused.
        blob: Its pictures.
        refused: Why the file cannot be used, None where it can.
        kind: Of a refusal, see `medtea.ingest.worker.kind_of`.
    """

    facts: dict[str, Any]
    blob: bytes = b""
    refused: str | None = None
    kind: str = FILE


class Pool(Protocol):
    """Whatever does jobs: this machine's workers, or a cluster's."""

    def do(self, task: str, jobs: Iterable[Job]) -> Iterator[tuple[int, Reply]]:
        """The number of each job, from 0, and its reply, as they come; jobs are drawn as they are needed.

        Paths in them are absolute: a worker stays where it was started, and stays for the next ingest.
        """


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Nursery:
    """The other side of medtea.ingest.worker's nursery."""

    def __init__(self, module: str) -> None:
        if not hasattr(os, "fork"):
            raise ConfigError("Ingest needs a system that can fork a process (Linux, macOS); Windows has WSL.")
        self._turn, self._is_lost = threading.Lock(), False
        self._door, other = socket.socketpair()
        with other:
            # One thread each: as many processes as cores, each with as many threads, are slower than one.
            path = os.pathsep.join(one or str(Path.cwd()) for one in sys.path)
            threads = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS")
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", module, str(other.fileno())],  # -P: modules from our own path alone
                pass_fds=[other.fileno()],
                env={**os.environ, **dict.fromkeys(threads, "1"), **KEEP_MEMORY, "PYTHONPATH": path},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,  # decoders quote headers and file names there
                start_new_session=True,  # Ctrl-C reaches the main process alone, which ends the others
            )

    def fork(self) -> tuple[int, Connection]:
        """A new worker: its process id and the way to it.

        Raises:
            DataError: the nursery is gone.
        """
        mine, its = socket.socketpair()
        with its:
            pid = self._asked(FORK, 0, [its.fileno()])
        return pid, Connection(mine.detach())

    def end(self, pid: int) -> int:
        """Make sure that a worker is gone; the signal that ended it, 0 if it ended by itself or nobody knows."""
        try:
            return self._asked(END, pid, [])
        except DataError:  # without its nursery it ends when it looks for its next job, or at its limit
            return 0

    @property
    def is_alive(self) -> bool:
        """Whether it can be asked."""
        return not self._is_lost and self._process.poll() is None

    def close(self) -> None:
        """End the nursery."""
        self._door.close()
        self._process.wait()

    def _asked(self, request: bytes, pid: int, descriptors: list[int]) -> int:
        with self._turn:
            try:
                socket.send_fds(self._door, [request + PID.pack(pid)], descriptors)
                answer = self._door.recv(PID.size, socket.MSG_WAITALL)
            except OSError:
                answer = b""
            if len(answer) < PID.size:
                self._is_lost = True
                raise DataError("The process that forks ingest's workers was ended from outside. Start again to go on.")
            return int(PID.unpack(answer)[0])


_nurseries: dict[tuple[int, str], Nursery] = {}
_starting = threading.Lock()  # a cluster's worker may have several threads


def nursery_of(module: str) -> Nursery:
    """This process's nursery, which stays for the next ingest: it takes a second to start, a worker milliseconds."""
    key = (os.getpid(), module)
    with _starting:
        if key not in _nurseries or not _nurseries[key].is_alive:
            _nurseries[key] = Nursery(module)
            atexit.register(_nurseries[key].close)
        return _nurseries[key]


@dataclass(eq=False)
class Worker:
    """One process: its jobs in order, the first of which it is at since `begun`."""

    nursery: Nursery
    pid: int
    door: Connection
    jobs: deque[tuple[int, Job]] = field(default_factory=deque)
    begun: float = 0.0
    taken: int = 0

    def give(self, number: int, job: Job, message: bytes) -> bool:
        """Hand a job over; False if the worker is gone."""
        if not self.jobs:
            self.begun = time.monotonic()
        self.jobs.append((number, job))
        self.taken += 1
        try:
            self.door.send_bytes(message)
        except OSError:
            return False
        return True


class LocalPool:
    """Worker processes of this machine, started when there is work for them."""

    def __init__(self, limits: Limits | None = None, module: str = "medtea.ingest.worker") -> None:
        self.limits = limits or Limits()
        self._module = module
        self._workers: list[Worker] = []

    def __enter__(self) -> LocalPool:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in list(self._workers):
            self._let_go(worker)

    def do(self, task: str, jobs: Iterable[Job]) -> Iterator[tuple[int, Reply]]:
        """See `Pool`. A job that its worker did not survive is answered by the reason; those behind it are not lost."""
        limits = {
            "task": task,
            "seconds": self.limits.seconds_per_file,
            "memory_mb": self.limits.memory_per_file_mb,
        }
        waiting, again = enumerate(jobs), deque[tuple[int, Job]]()

        def feed() -> None:
            while one := again.popleft() if again else next(waiting, None):
                worker = self._free()
                if worker is None:
                    again.appendleft(one)
                    return
                worker.give(*one, packed({**one[1], **limits}))

        try:
            feed()
            while busy := [worker for worker in self._workers if worker.jobs]:
                for worker in self._ready(busy):
                    number, reply = self._received(worker)
                    if worker not in self._workers:
                        again.extend(worker.jobs)
                    elif not worker.jobs and worker.taken >= JOBS_PER_WORKER:
                        self._let_go(worker)
                    yield number, reply
                feed()
        finally:
            for worker in [worker for worker in self._workers if worker.jobs]:
                self._let_go(worker)  # left in the middle: its answers belong to nobody

    def _free(self) -> Worker | None:
        """Who takes another job: whoever is idle, else a new worker, else who has least to do; None if nobody can."""
        able = [worker for worker in self._workers if len(worker.jobs) <= AHEAD and worker.taken < JOBS_PER_WORKER]
        least = min(able, key=lambda worker: len(worker.jobs), default=None)
        if (least is None or least.jobs) and len(self._workers) < self.limits.processes:
            return self._start()
        return least

    def _start(self) -> Worker:
        try:
            nursery = nursery_of(self._module)
            worker = Worker(nursery, *nursery.fork())
        except DataError:  # it was ended from outside, perhaps for want of memory: once more, with another
            nursery = nursery_of(self._module)
            worker = Worker(nursery, *nursery.fork())
        self._workers.append(worker)
        return worker

    def _ready(self, busy: list[Worker]) -> list[Worker]:
        """Workers that have answered, ended, or run out of time."""
        last = self.limits.seconds_per_file + GRACE_SECONDS
        patience = min(worker.begun for worker in busy) + last - time.monotonic()
        doors = wait([worker.door for worker in busy], timeout=max(patience, 0))
        return [worker for worker in busy if worker.door in doors or time.monotonic() - worker.begun >= last]

    def _received(self, worker: Worker) -> tuple[int, Reply]:
        """The answer to a worker's first job, or why there is none; a worker without one is no longer ours."""
        number, _ = worker.jobs.popleft()
        try:
            if not worker.door.poll():
                raise TimeoutError
            facts, blob = unpacked(worker.door.recv_bytes(LONGEST_ANSWER))
        except ValueError:  # no answer that ours would give: something else speaks in its place
            self._let_go(worker)
            return number, Reply({}, refused=self._why(0, 0), kind=LIMIT)
        except (OSError, EOFError):
            spent = time.monotonic() - worker.begun
            return number, Reply({}, refused=self._why(self._let_go(worker), spent), kind=LIMIT)
        worker.begun = time.monotonic()
        refused, kind = facts.pop("refused", None), facts.pop("kind", FILE)
        return number, Reply(facts, blob, refused, kind)

    def _let_go(self, worker: Worker) -> int:
        self._workers.remove(worker)
        worker.door.close()
        return worker.nursery.end(worker.pid)

    def _why(self, ended_by: int, spent: float) -> str:
        limit = self.limits.seconds_per_file
        if ended_by == signal.SIGALRM or (ended_by in {0, signal.SIGKILL} and spent >= limit):
            return f"Decoding took longer than {limit:g} s (seconds_per_file)."
        if ended_by == signal.SIGKILL:
            return "The system ended the decoder, most likely for want of memory; use fewer ingest.processes."
        names = {one.value: f" ({one.name})" for one in signal.Signals}
        return f"The decoder crashed{names.get(ended_by, '')}; the file is damaged, or made to do harm."


CURRENT: ContextVar[Pool | None] = ContextVar("CURRENT", default=None)
"""The workers that are already there, for whoever finds files."""


@contextlib.contextmanager
def current_pool() -> Iterator[Pool]:
    """The workers of the ingest that is under way, or a pool for the time being."""
    pool = CURRENT.get()
    if pool is not None:
        yield pool
        return
    with LocalPool() as own:
        yield own


@contextlib.contextmanager
def as_current(pool: Pool) -> Iterator[Pool]:
    """Within it `current_pool` is this one."""
    token = CURRENT.set(pool)
    try:
        yield pool
    finally:
        CURRENT.reset(token)
