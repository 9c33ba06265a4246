from __future__ import annotations

import csv
import io
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from oracles.made_run import index_row, silent_work
from oracles.made_sources import write_table
from PIL import Image

from medtea.core.errors import DataError
from medtea.core.names import IndexArtefact
from medtea.core.settings import parse
from medtea.data.acquisition import read_acquisition
from medtea.data.index import read_index
from medtea.data.phantom import draw_phantom
from medtea.ingest import duplicates
from medtea.ingest.duplicates import CROPS, FINE, NEAR, Pair, described, distance, equalised, groups_of, near_pairs
from medtea.ingest.leaks import leaking, left_out, pair_rows, refuse_leak
from medtea.ingest.quality import prepare
from medtea.ingest.stage import Settings, run

Floats = np.ndarray
SIZE = 96


def phantom(number: int) -> Floats:
    return draw_phantom(np.random.default_rng(number), size=192, diseased=bool(number % 2)).radiograph.astype(
        np.float32
    )


def prepared(radiograph: Floats) -> Floats:
    return prepare(radiograph.astype(np.float32), None, size=SIZE)[0]


def jpeg(radiograph: Floats, quality: int = 50) -> Floats:
    packed = io.BytesIO()
    Image.fromarray((radiograph * 255).round().astype(np.uint8)).save(packed, "JPEG", quality=quality)
    return np.asarray(Image.open(packed), dtype=np.float32) / 255


