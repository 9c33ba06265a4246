"""The run folder: whole files or none, stages that are skipped, continued or begun afresh, and nobody's folder lost."""

from __future__ import annotations

import csv
import getpass
import json
import os
import platform
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import pytest
import torch
from torch import nn

from medtea.core import work as work_module
from medtea.core.errors import RecordError
from medtea.core.names import Artefact
from medtea.core.settings import StrictSettings
from medtea.core.tracking import Tracker
from medtea.core.work import (
    Stage,
    Work,
    digest_of,
    read_json,
    read_weights,
    write_array,
    write_atomically,
    write_csv,
    write_json,
    write_text,
    write_weights,
)


class Settings(StrictSettings):
    size: int = 64


def work_in(folder: Path, *, seed: int = 0, said: list[str] | None = None) -> Work:
    # no stage of these tests speaks to the tracker
    return Work(folder, seed, cast(Tracker, None), say=(said if said is not None else []).append)


def finished(work: Work, name: str = "segment", **kinds: Any) -> Stage:
    stage = work.stage(name, kinds.pop("settings", Settings()), **kinds)
    write_text(stage.folder / "result.txt", "done")
    stage.finish()
    return stage


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file()}


# --- whole files or none


def half_a_file(file: IO[bytes]) -> None:
    file.write(b"half")
    raise RuntimeError("the disk is full")


def test_a_writer_that_raises_leaves_the_old_file_and_no_temporary_one(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    write_text(path, "old")
    with pytest.raises(RuntimeError, match="disk is full"):
        write_atomically(path, half_a_file)
    assert path.read_text() == "old"
    assert files(tmp_path) == {"scores.csv"}


def test_an_interrupt_leaves_no_temporary_file_either(tmp_path: Path) -> None:
    def interrupted(file: IO[bytes]) -> None:
        file.write(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match=r"^$"):
        write_atomically(tmp_path / "new.txt", interrupted)
    assert files(tmp_path) == set()


def test_the_old_file_is_there_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "index.parquet"
    write_text(path, "old")
    seen: list[str] = []
    write_atomically(path, lambda file: (file.write(b"new"), seen.append(path.read_text())))
    assert (seen, path.read_text()) == (["old"], "new")


def test_a_written_file_may_be_read_by_whom_the_umask_lets(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        write_text(tmp_path / "report.html", "page")
    finally:
        os.umask(before)
    assert (tmp_path / "report.html").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_json_refuses_a_number_that_is_none_and_keeps_the_old_file(tmp_path: Path, number: float) -> None:
    path = tmp_path / "metrics.json"
    write_json(path, {"auroc": None})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"auroc": number})
    assert read_json(path) == {"auroc": None}
    assert files(tmp_path) == {"metrics.json"}


def test_json_keeps_letters_as_they_are(tmp_path: Path) -> None:
    write_json(tmp_path / "x.json", {"hospital": "Kraków", "ε": 0.01})
    assert "Kraków" in (tmp_path / "x.json").read_text(encoding="utf-8")
    assert read_json(tmp_path / "x.json") == {"hospital": "Kraków", "ε": 0.01}


@pytest.mark.parametrize("content", [None, b"", b"{", b"\xff\xfe"])
def test_damaged_or_missing_json_says_which_and_the_mend(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "teach" / "card.json"
    path.parent.mkdir()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RecordError, match=r"^'teach/card.json' is missing or damaged; remove that stage's folder"):
        read_json(path)


def test_csv_has_the_columns_in_the_order_given_and_quotes_what_needs_it(tmp_path: Path) -> None:
    rows = [{"b": 'a "word", then', "a": 1, "unasked": 5}, {"a": None}]
    write_csv(tmp_path / "x.csv", rows, ["a", "b"])
    with (tmp_path / "x.csv").open(encoding="utf-8", newline="") as file:
        assert list(csv.reader(file)) == [["a", "b"], ["1", 'a "word", then'], ["", ""]]


def test_arrays_go_there_and_back_and_objects_are_refused(tmp_path: Path) -> None:
    array = np.arange(6, dtype=np.float16).reshape(2, 3)
    write_array(tmp_path / "x.npy", array)
    back = np.load(tmp_path / "x.npy", allow_pickle=False)
    assert back.dtype == array.dtype
    assert (back == array).all()
    with pytest.raises(ValueError, match="Object arrays cannot be saved"):
        write_array(tmp_path / "y.npy", np.array([{}], dtype=object))
    assert files(tmp_path) == {"x.npy"}


# --- weights


def small(width: int = 3) -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, width, 3), nn.BatchNorm2d(width), nn.Flatten(), nn.LazyLinear(1))


def built(width: int = 3) -> nn.Module:
    network = small(width)
    network(torch.rand(2, 1, 8, 8))
    return network


def test_weights_go_there_and_back_bit_for_bit_with_the_running_statistics(tmp_path: Path) -> None:
    network, other = built(), built()
    write_weights(tmp_path / "student.safetensors", network)
    read_weights(tmp_path / "student.safetensors", other)
    wanted = network.state_dict()
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in other.state_dict().items())
    assert not torch.equal(wanted["1.running_mean"], torch.zeros(3)), "the statistics had moved"


