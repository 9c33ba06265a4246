"""A run folder's tracked run, sent to a tracking server: what is new to the server, and nothing twice."""

from __future__ import annotations

import hashlib
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import astuple, dataclass
from pathlib import Path

from medtea.core.errors import UsageError
from medtea.core.tracking.records import MODEL, register, send_datasets, versions
from medtea.core.tracking.store import (
    PARENT,
    Client,
    Run,
    artefacts,
    children,
    experiment_of,
    local,
    log_metrics,
    log_params,
    log_tags,
    mlflow_quietly,
    state,
)

PROBE_SECONDS = 10.0  # MLflow's own retries take minutes before they say that nobody is there
_SENT_AS = "medtea.local_run"  # tag of a run on a server: the id of the local run it was sent from
_SENT_ARTEFACTS = "medtea.artefacts"  # tag of a run on a server: digest of the artefacts it holds


@dataclass(frozen=True)
class Sent:
    """What one `sync` had to send; all zero when the server had everything."""

    runs: int = 0
    params: int = 0
    metrics: int = 0
    artefacts: int = 0
    datasets: int = 0
    models: int = 0

    def __add__(self, other: Sent) -> Sent:
        return Sent(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))


def sync(folder: Path, uri: str) -> Sent:
    """Send the run in this folder, with its children, to a tracking server, and say how much was new to it.

    A run is found again on the server by the id of its local run (tag `medtea.local_run`), so a second sync changes
    nothing, and one after more work sends only that. Names, times, steps and status are those of the local run.

    Raises:
        UsageError: the folder holds no tracked run, or the server does not answer or refuses.
    """
    folder = folder.resolve()
    run_id = state(folder).get("run")
    if run_id is None:
        raise UsageError(
            "This folder holds no tracked run. Name the run folder that `medtea run` or `medtea demo` wrote."
        )
    _probe(uri)
    mlflow = mlflow_quietly()
    here, server = local(folder), mlflow.MlflowClient(tracking_uri=uri)
    try:
        run = here.get_run(run_id)
        experiment = experiment_of(server, here.get_experiment(run.info.experiment_id).name)
        return _send_run(folder, here, server, run, experiment=experiment, parent=None)
    except (mlflow.exceptions.MlflowException, OSError) as error:
        kind = getattr(error, "error_code", type(error).__name__)
        raise UsageError(f"The tracking server at {_without_password(uri)} broke off ({kind}).") from error


def _send_run(folder: Path, here: Client, server: Client, run: Run, *, experiment: str, parent: str | None) -> Sent:
    """Send one run and those below it. `run` is an mlflow Run."""
    tags = {key: value for key, value in run.data.tags.items() if key != PARENT}
    tags[_SENT_AS] = run.info.run_id
    if parent is not None:
        tags[PARENT] = parent
    found = server.search_runs([experiment], filter_string=f"tags.`{_SENT_AS}` = '{run.info.run_id}'")
    twin = found[0] if found else server.create_run(experiment, start_time=run.info.start_time, tags=tags)
    twin_id = twin.info.run_id

    params = {key: value for key, value in run.data.params.items() if key not in twin.data.params}
    log_params(server, twin_id, params)
    points = [point for key in run.data.metrics for point in _new_points(here, server, run, twin, key)]
    log_metrics(server, twin_id, points)
    files = _send_artefacts(server, twin, artefacts(folder, run.info.run_id))
    datasets = send_datasets(server, run, twin)
    models = _send_models(here, server, run, twin)
    log_tags(server, twin_id, {key: value for key, value in tags.items() if twin.data.tags.get(key) != value})

    sent = Sent(not found, len(params), len(points), files, datasets, models)
    for child in children(here, run.info.run_id, run.info.experiment_id):
        sent += _send_run(folder, here, server, child, experiment=experiment, parent=twin_id)

    if run.info.status == "RUNNING":
        server.update_run(twin_id, status="RUNNING")
    elif (run.info.status, run.info.end_time) != (twin.info.status, twin.info.end_time):
        server.set_terminated(twin_id, status=run.info.status, end_time=run.info.end_time)
    return sent


def _new_points(here: Client, server: Client, run: Run, twin: Run, key: str) -> list[tuple[str, float, int, int]]:
    """The points of one metric that the server does not have, as (key, value, timestamp, step)."""
    there = server.get_metric_history(twin.info.run_id, key) if key in twin.data.metrics else []
    known = {(m.value, m.timestamp, m.step) for m in there}
    points = here.get_metric_history(run.info.run_id, key)
    return [(key, m.value, m.timestamp, m.step) for m in points if (m.value, m.timestamp, m.step) not in known]


def _send_artefacts(server: Client, twin: Run, folder: Path) -> int:
    """Send a run's artefacts, all of them where one has changed; how many files were sent."""
    files = sorted(path for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else []
    if not files:
        return 0
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{path.relative_to(folder).as_posix()}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    if twin.data.tags.get(_SENT_ARTEFACTS) == digest.hexdigest():
        return 0
    server.log_artifacts(twin.info.run_id, str(folder))
    server.set_tag(twin.info.run_id, _SENT_ARTEFACTS, digest.hexdigest())  # last: a broken-off upload is repeated
    return len(files)


def _send_models(here: Client, server: Client, run: Run, twin: Run) -> int:
    """Register a run's model with the server, its files being there already; how many versions were new."""
    source = f"{twin.info.artifact_uri}/{MODEL}"
    own = versions(here, run.info.run_id)
    return sum(register(server, one.name, run_id=twin.info.run_id, source=source, tags=one.tags) for one in own)


def _probe(uri: str) -> None:
    """Nothing, if somebody answers at an http(s) address; any answer will do, a refused login is MLflow's to report."""
    if urllib.parse.urlsplit(uri).scheme not in {"http", "https"}:
        return
    try:
        urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=PROBE_SECONDS).close()
    except urllib.error.HTTPError:
        return
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise UsageError(
            f"The tracking server at {_without_password(uri)} cannot be reached ({type(reason).__name__})."
        ) from error


def _without_password(uri: str) -> str:
    parts = urllib.parse.urlsplit(uri)
    return urllib.parse.urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment=""))
