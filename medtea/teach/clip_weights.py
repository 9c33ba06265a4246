"""Weights in CLIP's layout, from a file that is not trusted, as a zero-shot classifier."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from medtea.core import work
from medtea.core.errors import ConfigError
from medtea.training.programs import is_torchscript, opened_weights
from medtea.training.zero_shot import Activation

Weights = dict[str, Tensor]
WHERE = "teach.vision_language.options"
MEND = (
    "Where you trust the file, load it with its own program and write its weights anew: "
    "safetensors.torch.save_file(model.state_dict(), 'weights.safetensors')."
)


def digest_of_file(path: str) -> str:
    """SHA-256 of a file's content.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        return work.digest_of_file(Path(path))
    except OSError as error:
        raise ConfigError(f"{WHERE}: a file cannot be read ({type(error).__name__}). Give its path.") from error


def read_clip(path: str, *, trust_torchscript: bool = False) -> Weights:
    """The weights of a CLIP-layout model in 32 bits: of a safetensors file, a plain state dict, or a TorchScript file.

    Of the first two no program is run. A TorchScript file is one, and to open it can run parts of it; of a trusted one
    the weights are taken and the program is left.

    Raises:
        ConfigError: it is a pickle of more than tensors, a program, or of another layout; says how to convert.
    """
    file = Path(path)
    if file.suffix == ".onnx":
        raise ConfigError(
            f"{WHERE}.weights: an ONNX file is not read: its runtime gives no gradients, so the teacher would have no "
            f"heatmaps. Give the weights that it was exported from. {MEND}"
        )
    is_program = is_torchscript(file)
    if is_program and not trust_torchscript:
        raise ConfigError(
            f"{WHERE}.weights: this TorchScript file is a program, and to open it can run parts of it. Set "
            f"trust_torchscript: true if you trust it. Or: {MEND}"
        )
    found = _state_of_program(file) if is_program else opened_weights(file, f"{WHERE}.weights: the file", MEND)
    return _plain(found, is_program=is_program)


def _state_of_program(file: Path) -> Any:
    try:
        return torch.jit.load(file, map_location="cpu").state_dict()  # type: ignore[no-untyped-call]
    except RuntimeError as error:
        raise ConfigError(f"{WHERE}.weights: the TorchScript file is damaged or of a newer torch.") from error


def _plain(found: Any, *, is_program: bool) -> Weights:
    if isinstance(found, Mapping) and isinstance(found.get("state_dict"), Mapping):
        found = found["state_dict"]
    if not isinstance(found, Mapping) or "visual.conv1.weight" not in found:
        why = (
            "torch.export takes no TorchScript program, so heatmaps can only go through one whose weights are in that "
            "layout"
            if is_program
            else "only that layout can be built here"
        )
        raise ConfigError(
            f"{WHERE}.weights: the file is not in CLIP's layout with a vision transformer (there is no "
            f"'visual.conv1.weight'); {why}. Convert the weights' names to those of OpenAI's CLIP or open_clip."
        )
    return {name: value.float() for name, value in found.items() if isinstance(value, Tensor)}


def tower_of(weights: Weights, *, head_width: int, activation: Activation) -> dict[str, Any]:
    """The vision tower's arguments, read off its weights' shapes.

    Raises:
        ConfigError: the shapes fit no vision transformer of heads so wide.
    """
    width, _, patch, _ = weights["visual.conv1.weight"].shape
    places = len(weights["visual.positional_embedding"]) - 1
    side = round(places**0.5)
    layers = count_layers(weights, "visual.transformer")
    if side**2 != places or width % head_width or not layers:
        raise ConfigError(
            f"{WHERE}: a tower of {width} channels, {places} places and {layers} layers cannot be built with "
            f"head_width {head_width}."
        )
    return {
        "patch": patch,
        "side": side,
        "width": width,
        "layers": layers,
        "heads": width // head_width,
        "features": weights["visual.proj"].shape[1],
        "activation": activation,
        # after each quarter; behind the last block only the class token is read, and places have no relevance
        "mapped": sorted({layers * quarter // 4 - 1 for quarter in (1, 2, 3)} & set(range(layers - 1))),
    }


def count_layers(weights: Weights, tower: str) -> int:
    """Blocks of the transformer whose weights stand below `tower`."""
    start = f"{tower}.resblocks."
    return len({name[len(start) :].partition(".")[0] for name in weights if name.startswith(start)})


def load_into(module: nn.Module, weights: Weights, prefix: str) -> None:
    """Load the weights below a prefix into a module that has just these.

    Raises:
        ConfigError: some are missing, or left over, or have another shape.
    """
    own = {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
    try:
        module.load_state_dict(own)
    except RuntimeError as error:
        raise ConfigError(
            f"{WHERE}.weights: what stands under '{prefix}' is no plain CLIP transformer: {_line(error)}"
        ) from error


def _line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1].strip()
