"""Which code makes the pixels: an answer of other code is no answer, whether it lies on a disk or comes from afar."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
from pathlib import Path

import medtea.data
import medtea.ingest

DECODERS = ["numpy", "pydicom", "pillow", "pylibjpeg", "pylibjpeg-libjpeg", "pylibjpeg-openjpeg", "pylibjpeg-rle"]
DECODERS += ["pyjpegls", "nibabel", "SimpleITK"]


@functools.cache
def code() -> str:
    """Digest of everything that pixels depend on beside the file: our own modules, and the libraries' versions."""
    told = hashlib.sha256()
    for name in DECODERS:
        told.update(f"{name} {importlib.metadata.version(name)}\n".encode())
    for room in (medtea.data, medtea.ingest):
        for path in sorted(Path(room.__path__[0]).rglob("*.py")):
            told.update(path.read_bytes())
    return told.hexdigest()
