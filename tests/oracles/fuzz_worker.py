"""Worker processes that say what a reader made of a file, for the laws over mutated files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from medtea.core.errors import DataError
from medtea.data.reader import read_radiograph
from medtea.ingest.headers import read_header
from medtea.ingest.worker import Answer, serve


def look(*, path: str) -> Answer:
    """What the array is like, and why the header is refused."""
    try:
        read_header(Path(path))
        header = ""
    except DataError as reason:
        header = str(reason)
    try:
        radiograph = read_radiograph(Path(path))
    except DataError as reason:
        raise DataError(f"{reason} {header}") from reason
    return {
        "header": header,
        "type": str(radiograph.dtype),
        "shape": list(radiograph.shape),
        "finite": bool(np.isfinite(radiograph).all()),
        "low": float(radiograph.min()),
        "high": float(radiograph.max()),
    }, b""


if __name__ == "__main__":
    serve({"look": look})
