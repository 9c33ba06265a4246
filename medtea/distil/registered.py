"""A student as tracking registers it: the network, an example of no patient, and how and where it was trained."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd
from torch import nn

from medtea.core.names import Role
from medtea.core.tracking import ModelFacts
from medtea.data.phantom import draw_phantom


def registered(network: nn.Module, table: pd.DataFrame, *, sees: Iterable[str], channels: int, size: int) -> ModelFacts:
    """The facts of a student of one image, whole or of the lungs alone.

    Args:
        network: The student.
        table: The index that it was trained on.
        sees: What its method saw.
        channels: Of its image.
        size: Rows and columns of its image.
    """
    hospitals = {role: sorted(set(part["hospital"])) for role, part in table.groupby("role")}
    tags = {
        "medtea.sees": ", ".join(sorted(sees)),
        "medtea.trained_at": ", ".join(hospitals.get(Role.TRAIN, [])),
        "medtea.external": ", ".join(hospitals.get(Role.EXTERNAL, [])),
        "medtea.for": "research; not a medical device",
    }
    return ModelFacts(network, _example(channels, size), tags)


def _example(channels: int, size: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Two phantoms, without and with disease, (2, channels, size, size) in [0, 1]; three digits keep the file small."""
    drawn = [
        draw_phantom(np.random.default_rng(0), size=max(size, 64), diseased=diseased) for diseased in (False, True)
    ]
    pictures = np.stack([one.radiograph[:size, :size] for one in drawn])[:, None]
    return np.repeat(pictures, channels, axis=1).round(3).astype(np.float32)