@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "no header", "text"])
def test_damaged_weights_are_refused_with_the_mend(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "student.safetensors"
    write_weights(path, built())
    whole = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes({"empty": b"", "cut": whole[:-9], "no header": whole[8:], "text": b"hello " * 9}[damage])
    with pytest.raises(RecordError, match=r"'student.safetensors' is missing or no readable .* remove its stage's"):
        read_weights(path, built())


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    write_weights(tmp_path / "student.safetensors", built(4))
    with pytest.raises(RecordError, match="holds another network's weights"):
        read_weights(tmp_path / "student.safetensors", built(3))
    with pytest.raises(RecordError, match="holds another network's weights"):
        read_weights(tmp_path / "student.safetensors", nn.Linear(2, 1))


# --- stages


def test_a_stage_whose_record_matches_is_skipped_and_says_so(tmp_path: Path) -> None:
    finished(work_in(tmp_path))
    said: list[str] = []
    again = work_in(tmp_path, said=said)
    stage = again.stage("segment", Settings())
    assert stage.is_finished
    assert again.ran == []
    assert said == ["segment: nothing to do, its record matches"]
    assert (stage.folder / "result.txt").exists()


def other_settings(folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Work, dict[str, Any]]:
    return work_in(folder), {"settings": Settings(size=32)}


def other_seed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Work, dict[str, Any]]:
    return work_in(folder, seed=1), {}


def other_source(folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Work, dict[str, Any]]:
    return work_in(folder), {"source": "other"}


def other_version(folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Work, dict[str, Any]]:
    monkeypatch.setattr(work_module, "VERSION", "999")
    return work_in(folder), {}


def other_inputs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Work, dict[str, Any]]:
    write_json(folder / "ingest" / "record.json", {"digest": "another"})
    return work_in(folder), {}


@pytest.mark.parametrize("change", [other_settings, other_seed, other_source, other_version, other_inputs])
def test_a_stage_is_begun_afresh_when_what_it_rests_on_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Any
) -> None:
    write_json(tmp_path / "ingest" / "record.json", {"digest": "one"})
    inputs = [Artefact(tmp_path / "ingest")]
    finished(work_in(tmp_path), inputs=inputs, source="listing")
    assert work_in(tmp_path).stage("segment", Settings(), inputs, "listing").is_finished, "nothing changed yet"

    work, kinds = change(tmp_path, monkeypatch)
    stage = work.stage("segment", kinds.get("settings", Settings()), inputs, kinds.get("source", "listing"))
    assert not stage.is_finished
    assert work.ran == ["segment"]
    assert files(stage.folder) == {"started.json"}, "what the other settings left is gone"


def test_a_stage_that_was_killed_is_continued_with_its_checkpoint(tmp_path: Path) -> None:
    first = work_in(tmp_path).stage("teach", Settings())
    (first.folder / "checkpoint.pt").write_bytes(b"weights")
    (first.folder / ".checkpoint.pt.0f.partial").write_bytes(b"hal")  # what a kill in the middle of a write leaves
    again = work_in(tmp_path).stage("teach", Settings())
    assert not again.is_finished
    assert files(again.folder) == {"started.json", "checkpoint.pt"}


def test_a_stage_that_was_killed_under_other_settings_is_begun_afresh(tmp_path: Path) -> None:
    first = work_in(tmp_path).stage("teach", Settings())
    (first.folder / "bank").mkdir()
    (first.folder / "bank" / "rows.npy").write_bytes(b"rows")
    (first.folder / "checkpoint.pt").write_bytes(b"weights")
    again = work_in(tmp_path).stage("teach", Settings(size=32))
    assert list(again.folder.iterdir()) == [again.folder / "started.json"]
    assert not work_in(tmp_path).stage("teach", Settings()).is_finished


def test_a_kill_while_the_old_results_are_removed_leaves_neither_a_record_nor_a_foreign_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = finished(work_in(tmp_path))

    def killed(folder: Path) -> None:
        (folder / "result.txt").unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(work_module, "_empty", killed)
        with pytest.raises(KeyboardInterrupt, match=r"^$"):
            work_in(tmp_path).stage("segment", Settings(size=32))
    # neither the old settings may find themselves finished, nor the new ones a stranger's folder
    assert not work_in(tmp_path).stage("segment", Settings()).is_finished
    assert not work_in(tmp_path).stage("segment", Settings(size=32)).is_finished
    assert old.folder.exists()


def test_a_damaged_record_means_not_finished_and_keeps_the_checkpoint(tmp_path: Path) -> None:
    stage = finished(work_in(tmp_path))
    (stage.folder / "record.json").write_text("{")
    assert not work_in(tmp_path).stage("segment", Settings()).is_finished
    assert (stage.folder / "result.txt").exists()


