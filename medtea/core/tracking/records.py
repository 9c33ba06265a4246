"""What a run was made of and what it made: datasets as inputs, and a network as a registered model."""

from __future__ import annotations

import copy
import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from medtea.core.tracking.store import Client, Run, mlflow_quietly

MODEL = "model"
"""Folder of a run's model among its artefacts."""
DIGEST = "medtea.digest"
"""Tag of a model version: which weights it has."""
_CONTEXT = "mlflow.data.context"
_DATASET_DIGEST = 36  # characters that MLflow keeps


@dataclass(frozen=True)
class DatasetFacts:
    """A hospital's part in a run, as MLflow may know it: no path, and nobody's name or number.

    Attributes:
        hospital: Whose radiographs.
        use: "training", "validation" or "test".
        role: What the hospital is for.
        radiographs: How many.
        patients: Of how many.
        positive: How many have label 1.
        digest: Of the radiographs' content and labels.
    """

    hospital: str
    use: str
    role: str
    radiographs: int
    patients: int
    positive: int
    digest: str


@dataclass(frozen=True)
class ModelFacts:
    """A network to be registered.

    Attributes:
        network: On any device.
        example: What it takes, (batch, channels, height, width) with a batch of two or more, of no patient.
        tags: How it was trained and where.
    """

    network: nn.Module
    example: NDArray[np.float32]
    tags: Mapping[str, str]


def log_datasets(client: Client, run_id: str, datasets: Sequence[DatasetFacts]) -> int:
    """Write the datasets that the run does not have yet as its inputs; how many there were."""
    entities = mlflow_quietly().entities
    there = {(one.dataset.name, one.dataset.digest) for one in _inputs(client.get_run(run_id))}
    new = []
    for one in datasets:
        digest = hashlib.sha256(f"{one.use}/{one.digest}".encode()).hexdigest()[:_DATASET_DIGEST]
        if (one.hospital, digest) in there:
            continue
        counts = {"radiographs": one.radiographs, "patients": one.patients, "positive": one.positive}
        dataset = entities.Dataset(
            name=one.hospital,
            digest=digest,
            source_type="medtea",
            source=json.dumps({"hospital": one.hospital, "role": one.role}),
            profile=json.dumps(counts | {"role": one.role, "use": one.use}),
        )
        new.append(entities.DatasetInput(dataset, [entities.InputTag(_CONTEXT, one.use)]))
    if new:
        client.log_inputs(run_id, new)
    return len(new)


def send_datasets(server: Client, run: Run, twin: Run) -> int:
    """Send the inputs of a run that its twin on a server does not have; how many there were."""
    there = {(one.dataset.name, one.dataset.digest) for one in _inputs(twin)}
    new = [one for one in _inputs(run) if (one.dataset.name, one.dataset.digest) not in there]
    if new:
        server.log_inputs(twin.info.run_id, new)
    return len(new)


def write_model(folder: Path, facts: ModelFacts) -> None:
    """Leave an MLflow model at `folder`: an ExportedProgram of any batch, its signature, an example.

    The program is written by torch.export and holds plain tensors; no pickled object is in it. What was there before is
    replaced.
    """
    mlflow = mlflow_quietly()
    network = copy.deepcopy(facts.network).cpu().eval()
    with torch.no_grad():
        answer = network(torch.from_numpy(facts.example))
    shapes = [(-1, *given.shape[1:]) for given in (facts.example, answer)]
    types = mlflow.types
    inputs, outputs = (types.Schema([types.TensorSpec(np.dtype(np.float32), shape)]) for shape in shapes)
    with tempfile.TemporaryDirectory() as draft:
        mlflow.pytorch.save_model(
            network,
            f"{draft}/model",
            serialization_format="pt2",
            signature=mlflow.models.ModelSignature(inputs, outputs),
            input_example=facts.example,
            pip_requirements=[f"torch=={torch.__version__.partition('+')[0]}", f"mlflow=={mlflow.__version__}"],
        )
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(f"{draft}/model", folder)


def register(client: Client, name: str, *, run_id: str, source: str, tags: Mapping[str, str]) -> bool:
    """Make the run's model a version of the registered model `name`; False if it is one already, with these weights."""
    exceptions = mlflow_quietly().exceptions
    try:
        client.create_registered_model(name)
    except exceptions.MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    for version in versions(client, run_id):
        if version.name == name and version.tags.get(DIGEST) == tags[DIGEST]:
            return False
        client.delete_model_version(version.name, version.version)  # trained anew: the folder holds the new weights
    client.create_model_version(name, source, run_id=run_id, tags=dict(tags))
    return True


def versions(client: Client, run_id: str) -> list[Any]:
    """The versions of registered models that a run made."""
    return list(client.search_model_versions(f"run_id='{run_id}'"))


def _inputs(run: Run) -> list[Any]:
    return list(run.inputs.dataset_inputs) if run.inputs else []


def digest_of_weights(network: nn.Module) -> str:
    """SHA-256 of the weights with their names."""
    digest = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
