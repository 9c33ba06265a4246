"""MLflow behind a few verbs: one parent run per pipeline, one child run per network (the only importer of mlflow).

Local first: everything is written to a SQLite file in the run folder, and `sync` sends what is there to a tracking
server. One way to write, so nothing is lost when a server goes away, and a run without a server lacks nothing.
The server is the one that MLFLOW_TRACKING_URI names; it is sent to at every stage's end and when the run closes.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import re
import shutil
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from medtea.core.errors import DataError, UsageError

if TYPE_CHECKING:
    from mlflow import MlflowClient

DATABASE = "mlflow.db"
ARTEFACTS = "mlartifacts"
STATE = "tracking.json"

PROBE_SECONDS = 10.0  # MLflow's own retries take minutes before they say that nobody is there

# MLflow's limits (mlflow.utils.validation), of its SQL store and its server
_KEY_LENGTH, _PARAM_LENGTH, _TAG_LENGTH = 250, 6000, 8000
_PARAMS_PER_CALL, _METRICS_PER_CALL = 100, 1000
_NOT_IN_A_KEY = re.compile(r"[^\w\-. /]")

_SENT_AS = "medtea.local_run"  # tag of a run on a server: the id of the local run it was sent from
_SENT_ARTEFACTS = "medtea.artefacts"  # tag of a run on a server: digest of the artefacts it holds
_PARENT, _NAME = "mlflow.parentRunId", "mlflow.runName"

# MLflow would fill these with the account's name and the program's path; a hospital's machine keeps its own
_NEUTRAL = {"mlflow.user": "medtea", "mlflow.source.name": "medtea", "mlflow.source.type": "LOCAL"}

# Values that the environment sets already win
_QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "GIT_PYTHON_REFRESH": "quiet",
    "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "60",
}


class Tracker:
    """One run, kept in the run folder: params, metrics, tags and artefacts go in, and it ends as what it was.

    A context manager: FINISHED when its body ends, FAILED when it raises, KILLED on an interrupt. Of an error only the
    kind is kept, since its text may quote an input. Nothing is created before the first verb, so a run with nothing
    left to do costs nothing.

    Attributes:
        notice: One sentence for the user when a server was named and does not have everything; None otherwise.
    """

    def __init__(self, folder: Path, *, name: str, run_id: str | None = None) -> None:
        self.notice: str | None = None
        self._folder = folder
        self._name = name
        self._run_id = run_id
        self._experiment = ""
        self._params: Mapping[str, object] = {}
        self._tags: Mapping[str, str] = {}
        self._server: str | None = None
        self._server_lost = False

    @classmethod
    def open(
        cls,
        folder: Path,
        *,
        experiment: str,
        run_name: str,
        params: Mapping[str, object],
        tags: Mapping[str, str],
    ) -> Self:
        """The pipeline's run in this folder: a new one, or the one that an earlier start of the same folder began."""
        tracker = cls(folder.resolve(), name=run_name)
        tracker._experiment, tracker._params, tracker._tags = experiment, params, tags
        tracker._server = os.environ.get("MLFLOW_TRACKING_URI") or None
        return tracker

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and self._run_id is None and _state(self._folder).get("status") == "FINISHED":
            return  # every stage was there already: what is recorded stands
        _, run_id = self._open_run()
        self._finish(kind)
        _write_state(self._folder, run_id, _status(kind))
        self._send()

    def params(self, values: Mapping[str, object]) -> None:
        """Settings, nested mappings and lists flattened with dots (`distil.0.epochs`).

        A parameter cannot change within a run: where a resumed run brings another value, the first one stands and the
        new one becomes the tag `changed.KEY`. A value longer than 6000 characters is cut.
        """
        client, run_id = self._open_run()
        known = client.get_run(run_id).data.params
        flat = _flat(values)
        _log_params(client, run_id, {key: value for key, value in flat.items() if key not in known})
        self.tags({f"changed.{key}": value for key, value in flat.items() if known.get(key, value) != value})

    def metrics(self, values: Mapping[str, float | None], step: int | None = None) -> None:
        """Numbers, in one call; None, NaN and infinity are "no answer": not written, but counted in `no_answer.KEY`."""
        client, run_id = self._open_run()
        numbers = {_key(name): math.nan if value is None else float(value) for name, value in values.items()}
        now = _now_ms()
        answered = [(key, value, now, step or 0) for key, value in numbers.items() if math.isfinite(value)]
        _log_metrics(client, run_id, answered)
        unanswered = [f"no_answer.{key}" for key, value in numbers.items() if not math.isfinite(value)]
        if unanswered:
            so_far = client.get_run(run_id).data.tags
            self.tags({key: str(int(so_far.get(key, "0")) + 1) for key in unanswered})

    def tags(self, values: Mapping[str, str]) -> None:
        """Words about the run; a tag that is there already gets the new value."""
        if values:
            client, run_id = self._open_run()
            _log_tags(client, run_id, {_key(key): str(value) for key, value in values.items()})

    def artefact(self, path: Path, folder: str = "") -> None:
        """A copy of a file, or of a folder with all that is in it; one of the same name is replaced.

        Raises:
            DataError: there is nothing at the path.
        """
        _, run_id = self._open_run()
        # Not MLflow's log_artifact: that writes to where the run folder was created, and a run folder may be moved.
        target = _artefacts(self._folder, run_id) / folder
        target.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            shutil.copytree(path, target / path.name, dirs_exist_ok=True)
        elif path.is_file():
            shutil.copyfile(path, target / path.name)
        else:
            raise DataError("An artefact to be tracked is not there. Write it before tracking it.")

    @contextmanager
    def child(self, name: str, params: Mapping[str, object] | None = None) -> Iterator[Tracker]:
        """A run of its own below this one, for one network; a resumed run goes on with the child of the same name."""
        client, run_id = self._open_run()
        child = Tracker(self._folder, name=name)
        child._run_id = _child_run(client, run_id, name)
        child.params(params or {})
        try:
            yield child
        except BaseException as error:
            child._finish(type(error))
            raise
        child._finish(None)

    def send(self) -> None:
        """Send what is new to the server, if one was named; call it when a stage ends.

        A server that does not answer stops nothing: `notice` says so, and the run goes on locally.
        """
        if not self._server_lost:
            self._send()

    def _send(self) -> None:
        if self._server is None or self._run_id is None:
            return
        try:
            sync(self._folder, self._server)
        except UsageError as error:
            self._server_lost = True
            self.notice = f"{error} The run is kept in its folder: `medtea sync RUN` sends it later."
        else:
            self.notice = None

    def _open_run(self) -> tuple[MlflowClient, str]:
        """The local store, and the id of this run in it, begun or gone on with if it was not yet."""
        client = _local(self._folder)
        if self._run_id is None:
            known = _state(self._folder).get("run")
            if known is None:
                experiment = _experiment(client, self._experiment, artefacts=(self._folder / ARTEFACTS).as_uri())
                known = client.create_run(experiment, run_name=self._name, tags=_NEUTRAL).info.run_id
            else:
                client.update_run(known, status="RUNNING")
            _write_state(self._folder, known, "RUNNING")
            self._run_id = known
            self.tags(self._tags)
            self.params(self._params)
            if self._server is not None:
                self.send()  # says at the start, not after an hour, that the server is not there
        return client, self._run_id

    def _finish(self, kind: type[BaseException] | None) -> None:
        client, run_id = self._open_run()
        if kind is not None:
            _log_tags(client, run_id, {"error_kind": kind.__name__})
        elif "error_kind" in client.get_run(run_id).data.tags:
            _log_tags(client, run_id, {"error_kind": ""})  # an earlier start failed, this one did not
        client.set_terminated(run_id, status=_status(kind))


