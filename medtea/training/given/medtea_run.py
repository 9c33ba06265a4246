"""A student or teacher of another medtea run: the folder with its card, RUN/distil/NAME or RUN/teach."""

from __future__ import annotations

from pathlib import Path

import torch

from medtea.core.errors import ConfigError
from medtea.core.names import Field, StudentArtefact, TeacherArtefact
from medtea.core.work import read_json
from medtea.training.given.model import Opened, Settings
from medtea.training.networks import load_classifier

CARD = "card.json"


def reads(path: Path) -> bool:
    """Whether it is a folder with a card, or a run folder with some below it."""
    return (path / CARD).is_file() or bool(_networks(path))


def digest(path: Path) -> str:
    """The digest of its record."""
    return _artefact(path).digest


def opened(settings: Settings, path: Path, device: torch.device) -> Opened:
    """The network in evaluation mode, shown what its card says.

    Raises:
        ConfigError: the folder is a run's, and which of its networks is meant is not said.
    """
    if not (path / CARD).is_file():
        raise ConfigError(
            f"{settings.place} is a run folder with several networks. Name one: {', '.join(_networks(path))}."
        )
    artefact = _artefact(path)
    card = read_json(artefact.card)
    network = load_classifier(artefact, device)
    looks_at = frozenset(map(Field, card["sees_at_inference"]))
    channels = card["shape"]["channels"]
    return Opened(lambda images: network(images.to(device)), (None, channels, None, None), looks_at, network)


def _artefact(path: Path) -> StudentArtefact | TeacherArtefact:
    return TeacherArtefact(path) if (path / "teacher.safetensors").is_file() else StudentArtefact(path)


def _networks(path: Path) -> list[str]:
    places = [path / "teach", *sorted(path.glob("distil/*"))]
    return [place.relative_to(path).as_posix() for place in places if (place / CARD).is_file()]
