"""What a file of a network is, told without opening it: a program, weights, or a pickle; and weights, opened safely."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from medtea.core.errors import ConfigError

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


def opened_weights(file: Path, what: str, mend: str = CONVERT) -> Any:
    """What a safetensors file, or one that torch.save wrote, holds, on the CPU; no program of it is run.

    Args:
        file: Its suffix says which of the two.
        what: What messages call it, "The model 'a': the weights".
        mend: The last sentence where it is a pickle.

    Raises:
        ConfigError: it cannot be read, is damaged, or is a pickle that holds more than tensors.
    """
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        return torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, SafetensorError) as error:
        raise ConfigError(f"{what} cannot be read ({type(error).__name__}).") from error
    except Exception as error:  # an unpickler's own errors, of many kinds
        raise ConfigError(
            f"{what}: a pickle that holds more than tensors, or damaged ({type(error).__name__}). To open a pickle can "
            f"run any program, so it is refused. {mend}"
        ) from error


def _names(file: Path) -> list[str]:
    """The records of a zip archive; of anything else, and of a damaged one, none."""
    if not file.is_file():
        return []
    try:
        with zipfile.ZipFile(file) as archive:
            return archive.namelist()
    except zipfile.BadZipFile:
        return []
