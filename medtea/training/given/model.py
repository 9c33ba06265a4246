"""The contract of a kind of given network, and what a user says of one: where it is, what it is shown, what it answers.

A file of the bay has three functions: `reads(path)` says whether a file or folder is of this kind, without opening it;
`opened(settings, path, device)` opens it; `digest(path)` is what a record names it by.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field as Bound
from pydantic import field_validator, model_validator
from torch import Tensor, nn

from medtea.core.errors import ConfigError
from medtea.core.names import Field
from medtea.core.settings import StrictSettings

ANY = (None, None, None, None)


class Settings(StrictSettings):
    """One network, as it lies in a file or folder, and how radiographs are made ready for it.

    It is shown the run's radiographs as they are stored, whole and not masked, in [0, 1] and bright where the body is
    dense. They are resized to `size`, repeated to `channels`, brought to `range`, and then (x − mean) / std.

    Attributes:
        path: A file, or the folder of a medtea student, teacher or MONAI bundle; ${NAME} is an environment variable.
        name: What it is called in results; the path's own last word when empty.
        kind: A file of medtea/training/given; found by looking at `path` when empty.
        size: Rows and columns that it takes; the run's own (`ingest.size`) when there is none. A run of fewer pixels is
            interpolated, which brings no detail back.
        channels: 1 or 3, the same picture in each.
        range: What black and white become, before mean and std: [0, 255], [-1024, 1024].
        mean: Taken off, one number or one a channel.
        std: Divided by, likewise.
        output: "logit": sigmoid(x) is the score; "probability": x is; "class_logits": a softmax over all of them.
        index: Which of several numbers a radiograph is the finding's, 0 for the first.
        take: Which of several outputs has them: its name, or its number from 0 on.
        trust_program: TorchScript and ExportedProgram files are programs, and are opened only if this says so.
    """

    path: str
    name: str = Bound("", pattern=r"^[a-z0-9_]*$")
    kind: str = ""
    size: int | None = Bound(None, ge=8, le=4096)
    channels: Literal[1, 3] = 1
    range: tuple[float, float] = (0.0, 1.0)
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    output: Literal["logit", "probability", "class_logits"] = "logit"
    index: int | None = Bound(None, ge=0)
    take: str | int | None = None
    trust_program: bool = False

    @model_validator(mode="before")
    @classmethod
    def _named(cls, content: Any) -> Any:
        """Take the name from the path where none is given."""
        if not isinstance(content, dict) or content.get("name") or not isinstance(content.get("path"), str):
            return content
        return content | {"name": re.sub(r"[^a-z0-9]+", "_", Path(content["path"]).stem.lower()).strip("_") or "given"}

    @field_validator("mean", "std", mode="before")
    @classmethod
    def _one_number(cls, value: Any) -> Any:
        return (value,) if isinstance(value, int | float) else value

    @model_validator(mode="after")
    def _fits(self) -> Settings:
        for name in ("mean", "std"):
            if len(getattr(self, name)) not in (1, self.channels):
                raise ValueError(f"{name} is one number or one for each of the {self.channels} channels")
        if 0 in self.std:
            raise ValueError("std is not 0")
        return self

    @property
    def place(self) -> str:
        """What messages call it."""
        return f"The model '{self.name}'"


@dataclass(frozen=True)
class Opened:
    """A network that can be asked.

    Attributes:
        answer: From (batch, channels, height, width) float32 on the CPU or `device` to what it returns: a tensor or
            array, or several in a list or by name.
        takes: Sizes that its input must have, None where any will do.
        looks_at: What it is shown: a medtea teacher may need the lung mask, all others see the radiograph.
        network: The same as a module whose layers and gradients can be had, None where there are scores alone.
        why_closed: Why there is none.
    """

    answer: Callable[[Tensor], Any]
    takes: tuple[int | None, ...] = ANY
    looks_at: frozenset[Field] = frozenset({Field.RADIOGRAPH})
    network: nn.Module | None = None
    why_closed: str = ""


def asked_to_trust(settings: Settings, what: str) -> None:
    """Nothing, if the user trusts the program.

    Raises:
        ConfigError: they did not say so.
    """
    if not settings.trust_program:
        raise ConfigError(
            f"{settings.place} is {what}: a program, and to open it can run any code. Set trust_program: true if you "
            "trust where it comes from, or give it as ONNX, which is data."
        )


def numbers(output: Any) -> np.ndarray[Any, Any]:
    """An output as an array in 64 bits."""
    array = output.detach().cpu().numpy() if isinstance(output, Tensor) else np.asarray(output)
    return array.astype(np.float64)
