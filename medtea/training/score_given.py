"""A network that others trained, and radiographs, to scores; what does not fit is told in one line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from scipy.special import expit, softmax
from torch import Tensor
from torch.nn.functional import interpolate

from medtea.core import bay
from medtea.core.errors import ConfigError, DataError, nearest
from medtea.core.names import Field
from medtea.core.settings import expand
from medtea.core.work import digest_of
from medtea.training import given
from medtea.training.given.model import Opened, Settings, numbers
from medtea.training.predict import Shown, batches
from medtea.training.programs import CONVERT, holds_weights_alone

Array = np.ndarray[Any, Any]
TOLERANCE = 1e-5  # of a probability computed in 32 bits


def digest_of_given(settings: Settings) -> str:
    """What a record names the network by."""
    path = Path(expand(settings.path))
    return str(kind_of(settings, path).digest(path))


def digest_of_models(models: Sequence[Settings]) -> str:
    """What a record names several by: their files and what they are shown, whatever the place that they lie in."""
    shown = [model.model_copy(update={"path": ""}).model_dump(mode="json") for model in models]
    return digest_of([[digest_of_given(model), one] for model, one in zip(models, shown, strict=True)])


@torch.no_grad()
def scores_of_given(
    settings: Settings,
    radiographs: Array,
    rows: Array,
    *,
    masks: Array | None = None,
    twins: Array | None = None,
    device: torch.device,
) -> Array:
    """Score of each row, (rows,) in [0, 1].

    Args:
        settings: The network, and what it is shown.
        radiographs: The run's, (radiographs, size, size) in [0, 1].
        rows: Which.
        masks: Lung masks, for a medtea network that looks at them.
        twins: Debiased twins, likewise.
        device: Where to compute, where the file leaves the choice.

    Raises:
        ConfigError: there is no such network, it may not be opened, or does not fit its settings.
        DataError: a score is not finite.
    """
    path = Path(expand(settings.path))
    opened: Opened = kind_of(settings, path).opened(settings, path, device)
    shown = Shown([str(field) for field in opened.looks_at & set(Field)], radiographs, masks, twins)
    refuse_size(settings, opened, radiographs.shape[-1])
    found = [
        scores_of_batch(settings, opened, images)
        for images in batches(shown.images, shown.masks, rows, torch.device("cpu"), f"scores of {settings.name}")
    ]
    return np.concatenate(found) if found else np.zeros(0)


def scores_of_batch(settings: Settings, opened: Opened, images: Tensor) -> Array:
    """Score of each radiograph, (batch,) in [0, 1], from (batch, 1, size, size) in [0, 1].

    Raises:
        ConfigError: the network fails on such images, or its answer is not what the settings say.
        DataError: a score is not finite.
    """
    return _scores(settings, _asked(settings, opened, prepared(settings, images)))


def kind_of(settings: Settings, path: Path) -> ModuleType:
    """The file of the bay that opens it.

    Raises:
        ConfigError: nothing is there, or it is of no kind that is opened; a pickle is refused with the way to convert.
    """
    if settings.kind:
        return bay.load(given, settings.kind, f"{settings.place}, kind")
    if not path.exists():
        raise ConfigError(f"{settings.place}: nothing lies at its path. Give a file, or the folder of a run or bundle.")
    kinds = [bay.load(given, name, "kind") for name in bay.names(given)]
    found = next((kind for kind in kinds if kind.reads(path)), None)
    if found is not None:
        return found
    if path.is_file() and path.suffix != ".safetensors" and not holds_weights_alone(path):
        raise ConfigError(
            f"{settings.place} is a pickle that holds more than tensors, or no file of a network. To open a pickle can "
            f"run any program, so it is refused. {CONVERT}"
        )
    raise ConfigError(
        f"{settings.place} {'holds weights alone' if path.is_file() else 'is a folder without a card or configs'}, and "
        "nothing says of which network. Give a medtea student's folder, a MONAI bundle, or an ONNX, TorchScript or "
        "ExportedProgram file."
    )


def prepared(settings: Settings, images: Tensor) -> Tensor:
    """Radiographs (batch, 1, height, width) in [0, 1] as the network takes them."""
    if settings.size and images.shape[-2:] != (settings.size, settings.size):
        smaller = settings.size < images.shape[-1]
        images = interpolate(images, (settings.size, settings.size), mode="bilinear", antialias=smaller)
    if images.shape[1] == 1:
        images = images.expand(-1, settings.channels, -1, -1)
    low, high = settings.range
    mean, std = (torch.tensor(numbers).view(1, -1, 1, 1) for numbers in (settings.mean, settings.std))
    return ((images * (high - low) + low - mean) / std).contiguous()


def refuse_size(settings: Settings, opened: Opened, size_of_run: int) -> None:
    """Nothing, if the network takes what it would be shown.

    Raises:
        ConfigError: it takes another size or number of channels.
    """
    size = settings.size or size_of_run
    wanted = (settings.channels, size, size)
    if len(opened.takes) != 4:
        raise ConfigError(
            f"{settings.place} takes {len(opened.takes)} dimensions; an image has 4: batch, channels, rows."
        )
    if any(fixed not in (None, side) for fixed, side in zip(opened.takes[1:], wanted, strict=True)):
        takes = " x ".join("any" if side is None else str(side) for side in opened.takes[1:])
        raise ConfigError(
            f"{settings.place} takes {takes} (channels, rows, columns) and would be shown "
            f"{' x '.join(map(str, wanted))}. Set `channels` and `size` to what it takes."
        )


def _asked(settings: Settings, opened: Opened, images: Tensor) -> Any:
    """What it returns for the batch; a network of a fixed batch is asked piece by piece, the last one filled up."""
    fixed = opened.takes[0]
    pieces = [images] if fixed is None else list(torch.split(images, fixed))
    answers = []
    for piece in pieces:
        filled = piece if fixed is None else torch.cat([piece, piece[-1:].expand(fixed - len(piece), -1, -1, -1)])
        try:
            answer = opened.answer(filled)
        except Exception as error:  # a foreign network's errors, of any kind
            shape = " x ".join(map(str, images.shape[1:]))
            raise ConfigError(
                f"{settings.place} fails on images of {shape} (channels, rows, columns; {type(error).__name__}). Set "
                "`channels` and `size` to what it takes."
            ) from error
        answers.append(numbers(one_of(settings, answer))[: len(piece)])
    return np.concatenate(answers)


def one_of(settings: Settings, answer: Any) -> Any:
    """The output that is meant."""
    if isinstance(answer, Mapping):
        named = dict(answer)
    elif isinstance(answer, Sequence) and not isinstance(answer, str):
        named = dict(enumerate(answer))
    else:
        return answer
    if len(named) == 1 and settings.take is None:
        return next(iter(named.values()))
    key = list(named)[settings.take] if isinstance(settings.take, int) and settings.take < len(named) else settings.take
    if key not in named:
        raise ConfigError(
            f"{settings.place} has {len(named)} outputs; set `take` to the one with the scores. "
            f"{nearest(str(settings.take or ''), map(str, named))}"
        )
    return named[key]


def _scores(settings: Settings, output: Array) -> Array:
    """(batch,) in [0, 1] from what the network returned."""
    output = output[:, None] if output.ndim == 1 else output
    if output.ndim != 2:
        shape = " x ".join(map(str, output.shape[1:]))
        raise ConfigError(
            f"{settings.place} returns {shape} numbers for a radiograph; a classifier returns a row of them."
        )
    width = output.shape[1]
    if not np.isfinite(output).all():
        lost = int((~np.isfinite(output).all(axis=1)).sum())
        raise DataError(
            f"{settings.place} gives no finite number for {lost} of {len(output)} radiographs. Look at `range`, `mean` "
            "and `std`: it may not be shown what it was trained on."
        )
    if settings.index is None and width > 1:
        raise ConfigError(f"{settings.place} returns {width} numbers for a radiograph; set `index`, 0 to {width - 1}.")
    place = settings.index or 0
    if place >= width:
        raise ConfigError(f"{settings.place}: index {place} is not there; it returns {width}, so 0 to {width - 1}.")
    if settings.output == "class_logits":
        if width == 1:
            raise ConfigError(f"{settings.place} returns one number, and a softmax needs several. Set output: logit.")
        return np.asarray(softmax(output, axis=1)[:, place])
    chosen = output[:, place]
    if settings.output == "logit":
        return np.asarray(expit(chosen))
    if (chosen < -TOLERANCE).any() or (chosen > 1 + TOLERANCE).any():
        raise ConfigError(
            f"{settings.place}: output is `probability`, and it returns numbers outside [0, 1]. Try `logit`."
        )
    return np.clip(chosen, 0, 1)
