"""What a file of a network is, told without opening it: a program, weights, or a pickle that could be any program."""

from __future__ import annotations

import zipfile
from pathlib import Path

import torch

CONVERT = (
    "Where you trust the file, load it with its own program and write it anew: a network with "
    "torch.onnx.export(network, example, 'network.onnx'), weights alone with "
    "safetensors.torch.save_file(network.state_dict(), 'weights.safetensors'); see docs/given_models.md."
)
"""How a pickle is turned into a file that holds numbers alone."""


def is_torchscript(file: Path) -> bool:
    """Whether a file is a TorchScript program."""
    return any("/code/" in name for name in _names(file))


def is_exported_program(file: Path) -> bool:
    """Whether a file was written by torch.export.save, in its present or its former layout."""
    names = _names(file)
    return any(
        name.endswith(("archive_format", "serialized_exported_program.json"))
        or ("models/" in name and name.endswith(".json"))
        for name in names
    )


def holds_weights_alone(file: Path) -> bool:
    """Whether a file that torch.save wrote holds tensors and plain containers and no more; no program of it is run."""
    try:
        torch.load(file, map_location="cpu", weights_only=True)
    except Exception:  # the restricted unpickler refuses by many kinds
        return False
    return True


def _names(file: Path) -> list[str]:
    """The records of a zip archive; of anything else, and of a damaged one, none."""
    if not file.is_file():
        return []
    try:
        with zipfile.ZipFile(file) as archive:
            return archive.namelist()
    except zipfile.BadZipFile:
        return []