def shrunk(radiograph: Floats) -> Floats:
    rows, columns = radiograph.shape
    return np.asarray(Image.fromarray(radiograph).resize((columns // 2, rows // 2), Image.Resampling.BOX))


def cut(radiograph: Floats, top: int = 4, left: int = 8, bottom: int = 5, right: int = 1) -> Floats:
    return radiograph[top : len(radiograph) - bottom, left : radiograph.shape[1] - right]


CHANGES: dict[str, Callable[[Floats], Floats]] = {
    "nothing": lambda x: x,
    "JPEG": jpeg,
    "a darker gamma": lambda x: x**1.7,
    "a brighter gamma": lambda x: x**0.6,
    "a narrower window": lambda x: np.clip((x - 0.08) / 0.8, 0, 1),
    "16 grey values": lambda x: np.round(x * 15) / 15,
    "half the size": shrunk,
    "a crop of five per cent": cut,
    "a black border": lambda x: np.pad(x, ((9, 9), (20, 20))),
    "JPEG, gamma and a crop": lambda x: jpeg(cut(x) ** 1.3),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_copy_is_found_whatever_was_done_to_it(change: str) -> None:
    pictures = [prepared(phantom(number)) for number in range(12)]
    pictures.append(prepared(CHANGES[change](phantom(5))))
    assert [(pair.first, pair.second) for pair in near_pairs(pictures)] == [(5, 12)]


def test_different_phantoms_are_no_copies() -> None:
    assert near_pairs([prepared(phantom(number)) for number in range(60)]) == []


def test_the_distance_has_no_direction_and_is_nothing_to_oneself() -> None:
    one, other = equalised(prepared(phantom(1))), equalised(prepared(cut(phantom(1))))
    assert distance(one, one) == pytest.approx(0, abs=1e-6)
    assert distance(one, other) == pytest.approx(distance(other, one), abs=0.02)
    assert distance(one, other) < NEAR < distance(one, equalised(prepared(phantom(2))))


def test_grey_values_count_by_their_rank_alone() -> None:
    picture = prepared(phantom(3))
    np.testing.assert_array_equal(equalised(np.zeros((80, 80))), 0)
    # Resizing comes first, so that a monotone change of the grey values is one of the small picture only nearly.
    small = np.asarray(Image.fromarray(picture).resize((64, 64)), dtype=np.float32)
    np.testing.assert_allclose(equalised(small**3), equalised(small), atol=1e-3)


def test_a_description_of_a_crop_is_that_of_the_cropped_picture() -> None:
    # A plain twin: the crop by indices, its DCT by scipy. 6.25 % of 64 pixels are 4 of them.
    dctn = pytest.importorskip("scipy.fft").dctn
    ranked = equalised(prepared(phantom(4)))
    cropped = np.asarray(Image.fromarray(ranked[4:-4, 4:-4]).resize((64, 64), Image.Resampling.BILINEAR))
    plain = dctn(cropped, norm="ortho")[: FINE.size, : FINE.size]
    plain[0, :] *= np.sqrt(2)  # ours are not orthonormal: the first cosine is as long as the others
    plain[:, 0] *= np.sqrt(2)
    plain = (plain * FINE.weights).ravel()
    mine = described(ranked, FINE, (0.0625,) * 4)
    assert mine @ plain / np.linalg.norm(plain) > 0.995
    assert len(CROPS) == 81


def test_no_group_is_missed_that_comparing_every_two_would_find(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "BLOCK", 3)
    pictures = [prepared(phantom(number % 7)) for number in range(10)]
    slow = [
        (one, other)
        for one in range(10)
        for other in range(one + 1, 10)
        if distance(equalised(pictures[one]), equalised(pictures[other])) < NEAR
    ]
    assert [(pair.first, pair.second) for pair in near_pairs(pictures)] == slow == [(0, 7), (1, 8), (2, 9)]


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_have_no_pair(count: int) -> None:
    assert near_pairs([prepared(phantom(1))] * count) == []


def table(*rows: dict[str, object]) -> pd.DataFrame:
    return pd.DataFrame([index_row(number, **row) for number, row in enumerate(rows)])


def test_a_leak_is_a_pair_of_which_one_is_learned_from_and_the_other_tested_on() -> None:
    index = table(
        {"split": "train"},
        {"split": "val"},
        {"split": "test"},
        {"role": "external", "split": "test"},
        {"role": "extra", "split": "train"},
    )
    every = [Pair(one, other, 0.01) for one in range(5) for other in range(one + 1, 5)]
    expected = {(0, 2), (0, 3), (1, 2), (1, 3), (2, 4), (3, 4)}
    for pair in every:
        leak = (pair.first, pair.second) in expected
        assert leaking(index, [pair]).sum() == 2 * leak
        assert pair_rows(index, [pair], "flag")[0]["leak"] is leak
    assert set(left_out(index, every)) == {0, 1, 4}, "no test set loses a radiograph"
    refuse_leak(index, [pair for pair in every if (pair.first, pair.second) not in expected])
    message = r"r000000 \(file f000000, north\) and r000002 .*distance 0.010.*both sides: 1, .*duplicates: drop"
    with pytest.raises(DataError, match=message):
        refuse_leak(index, every)


def test_a_group_leaks_whichever_of_it_the_pairs_go_through() -> None:
    """The head of a group is paired with each other one; the two sides may meet in none of its own pairs' ends."""
    sides = ("extra", "train"), ("train", "train"), ("train", "val"), ("external", "test"), ("train", "test")
    index = table(*[{"role": role, "split": split} for role, split in sides])
    for head in range(5):
        star = [Pair(min(head, other), max(head, other), 0.01) for other in range(5) if other != head]
        assert leaking(index, star).all()
        assert set(left_out(index, star)) == {0, 1, 2}
        rows = pair_rows(index, star, "drop")
        assert all(row["leak"] and row["group"] == "r000000" for row in rows)
        assert [row["done"] == "kept" for row in rows] == [pair.first >= 3 for pair in star]
        with pytest.raises(DataError, match="both sides: 1"):
            refuse_leak(index, star)
    chain = [Pair(0, 1, 0.01), Pair(1, 3, 0.01)]
    assert set(left_out(index, chain)) == {0, 1}, "a copy of a copy is one as well"


def test_groups_are_named_by_their_first() -> None:
    assert groups_of([], 2).tolist() == [0, 1]
    assert groups_of([Pair(1, 4, 0.0), Pair(3, 4, 0.0), Pair(0, 2, 0.0)], 6).tolist() == [0, 1, 0, 1, 1, 5]


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Every distance that is worked out; where registering begins it ends, for speed."""
    found: list[float] = []

    def counted(one: Floats, other: Floats, edges: duplicates.Edges) -> float:
        found.append(1 - float(described(one, FINE, edges) @ described(other, FINE)))
        return found[-1]

    monkeypatch.setattr(duplicates, "distance", counted)
    return found


def test_n_copies_cost_n_registrations(registered: list[float]) -> None:
    # more than the NEIGHBOURS that each is compared with, and a crop of it, which must not be lost among them
    pictures = [prepared(phantom(1))] * 300 + [prepared(cut(phantom(1), 5, 10, 5, 0))]
    pairs = near_pairs(pictures)
    assert groups_of(pairs, len(pictures)).tolist() == [0] * 301
    assert len(pairs) == len(registered) == 300


def test_two_groups_that_are_alike_and_no_copies_are_soon_told_apart(
    registered: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duplicates, "WORTH_REGISTERING", 2.0)  # as if all were alike
    two = [prepared(phantom(number)) for number in range(2)]
    assert groups_of(near_pairs(two * 100), 200).tolist() == [0, 1] * 100
    # each joins once; then each row tries the other group so often, and the first row every one of it, alone as yet
    assert len(registered) == 198 + 199 * duplicates.TRIES + 100


def source(folder: Path) -> Path:
    """Two hospitals of which beta has a copy of alpha's second radiograph, brighter and smaller, of another number."""
    (folder / "images").mkdir(parents=True)
    rows = []
    for number in range(8):
        drawn = phantom(number) if number < 7 else jpeg(cut(phantom(1)) ** 0.8)
        Image.fromarray((drawn * 255).round().astype(np.uint8)).save(folder / "images" / f"{number}.png")
        hospital = "alpha" if number < 4 else "beta"
        row = {"image": f"images/{number}.png", "hospital": hospital, "patient_id": f"q{number}"}
        rows.append({**row, "finding": ("Normal", "Ill")[number % 2]})
    return write_table(folder, rows)


def settings(path: Path, **given: object) -> Settings:
    content = {"source": "table", "options": {"path": str(path)}, "positive": ["Ill"], "negative": ["Normal"]}
    content |= {"train": ["alpha"], "external": ["beta"], "size": 64, "val_share": 0.0, "test_share": 0.0}
    return parse(Settings, content | given, "ingest")


def pairs_in(index: IndexArtefact) -> list[dict[str, str]]:
    with index.duplicates.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def ingested(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., IndexArtefact]:
    monkeypatch.setenv("MEDTEA_KEY", "a key for tests only")
    path = source(tmp_path / "t")
    return lambda **given: run(silent_work(tmp_path / "run"), settings(path, **given))


def test_a_picture_on_both_sides_ends_ingest_with_both_ids(ingested: partial[IndexArtefact], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"Radiographs r000002 .*alpha\) and r000008 .*beta\) are nearly one picture"):
        ingested()
    assert not (tmp_path / "run" / "ingest" / "record.json").exists()
    (pair,) = pairs_in(IndexArtefact(tmp_path / "run" / "ingest"))
    assert (pair["radiograph"], pair["other"], pair["leak"], pair["done"]) == ("r000002", "r000008", "True", "refused")


def test_flagged_copies_stay(ingested: partial[IndexArtefact]) -> None:
    index = ingested(duplicates="flag")
    assert len(read_index(index.index)) == 8
    (pair,) = pairs_in(index)
    assert (pair["leak"], pair["same_patient"], pair["done"]) == ("True", "False", "kept")
    assert float(pair["distance"]) < NEAR


def test_the_copy_that_would_be_trained_on_is_left_out(ingested: partial[IndexArtefact]) -> None:
    whole = ingested(duplicates="flag")
    before, pictures = read_index(whole.index), np.load(whole.radiographs)
    index = ingested(duplicates="drop")
    after = read_index(index.index)
    assert after["radiograph"].tolist() == [f"r{number:06d}" for number in (1, 3, 4, 5, 6, 7, 8)]
    np.testing.assert_array_equal(np.load(index.radiographs), np.delete(pictures, 1, axis=0))
    assert len(np.load(index.given_masks)) == len(after)
    assert read_acquisition(index.acquisition)["radiograph"].tolist() == after["radiograph"].tolist()
    assert after["split"].tolist() == before.drop(index=1)["split"].tolist(), "the others keep their sides"
    with index.refused.open(newline="") as file:
        (refused,) = csv.DictReader(file)
    assert refused["file"] == before["file"][1]
    assert before["file"][7] in refused["reason"]
    flow = pd.read_csv(index.flow).set_index("hospital").loc["alpha"]
    assert (flow["found"], flow["accepted"], flow["refused"]) == (4, 3, 1)