class NullTracker(Tracker):
    """The same verbs, and nothing happens: for `--no-tracking` and for tests of something else."""

    def __init__(self) -> None:
        super().__init__(Path(), name="")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to finish."""

    def params(self, values: Mapping[str, object]) -> None:
        """Nothing is kept."""

    def metrics(self, values: Mapping[str, float | None], step: int | None = None) -> None:
        """Nothing is kept."""

    def tags(self, values: Mapping[str, str]) -> None:
        """Nothing is kept."""

    def artefact(self, path: Path, folder: str = "") -> None:
        """Nothing is kept."""

    @contextmanager
    def child(self, name: str, params: Mapping[str, object] | None = None) -> Iterator[Tracker]:  # noqa: ARG002
        """This tracker again."""
        yield self

    def send(self) -> None:
        """Nothing is sent."""


@dataclass(frozen=True)
class Sent:
    """What one `sync` had to send; all zero when the server had everything."""

    runs: int = 0
    params: int = 0
    metrics: int = 0
    artefacts: int = 0

    def __add__(self, other: Sent) -> Sent:
        return Sent(
            self.runs + other.runs,
            self.params + other.params,
            self.metrics + other.metrics,
            self.artefacts + other.artefacts,
        )


def sync(folder: Path, uri: str) -> Sent:
    """Send the run in this folder, with its children, to a tracking server, and say how much was new to it.

    A run is found again on the server by the id of its local run (tag `medtea.local_run`), so a second sync changes
    nothing, and one after more work sends only that. Names, times, steps and status are those of the local run.

    Raises:
        UsageError: the folder holds no tracked run, or the server does not answer or refuses.
    """
    folder = folder.resolve()
    run_id = _state(folder).get("run")
    if run_id is None:
        raise UsageError(
            "This folder holds no tracked run. Name the run folder that `medtea run` or `medtea demo` wrote."
        )
    _probe(uri)
    mlflow = _mlflow()
    local, server = _local(folder), mlflow.MlflowClient(tracking_uri=uri)
    try:
        run = local.get_run(run_id)
        experiment = _experiment(server, local.get_experiment(run.info.experiment_id).name)
        return _send_run(folder, local, server, run, experiment=experiment, parent=None)
    except (mlflow.exceptions.MlflowException, OSError) as error:
        kind = getattr(error, "error_code", type(error).__name__)
        raise UsageError(f"The tracking server at {_without_password(uri)} broke off ({kind}).") from error


def _send_run(
    folder: Path, local: MlflowClient, server: MlflowClient, run: Any, *, experiment: str, parent: str | None
) -> Sent:
    """Send one run and those below it. `run` is an mlflow Run."""
    tags = {key: value for key, value in run.data.tags.items() if key != _PARENT}
    tags[_SENT_AS] = run.info.run_id
    if parent is not None:
        tags[_PARENT] = parent
    found = server.search_runs([experiment], filter_string=f"tags.`{_SENT_AS}` = '{run.info.run_id}'")
    twin = found[0] if found else server.create_run(experiment, start_time=run.info.start_time, tags=tags)
    twin_id = twin.info.run_id

    params = {key: value for key, value in run.data.params.items() if key not in twin.data.params}
    _log_params(server, twin_id, params)
    points = [point for key in run.data.metrics for point in _new_points(local, server, run, twin, key)]
    _log_metrics(server, twin_id, points)
    artefacts = _send_artefacts(server, twin, _artefacts(folder, run.info.run_id))
    _log_tags(server, twin_id, {key: value for key, value in tags.items() if twin.data.tags.get(key) != value})

    sent = Sent(runs=not found, params=len(params), metrics=len(points), artefacts=artefacts)
    for child in _children(local, run.info.run_id, run.info.experiment_id):
        sent += _send_run(folder, local, server, child, experiment=experiment, parent=twin_id)

    if run.info.status == "RUNNING":
        server.update_run(twin_id, status="RUNNING")
    elif (run.info.status, run.info.end_time) != (twin.info.status, twin.info.end_time):
        server.set_terminated(twin_id, status=run.info.status, end_time=run.info.end_time)
    return sent


def _new_points(
    local: MlflowClient, server: MlflowClient, run: Any, twin: Any, key: str
) -> list[tuple[str, float, int, int]]:
    """The points of one metric that the server does not have, as (key, value, timestamp, step)."""
    there = server.get_metric_history(twin.info.run_id, key) if key in twin.data.metrics else []
    known = {(m.value, m.timestamp, m.step) for m in there}
    here = local.get_metric_history(run.info.run_id, key)
    return [(key, m.value, m.timestamp, m.step) for m in here if (m.value, m.timestamp, m.step) not in known]


def _send_artefacts(server: MlflowClient, twin: Any, folder: Path) -> int:
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


def _mlflow() -> Any:
    """The package, imported when it is needed (2 to 5 s), with nothing reported to its makers and little said."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    for name in ("alembic", "mlflow", "mlflow.store.db.utils"):
        logging.getLogger(name).setLevel(logging.WARNING)
    import mlflow

    return mlflow


