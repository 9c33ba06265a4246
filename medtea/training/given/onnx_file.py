"""An ONNX file: data, run by onnxruntime (pip install 'medtea[onnx]')."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from medtea.core.errors import ConfigError
from medtea.core.work import digest_of_file
from medtea.training.given.model import Opened, Settings

digest = digest_of_file
ROW_TYPES = {"tensor(float)": torch.float32, "tensor(float16)": torch.float16, "tensor(double)": torch.float64}


def reads(path: Path) -> bool:
    """By its name."""
    return path.suffix == ".onnx"


def opened(settings: Settings, path: Path, device: torch.device) -> Opened:  # noqa: ARG001 (the contract's)
    """The graph, on the CPU.

    Raises:
        ConfigError: onnxruntime is not installed, the file cannot be read, or it takes more than an image.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise ConfigError(f"{settings.place}: install onnxruntime: pip install 'medtea[onnx]'.") from error
    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own kinds, which are not public
        raise ConfigError(f"{settings.place}: onnxruntime cannot read the file ({type(error).__name__}).") from error
    inputs, outputs = session.get_inputs(), [one.name for one in session.get_outputs()]
    if len(inputs) != 1 or inputs[0].type not in ROW_TYPES:
        kinds = ", ".join(one.type for one in inputs)
        raise ConfigError(f"{settings.place} takes {kinds}; give one that takes a radiograph alone, of floats.")
    (given,) = inputs

    def answer(images: Tensor) -> dict[str, Any]:
        values = images.cpu().to(ROW_TYPES[given.type]).numpy()
        return dict(zip(outputs, session.run(None, {given.name: values}), strict=True))

    takes = tuple(side if isinstance(side, int) else None for side in given.shape)
    return Opened(answer, takes, why_closed="An ONNX file's runtime gives scores alone.")
