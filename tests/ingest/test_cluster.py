"""A cluster of two workers makes the index that one machine makes, and tells what is wrong with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from oracles.made_run import silent_work
from oracles.made_sources import made_table
from servers import free_port

from medtea.core.errors import ConfigError
from medtea.core.settings import parse
from medtea.ingest import cluster, stage
from medtea.ingest.cluster import ClusterPool
from medtea.ingest.dicomize import dicomize
from medtea.ingest.sources import table
from medtea.ingest.stage import Settings, run
from medtea.ingest.workers import Limits

distributed = pytest.importorskip("distributed", reason="the extra `cluster` is not installed")
MADE = ("index.parquet", "radiographs.npy", "given_masks.npy", "refused.csv", "flow.csv")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A scheduler and two workers, as processes of their own."""
    folder, address = tmp_path_factory.mktemp("cluster"), f"tcp://127.0.0.1:{free_port()}"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}

    def start(*command: str) -> subprocess.Popen[bytes]:
        with (folder / "log").open("ab") as log:
            whole = [sys.executable, "-m", "distributed.cli." + command[0], *command[1:]]
            return subprocess.Popen(whole, stdout=log, stderr=log, env=environment, start_new_session=True)

    local = ("--host", "127.0.0.1", "--no-dashboard")
    started = [start("dask_scheduler", *local, "--port", address.rpartition(":")[2])]
    workers = ("--nthreads", "1", "--no-nanny", "--local-directory", str(folder))
    started += [start("dask_worker", address, *local, *workers) for _ in range(2)]
    try:
        with distributed.Client(address, timeout=60, set_as_default=False) as client:
            client.wait_for_workers(2, timeout=60)
        yield address
    finally:
        for process in reversed(started):
            os.killpg(process.pid, signal.SIGTERM)
        until = time.monotonic() + 15
        for process in started:
            try:
                process.wait(max(0.1, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDTEA_KEY", "a key for tests only")


@pytest.mark.slow
def test_a_cluster_makes_the_index_of_one_machine(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dicomize(table.Settings(path=made_table(tmp_path / "t", per_hospital=8)), tmp_path / "tree")
    (tmp_path / "tree/alpha/none").write_bytes(b"no DICOM")
    some = next(path for path in sorted((tmp_path / "tree/beta").rglob("*.dcm")))
    some.write_bytes(some.read_bytes()[:-700])
    content = {
        "source": "dicom_tree",
        "options": {"root": str(tmp_path / "tree")},
        "positive": ["Tuberculosis"],
        "negative": ["Normal"],
        "train": ["alpha"],
        "external": ["beta"],
        "size": 32,
    }
    monkeypatch.setenv("THE_SCHEDULER", address)
    indices = [run(silent_work(tmp_path / "one"), parse(Settings, content | {"processes": 2}, "ingest")).folder]
    with monkeypatch.context() as patch:
        patch.setattr(stage, "LocalPool", None)  # nothing is opened by processes of this machine's own
        on_cluster = parse(Settings, content | {"cluster": "${THE_SCHEDULER}"}, "ingest")
        indices.append(run(silent_work(tmp_path / "many"), on_cluster).folder)
    for name in MADE:
        assert (indices[0] / name).read_bytes() == (indices[1] / name).read_bytes(), name
    assert len((indices[0] / "refused.csv").read_text().splitlines()) == 3, "both files that cannot be used"
    work = silent_work(tmp_path / "one")
    run(work, parse(Settings, content | {"cluster": address}, "ingest"))
    assert work.ran == [], "where it was made is no reason to make it again"


@pytest.mark.slow
def test_workers_with_other_code_are_refused(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "code", lambda: str(os.getpid()))  # each process has another
    with pytest.raises(ConfigError, match="another version of medtea or of a decoder"):
        ClusterPool(address, Limits(1))


def test_a_cluster_that_is_not_there_is_told_with_the_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "PATIENCE_SECONDS", 0.5)
    with pytest.raises(ConfigError, match=r"ingest.cluster: no scheduler answers there .* `dask scheduler`"):
        ClusterPool(f"tcp://127.0.0.1:{free_port()}", Limits(1))
    with pytest.raises(ConfigError, match=r"ingest.cluster: no scheduler answers there .* leave the setting out"):
        ClusterPool("nothing like an address", Limits(1))


def test_without_dask_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ConfigError, match=r"pip install 'medtea\[cluster\]'"):
        ClusterPool("tcp://127.0.0.1:1", Limits(1))