def foreign_file(folder: Path) -> None:
    folder.write_text("a file of that name")


def foreign_folder(folder: Path) -> None:
    folder.mkdir()
    (folder / "thesis.docx").write_text("years of work")


def foreign_record(folder: Path) -> None:
    folder.mkdir()
    (folder / "record.json").write_text('{"artist": "somebody else", "tracks": 12}')


@pytest.mark.parametrize("make", [foreign_file, foreign_folder, foreign_record])
def test_what_medtea_did_not_write_is_never_deleted(tmp_path: Path, make: Any) -> None:
    make(tmp_path / "report")
    before = {path: path.read_text() for path in [tmp_path / "report", *tmp_path.rglob("*")] if path.is_file()}
    with pytest.raises(RecordError, match=r"'report' that medtea did not write\. Give another folder with --to"):
        work_in(tmp_path).stage("report", Settings())
    after = {path: path.read_text() for path in [tmp_path / "report", *tmp_path.rglob("*")] if path.is_file()}
    assert before == after
    assert before


def test_a_stage_folder_that_is_a_link_keeps_the_link_and_what_links_inside_it_point_to(tmp_path: Path) -> None:
    big_disk, elsewhere = tmp_path / "big_disk", tmp_path / "elsewhere"
    (tmp_path / "run").mkdir()
    big_disk.mkdir()
    elsewhere.mkdir()
    (elsewhere / "kept.txt").write_text("kept")
    (tmp_path / "run" / "teach").symlink_to(big_disk)
    stage = finished(work_in(tmp_path / "run"), "teach")
    (stage.folder / "more").symlink_to(elsewhere)
    work_in(tmp_path / "run").stage("teach", Settings(size=32))
    assert files(big_disk) == {"started.json"}
    assert (elsewhere / "kept.txt").exists()


def test_an_empty_folder_is_used_as_a_kill_may_leave_one(tmp_path: Path) -> None:
    (tmp_path / "teach").mkdir()
    (tmp_path / "teach" / ".started.json.0f.partial").write_text("")
    assert files(work_in(tmp_path).stage("teach", Settings()).folder) == {"started.json"}


def test_students_of_one_run_do_not_share_a_folder(tmp_path: Path) -> None:
    finished(work_in(tmp_path), "distil/tea")
    finished(work_in(tmp_path), "distil/erm")
    assert work_in(tmp_path).stage("distil/tea", Settings()).is_finished
    assert files(tmp_path / "distil" / "erm") == {"started.json", "record.json", "result.txt"}


def test_an_input_without_a_record_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"Stage 'ingest' has no readable record.json; run it again"):
        work_in(tmp_path).stage("segment", Settings(), [Artefact(tmp_path / "ingest")])
    (tmp_path / "ingest").mkdir()
    (tmp_path / "ingest" / "record.json").write_text("[]")
    with pytest.raises(RecordError, match="no readable record"):
        work_in(tmp_path).stage("segment", Settings(), [Artefact(tmp_path / "ingest")])


# --- the record


@pytest.fixture
def record(tmp_path: Path) -> dict[str, Any]:
    said: list[str] = []
    stage = work_in(tmp_path, seed=5, said=said).stage("segment", Settings(), source="listing")
    write_text(stage.folder / "deep" / "result.txt", "done")
    stage.finish(dice=0.5, last_epoch={"val_loss": float("nan"), "all": [1.0, float("inf")]})
    assert said == ["segment: done in 0 s"]
    return read_json(stage.folder / "record.json")


def test_the_record_holds_what_the_result_rests_on(record: dict[str, Any]) -> None:
    identity = {name: record[name] for name in ("stage", "settings", "inputs", "source", "seed", "version")}
    assert identity == {
        "stage": "segment",
        "settings": {"size": 64},
        "inputs": {},
        "source": "listing",
        "seed": 5,
        "version": work_module.VERSION,
    }
    assert record["digest"] == digest_of(identity)
    assert record["outputs_bytes"] == {"deep/result.txt": 4}


def test_a_fact_without_an_answer_is_null_in_the_record(record: dict[str, Any]) -> None:
    assert record["facts"] == {"dice": 0.5, "last_epoch": {"val_loss": None, "all": [1.0, None]}}


def test_the_record_names_no_host_and_no_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(platform, "node", lambda: "ward7-pc")
    stage = finished(work_in(tmp_path))
    text = (stage.folder / "record.json").read_text()
    user = getpass.getuser()
    for name in ("ward7-pc", os.uname().nodename, str(Path.home()), str(tmp_path), f'"{user}"', f"/{user}/"):
        assert name not in text
    assert set(json.loads(text)["made_with"]) == {"date", "machine", "versions", "commit"}


def test_a_digest_does_not_depend_on_the_order_of_keys() -> None:
    assert digest_of({"a": 1, "b": [2]}) == digest_of({"b": [2], "a": 1})
    assert digest_of({"a": 1}) != digest_of({"a": 2})


def test_the_commit_is_unknown_without_git(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert work_module.code_commit() == "unknown"
