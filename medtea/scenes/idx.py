"""MNIST's idx files: digits and their labels, packed (.gz) or not."""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from medtea.core.errors import DataError

Array = np.ndarray[Any, Any]
MAGIC = {"images": 2051, "labels": 2049}
ENDINGS = {"images": "images{}idx3-ubyte", "labels": "labels{}idx1-ubyte"}
SIDE = 28
CLASSES = 10
LARGEST = 2**30
"""Bytes that a file may hold: twenty times MNIST, and no more of a packed file is unpacked."""


def read_idx(folder: Path, part: str) -> tuple[Array, Array]:
    """The digits of "train" or "t10k" as (n, 28, 28) 0 or 1, brighter than half of white or not, and their labels (n,).

    Raises:
        DataError: a file is missing, is no idx file, is cut short, or the two do not belong together.
    """
    images, labels = _read(folder, part, "images"), _read(folder, part, "labels")
    if len(images) != len(labels):
        raise DataError(f"MNIST: '{part}' has {len(images)} images and {len(labels)} labels.")
    if images.shape[1:] != (SIDE, SIDE) or labels.max(initial=0) >= CLASSES:
        raise DataError(f"MNIST: '{part}' is not of {SIDE} x {SIDE} pixels and ten classes.")
    return (images > 127).astype(np.uint8), labels.astype(np.int64)


def _read(folder: Path, part: str, kind: str) -> Array:
    names = [f"{part}-{ENDINGS[kind].format(mark)}" for mark in ("-", ".")]
    found = [path for name in names for path in (folder / f"{name}.gz", folder / name) if path.is_file()]
    if not found:
        raise DataError(
            f"MNIST: '{names[0]}' was not found. scenes.options.path is the folder of the four idx files, packed "
            "(.gz) or not."
        )
    dimensions = 3 if kind == "images" else 1
    start = 4 + 4 * dimensions
    try:
        with gzip.open(found[0]) if found[0].suffix == ".gz" else found[0].open("rb") as file:
            head = file.read(start)
            if len(head) < start or struct.unpack(">i", head[:4])[0] != MAGIC[kind]:
                raise DataError(f"MNIST: '{names[0]}' is no idx file of {kind}.")
            shape = struct.unpack(f">{dimensions}I", head[4:])
            expected = int(np.prod([int(extent) for extent in shape], dtype=object))
            data = file.read(min(expected, LARGEST) + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"MNIST: '{names[0]}' is damaged ({type(error).__name__}).") from error
    if len(data) != expected:
        raise DataError(f"MNIST: '{names[0]}' is cut short, or longer than it says.")
    return np.frombuffer(data, dtype=np.uint8).reshape(shape)
