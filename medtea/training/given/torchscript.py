"""A TorchScript file: a program, opened if the user trusts it."""

from __future__ import annotations

from pathlib import Path

import torch

from medtea.core.errors import ConfigError
from medtea.core.work import digest_of_file
from medtea.training.given.model import Opened, Settings, asked_to_trust
from medtea.training.programs import is_torchscript

reads = is_torchscript
digest = digest_of_file


def opened(settings: Settings, path: Path, device: torch.device) -> Opened:
    """The program in evaluation mode.

    Raises:
        ConfigError: it is not trusted, or cannot be opened.
    """
    asked_to_trust(settings, "a TorchScript file")
    try:
        network = torch.jit.load(path, map_location=device).eval()  # type: ignore[no-untyped-call]
    except RuntimeError as error:
        raise ConfigError(f"{settings.place}: the TorchScript file is damaged or of a newer torch.") from error
    return Opened(
        lambda images: network(images.to(device)), why_closed="torch.export takes no TorchScript program apart."
    )
