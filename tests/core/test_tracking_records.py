"""Datasets and networks of a run are tracked, sent once, and can be had again; the names of metrics have a grammar."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from medtea.core.tracking import DatasetFacts, ModelFacts, Sent, Tracker, metric_name, names, sync

GRAMMAR = re.compile(r"[a-z][a-z0-9_]*?(_low|_high)?(/(iid|ood))?(/[^/]+)?")
NORTH = DatasetFacts("north", "test", "train", radiographs=10, patients=9, positive=4, digest="ab" * 32)
EXAMPLE = np.random.default_rng(0).random((2, 1, 8, 8)).astype(np.float32)


class Mean(nn.Module):
    """A weight, and nothing that takes time to export."""

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([[weight]]))

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3)) @ self.weight


def track(
    folder: Path, *, weight: float = 2.0, datasets: tuple[DatasetFacts, ...] = (NORTH,), name: str = "tea"
) -> None:
    with Tracker.open(folder, experiment="tb", run_name="first", params={}, tags={}) as tracker:
        tracker.datasets(datasets)
        with tracker.child("tea") as network:
            network.model(ModelFacts(Mean(weight), EXAMPLE, {"medtea.trained_at": "north"}))


def client_of(where: Path | str) -> Any:
    return mlflow.MlflowClient(tracking_uri=f"sqlite:///{where / 'mlflow.db'}" if isinstance(where, Path) else where)


def version_of(where: Path | str) -> Any:
    (version,) = client_of(where).search_model_versions("name='tb-tea'")
    return version


def loaded(where: Path | str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The registered model, where opening pickles is forbidden."""
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    monkeypatch.setenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{where / 'mlflow.db'}" if isinstance(where, Path) else where)
    try:
        return mlflow.pytorch.load_model(f"models:/tb-tea/{version_of(where).version}")
    finally:
        mlflow.set_tracking_uri(before)


def datasets_of(where: Path | str) -> list[tuple[str, str, str]]:
    client = client_of(where)
    experiment = client.get_experiment_by_name("tb")
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    return [(one.dataset.name, one.tags[0].value, one.dataset.profile) for one in runs["first"].inputs.dataset_inputs]


def test_a_network_is_registered_without_a_pickle_and_takes_any_batch(
    run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    track(run_folder)
    assert version_of(run_folder).tags["medtea.trained_at"] == "north"
    network = loaded(run_folder, monkeypatch)
    for batch in (1, 5):
        images = torch.rand(batch, 1, 8, 8)
        torch.testing.assert_close(network(images), Mean(2.0)(images))
    (folder,) = (run_folder / "mlartifacts").glob("*/artifacts/model")
    signature = mlflow.models.Model.load(str(folder)).signature
    assert signature.inputs.inputs[0].shape == (-1, 1, 8, 8)
    assert signature.outputs.inputs[0].shape == (-1, 1)
    text = "".join(path.read_text(errors="replace") for path in folder.rglob("*") if path.is_file())
    assert str(run_folder) not in text
    assert os.environ.get("USER", "no such user") not in (folder / "MLmodel").read_text()


def test_a_network_trained_anew_replaces_the_former_and_the_same_one_changes_nothing(
    run_folder: Path, other_store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    track(run_folder)
    before = version_of(run_folder)
    assert sync(run_folder, other_store).models == 1
    track(run_folder)
    assert version_of(run_folder).version == before.version
    assert sync(run_folder, other_store) == Sent()
    track(run_folder, weight=3.0)
    assert sync(run_folder, other_store).models == 1
    for where in (run_folder, other_store):
        torch.testing.assert_close(loaded(where, monkeypatch)(torch.ones(1, 1, 8, 8)), torch.tensor([[3.0]]))


def test_a_network_that_cannot_be_exported_stops_nothing(run_folder: Path) -> None:
    class Odd(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.mean((2, 3)) if x.sum() > 0 else x.amax((2, 3))

    with Tracker.open(run_folder, experiment="tb", run_name="first", params={}, tags={}) as tracker:
        tracker.model(ModelFacts(Odd(), EXAMPLE, {}))
    client = client_of(run_folder)
    (run,) = client.search_runs([client.get_experiment_by_name("tb").experiment_id])
    assert run.data.tags["model_not_registered"]
    assert run.info.status == "FINISHED"


def test_datasets_are_inputs_with_counts_and_sent_once(run_folder: Path, other_store: str) -> None:
    training = replace(NORTH, use="training", digest="cd" * 32)
    track(run_folder, datasets=(NORTH, training))
    assert sync(run_folder, other_store).datasets == 2
    track(run_folder, datasets=(NORTH, training, replace(NORTH, hospital="south", role="external")))
    assert sync(run_folder, other_store).datasets == 1
    assert sync(run_folder, other_store) == Sent()
    for where in (run_folder, other_store):
        found = datasets_of(where)
        assert {(name, use) for name, use, _ in found} == {("north", "test"), ("north", "training"), ("south", "test")}
        assert '"radiographs": 10, "patients": 9, "positive": 4' in found[0][2]


@given(st.text(min_size=1), st.sampled_from(["", "iid", "ood"]), st.sampled_from(["", "low", "high"]))
def test_every_metrics_name_follows_the_grammar_whatever_the_hospital_is_called(
    hospital: str, role: str, bound: str
) -> None:
    name = names.key(metric_name("auroc", hospital, role=role, bound=bound))
    assert GRAMMAR.fullmatch(name), name


def test_hospitals_that_would_share_a_name_are_told_apart(run_folder: Path) -> None:
    with Tracker.open(run_folder, experiment="tb", run_name="first", params={}, tags={}) as tracker:
        tracker.metrics({metric_name("auroc", name, role="ood"): n for n, name in enumerate(("a,b", "a;b", "c"))})
    client = client_of(run_folder)
    (run,) = client.search_runs([client.get_experiment_by_name("tb").experiment_id])
    assert sorted(run.data.metrics.values()) == [0, 1, 2]
    assert "auroc/ood/c" in run.data.metrics


@pytest.mark.slow
def test_a_server_that_was_lost_gets_the_models_and_datasets_later(
    run_folder: Path, server: tuple[str, Callable[[], None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    uri, _ = server
    with monkeypatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")  # nobody is there
        track(run_folder)
    sent = sync(run_folder, uri)
    assert (sent.runs, sent.datasets, sent.models) == (2, 1, 1)
    assert sync(run_folder, uri) == Sent()
    assert version_of(uri).source.startswith("mlflow-artifacts:/")
    torch.testing.assert_close(loaded(uri, monkeypatch)(torch.ones(3, 1, 8, 8)), torch.full((3, 1), 2.0))
    assert [one[:2] for one in datasets_of(uri)] == [("north", "test")]
