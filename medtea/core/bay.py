"""List and load the files of a bay by name: the file's name is the registry, one file is one entry."""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType

from medtea.core.errors import ConfigError, nearest


def names(bay: ModuleType) -> list[str]:
    """The entries of a bay, sorted: its modules but for the contract, which the bay names in CONTRACT."""
    return sorted(info.name for info in pkgutil.iter_modules(bay.__path__) if info.name != bay.CONTRACT)


def load(bay: ModuleType, name: str, setting: str) -> ModuleType:
    """The module of one entry.

    Args:
        bay: The package, for instance medtea.distil.methods.
        name: The entry.
        setting: What the user wrote the name under, for the message.

    Raises:
        ConfigError: no such entry; names the nearest.
    """
    if name not in names(bay):
        raise ConfigError(f"{setting}: '{name}' is not known. {nearest(name, names(bay))}")
    return importlib.import_module(f"{bay.__name__}.{name}")


def summary(module: ModuleType) -> str:
    """The first line of an entry's docstring, for `medtea list`."""
    return (module.__doc__ or "").strip().partition("\n")[0]
