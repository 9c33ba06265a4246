"""Whatever a file does to the process that opens it costs that file and no other."""

from __future__ import annotations

import itertools
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from medtea.ingest import workers
from medtea.ingest.workers import Limits, LocalPool, Reply

ENDS = {
    "crash": r"The decoder crashed \(SIGSEGV\); the file is damaged, or made to do harm\.",
    "leave": r"The decoder crashed; the file is damaged, or made to do harm\.",
    "starve": r"The system ended the decoder, most likely for want of memory; use fewer ingest\.processes\.",
    "hang": r"Decoding took longer than 1 s \(seconds_per_file\)\.",
    "hang on": r"Decoding took longer than 1 s \(seconds_per_file\)\.",
    "eat": r"Decoding needs more memory than 256 MB \(memory_per_file_mb\)\.",
    "eat and tell": r"Decoding needs more memory than 256 MB \(memory_per_file_mb\)\.",
    "lie": r"The decoder crashed; the file is damaged, or made to do harm\.",
    "raise": r"The file cannot be read \(ValueError\)\.",
    "refuse": r"no radiograph",
}
KINDS = {"raise": "unexpected", "refuse": "file"}


@pytest.fixture
def quick_to_kill(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "GRACE_SECONDS", 0.3)


def pool(processes: int = 2) -> LocalPool:
    return LocalPool(Limits(processes, seconds_per_file=1, memory_per_file_mb=256), "oracles.bad_worker")


def done(jobs: list[dict[str, object]], processes: int = 2) -> list[Reply]:
    with pool(processes) as own:
        replies = dict(own.do("bad", jobs))
    assert sorted(replies) == list(range(len(jobs))), "every job has one answer"
    return [replies[number] for number in sorted(replies)]


@pytest.mark.parametrize("processes", [1, 3])
def test_whatever_a_file_does_the_others_are_read(processes: int, quick_to_kill: None) -> None:
    between = [{"does": "answer", "value": value} for value in range(4)]
    jobs = [job for does in ENDS for job in ({"does": does}, *between)]
    replies = iter(done(jobs, processes))
    for does, reason in ENDS.items():
        refused = next(replies)
        assert refused.refused is not None
        assert re.fullmatch(reason, refused.refused), does
        assert refused.kind == KINDS.get(does, "limit")
        for value, reply in enumerate(itertools.islice(replies, 4)):
            assert (reply.refused, reply.facts["value"], reply.blob) == (None, value, bytes([value]) * 3)


def test_a_worker_that_is_replaced_leaves_no_process_behind(quick_to_kill: None) -> None:
    with pool() as own:
        replies = [reply for _, reply in own.do("bad", [{"does": "answer"}, {"does": "hang on"}, {"does": "answer"}])]
    for reply in replies:
        if "pid" in reply.facts:
            with pytest.raises(ProcessLookupError):
                os.kill(reply.facts["pid"], 0)


def test_a_worker_is_replaced_before_what_a_library_loses_adds_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "JOBS_PER_WORKER", 5)
    replies = done([{"does": "answer", "value": value} for value in range(20)], processes=1)
    assert [reply.facts["value"] for reply in replies] == list(range(20))
    assert len({reply.facts["pid"] for reply in replies}) == 4


def test_jobs_are_drawn_as_they_are_needed() -> None:
    drawn = []

    def jobs() -> Iterator[dict[str, object]]:
        for value in range(1000):
            drawn.append(value)
            yield {"does": "answer", "value": value}

    with pool() as own:
        for count, _ in enumerate(own.do("bad", jobs()), start=1):
            assert len(drawn) <= count + 2 * (1 + workers.AHEAD) + 1  # one is drawn before it is known who takes it
            if count == 50:
                break
        assert len(drawn) < 60
        # what was left in the middle answers nobody else
        assert [reply.facts["value"] for _, reply in own.do("bad", [{"does": "answer", "value": 7}])] == [7]


def test_a_nursery_that_is_ended_from_outside_is_replaced() -> None:
    jobs = [{"does": "crash" if value % 5 == 4 else "answer", "value": value} for value in range(20)]
    values = []
    with pool() as own:
        for count, (_, reply) in enumerate(own.do("bad", jobs)):
            if count == 3:
                os.kill(own._workers[0].nursery._process.pid, signal.SIGKILL)
            if reply.refused is None:
                values.append(reply.facts["value"])
    assert sorted(values) == [value for value in range(20) if value % 5 != 4]


def test_workers_import_neither_torch_nor_what_brings_it() -> None:
    (reply,) = done([{"does": "modules"}])
    assert reply.facts["modules"] == []
    program = "import sys, medtea.ingest.worker; print({'torch', 'monai', 'pandas'} & set(sys.modules))"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "set()"


def test_workers_end_with_the_process_that_they_work_for(tmp_path: Path) -> None:
    program = (
        "import os, signal\n"
        "from medtea.ingest.workers import Limits, LocalPool\n"
        "pool = LocalPool(Limits(1, seconds_per_file=2, memory_per_file_mb=256), 'oracles.bad_worker')\n"
        "for _, reply in pool.do('bad', [{'does': 'answer'}, {'does': 'hang'}]):\n"
        "    print(reply.facts['pid'], pool._workers[0].nursery._process.pid, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=False
    )
    pids = [int(word) for word in ended.stdout.split()]
    assert len(pids) == 2, ended.stderr
    until = time.monotonic() + 20
    while any(is_running(pid) for pid in pids) and time.monotonic() < until:
        time.sleep(0.1)
    assert [pid for pid in pids if is_running(pid)] == []


def is_running(pid: int) -> bool:
    """Whether a process is there and no zombie, which whoever reaps orphans has only not yet seen."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
