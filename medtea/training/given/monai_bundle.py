"""A MONAI bundle, a folder with configs/ and models/: its network is one of MONAI's own, and no expression is run.

A bundle's configs may hold Python (`$...`) and name any program (`_target_`). Only a network of monai.networks.nets
with plain arguments is built here; the bundle's transforms are not read: the settings say what the network is shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from monai.networks import nets
from torch import nn

from medtea.core.errors import ConfigError
from medtea.core.settings import read_yaml
from medtea.core.work import digest_of, digest_of_file
from medtea.training.given import torchscript
from medtea.training.given.model import ANY, Opened, Settings
from medtea.training.programs import CONVERT, opened_weights

CONFIGS = tuple(f"configs/{name}.{kind}" for name in ("inference", "train") for kind in ("json", "yaml", "yml"))
WEIGHTS = ("models/model.safetensors", "models/model.pt", "models/model.ts")
NETWORKS = ("network_def", "network")


def reads(path: Path) -> bool:
    """By its folders."""
    return (path / "configs").is_dir() and (path / "models").is_dir()


def digest(path: Path) -> str:
    """Of its configs and weights."""
    return digest_of({name: digest_of_file(path / name) for name in (*CONFIGS, *WEIGHTS) if (path / name).is_file()})


def opened(settings: Settings, path: Path, device: torch.device) -> Opened:
    """The network that the bundle describes, with its weights; of one that has a TorchScript file alone, that.

    Raises:
        ConfigError: the network is not described in a way that can be built without running the bundle's code, or the
            weights are missing, a pickle, or another network's.
    """
    there = next((path / name for name in WEIGHTS if (path / name).is_file()), None)
    if there is None:
        raise ConfigError(f"{settings.place}: the bundle has no weights. Allowed: {', '.join(WEIGHTS)}.")
    if there.suffix == ".ts":
        return torchscript.opened(settings, there, device)
    network = _network(settings, path)
    try:
        network.load_state_dict(_weights(settings, there))
    except RuntimeError as error:
        raise ConfigError(f"{settings.place}: the bundle's weights do not fit its network_def.") from error
    network.to(device).eval()
    first = next((module for module in network.modules() if isinstance(module, nn.Conv2d)), None)
    takes = ANY if first is None else (None, first.in_channels, None, None)
    return Opened(lambda images: network(images.to(device)), takes, network=network)


def _network(settings: Settings, path: Path) -> nn.Module:
    config = next((read_yaml(path / name) for name in CONFIGS if (path / name).is_file()), {})
    described = next((config[name] for name in NETWORKS if isinstance(config.get(name), Mapping)), None)
    target = described.get("_target_", "") if described else ""
    name = str(target).removeprefix("monai.networks.nets.")
    network = getattr(nets, name, None) if name.isidentifier() else None
    if described is None or not isinstance(network, type) or not issubclass(network, nn.Module):
        raise ConfigError(
            f"{settings.place}: the bundle's configs describe no network of monai.networks.nets under network_def; "
            f"another program of the bundle is not run. {CONVERT}"
        )
    given = {key: _plain(settings, value, config) for key, value in described.items() if not key.startswith("_")}
    try:
        return network(**given | ({"pretrained": False} if "pretrained" in given else {}))
    except (TypeError, ValueError, AssertionError) as error:
        raise ConfigError(f"{settings.place}: {name} cannot be built from the bundle's network_def.") from error


def _plain(settings: Settings, value: Any, config: Mapping[str, Any]) -> Any:
    """The value with references to plain values of the same config resolved."""
    if isinstance(value, str) and value.startswith("@"):
        value = config.get(value.removeprefix("@"), "$")
    if (isinstance(value, str) and value.startswith(("$", "@", "%"))) or isinstance(value, Mapping):
        raise ConfigError(
            f"{settings.place}: the bundle's network_def holds an expression, which is a program and is not run. Write "
            "the value itself in its place."
        )
    return [_plain(settings, one, config) for one in value] if isinstance(value, list) else value


def _weights(settings: Settings, file: Path) -> Mapping[str, torch.Tensor]:
    found = opened_weights(file, f"{settings.place}: the bundle's weights")
    for key in ("model", "state_dict"):
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    if not isinstance(found, Mapping):
        raise ConfigError(f"{settings.place}: the bundle's weights hold no state dict.")
    return found
