"""Stores that runs are tracked in: a folder's own, a second one, and a real server."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import mlflow
import pytest
from servers import mlflow_server


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's tables, made once: making them takes seconds, and each test wants a file of its own."""
    folder = tmp_path_factory.mktemp("tables")
    mlflow.MlflowClient(tracking_uri=f"sqlite:///{folder / 'mlflow.db'}").search_experiments()
    return folder / "mlflow.db"


@pytest.fixture
def run_folder(tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    folder = tmp_path / "größe und run"  # a blank and an umlaut, as folders have them
    folder.mkdir()
    shutil.copyfile(empty_database, folder / "mlflow.db")
    return folder


@pytest.fixture
def other_store(tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Stands for a server where only what is sent matters: a second database."""
    monkeypatch.chdir(tmp_path)  # MLflow puts such a store's artefacts into ./mlruns
    shutil.copyfile(empty_database, tmp_path / "other.db")
    return f"sqlite:///{tmp_path / 'other.db'}"


@pytest.fixture
def server(tmp_path: Path, empty_database: Path) -> Iterator[tuple[str, Callable[[], None]]]:
    """A real `mlflow server`: its address, and a function that ends it."""
    shutil.copyfile(empty_database, tmp_path / "server.db")
    store = ["--backend-store-uri", f"sqlite:///{tmp_path / 'server.db'}"]
    artefacts = ["--artifacts-destination", str(tmp_path / "server_artefacts")]
    with mlflow_server([*store, *artefacts, "--workers", "1"], log=tmp_path / "server.log") as running:
        yield running
