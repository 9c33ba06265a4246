from __future__ import annotations

import csv
import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from oracles.made_run import silent_work
from oracles.made_sources import made_picture, made_table, write_table
from PIL import Image

from medtea.core.errors import ConfigError, DataError
from medtea.core.names import IndexArtefact
from medtea.core.settings import parse
from medtea.core.work import Work
from medtea.data.index import read_index
from medtea.ingest.stage import Settings, run


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDTEA_KEY", "a key for tests only")


@pytest.fixture
def work(tmp_path: Path) -> Work:
    return silent_work(tmp_path / "run")


def settings(path: Path, **given: object) -> Settings:
    content = {
        "source": "table",
        "options": {"path": str(path)},
        "positive": ["Tuberculosis"],
        "negative": ["Normal"],
        "train": ["alpha"],
        "external": ["beta"],
        "size": 32,
    }
    return parse(Settings, content | given, "ingest")


def table_of(folder: Path, *rows: dict[str, str]) -> Path:
    """A table with a picture per row (all different); `image` may be given to share one, or to break it."""
    (folder / "images").mkdir(parents=True)
    written = []
    for number, row in enumerate(rows):
        name = f"images/{number}.png"
        Image.fromarray(made_picture(number)).save(folder / name)
        written.append({"image": name, "hospital": "alpha", "patient_id": f"q{number}", "finding": "Normal"} | row)
    return write_table(folder, written)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def flow_of(index: IndexArtefact) -> dict[str, dict[str, str]]:
    return {row["hospital"]: row for row in rows_of(index.flow)}


def test_every_file_found_is_accepted_or_refused(work: Work, tmp_path: Path) -> None:
    path = table_of(
        tmp_path / "t",
        {},
        {"finding": "Tuberculosis"},
        {"finding": ""},
        {"hospital": "beta"},
        {"hospital": "beta", "image": "images/none.png"},
        {"hospital": "beta", "view": "lateral"},
        {"image": "images/broken.png"},
        {"image": "images/0.png"},
    )
    (tmp_path / "t" / "images" / "broken.png").write_bytes(b"no picture")
    index = run(work, settings(path))
    flow = flow_of(index)
    for hospital, (found, accepted, refused) in {"alpha": (5, 3, 2), "beta": (3, 1, 2)}.items():
        assert (flow[hospital]["found"], flow[hospital]["accepted"], flow[hospital]["refused"]) == (
            str(found),
            str(accepted),
            str(refused),
        )
    assert (flow["alpha"]["labelled"], flow["alpha"]["positive"], flow["alpha"]["patients"]) == ("2", "1", "3")
    refused = rows_of(index.refused)
    assert len(refused) == 4
    assert all(row["reason"] and len(row["file"]) == 12 for row in refused)
    table = read_index(index.index)
    assert len(table) + len(refused) == 8
    assert not set(table["file"]) & {row["file"] for row in refused if row["reason"] != refused[-1]["reason"]} - {
        hashlib.sha256(b"images/0.png").hexdigest()[:12]  # named twice: once accepted, once refused
    }


def test_index_and_arrays_stand_on_the_same_rows(work: Work, tmp_path: Path) -> None:
    index = run(work, settings(made_table(tmp_path / "t", per_hospital=4)))
    table, pictures, masks = read_index(index.index), np.load(index.radiographs), np.load(index.given_masks)
    assert pictures.shape == masks.shape == (8, 32, 32)
    assert (pictures.dtype, masks.dtype) == (np.float16, np.uint8)
    assert pictures.min() >= 0
    assert pictures.max() <= 1
    assert table["radiograph"].tolist() == [f"r{number:06d}" for number in range(1, 9)]
    np.testing.assert_array_equal(masks.any(axis=(1, 2)), table["has_mask"])
    # A made mask is where the picture is above 128, so that on its own row it marks the brighter pixels.
    for row in np.flatnonzero(table["has_mask"]):
        assert pictures[row][masks[row] == 1].mean() > pictures[row][masks[row] == 0].mean() + 0.1
    assert not list(index.folder.glob(".*")), "nothing half written stays"


