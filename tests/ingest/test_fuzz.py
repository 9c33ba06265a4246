"""Thousands of spoilt files: each is refused with a reason in our own words, or read as a radiograph; nothing else.

FUZZ files are made (2,000; `make fuzz` makes 100,000), from the seed FUZZ_SEED (0).
"""

from __future__ import annotations

import ast
import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom.uid
import pytest
from oracles.mutated import WAYS, Seed, flipped_in_pixels, seeds

import medtea
from medtea.ingest.workers import Limits, LocalPool, Reply, usable_cores

COUNT, FIRST = int(os.environ.get("FUZZ", "2000")), int(os.environ.get("FUZZ_SEED", "0"))
SECONDS = 10.0
SHAPE = [40, 36]
KIND = re.compile(r"[A-Z]\w*(Error|Exception)|error")
"""How the kinds of exceptions are called; zlib's is `error`."""


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> list[Seed]:
    return seeds(tmp_path_factory.mktemp("seeds"))


def words_of_ours() -> set[str]:
    """Every word of a text in medtea's code, and the names of transfer syntaxes."""
    found: set[str] = set()
    for path in Path(medtea.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.update(words(node.value))
    for uid in pydicom.uid.UID_dictionary.values():
        found.update(words(uid[0]))
    return found


def words(text: str) -> list[str]:
    return re.findall(r"[A-Za-zÀ-ÿ_]+", text)


def replies(good: list[Seed], folder: Path, numbers: range) -> Iterator[tuple[int, str, Reply]]:
    """The number of each spoilt file, in which way it is, and what became of it."""

    def jobs() -> Iterator[dict[str, str]]:
        for number in numbers:
            path = folder / f"{number % 16}{suffix(good, number)}"  # no more than a few are ever waiting
            path.write_bytes(spoilt(good, number))
            yield {"path": str(path)}

    limits = Limits(usable_cores(), seconds_per_file=SECONDS, memory_per_file_mb=2_048)
    with LocalPool(limits, "oracles.fuzz_worker") as pool:
        for number, reply in pool.do("look", jobs()):
            yield numbers[number], WAYS[numbers[number] // len(good) % len(WAYS)].__name__, reply


def suffix(good: list[Seed], number: int) -> str:
    return Path(good[number % len(good)].name).suffix


def spoilt(good: list[Seed], number: int) -> bytes:
    """The file of this number, whichever others are made."""
    way = WAYS[number // len(good) % len(WAYS)]
    return way(good[number % len(good)], np.random.default_rng([FIRST, number]))


def test_what_is_spoilt_was_good(good: list[Seed], tmp_path: Path) -> None:
    paths = []
    for seed in good:
        paths.append(tmp_path / seed.name)
        paths[-1].write_bytes(seed.data)
    with LocalPool(Limits(1), "oracles.fuzz_worker") as pool:
        for number, reply in pool.do("look", [{"path": str(path)} for path in paths]):
            assert reply.refused is None, good[number].name
            assert reply.facts["shape"] == SHAPE
    dicom = [seed for seed in good if seed.data[128:132] == b"DICM"]
    assert len(dicom) == 9
    assert len(good) == 13
    for seed in dicom:
        assert seed.name == "deflated" or b"Zimmermann" in seed.data


@pytest.mark.skipif(COUNT > 20_000, reason="the law below runs longer than a test usually may")
def test_every_way_spoils_files(good: list[Seed]) -> None:
    for way in WAYS:
        changed = [way(seed, np.random.default_rng(turn)) != seed.data for seed in good for turn in range(5)]
        assert np.mean(changed) > 0.8, way.__name__


@pytest.mark.timeout(60 + COUNT // 4)
def test_a_spoilt_file_is_refused_in_our_words_or_is_a_radiograph(good: list[Seed], tmp_path: Path) -> None:
    known = words_of_ours()
    outcomes: Counter[str] = Counter()
    for number, way, reply in replies(good, tmp_path, range(COUNT)):
        where = f"file {number} of FUZZ_SEED={FIRST}, {good[number % len(good)].name} {way}"
        if reply.refused is None:
            assert reply.facts["type"] == "float32", where
            assert reply.facts["finite"], where
            assert 0 <= reply.facts["low"] < reply.facts["high"] <= 1, where
            assert len(reply.facts["shape"]) == 2, where
            if way == flipped_in_pixels.__name__:
                assert reply.facts["shape"] == SHAPE, where
        else:
            assert reply.kind != "unexpected", f"{where}: {reply.refused}"
            assert "longer than" not in reply.refused, where
            assert "crashed" not in reply.refused, where
        said = f"{reply.refused} {reply.facts.get('header', '')}"
        foreign = {word for word in words(said) if word not in known and not KIND.fullmatch(word)}
        assert not foreign, f"{where}: {said}"
        assert not any(name in said for name in ("Zimmermann", "Jolanda", "QX7731415", "Beekeeper", "Walhalla")), where
        outcomes["radiograph" if reply.refused is None else "refused"] += 1
    assert outcomes.total() == COUNT
    assert min(outcomes["radiograph"], outcomes["refused"]) > COUNT / 10, "spoilt files are not all of one kind"
