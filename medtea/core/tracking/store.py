"""The local store: a SQLite file and a folder of artefacts in the run folder (the only importer of mlflow).

mlflow has no stubs, so its client, runs and entities are Any here.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from medtea.core.tracking.names import TAG_LENGTH

Client: TypeAlias = Any
"""An MlflowClient."""
Run: TypeAlias = Any
"""An mlflow Run."""

DATABASE = "mlflow.db"
ARTEFACTS = "mlartifacts"
STATE = "tracking.json"

PARENT, NAME = "mlflow.parentRunId", "mlflow.runName"
_KIND = "mlflow.experimentKind"
_PARAMS_PER_CALL, _METRICS_PER_CALL = 100, 1000  # MLflow's limits

# MLflow would fill these with the account's name and the program's path; a hospital's machine keeps its own
NEUTRAL = {"mlflow.user": "medtea", "mlflow.source.name": "medtea", "mlflow.source.type": "LOCAL"}

# Values that the environment sets already win
_QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "GIT_PYTHON_REFRESH": "quiet",
    "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "60",
}


def mlflow_quietly() -> Any:
    """The package, imported when it is needed (2 to 5 s), with nothing reported to its makers and little said."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    for name in ("alembic", "mlflow", "mlflow.store.db.utils"):
        logging.getLogger(name).setLevel(logging.WARNING)
    import mlflow

    return mlflow


def local(folder: Path) -> Client:
    """The client of a run folder's own store, made where there is none."""
    folder.mkdir(parents=True, exist_ok=True)
    return mlflow_quietly().MlflowClient(tracking_uri=f"sqlite:///{folder / DATABASE}")


def artefacts(folder: Path, run_id: str) -> Path:
    """Where a run's artefacts lie: where MLflow itself looks, below the experiment's location."""
    return folder / ARTEFACTS / run_id / "artifacts"


def state(folder: Path) -> dict[str, str]:
    """Which run an earlier start began here, and how it stood; empty when none did, or its database is gone."""
    try:
        found: dict[str, str] = json.loads((folder / STATE).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return found if (folder / DATABASE).is_file() else {}


def write_state(folder: Path, run_id: str, status: str) -> None:
    """Note which run was begun here, and how it stands."""
    draft = folder / f"{STATE}.new"
    draft.write_text(json.dumps({"run": run_id, "status": status}) + "\n", encoding="utf-8")
    draft.replace(folder / STATE)


def experiment_of(client: Client, name: str, *, location: str | None = None) -> str:
    """The id of the experiment of that name, created where there is none; MLflow's pages open it with its charts."""
    found = client.get_experiment_by_name(name)
    if found:
        return str(found.experiment_id)
    return str(client.create_experiment(name, artifact_location=location, tags={_KIND: "custom_model_development"}))


def children(client: Client, run_id: str, experiment_id: str) -> list[Run]:
    """The runs below a run, in the order they began."""
    query = f"tags.`{PARENT}` = '{run_id}'"
    return list(client.search_runs([experiment_id], filter_string=query, order_by=["attributes.start_time ASC"]))


def child_run(client: Client, run_id: str, name: str) -> str:
    """The id of the run of that name below a run: begun, or gone on with."""
    experiment_id = client.get_run(run_id).info.experiment_id
    for child in children(client, run_id, experiment_id):
        if child.data.tags.get(NAME) == name:
            client.update_run(child.info.run_id, status="RUNNING")
            return str(child.info.run_id)
    tags = {**NEUTRAL, PARENT: run_id}
    return str(client.create_run(experiment_id, run_name=name, tags=tags).info.run_id)


def now_ms() -> int:
    """The time as MLflow counts it."""
    return time.time_ns() // 1_000_000


def log_params(client: Client, run_id: str, params: Mapping[str, str]) -> None:
    """Write params, in as few calls as MLflow allows."""
    batch = [mlflow_quietly().entities.Param(key, value) for key, value in params.items()]
    for start in range(0, len(batch), _PARAMS_PER_CALL):
        client.log_batch(run_id, params=batch[start : start + _PARAMS_PER_CALL])


def log_tags(client: Client, run_id: str, tags: Mapping[str, str]) -> None:
    """Write tags, cut where MLflow would refuse them."""
    batch = [mlflow_quietly().entities.RunTag(key, value[:TAG_LENGTH]) for key, value in tags.items()]
    for start in range(0, len(batch), _PARAMS_PER_CALL):
        client.log_batch(run_id, tags=batch[start : start + _PARAMS_PER_CALL])


def log_metrics(client: Client, run_id: str, points: Sequence[tuple[str, float, int, int]]) -> None:
    """Write points of metrics as (key, value, milliseconds, step)."""
    batch = [mlflow_quietly().entities.Metric(*point) for point in points]
    for start in range(0, len(batch), _METRICS_PER_CALL):
        client.log_batch(run_id, metrics=batch[start : start + _METRICS_PER_CALL])
