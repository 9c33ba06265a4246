"""One run, kept in the run folder: what is done to it while it goes on."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from medtea.core.errors import DataError, UsageError
from medtea.core.tracking.names import flat, key, keys
from medtea.core.tracking.records import (
    DIGEST,
    MODEL,
    DatasetFacts,
    ModelFacts,
    digest_of_weights,
    log_datasets,
    register,
    versions,
    write_model,
)
from medtea.core.tracking.server import sync
from medtea.core.tracking.store import (
    ARTEFACTS,
    NEUTRAL,
    Client,
    artefacts,
    child_run,
    experiment_of,
    local,
    log_metrics,
    log_params,
    log_tags,
    now_ms,
    state,
    write_state,
)


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
        if kind is None and self._run_id is None and state(self._folder).get("status") == "FINISHED":
            return  # every stage was there already: what is recorded stands
        _, run_id = self._open_run()
        self._finish(kind)
        write_state(self._folder, run_id, _status(kind))
        self._send()

    def params(self, values: Mapping[str, object]) -> None:
        """Settings, nested mappings and lists flattened with dots (`distil.0.epochs`).

        A parameter cannot change within a run: where a resumed run brings another value, the first one stands and the
        new one becomes the tag `changed.KEY`. A value longer than 6000 characters is cut.
        """
        client, run_id = self._open_run()
        known = client.get_run(run_id).data.params
        given = flat(values)
        log_params(client, run_id, {name: value for name, value in given.items() if name not in known})
        self.tags({f"changed.{name}": value for name, value in given.items() if known.get(name, value) != value})

    def metrics(self, values: Mapping[str, float | None], step: int | None = None) -> None:
        """Numbers, in one call; None, NaN and infinity are "no answer": not written, but counted in `no_answer.KEY`."""
        client, run_id = self._open_run()
        named = keys(values)
        numbers = {named[name]: math.nan if value is None else float(value) for name, value in values.items()}
        now = now_ms()
        answered = [(name, value, now, step or 0) for name, value in numbers.items() if math.isfinite(value)]
        log_metrics(client, run_id, answered)
        unanswered = [f"no_answer.{name}" for name, value in numbers.items() if not math.isfinite(value)]
        if unanswered:
            so_far = client.get_run(run_id).data.tags
            self.tags({name: str(int(so_far.get(name, "0")) + 1) for name in unanswered})

    def tags(self, values: Mapping[str, str]) -> None:
        """Words about the run; a tag that is there already gets the new value."""
        if values:
            client, run_id = self._open_run()
            log_tags(client, run_id, {key(name): str(value) for name, value in values.items()})

    def artefact(self, path: Path, folder: str = "") -> None:
        """A copy of a file, or of a folder with all that is in it; one of the same name is replaced.

        Raises:
            DataError: there is nothing at the path.
        """
        _, run_id = self._open_run()
        # Not MLflow's log_artifact: that writes to where the run folder was created, and a run folder may be moved.
        target = artefacts(self._folder, run_id) / folder
        target.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            shutil.copytree(path, target / path.name, dirs_exist_ok=True)
        elif path.is_file():
            shutil.copyfile(path, target / path.name)
        else:
            raise DataError("An artefact to be tracked is not there. Write it before tracking it.")

    def datasets(self, datasets: Sequence[DatasetFacts]) -> None:
        """What the run was made of, as its inputs; what is there already is not written again."""
        client, run_id = self._open_run()
        log_datasets(client, run_id, datasets)

    def model(self, facts: ModelFacts) -> None:
        """The run's network as a version of the registered model EXPERIMENT-RUN; trained anew, it replaces the former.

        One that torch.export cannot write is not registered; the tag `model_not_registered` says so.
        """
        client, run_id = self._open_run()
        place, digest = artefacts(self._folder, run_id) / MODEL, digest_of_weights(facts.network)
        if place.is_dir() and any(version.tags.get(DIGEST) == digest for version in versions(client, run_id)):
            return
        try:
            write_model(place, facts)
        except Exception as error:  # torch.export's, of many kinds; a training must not be lost by its record
            self.tags({"model_not_registered": type(error).__name__})
            return
        name = key(f"{self._experiment}-{self._name}").replace("/", "_")
        register(client, name, run_id=run_id, source=f"runs:/{run_id}/{MODEL}", tags={**facts.tags, DIGEST: digest})

    @contextmanager
    def child(self, name: str, params: Mapping[str, object] | None = None) -> Iterator[Tracker]:
        """A run of its own below this one, for one network; a resumed run goes on with the child of the same name."""
        client, run_id = self._open_run()
        child = Tracker(self._folder, name=name)
        child._experiment = self._experiment
        child._run_id = child_run(client, run_id, name)
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

    def _open_run(self) -> tuple[Client, str]:
        """The local store, and the id of this run in it, begun or gone on with if it was not yet."""
        client = local(self._folder)
        if self._run_id is None:
            known = state(self._folder).get("run")
            if known is None:
                location = (self._folder / ARTEFACTS).as_uri()
                experiment_id = experiment_of(client, self._experiment, location=location)
                known = client.create_run(experiment_id, run_name=self._name, tags=NEUTRAL).info.run_id
            else:
                client.update_run(known, status="RUNNING")
            write_state(self._folder, known, "RUNNING")
            self._run_id = known
            self.tags(self._tags)
            self.params(self._params)
            if self._server is not None:
                self.send()  # says at the start, not after an hour, that the server is not there
        return client, self._run_id

    def _finish(self, kind: type[BaseException] | None) -> None:
        client, run_id = self._open_run()
        if kind is not None:
            log_tags(client, run_id, {"error_kind": kind.__name__})
        elif "error_kind" in client.get_run(run_id).data.tags:
            log_tags(client, run_id, {"error_kind": ""})  # an earlier start failed, this one did not
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

    def datasets(self, datasets: Sequence[DatasetFacts]) -> None:
        """Nothing is kept."""

    def model(self, facts: ModelFacts) -> None:
        """Nothing is kept, and no program is made of the network."""

    @contextmanager
    def child(self, name: str, params: Mapping[str, object] | None = None) -> Iterator[Tracker]:  # noqa: ARG002
        """This tracker again."""
        yield self

    def send(self) -> None:
        """Nothing is sent."""


def _status(kind: type[BaseException] | None) -> str:
    if kind is None:
        return "FINISHED"
    return "KILLED" if issubclass(kind, KeyboardInterrupt) else "FAILED"
