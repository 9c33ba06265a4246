"""Runs go into a SQLite file in the run folder, and from there to a server: a real one, started here."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import mlflow
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow.utils import validation
from servers import free_port

from medtea.core.errors import DataError, UsageError
from medtea.core.tracking import NullTracker, Sent, Tracker, names, sync
from medtea.core.tracking import server as sending


def open_run(folder: Path, **params: object) -> Tracker:
    return Tracker.open(folder, experiment="tb", run_name="first", params=params, tags={"code": "abc"})


def runs(where: Path | str) -> dict[str, Any]:
    """All runs of the experiment by name."""
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{where / 'mlflow.db'}" if isinstance(where, Path) else where)
    experiment = client.get_experiment_by_name("tb")
    assert experiment is not None
    return {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}


def history(uri: str, run: Any, key: str) -> list[tuple[int, int, float]]:
    client = mlflow.MlflowClient(tracking_uri=uri)
    return [(m.timestamp, m.step, m.value) for m in client.get_metric_history(run.info.run_id, key)]


def a_whole_run(folder: Path) -> None:
    """One parent, two networks, metrics over steps, a value without an answer, a file."""
    page = folder / "report.html"
    page.write_text("<p>done</p>")
    with open_run(folder, seed=1) as tracker:
        for name in ("teacher", "tea"):
            with tracker.child(name, {"rate": 0.1}) as network:
                for epoch in range(3):
                    network.metrics({"loss": 1 / (epoch + 1), "auroc": 0.5 + epoch / 10}, step=epoch)
        tracker.metrics({"auroc/montgomery": 0.9, "auroc/one class only": None})
        tracker.artefact(page)


def test_a_run_is_kept_in_its_folder_with_params_metrics_tags_and_children(run_folder: Path) -> None:
    a_whole_run(run_folder)
    kept = runs(run_folder)
    assert set(kept) == {"first", "teacher", "tea"}
    parent, teacher = kept["first"], kept["teacher"]
    assert parent.data.params == {"seed": "1"}
    assert parent.data.tags["code"] == "abc"
    assert teacher.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert {run.info.status for run in kept.values()} == {"FINISHED"}
    assert [step for _, step, _ in history(f"sqlite:///{run_folder / 'mlflow.db'}", teacher, "loss")] == [0, 1, 2]


def test_no_answer_is_counted_and_not_written(run_folder: Path) -> None:
    with open_run(run_folder) as tracker:
        tracker.metrics({"auroc": None, "dice": 0.5})
        tracker.metrics({"auroc": float("nan"), "loss": float("inf")})
    data = runs(run_folder)["first"].data
    assert data.metrics == {"dice": 0.5}
    assert (data.tags["no_answer.auroc"], data.tags["no_answer.loss"]) == ("2", "1")


def test_nested_settings_become_dotted_params_and_long_values_are_cut(run_folder: Path) -> None:
    with open_run(run_folder) as tracker:
        tracker.params({"distil": [{"method": "tea", "layers": [1, 2]}], "note": "x" * 7000, "empty": {}, "blank": ""})
    params = runs(run_folder)["first"].data.params
    assert params["distil.0.method"] == "tea"
    assert params["distil.0.layers"] == "[1, 2]"
    assert (params["empty"], params["blank"]) == ("{}", "")
    assert len(params["note"]) == 6000


@given(st.text())
def test_any_name_becomes_one_that_mlflow_takes(name: str) -> None:
    validation._validate_metric_name(names.key(name))
    validation._validate_param_name(names.key(name))


def test_more_than_one_batch_of_params_and_metrics_arrives_whole(run_folder: Path) -> None:
    with open_run(run_folder, **{f"p{i}": i for i in range(230)}) as tracker:
        tracker.metrics({f"m{i}": i for i in range(1100)})
    data = runs(run_folder)["first"].data
    assert (len(data.params), len(data.metrics)) == (230, 1100)


@pytest.mark.parametrize(("error", "status"), [(DataError, "FAILED"), (KeyboardInterrupt, "KILLED")])
def test_a_body_that_raises_marks_parent_and_child_and_keeps_only_the_kind(
    run_folder: Path, error: type[BaseException], status: str
) -> None:
    def stop() -> None:
        with open_run(run_folder) as tracker, tracker.child("teacher"):
            raise error("PatientName is Doe^Jane")

    with pytest.raises(error, match="Doe"):
        stop()
    kept = runs(run_folder)
    assert {run.info.status for run in kept.values()} == {status}
    assert kept["first"].data.tags["error_kind"] == error.__name__
    assert b"Doe" not in (run_folder / "mlflow.db").read_bytes()


def test_a_resumed_run_goes_on_with_the_same_run_and_the_same_children(run_folder: Path) -> None:
    def first_start() -> None:
        with open_run(run_folder, seed=1) as tracker, tracker.child("teacher") as network:
            network.metrics({"loss": 1.0}, step=0)
            raise DataError("stopped")

    with pytest.raises(DataError, match="stopped"):
        first_start()
    before = runs(run_folder)
    with open_run(run_folder, seed=1) as tracker, tracker.child("teacher") as network:
        network.metrics({"loss": 0.5}, step=1)
        assert {run.info.status for run in runs(run_folder).values()} == {"RUNNING"}
    after = runs(run_folder)
    assert {n: r.info.run_id for n, r in after.items()} == {n: r.info.run_id for n, r in before.items()}
    assert {run.info.status for run in after.values()} == {"FINISHED"}
    assert after["first"].data.tags["error_kind"] == ""
    assert len(history(f"sqlite:///{run_folder / 'mlflow.db'}", after["teacher"], "loss")) == 2


def test_a_param_that_differs_on_resume_keeps_the_first_value_and_tags_the_new_one(run_folder: Path) -> None:
    for seed in (1, 2):
        with open_run(run_folder, seed=seed) as tracker:
            tracker.metrics({"auroc": 0.5})
    data = runs(run_folder)["first"].data
    assert data.params["seed"] == "1"
    assert data.tags["changed.seed"] == "2"


def test_a_run_with_nothing_left_to_do_is_left_as_it_is(run_folder: Path) -> None:
    a_whole_run(run_folder)
    before = runs(run_folder)["first"].info
    with open_run(run_folder, seed=1):
        pass
    after = runs(run_folder)["first"].info
    assert (after.status, after.end_time) == (before.status, before.end_time)


def test_a_run_that_was_killed_after_its_last_stage_is_finished_by_the_next_start(run_folder: Path) -> None:
    open_run(run_folder, seed=1).metrics({"auroc": 0.5})  # and never closed
    assert runs(run_folder)["first"].info.status == "RUNNING"
    with open_run(run_folder, seed=1):
        pass
    assert runs(run_folder)["first"].info.status == "FINISHED"


def test_a_first_run_whose_body_tracks_nothing_is_recorded_all_the_same(run_folder: Path) -> None:
    with open_run(run_folder, seed=1):
        pass
    assert runs(run_folder)["first"].info.status == "FINISHED"


def test_the_database_is_made_where_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with open_run(tmp_path / "new" / "run", seed=1) as tracker:
        tracker.metrics({"auroc": 0.5})
    assert runs(tmp_path / "new" / "run")["first"].data.metrics == {"auroc": 0.5}


def test_neither_the_account_nor_the_programs_path_is_written(run_folder: Path) -> None:
    a_whole_run(run_folder)
    for run in runs(run_folder).values():
        assert run.info.user_id == run.data.tags["mlflow.user"] == run.data.tags["mlflow.source.name"] == "medtea"
        assert not {key for key in run.data.tags if "git" in key}


def test_a_folder_as_artefact_arrives_with_all_that_is_in_it_and_a_newer_one_replaces_it(
    run_folder: Path, tmp_path: Path
) -> None:
    figures = tmp_path / "figures"
    (figures / "deep").mkdir(parents=True)
    (figures / "deep" / "a.svg").write_text("old")
    with open_run(run_folder) as tracker:
        tracker.artefact(figures, folder="report")
        (figures / "deep" / "a.svg").write_text("new")
        tracker.artefact(figures, folder="report")
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{run_folder / 'mlflow.db'}")
    got = client.download_artifacts(runs(run_folder)["first"].info.run_id, "report/figures/deep/a.svg")
    assert Path(got).read_text() == "new"


def test_an_artefact_that_is_not_there_is_refused(run_folder: Path) -> None:
    tracker = open_run(run_folder)
    with pytest.raises(DataError, match="not there"):
        tracker.artefact(run_folder / "missing.html")


def test_a_sync_sends_everything_once(run_folder: Path, other_store: str) -> None:
    a_whole_run(run_folder)
    assert sync(run_folder, other_store) == Sent(runs=3, params=3, metrics=13, artefacts=1)
    assert sync(run_folder, other_store) == Sent()
    here, there = runs(run_folder), runs(other_store)
    local = f"sqlite:///{run_folder / 'mlflow.db'}"
    assert set(there) == set(here)
    for name, run in here.items():
        twin = there[name]
        assert twin.data.params == run.data.params
        assert twin.data.metrics == run.data.metrics
        for field in ("status", "start_time", "end_time"):
            assert getattr(twin.info, field) == getattr(run.info, field)
        for key in run.data.metrics:
            assert history(other_store, twin, key) == history(local, run, key)
    assert there["tea"].data.tags["mlflow.parentRunId"] == there["first"].info.run_id


def test_a_sync_after_more_work_sends_only_that(run_folder: Path, other_store: str) -> None:
    a_whole_run(run_folder)
    sync(run_folder, other_store)
    with open_run(run_folder, seed=1) as tracker, tracker.child("tea") as network:
        network.metrics({"loss": 0.1}, step=3)
    assert sync(run_folder, other_store) == Sent(metrics=1)
    assert len(history(other_store, runs(other_store)["tea"], "loss")) == 4


def test_a_changed_artefact_is_sent_again(run_folder: Path, other_store: str) -> None:
    a_whole_run(run_folder)
    sync(run_folder, other_store)
    (run_folder / "report.html").write_text("<p>DONE</p>")  # of the same length
    with open_run(run_folder, seed=1) as tracker:
        tracker.artefact(run_folder / "report.html")
    assert sync(run_folder, other_store) == Sent(artefacts=1)


def test_a_run_folder_that_was_moved_goes_on_and_is_sent(run_folder: Path, other_store: str) -> None:
    a_whole_run(run_folder)
    moved = run_folder.rename(run_folder.with_name("moved"))
    with open_run(moved, seed=1) as tracker:
        tracker.artefact(moved / "report.html", folder="again")
    assert not run_folder.exists()
    assert sync(moved, other_store).artefacts == 2


def test_a_folder_without_a_run_cannot_be_sent(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no tracked run"):
        sync(tmp_path, "http://127.0.0.1:9")


def test_a_run_goes_on_without_the_server_and_says_how_to_send_the_rest(
    run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://someone:secret@127.0.0.1:{free_port()}")
    started = time.monotonic()
    a_whole_run(run_folder)
    with open_run(run_folder, seed=1) as tracker:
        tracker.metrics({"auroc": 0.5})
        assert tracker.notice is not None  # at the start, not after an hour
    assert time.monotonic() - started < sending.PROBE_SECONDS
    assert runs(run_folder)["first"].info.status == "FINISHED"
    assert "cannot be reached" in tracker.notice
    assert "`medtea sync RUN`" in tracker.notice
    assert "secret" not in tracker.notice


def test_a_server_that_accepts_and_never_answers_costs_one_probe(
    run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "PROBE_SECONDS", 0.2)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{listener.getsockname()[1]}")
        started = time.monotonic()
        with open_run(run_folder) as tracker:
            for _ in range(20):
                tracker.send()
        assert tracker.notice is not None
        assert time.monotonic() - started < 3  # two probes of 0.2 s, not twenty


class Refusing(BaseHTTPRequestHandler):
    """Somebody is there, and refuses everything."""

    def do_GET(self) -> None:
        self.send_error(403)

    do_POST = do_GET  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


def test_a_server_that_refuses_stops_nothing(run_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with HTTPServer(("127.0.0.1", 0), Refusing) as refusing:
        threading.Thread(target=refusing.serve_forever, daemon=True).start()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{refusing.server_port}")
        a_whole_run(run_folder)
        with open_run(run_folder) as tracker:
            tracker.metrics({"auroc": 0.5})
        refusing.shutdown()
    assert "broke off (PERMISSION_DENIED)" in str(tracker.notice)
    assert runs(run_folder)["first"].info.status == "FINISHED"


def test_the_server_is_tried_once_more_when_the_run_closes(
    run_folder: Path, other_store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    with open_run(run_folder, seed=1) as tracker:
        tracker.metrics({"auroc": 0.5})
        assert tracker.notice is not None
        tracker._server = other_store  # it is back
    assert tracker.notice is None
    assert runs(other_store)["first"].data.metrics == {"auroc": 0.5}


def test_the_null_tracker_takes_every_verb_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with NullTracker() as tracker, tracker.child("teacher", {"rate": 0.1}) as network:
        network.params({"a": 1})
        network.metrics({"loss": 1.0}, step=1)
        network.tags({"a": "b"})
        network.artefact(tmp_path / "missing")
        tracker.send()
    assert tracker.notice is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_real_server_gets_the_run_as_it_goes_and_what_it_missed_later(
    run_folder: Path, server: tuple[str, Callable[[], None]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    uri, end_server = server
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    page = tmp_path / "report.html"
    page.write_text("<p>done</p>")
    with open_run(run_folder, seed=1, blank="") as tracker:
        with tracker.child("teacher", {"rate": 0.1}) as network:
            network.metrics({"loss": 1.0}, step=0)
        tracker.artefact(page)
        tracker.send()
        there = runs(uri)
        assert tracker.notice is None
        assert (there["first"].info.status, there["teacher"].info.status) == ("RUNNING", "FINISHED")
        assert there["first"].data.params == {"seed": "1", "blank": ""}
        client = mlflow.MlflowClient(tracking_uri=uri)
        assert [file.path for file in client.list_artifacts(there["first"].info.run_id)] == ["report.html"]

        end_server()  # in the middle of the run
        with tracker.child("tea") as network:
            network.metrics({"loss": 2.0}, step=0)
        tracker.send()
        assert "cannot be reached" in str(tracker.notice)
    assert runs(run_folder)["first"].info.status == "FINISHED"


@pytest.mark.slow
def test_a_finished_run_is_replayed_to_a_real_server_and_a_second_sync_changes_nothing(
    run_folder: Path, server: tuple[str, Callable[[], None]]
) -> None:
    uri, _ = server
    a_whole_run(run_folder)
    assert sync(run_folder, uri) == Sent(runs=3, params=3, metrics=13, artefacts=1)
    first = {name: run.to_dictionary() for name, run in runs(uri).items()}
    assert sync(run_folder, uri) == Sent()
    assert {name: run.to_dictionary() for name, run in runs(uri).items()} == first
    assert {run.info.status for run in runs(uri).values()} == {"FINISHED"}