def _local(folder: Path) -> MlflowClient:
    folder.mkdir(parents=True, exist_ok=True)
    client: MlflowClient = _mlflow().MlflowClient(tracking_uri=f"sqlite:///{folder / DATABASE}")
    return client


def _artefacts(folder: Path, run_id: str) -> Path:
    return folder / ARTEFACTS / run_id / "artifacts"  # where MLflow itself looks, below the experiment's location


def _state(folder: Path) -> dict[str, str]:
    """Which run an earlier start began here, and how it stood; empty when none did, or its database is gone."""
    try:
        state: dict[str, str] = json.loads((folder / STATE).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return state if (folder / DATABASE).is_file() else {}


def _write_state(folder: Path, run_id: str, status: str) -> None:
    draft = folder / f"{STATE}.new"
    draft.write_text(json.dumps({"run": run_id, "status": status}) + "\n", encoding="utf-8")
    draft.replace(folder / STATE)


def _experiment(client: MlflowClient, name: str, *, artefacts: str | None = None) -> str:
    """The id of the experiment of that name, created where there is none."""
    found = client.get_experiment_by_name(name)
    return str(found.experiment_id if found else client.create_experiment(name, artifact_location=artefacts))


def _children(client: MlflowClient, run_id: str, experiment: str) -> list[Any]:
    """The mlflow Runs below a run, in the order they began."""
    query = f"tags.`{_PARENT}` = '{run_id}'"
    return list(client.search_runs([experiment], filter_string=query, order_by=["attributes.start_time ASC"]))


def _child_run(client: MlflowClient, run_id: str, name: str) -> str:
    """The id of the run of that name below a run: begun, or gone on with."""
    experiment = client.get_run(run_id).info.experiment_id
    for child in _children(client, run_id, experiment):
        if child.data.tags.get(_NAME) == name:
            client.update_run(child.info.run_id, status="RUNNING")
            return str(child.info.run_id)
    tags = {**_NEUTRAL, _PARENT: run_id}
    return str(client.create_run(experiment, run_name=name, tags=tags).info.run_id)


def _status(kind: type[BaseException] | None) -> str:
    if kind is None:
        return "FINISHED"
    return "KILLED" if issubclass(kind, KeyboardInterrupt) else "FAILED"


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _key(name: str) -> str:
    """A name that MLflow takes: characters that it refuses become `_`, empty path parts go, and it is cut at 250."""
    parts = _NOT_IN_A_KEY.sub("_", name)[:_KEY_LENGTH].split("/")
    return "/".join(part for part in parts if part.strip(".")) or "_"


def _flat(values: Mapping[str, object], prefix: str = "") -> dict[str, str]:
    """Nested mappings, and lists of mappings, as one level with dotted keys and values as text."""
    flat: dict[str, str] = {}
    for name, value in values.items():
        key = f"{prefix}{name}"
        if isinstance(value, Sequence) and any(isinstance(item, Mapping) for item in value):
            value = {str(place): item for place, item in enumerate(value)}
        if isinstance(value, Mapping) and value:
            flat |= _flat(value, prefix=f"{key}.")
        else:
            flat[_key(key)] = str(value)[:_PARAM_LENGTH]
    return flat


def _log_params(client: MlflowClient, run_id: str, params: Mapping[str, str]) -> None:
    entities = _mlflow().entities
    batch = [entities.Param(key, value) for key, value in params.items()]
    for start in range(0, len(batch), _PARAMS_PER_CALL):
        client.log_batch(run_id, params=batch[start : start + _PARAMS_PER_CALL])


def _log_tags(client: MlflowClient, run_id: str, tags: Mapping[str, str]) -> None:
    entities = _mlflow().entities
    batch = [entities.RunTag(key, value[:_TAG_LENGTH]) for key, value in tags.items()]
    for start in range(0, len(batch), _PARAMS_PER_CALL):
        client.log_batch(run_id, tags=batch[start : start + _PARAMS_PER_CALL])


def _log_metrics(client: MlflowClient, run_id: str, points: Sequence[tuple[str, float, int, int]]) -> None:
    entities = _mlflow().entities
    batch = [entities.Metric(*point) for point in points]
    for start in range(0, len(batch), _METRICS_PER_CALL):
        client.log_batch(run_id, metrics=batch[start : start + _METRICS_PER_CALL])
