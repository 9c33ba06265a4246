"""MNIST made by code: ten classes, each a block at a place of its own, in four idx files."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np


def made_digits(folder: Path, *, train: int = 400, test: int = 60, seed: int = 0) -> Path:
    """Write the four files, unpacked, and return their folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for part, count in (("train", train), ("t10k", test)):
        generator = np.random.default_rng([seed, count])
        labels = (np.arange(count) % 10).astype(np.uint8)
        images = np.zeros((count, 28, 28), dtype=np.uint8)
        for image, label in zip(images, labels, strict=True):
            top, left = 4 + 8 * (label // 5), 2 + 4 * (label % 5)
            down, right = generator.integers(-2, 3, size=2)
            image[top + down : top + down + 8, max(left + right, 0) : left + right + 6] = 255
        (folder / f"{part}-images-idx3-ubyte").write_bytes(struct.pack(">4i", 2051, count, 28, 28) + images.tobytes())
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">2i", 2049, count) + labels.tobytes())
    return folder
