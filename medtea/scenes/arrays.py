"""Named arrays in one file, HDF5 or .npz, read a row at a time."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from medtea.core.errors import DataError

Array = np.ndarray[Any, Any]
NUMBERS = "biuf"
"""NumPy's kinds of them."""
ENDINGS = (".h5py", ".h5", ".hdf5", ".npz")

DAMAGE = (OSError, EOFError, KeyError, ValueError, TypeError, RuntimeError, zipfile.BadZipFile, zlib.error)


def find_arrays(folder: Path, name: str) -> Path:
    """The file of that name, with whichever ending.

    Raises:
        DataError: there is none.
    """
    for ending in ENDINGS:
        if (folder / f"{name}{ending}").is_file():
            return folder / f"{name}{ending}"
    raise DataError(f"'{name}{ENDINGS[0]}' was not found in the folder of scenes.options.path.")


def open_arrays(path: Path) -> Mapping[str, Any]:
    """The numeric arrays of a file by name: of HDF5 they stay on disk until rows are asked for.

    Raises:
        DataError: it is damaged.
    """
    try:
        return _of_npz(path) if path.suffix == ".npz" else _of_hdf5(path)
    except DAMAGE as error:
        raise DataError(f"'{path.name}' cannot be read ({type(error).__name__}).") from error


def _of_npz(path: Path) -> dict[str, Array]:
    with np.load(path, allow_pickle=False) as content:
        arrays = {name: content[name] for name in content.files}
    return {name: array for name, array in arrays.items() if array.dtype.kind in NUMBERS}


def _of_hdf5(path: Path) -> dict[str, Any]:
    file = h5py.File(path, mode="r")
    return {name: file[name] for name in file if _is_plain(file, name)}


def _is_plain(file: Any, name: str) -> bool:
    """Whether the values are numbers that lie in this very file; HDF5 can point to any other."""
    if not isinstance(file.get(name, getlink=True), h5py.HardLink) or not isinstance(file[name], h5py.Dataset):
        return False
    return file[name].external is None and not file[name].is_virtual and file[name].dtype.kind in NUMBERS