@pytest.mark.parametrize(
    ("finding", "label"),
    [
        ("Tuberculosis", 1),
        ("Normal", 0),
        ("Effusion|Tuberculosis", 1),
        ("Tuberculosis | Normal", 1),
        ("Effusion|Normal", 0),
        ("Effusion", None),
        ("", None),
        (None, None),
        ("tuberculosis", None),
        ("Tuberculosis, healed", None),
    ],
)
def test_one_finding_of_several_makes_the_label(tmp_path: Path, finding: str | None, label: int | None) -> None:
    assert settings(made_table(tmp_path / "t")).label(finding) == label


def test_labels_views_and_roles_reach_the_index(work: Work, tmp_path: Path) -> None:
    path = table_of(
        tmp_path / "t",
        {"finding": "Effusion|Tuberculosis", "view": "PA"},
        {"finding": "Normal", "view": "AP supine"},
        {"finding": "Effusion"},
        {"hospital": "beta"},
        {"hospital": "gamma"},
    )
    table = read_index(run(work, settings(path)).index)
    assert table["label"].tolist() == [1, 0, pd.NA, 0, 0]
    assert table["view"].tolist() == ["PA", "AP", "unknown", "unknown", "unknown"]
    assert table["role"].tolist() == ["train", "train", "train", "external", "extra"]
    assert table["group"].tolist() == table["hospital"].tolist()
    assert table.loc[3, "split"] == "test"


def test_a_hospital_that_is_not_there_names_the_nearest(work: Work, tmp_path: Path) -> None:
    path = made_table(tmp_path / "t")
    with pytest.raises(ConfigError, match=r"ingest.train: no file of a hospital 'alfa' .*Did you mean 'alpha'"):
        run(work, settings(path, train=["alfa"]))
    with pytest.raises(ConfigError, match=r"ingest.external: no file of a hospital 'bta' .*Did you mean 'beta'"):
        run(work, settings(path, external=["bta"]))


def shared_patient(folder: Path) -> Path:
    return table_of(folder, {"patient_id": "Doe^Jane"}, {"patient_id": "Doe^Jane", "hospital": "beta"}, {}, {})


def test_a_patient_at_a_training_and_an_external_hospital_is_refused(work: Work, tmp_path: Path) -> None:
    path = shared_patient(tmp_path / "t")
    with pytest.raises(DataError, match=r"Patient p[0-9a-f]{12} .* set ingest.patient_ids: per_hospital") as caught:
        run(work, settings(path))
    assert "Doe" not in str(caught.value)
    assert "Jane" not in str(caught.value)
    assert not (work.folder / "ingest" / "record.json").exists()


def test_numbers_given_per_hospital_let_it_pass(work: Work, tmp_path: Path) -> None:
    table = read_index(run(work, settings(shared_patient(tmp_path / "t"), patient_ids="per_hospital")).index)
    assert table["patient"].nunique() == 4


