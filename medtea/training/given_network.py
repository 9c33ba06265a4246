"""A network that others trained, as a module like ours: from radiographs to one logit, with what it is shown inside."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from scipy.special import logit
from torch import Tensor, nn
from torch.nn.functional import interpolate

from medtea.core.errors import ConfigError
from medtea.core.settings import expand
from medtea.training.given.model import Opened, Settings
from medtea.training.predict import device_of
from medtea.training.score_given import kind_of, one_of, refuse_size, scores_of_batch


class GivenNetwork(nn.Module):
    """(batch, 1, size, size) in [0, 1] to one logit, (batch, 1): the log odds of the score that evaluate writes.

    Where the file holds a module, all of this is tensor code, so that heatmaps can be had: of the stored radiograph, by
    the logit (`output: logit`), or by the logit less the other one (two `class_logits`). Else there are scores alone.

    Attributes:
        why_closed: Why there are scores alone; empty where layers and gradients can be had.
    """

    scale: Tensor
    shift: Tensor
    resize: Tensor

    def __init__(self, settings: Settings, opened: Opened, size_of_run: int) -> None:
        """Take a network that was opened.

        Raises:
            ConfigError: it takes another size or number of channels.
        """
        super().__init__()
        refuse_size(settings, opened, size_of_run)
        self.settings = settings
        self.inner = opened.network
        self.why_closed = opened.why_closed
        self._opened = opened
        low, high = settings.range
        mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (settings.mean, settings.std))
        resize = _resize(size_of_run, settings.size or size_of_run)
        device = device_of(self.inner) if self.inner is not None else torch.device("cpu")
        for name, values in (("scale", (high - low) / std), ("shift", (low - mean) / std), ("resize", resize)):
            self.register_buffer(name, values.to(device), persistent=False)

    def train(self, mode: bool = True) -> GivenNetwork:  # noqa: ARG002 (nn.Module's)
        """Nothing: it was opened in evaluation mode and stays there (an ExportedProgram has no other)."""
        return self

    def forward(self, images: Tensor) -> Tensor:
        """Log odds; of a network that is closed not differentiable."""
        if self.inner is None:
            found = scores_of_batch(self.settings, self._opened, images.detach().cpu())
            # 1e-12: as far from 0 and 1 as a score is taken to be wherever log odds are
            return torch.from_numpy(logit(np.clip(found, 1e-12, 1 - 1e-12)))[:, None].to(images.device)
        if self.settings.size not in (None, images.shape[-1]):
            images = torch.matmul(torch.matmul(self.resize, images), self.resize.mT)
        if self.settings.channels > 1:
            images = images.expand(-1, self.settings.channels, -1, -1)
        if self.settings.range != (0.0, 1.0) or any(self.settings.mean) or set(self.settings.std) != {1.0}:
            images = images * self.scale + self.shift
        answer = one_of(self.settings, self.inner(images))
        answer = answer[:, None] if answer.ndim == 1 else answer
        place = self.settings.index or 0
        chosen: Tensor = answer[:, place : place + 1]
        if self.settings.output == "logit":
            return chosen
        if self.settings.output == "probability":
            return torch.logit(chosen.double(), eps=1e-12)
        others = torch.cat([answer[:, :place], answer[:, place + 1 :]], dim=1)
        return chosen - (others if others.shape[1] == 1 else torch.logsumexp(others, dim=1, keepdim=True))


def open_given(settings: Settings, *, size: int, device: torch.device) -> tuple[GivenNetwork, Opened]:
    """The network, and how it was opened; asked once about a grey image, so that what does not fit is told now.

    Args:
        settings: The network, and what it is shown.
        size: Of the run's radiographs.
        device: Where to compute, where the file leaves the choice.

    Raises:
        ConfigError: there is no such network, it may not be opened, or does not fit its settings.
        DataError: its score of the grey image is not finite.
    """
    path = Path(expand(settings.path))
    opened: Opened = kind_of(settings, path).opened(settings, path, device)
    network = GivenNetwork(settings, opened, size)
    scores_of_batch(settings, opened, torch.full((1, 1, size, size), 0.5))
    return network, opened


def size_taken(settings: Settings) -> int | None:
    """Rows and columns that the network takes, as far as its settings or its file say.

    Raises:
        ConfigError: as of `open_given`; or its input is not square.
    """
    if settings.size is not None:
        return settings.size
    path = Path(expand(settings.path))
    takes: tuple[int | None, ...] = kind_of(settings, path).opened(settings, path, torch.device("cpu")).takes
    rows, columns = takes[-2:]
    if rows != columns:
        raise ConfigError(f"{settings.place} takes {rows} x {columns} pixels; radiographs are square here.")
    return rows


def _resize(before: int, after: int) -> Tensor:
    """What a column of pixels is multiplied by to be resized as `prepared` does: bilinear is linear and separable."""
    unit = torch.eye(before)[None, None]
    return interpolate(unit, (after, before), mode="bilinear", antialias=after < before)[0, 0]
