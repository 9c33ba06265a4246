"""A killed ingest goes on where it was, a grown folder costs what is new, and neither shows in what comes out."""

from __future__ import annotations

import csv
import os
import signal
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
from oracles.made_run import silent_work
from oracles.made_sources import made_picture, made_table
from PIL import Image

from medtea.core.errors import DataError
from medtea.core.names import IndexArtefact
from medtea.core.settings import parse
from medtea.data.choices import Choices
from medtea.data.index import read_index
from medtea.ingest import stage
from medtea.ingest.answers import answer_all
from medtea.ingest.decode import ChangedError, decode, state_of
from medtea.ingest.sources.source import Candidate
from medtea.ingest.stage import STORE, Settings, run
from medtea.ingest.store import Store
from medtea.ingest.worker import LIMIT
from medtea.ingest.workers import Job, Limits, LocalPool, Reply

FILES = 24
MADE = (
    "ingest/index.parquet",
    "ingest/radiographs.npy",
    "ingest/given_masks.npy",
    "ingest/refused.csv",
    "ingest/flow.csv",
)
HOW = {"size": 32, "fit": "stretch", "reading": Choices().model_dump(), "lung_segments": (), "burned_in": "flag"}
STEPS = ("_accept", "_write_arrays", "write_index")


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDTEA_KEY", "a key for tests only")


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that were handed to a worker, in order."""
    names: list[str] = []
    usual = LocalPool.do

    def do(self: LocalPool, task: str, jobs: Iterable[Job]) -> Iterator[tuple[int, Reply]]:
        def told() -> Iterator[Job]:
            for job in jobs:
                names.append(Path(job["path"]).name)
                yield job

        return usual(self, task, told())

    monkeypatch.setattr(LocalPool, "do", do)
    return names


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = made_table(tmp_path / "t", per_hospital=FILES // 2)
    (tmp_path / "t/images/alpha-3.png").write_bytes(b"no picture")
    Image.fromarray(made_picture(0)).save(tmp_path / "t/images/beta-5.png", compress_level=0)  # a twin of alpha-0
    return path


def settings(path: Path, **given: object) -> Settings:
    content = {
        "source": "table",
        "options": {"path": str(path)},
        "positive": ["Tuberculosis"],
        "negative": ["Normal"],
        "train": ["alpha"],
        "external": ["beta"],
        "size": 32,
        "processes": 2,
    }
    return parse(Settings, content | given, "ingest")


def made(folder: Path, path: Path, **given: object) -> dict[str, bytes]:
    """What an ingest into this folder leaves."""
    run(silent_work(folder), settings(path, **given))
    return {name: (folder / name).read_bytes() for name in MADE}


def killed(folder: Path, path: Path, *, after: int | None = None, before: str = "") -> set[str]:
    """An ingest in a process of its own that is killed after so many answers are kept, or before a step.

    Returns:
        Entries of the answers that it kept.
    """
    kept = folder.parent / "kept"
    kept.write_text("")
    child = os.fork()
    if child == 0:
        try:
            _spoil(kept, after, before)
            run(silent_work(folder), settings(path))
        finally:
            os._exit(1)  # it was not killed
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)
    assert os.WTERMSIG(status) == signal.SIGKILL
    return set(kept.read_text().split())


def _spoil(kept: Path, after: int | None, before: str) -> None:
    usual, count = Store.put, 0

    def put(self: Store, entry: str, reply: Reply) -> None:
        nonlocal count
        usual(self, entry, reply)
        with kept.open("a") as file:
            file.write(f"{entry}\n")
        count += 1
        if count == after:
            os.kill(os.getpid(), signal.SIGKILL)

    Store.put = put  # type: ignore[method-assign]  # in a process that is about to die
    if before:
        setattr(stage, before, lambda *_: os.kill(os.getpid(), signal.SIGKILL))


def test_killed_anywhere_it_goes_on_and_ends_as_if_nothing_had_been(
    table: Path, tmp_path: Path, decoded: list[str]
) -> None:
    undisturbed = made(tmp_path / "undisturbed", table)
    assert len(decoded) == FILES
    draw = np.random.default_rng(0)
    points = [{"after": int(after)} for after in (1, *draw.integers(2, FILES, size=2), FILES)]
    for number, point in enumerate([*points, *({"before": step} for step in STEPS)]):
        kept = killed(tmp_path / f"run {number}", table, **point)  # type: ignore[arg-type]
        assert len(kept) == point.get("after", FILES)
        decoded.clear()
        assert made(tmp_path / f"run {number}", table) == undisturbed, point
        assert len(decoded) == FILES - len(kept), "what was kept is not decoded again, and the rest once"


def test_killed_again_and_again_it_comes_to_its_end(table: Path, tmp_path: Path, decoded: list[str]) -> None:
    kept: set[str] = set()
    for after in (3, 5, 2, 6, 1):
        more = killed(tmp_path / "run", table, after=after)
        assert not kept & more, "nothing is done twice"
        kept |= more
    assert len(kept) == 17
    result = made(tmp_path / "run", table)
    assert len(decoded) == FILES - 17
    assert result == made(tmp_path / "undisturbed", table)


@pytest.mark.parametrize("processes", [1, 3])
def test_the_number_of_processes_does_not_show(processes: int, table: Path, tmp_path: Path) -> None:
    assert made(tmp_path / "one", table, processes=processes) == made(tmp_path / "two", table, processes=2)
    work = silent_work(tmp_path / "one")
    run(work, settings(table, processes=2))
    assert work.ran == [], "nor is it a reason to do anything again"


def test_a_grown_folder_costs_what_is_new(table: Path, tmp_path: Path, decoded: list[str]) -> None:
    made(tmp_path / "run", table)
    decoded.clear()
    for number in (90, 91):
        Image.fromarray(made_picture(number)).save(table.parent / f"images/new-{number}.png")
    with table.open("a", newline="") as file:
        csv.writer(file).writerows([[f"images/new-{n}.png", "alpha", f"n{n}", "PA", "Normal", ""] for n in (90, 91)])
    result = made(tmp_path / "run", table)
    assert decoded == ["new-90.png", "new-91.png"]
    assert result == made(tmp_path / "undisturbed", table)


def test_a_changed_file_or_mask_is_decoded_again_and_no_other(table: Path, tmp_path: Path, decoded: list[str]) -> None:
    made(tmp_path / "run", table)
    decoded.clear()
    Image.fromarray(made_picture(77)).save(table.parent / "images/alpha-1.png")
    Image.fromarray(np.zeros((40, 36), dtype=np.uint8)).save(table.parent / "masks/beta-2.png")
    result = made(tmp_path / "run", table)
    assert decoded == ["alpha-1.png", "beta-2.png"]
    assert result == made(tmp_path / "undisturbed", table)


def test_a_source_that_was_touched_or_copied_is_read_again_and_makes_nothing_else_run_again(
    table: Path, tmp_path: Path, decoded: list[str]
) -> None:
    made(tmp_path / "run", table)
    index = IndexArtefact(tmp_path / "run" / "ingest")
    before = index.digest
    decoded.clear()
    for path in table.parent.rglob("*.png"):
        os.utime(path, ns=(1, 1))
    made(tmp_path / "run", table)
    assert len(decoded) == FILES
    assert index.digest == before
    Image.fromarray(made_picture(77)).save(table.parent / "images/alpha-1.png")
    made(tmp_path / "run", table)
    assert index.digest != before


def test_only_settings_of_pixels_cost_a_decoding(table: Path, tmp_path: Path, decoded: list[str]) -> None:
    made(tmp_path / "run", table)
    decoded.clear()
    made(tmp_path / "run", table, positive=["Normal"], negative=["Tuberculosis"], train=["beta"], external=["alpha"])
    assert decoded == []
    made(tmp_path / "run", table, fit="pad")
    assert len(decoded) == FILES


def test_a_picture_that_was_withdrawn_is_nowhere_in_the_store(table: Path, tmp_path: Path) -> None:
    made(tmp_path / "run", table)
    index = read_index(tmp_path / "run/ingest/index.parquet")
    pictures = np.load(tmp_path / "run/ingest/radiographs.npy")
    withdrawn = pictures[1].tobytes()
    assert withdrawn[:512] in (tmp_path / "run" / STORE).read_bytes()
    lines = table.read_text().splitlines()
    table.write_text("\n".join([line for line in lines if not line.startswith("images/alpha-1.")]) + "\n")
    made(tmp_path / "run", table)
    assert len(read_index(tmp_path / "run/ingest/index.parquet")) == len(index) - 1
    assert withdrawn[:512] not in (tmp_path / "run" / STORE).read_bytes()


def test_a_damaged_store_is_begun_anew(table: Path, tmp_path: Path, decoded: list[str]) -> None:
    result = made(tmp_path / "run", table)
    decoded.clear()
    (tmp_path / "run" / STORE).write_bytes(b"no database" * 1000)
    assert made(tmp_path / "run", table, val_share=0.1) is not None
    assert len(decoded) == FILES
    assert made(tmp_path / "run", table) == result


def test_two_ingests_do_not_share_a_store(tmp_path: Path) -> None:
    with (
        Store(tmp_path / "store", Limits(1)),
        pytest.raises(DataError, match=r"Another ingest is at work in this run folder\. Wait for it, or give"),
    ):
        Store(tmp_path / "store", Limits(1), patience_seconds=0.1)


def test_a_file_that_broke_a_limit_is_tried_again_under_another_one_only(tmp_path: Path) -> None:
    entry, limits = "e" * 32, Limits(1, seconds_per_file=1)
    with Store(tmp_path / "store", limits) as store:
        store.put(entry, Reply({}, refused="too long", kind=LIMIT))
    with Store(tmp_path / "store", limits) as store:
        assert store.is_refused(entry) is True
        assert store[entry].refused == "too long"
    with Store(tmp_path / "store", Limits(1, seconds_per_file=2)) as store:
        assert store.is_refused(entry) is None


def candidate(path: Path) -> Candidate:
    return Candidate("0" * 12, path, "alpha", None, None, "PA", "unknown", None, None)


def test_what_may_pass_is_refused_and_tried_again(tmp_path: Path) -> None:
    path, how = tmp_path / "x.png", HOW
    with LocalPool(Limits(1)) as pool, Store(tmp_path / "store", Limits(1)) as store:
        (entry,), known = answer_all([candidate(path)], how, pool=pool, store=store)
        assert known == 0
        assert store[entry].refused == "The file cannot be opened (FileNotFoundError)."
        Image.fromarray(made_picture(1)).save(path)
        for expected in (0, 1):
            (entry,), known = answer_all([candidate(path)], how, pool=pool, store=store)
            assert (store[entry].refused, known) == (None, expected)


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    Image.fromarray(made_picture(1)).save(path)
    then = [state_of(path)]
    decode(path=str(path), masks=[], said={}, text="unknown", states=then, how=HOW)
    os.utime(path, ns=(0, 1))
    with pytest.raises(ChangedError, match="was changed while it was read"):
        decode(path=str(path), masks=[], said={}, text="unknown", states=then, how=HOW)