def test_a_shared_number_at_two_training_hospitals_is_one_patient_in_one_split(work: Work, tmp_path: Path) -> None:
    rows = [{"patient_id": f"q{number % 6}", "hospital": ("alpha", "beta")[number // 6]} for number in range(12)]
    path = table_of(tmp_path / "t", *rows)
    table = read_index(run(work, settings(path, train=["alpha", "beta"], external=[])).index)
    assert table["patient"].nunique() == 6
    assert table.groupby("patient")["split"].nunique().eq(1).all()


def test_without_a_patients_number_a_study_is_one_patient(work: Work, tmp_path: Path) -> None:
    rows = [{"patient_id": "", "view": f"s{number // 2}"} for number in range(6)]
    path = table_of(tmp_path / "t", *rows)
    options = {"path": str(path), "study": "view", "view": None}
    table = read_index(run(work, settings(path, options=options, external=[])).index)
    assert table["patient"].nunique() == 3
    again = silent_work(tmp_path / "again")
    lonely = read_index(run(again, settings(path, external=[])).index)
    assert lonely["patient"].nunique() == 6, "without either, each file is a patient of its own"


def test_the_same_pixels_a_second_time_are_refused(work: Work, tmp_path: Path) -> None:
    path = table_of(tmp_path / "t", {}, {}, {"hospital": "beta"}, {"hospital": "beta"})
    Image.fromarray(made_picture(1)).save(tmp_path / "t" / "images" / "2.png", compress_level=0)
    index = run(work, settings(path))
    (refused,) = rows_of(index.refused)
    assert refused["hospital"] == "beta"
    assert refused["reason"] == "Its pixels are those of another radiograph that was accepted before it."
    table = read_index(index.index)
    assert len(table) == len(np.load(index.radiographs)) == 3
    assert table["digest"].is_unique


def test_nothing_usable_is_said_with_the_first_reason(work: Work, tmp_path: Path) -> None:
    path = table_of(tmp_path / "t", {"view": "lateral"}, {"hospital": "beta", "image": "images/none.png"})
    with pytest.raises(DataError, match=r"None of the 2 files found can be used. The first reason: The table calls"):
        run(work, settings(path))
    assert len(rows_of(work.folder / "ingest" / "refused.csv")) == 2, "all reasons can be read"


def test_an_empty_table_is_said(work: Work, tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    path = write_table(tmp_path / "t", [])
    with pytest.raises(ConfigError, match=r"no file of a hospital 'alpha' was found"):
        run(work, settings(path))


def test_a_source_is_never_written_to(work: Work, tmp_path: Path) -> None:
    path = made_table(tmp_path / "t")

    def listing() -> list[tuple[str, int, int]]:
        return [
            (one.relative_to(tmp_path).as_posix(), one.stat().st_mtime_ns, one.stat().st_size)
            for one in sorted((tmp_path / "t").rglob("*"))
        ]

    before = listing()
    for one in (tmp_path / "t").rglob("*"):
        one.chmod(0o555 if one.is_dir() else 0o444)
    run(work, settings(path))
    assert listing() == before


def test_the_splits_are_those_of_the_patients_whatever_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = made_table(tmp_path / "t", per_hospital=12)
    first = read_index(run(silent_work(tmp_path / "one"), settings(path)).index)
    monkeypatch.setenv("MEDTEA_KEY", "another key for tests")
    second = read_index(run(silent_work(tmp_path / "two"), settings(path)).index)
    assert first["split"].tolist() == second["split"].tolist()
    assert set(first["split"]) == {"train", "val", "test"}
    assert not set(first["patient"]) & set(second["patient"])


def test_ingest_runs_again_only_when_something_changed(tmp_path: Path) -> None:
    path = made_table(tmp_path / "t")
    for given, ran in (({}, True), ({}, False), ({"size": 64}, True), ({"size": 64, "positive": ["Normal "]}, True)):
        work = silent_work(tmp_path / "run")
        run(work, settings(path, **given))
        assert bool(work.ran) is ran
    Image.fromarray(made_picture(99)).save(tmp_path / "t" / "images" / "alpha-0.png")
    work = silent_work(tmp_path / "run")
    run(work, settings(path, size=64, positive=["Normal "]))
    assert work.ran == ["ingest"], "a file has changed"


def test_a_path_is_relative_to_where_we_are_not_to_where_the_workers_were_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "two"):  # workers are forked from a process that stays for the second
        folder = tmp_path / name / "pictures" / "alpha"
        folder.mkdir(parents=True)
        Image.fromarray(made_picture(0)).save(folder / f"{name}.png")
        monkeypatch.chdir(tmp_path / name)
        run(
            silent_work(Path("run")), settings(Path(), source="image_folder", options={"root": "pictures"}, external=[])
        )


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"external": ["alpha"]}, "'alpha' stands in both train and external"),
        ({"negative": ["Tuberculosis"]}, "'Tuberculosis' stands in both positive and negative"),
        ({"val_share": 0.6, "test_share": 0.4}, "val_share and test_share leave nothing to train on"),
        ({"source": "tabel"}, "'tabel' is not known.*Did you mean 'table'"),
        ({"options": {"pth": "x"}}, "ingest.options.pth: no such setting.*Did you mean 'path'"),
        ({"sise": 3}, "ingest.sise: no such setting.*Did you mean 'size'"),
        ({"size": 8}, "ingest.size: 8 is not allowed; input should be greater than or equal to 32"),
        ({"train": []}, "ingest.train: .*at least 1 item"),
    ],
)
def test_wrong_settings_say_where_and_what_is_allowed(tmp_path: Path, wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        settings(tmp_path / "table.csv", **wrong)
